"""The machine code of programs: kept on disk, taken from there, and when it is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.registry import cpu_target

from minincep_kernels import cache
from minincep_kernels.program import learn, native, run

ALONE = """
import sys
import numpy as np
from minincep_kernels.program.runner import Runner
from minincep_kernels.program.step import STEP, Kind

steps = np.zeros(1, STEP)
fields = {"kind": Kind.SOFTMAX, "in_pitch": 3, "height": 1, "width": 1, "channels": 3, "rows": 1}
fields |= {"out_pitch": 3, "out_height": 1, "out_width": 1, "out_channels": 3, "columns": 3}
for name, number in fields.items():
    steps[name] = number
x, y = np.array([1, 2, 3], np.float32), np.zeros(3, np.float32)
Runner(steps, 0)(0, 1, 1, x, x, y)
exponentials = np.exp(x.astype(float))
np.testing.assert_allclose(y, exponentials / exponentials.sum(), rtol=1e-6)
assert "numba" not in sys.modules
import numba
assert numba.njit(lambda a: a + np.ones(3))(x).sum() == 9  # Numba's own arrays work beside it
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only cache there is; in it, nothing yet, and what is compiled is found at address 42."""
    monkeypatch.setattr(native, "folders", lambda: [(tmp_path, False)])
    monkeypatch.setattr(native, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(run, "compiled", lambda: ("name", b"code", 42))
    monkeypatch.setattr(native, "_linked", lambda name, code: (name, code))
    return tmp_path


def test_code_from_disk_runs_without_numba() -> None:
    native.function()  # compiles it, if nothing has
    subprocess.run([sys.executable, "-c", ALONE], check=True, env=os.environ | {"PYTHONPATH": ""})


def test_compiled_once(folder: Path) -> None:
    assert not native.is_kept()
    assert native._address() == 42
    assert native.is_kept()
    assert [path.name for path in folder.iterdir()] == [f"run-{native.key()}.native"]
    assert native._address() == ("name", b"code")  # type: ignore[comparison-overlap]
    assert cache._OURS.fullmatch(native._file("run"))  # so that `cache clear` removes it


def test_each_program_has_a_file_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn, "compiled", lambda: ("other", b"code", 43))
    assert (native._address(), native._address("learn")) == (42, 43)
    assert native._address("learn") == ("other", b"code")  # type: ignore[comparison-overlap]
    assert len(list(folder.iterdir())) == 2


def test_a_damaged_file_is_compiled_anew(folder: Path) -> None:
    native._address()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + b"X", b""):
        path.write_bytes(damaged)
        assert native._address() == 42
        assert path.read_bytes() == whole


def test_sources_that_were_edited_keep_no_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "key", lambda: None)
    assert native._address() == 42
    assert not native.is_kept()
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_written_warns(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, content: bytes) -> None:
        raise OSError("no space")

    monkeypatch.setattr(native, "write_whole", fails)
    monkeypatch.setattr(cache, "_said", [])
    with pytest.warns(RuntimeWarning, match="no space"):
        assert native._address() == 42


def test_folders_of_others_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native._address()
    monkeypatch.setattr(native, "folders", lambda: [(folder, True)])
    folder.chmod(0o777)
    assert native._address() == 42


@pytest.mark.parametrize("name", ["NUMBA_CPU_NAME", "NUMBA_OPT"])
def test_the_key_follows_what_changes_the_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = native.key()
    monkeypatch.setenv(name, "haswell" if "CPU" in name else "1")
    assert native.key.__wrapped__() != before
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    with_threads = native.key.__wrapped__()
    monkeypatch.delenv("NUMBA_NUM_THREADS")
    assert native.key.__wrapped__() == with_threads


def test_the_target_is_that_of_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    if "NUMBA_CPU_NAME" not in os.environ:
        numba_s = cpu_target.target_context.codegen().magic_tuple()
        assert tuple(native.target()[:2]) == numba_s[:2]
    monkeypatch.setenv("NUMBA_CPU_NAME", "haswell")
    assert native.target()[1:] == ["haswell", ""]
