"""`minincep compare`: exit status 0, 1 and 2, a table for people and JSON for machines."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import minincep as mi
from minincep.io.verify import reference_network
from tests import small_reference

COMMAND = [sys.executable, "-m", "minincep", "compare"]
PATH = "conv2d_2a_3x3/weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump, its weights, and the same with a filter transposed."""
    folder = tmp_path_factory.mktemp("compare")
    small_reference.write(folder / "dump.h5")
    network = reference_network(folder / "dump.h5")
    mi.save(network, folder / "a.h5")
    network.assign_all({PATH: np.ascontiguousarray(network.arrays()[PATH].swapaxes(0, 1))})
    mi.save(network, folder / "b.h5")
    return folder


def run(*arguments: object, status: int, **environ: str) -> tuple[str, str]:
    result = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"NUMBA_NUM_THREADS": "1"} | environ,
    )
    assert result.returncode == status, result.stderr
    return result.stdout, result.stderr


def test_the_same(folder: Path) -> None:
    output, errors = run(folder / "a.h5", folder / "a.h5", status=0)
    assert output.splitlines()[1:] == ["all 152 arrays are the same"]
    assert errors == ""
    output, _ = run(folder / "a.h5", folder / "a.h5", "--all", status=0)
    assert "conv2d_2a_3x3" in output


def test_another(folder: Path) -> None:
    output, errors = run(folder / "a.h5", folder / "b.h5", status=1)
    assert errors == ""
    head, columns, row, *summary = output.splitlines()
    assert head == f"inception_resnet_v1; A is {folder / 'a.h5'}, B is {folder / 'b.h5'}"
    assert columns.split("  ")[0] == "layer"
    assert row.split()[:2] == ["conv2d_2a_3x3", "weight"]
    assert row.split()[3:] == ["transposed"]
    assert summary[0] == "1 of 152 arrays differ"
    assert summary[1].startswith(f"first: {PATH} (")
    assert summary[2].startswith(f"largest: {PATH} (")
    assert summary[3] == f"likely cause: transposed: height and width swapped ({PATH})"


def test_json(folder: Path) -> None:
    output, _ = run(folder / "b.h5", folder / "dump.h5", "--json", status=1)
    found = json.loads(output, parse_constant=pytest.fail)
    assert found["same"] is False
    assert found["first"] == found["largest"] == PATH
    assert [(cause["cause"], cause["where"]) for cause in found["causes"]] == [
        ("transposed", [PATH])
    ]
    assert [array["path"] for array in found["arrays"] if not array["same"]] == [PATH]
    [case] = found["cases"]
    failed = [row["name"] for row in case["end_points"] if not row["passed"]]
    assert failed[0] == "Conv2d_2a_3x3"


def test_a_reference_dump(folder: Path) -> None:
    output, _ = run(folder / "a.h5", folder / "dump.h5", status=0)
    assert "self_75x75, against itself\nall 21 end points agree\n" in output
    output, _ = run(folder / "b.h5", folder / "dump.h5", status=1)
    assert "first end point that diverges: Conv2d_2a_3x3\n" in output
    assert "DIVERGES" in output


def test_what_cannot_be_compared(folder: Path) -> None:
    for arguments, message in [
        ((folder / "a.h5", "eggs"), "A is inception_resnet_v1, B is inception_resnet_v2"),
        ((folder / "a.h5", folder / "absent.h5"), "absent.h5: there is no such file"),
        ((folder / "a.h5", folder / "dump.h5", "--case", "x"), "has no case 'x'"),
        ((folder / "dump.h5", folder / "a.h5"), "give the weights file first"),
    ]:
        output, errors = run(*arguments, status=2)
        assert output == ""
        assert message in errors
        assert errors.startswith("minincep: ")
        assert errors.count("\n") == 1


@pytest.mark.parametrize(("encoding", "accent"), [("utf-8", "é"), ("ascii", "?")])
def test_names_are_text_whatever_they_look_like(
    folder: Path, tmp_path: Path, encoding: str, accent: str
) -> None:
    dump = tmp_path / "dump.h5"
    dump.write_bytes((folder / "dump.h5").read_bytes())
    with h5py.File(dump, "r+") as file:
        file[f"cases/{small_reference.CASE}"].attrs["witness"] = "[/x] é \x1b[31m"
    output, _ = run(folder / "a.h5", dump, status=0, PYTHONIOENCODING=encoding)
    assert f"against [/x] {accent} " in output
    assert "\x1b" not in output


def test_on_a_terminal(folder: Path) -> None:
    """A table that is folded, never cut, where the terminal is narrow."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        with os.fdopen(theirs, "wb") as output:
            result = subprocess.run(
                [*COMMAND, folder / "a.h5", folder / "b.h5"],
                stdout=output,
                stderr=subprocess.PIPE,
                env=os.environ | {"COLUMNS": "42", "TERM": "xterm"},
            )
        shown = terminal.read(1 << 16).decode()
    assert (result.returncode, result.stderr) == (1, b"")
    for word in ("layer", "difference", "weight", "transposed"):
        assert word in shown
