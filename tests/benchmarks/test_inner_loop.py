"""The innermost loops of kernels, as machine code."""

import platform

import pytest

from benchmarks import inner_loop

CODE = """
f:
    vmulss  %xmm0, %xmm1, %xmm1
.outer:
    addq    $1, %rax
.vectors:
    vmulps  (%rax), %ymm0, %ymm1    # 32 bytes
    vaddps  (%rbx), %ymm1, %ymm1
    jne     .vectors
.single:
    vmulss  (%rax), %xmm0, %xmm1
    vmulss  (%rax), %xmm0, %xmm1
    vaddss  (%rax), %xmm0, %xmm1
    jne     .single
    jne     .outer
"""
ARM = """
.LBB0_4:
    fmul    v1.4s, v1.4s, v0.4s
    b.ne    .LBB0_4
.LBB0_5:
    fmul    s1, s1, s0
    fmul    s1, s1, s0
    b.ne    .LBB0_5
"""


def test_loops_end_with_a_jump_to_their_own_label() -> None:
    assert [loop[0] for loop in inner_loop.loops(CODE)] == [".vectors:", ".single:"]


@pytest.mark.parametrize(("code", "label"), [(CODE, ".vectors:"), (ARM, ".LBB0_4:")])
def test_the_loop_that_works_out_most_numbers_is_shown(code: str, label: str) -> None:
    shown = inner_loop.inner_loop(["", code]).splitlines()
    assert shown[0] == label
    assert "#" not in "".join(shown)
    assert inner_loop.inner_loop(["f:\n    ret\n"]) == ""


def test_kernels_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code = {}
    for name in ("naive", "reordered"):
        inner_loop.main(["gemm", name])
        code[name] = capsys.readouterr().out
    inner_loop.main(["tile"])
    tile = capsys.readouterr().out
    if platform.machine() in ("x86_64", "AMD64"):
        assert "mulss" in code["naive"]
        assert "mulps" not in code["naive"]
        assert "mulps" in code["reordered"]
        assert tile.count("ps") > 10
    assert all(code.values())


def test_mistakes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        inner_loop.main(["gemm", "nave"])
    assert "give a variant of gemm: naive, reordered" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="has no such loop: see tile"):
        inner_loop.main(["conv2d", "winograd_4x4_3x3"])
