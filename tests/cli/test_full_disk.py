"""A full disk: one sentence, nothing left behind, and an old file as it was.

A limit on the size of files stands in for the disk: writing fails at the same places.
"""

import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

PICTURES = Path(__file__).parents[2] / "examples/eggs/pictures"

SAVE = """
network = mi.load()
def write():
    mi.save(network, path)
"""
ROWS = """
def write():
    with ArrayResults(path, resume=False) as file:
        for batch in range(6):
            rows = np.ones((8, 256), np.float32), np.ones((8, 9, 9, 64), np.float32)
            file.add([f"{batch}-{n}.jpg" for n in range(8)], {"flat": rows[0], "maps": rows[1]})
"""
VECTORS = """
def write():
    write_npy(path, np.ones((100, 1000)))
"""
TABLE = """
def write():
    with CsvResults(path, ["x"], resume=False) as file:
        file.add([[f"{n}.jpg", n] for n in range(50_000)])
"""
SWEEP = """
import errno, os, resource, sys
from pathlib import Path
import numpy as np
import minincep as mi
from minincep.io.results import ArrayResults, CsvResults, write_npy

path = Path(sys.argv[1])
{write}
for limit in [0, 1, 100, *range(1000, 600_000, 40_000)]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    try:
        write()
    except OSError as error:
        assert error.errno == errno.EFBIG
        assert str(error).startswith(f"{{path}} cannot be written: File too large; make room")
    else:
        assert False, "a limit that is none"
    if path.suffix == ".csv":
        path.unlink()  # keeps what is done
    assert os.listdir(path.parent) == []
"""


@pytest.mark.parametrize(
    ("name", "write"),
    [("net.h5", SAVE), ("rows.h5", ROWS), ("rows.npy", VECTORS), ("rows.csv", TABLE)],
)
def test_wherever_it_fails(tmp_path: Path, name: str, write: str) -> None:
    script = SWEEP.format(write=write)
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path / name], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")


def run(arguments: Sequence[object], limit: int = resource.RLIM_INFINITY) -> tuple[int, str]:
    """Exit status and standard error with files of at most `limit` bytes."""
    result = subprocess.run(
        [sys.executable, "-m", "minincep", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    return result.returncode, result.stderr


def check_one_sentence(status: int, errors: str, path: Path) -> None:
    assert status == 2
    assert errors.count("minincep: ") == 1  # kernels, too, may say that they cannot be kept
    assert errors.endswith(
        f"minincep: {path} cannot be written: File too large; make room, or choose another place\n"
    )
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["embed", "-o", "x.h5"],
        ["embed", "-o", "x.npy"],
        ["features", "--endpoints", "Mixed_6a,Logits", "-o", "x.h5"],
        ["classify", "--csv", "x.csv"],
    ],
)
def test_commands(tmp_path: Path, arguments: list[str]) -> None:
    path = tmp_path / arguments[-1]
    status, errors = run([*arguments[:-1], path, PICTURES / "broken.jpg"], limit=60)
    check_one_sentence(status, errors, path)
    assert [p for p in tmp_path.iterdir() if p.suffix != ".csv"] == []  # which keeps what is done


@pytest.mark.parametrize("room", [-500, 0, 1000], ids=["copying", "at once", "later"])
def test_resume(tmp_path: Path, room: int) -> None:
    path = tmp_path / "x.h5"
    assert run(["embed", PICTURES / "broken.jpg", "-o", path])[0] == 0
    before = path.read_bytes()
    arguments = ["embed", PICTURES / "intact.jpg", "-o", path, "--resume"]
    status, errors = run(arguments, limit=len(before) + room)
    check_one_sentence(status, errors, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
