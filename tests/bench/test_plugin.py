"""Kernels of the user's own: verified on all shapes, and errors told with their line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from minincep.bench import plugin, session
from minincep.bench.verify import Case, RefusedError
from minincep.bench.workloads import shapes
from minincep_kernels import registry

RIGHT = """
import numpy as np
from minincep_kernels.registry import variant

@variant("conv2d", name="mine", supports=lambda shape: SUPPORTS)
def forward(x, filters, shape):
    top, bottom, left, right = shape.padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    y = np.zeros(shape.output, np.float32)
    for u in range(shape.kernel[0]):
        for v in range(shape.kernel[1]):
            y += x[:, u : u + shape.out_height, v : v + shape.out_width] @ filters[u, v]
    CHANGE
    return y
"""


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """What files register is forgotten."""
    session.variants("conv2d")
    before = dict(registry._variants["conv2d"])
    yield
    registry._variants["conv2d"] = before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my_kernel.py"


def write(path: Path, change: str = "pass", supports: str = "True") -> None:
    path.write_text(RIGHT.replace("CHANGE", change).replace("SUPPORTS", supports))


def passed(path: Path) -> list[str]:
    (variant,) = plugin.load(path, ["gemm", "conv2d"])
    return [workload.label for workload in plugin.verify(variant, shapes("conv2d"))]


def test_a_right_one_passes_on_all_shapes_the_small_ones_first(path: Path) -> None:
    write(path)
    assert passed(path) == ["4x3x5 1x1 -> 8", "9x7x3 3x3 padded -> 5"]
    assert registry.variants("conv2d")["mine"].name == "mine"


def test_it_is_held_to_what_it_claims_only(path: Path) -> None:
    write(path, "y += shape.kernel[0] == 1", "shape.kernel == (3, 3)")
    assert passed(path) == ["9x7x3 3x3 padded -> 5"]


def test_one_wrong_border_pixel_is_named(path: Path) -> None:
    write(path, "if shape.kernel == (3, 3): y[0, 0, 6, 2] += 1")
    with pytest.raises(
        RefusedError,
        match=r"^conv2d variant 'mine' on 9x7x3 3x3 padded -> 5 is wrong at picture 0, row 0, "
        r"column 6, channel 2: got -?\d+\.\d+, wanted -?\d+\.\d+ \(",
    ):
        passed(path)


def test_it_must_support_something(path: Path) -> None:
    write(path, supports="False")
    with pytest.raises(RefusedError, match="'mine' supports no layer of the networks"):
        passed(path)


def test_a_failing_call_is_told_with_its_line(path: Path) -> None:
    write(path, "y.nothing()")
    with pytest.raises(
        RefusedError, match=r"'mine' fails on Conv2dShape\(.*line 13: AttributeError: 'numpy"
    ) as refusal:
        passed(path)
    assert refusal.value.__suppress_context__
    write(path, supports="1 / 0")
    registry._variants["conv2d"].pop("mine")
    with pytest.raises(RefusedError, match=r"fails to say whether it supports.*line 5: ZeroDiv"):
        passed(path)


def test_failures_are_told_when_it_is_timed_too(path: Path) -> None:
    write(path, "global calls; calls += 1; assert calls < 2, 'twice'")
    path.write_text(path.read_text() + "\ncalls = 0\n")
    (variant,) = plugin.load(path, ["conv2d"])
    case = Case(shapes("conv2d")[0])
    case.verify(variant)
    with pytest.raises(RefusedError, match="line 13: AssertionError: twice"):
        case.call(variant)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nx.y = 2\n", "cannot be loaded: line 2: AttributeError: 'int' object"),
        ("import no_such_module", "line 1: ModuleNotFoundError: No module named 'no_such"),
        ("def f(:", "line 1: SyntaxError"),
        ("import sys\nsys.exit(3)", "line 2: SystemExit: 3"),
        ("pass", r'registers no variant of gemm or conv2d: decorate .* @variant\("gemm", name='),
        ("raise ValueError", "line 1: ValueError$"),
        (RIGHT.replace("mine", "naive"), "there is a variant 'naive' of conv2d already"),
    ],
)
def test_files_that_cannot_be_used(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(plugin.PluginError, match=message) as found:
        plugin.load(path, ["gemm", "conv2d"])
    assert str(path) in str(found.value)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(plugin.PluginError, match=r"there is no file .*: give a Python file"):
        plugin.load(tmp_path / "none.py", ["conv2d"])
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(plugin.PluginError, match=r"its name must end with \.py"):
        plugin.load(tmp_path / "notes.txt", ["conv2d"])
