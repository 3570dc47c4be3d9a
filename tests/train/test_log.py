"""The log: whole lines, none twice, and one program at a time."""

import json
import math
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from minincep.train import log
from minincep.train.log import Epoch, Log, Saved, Step
from minincep_kernels.errors import ConfigError


def step(number: int) -> Step:
    return Step(number, number / 2, 1 / number, 0.5, 0.01, 12.5)


def epoch(number: int) -> Epoch:
    return Epoch(2 * number, number, 0.5, 0.25, 0.75, None, False, 3.0)


def write(path: Path, *, every: int = 1) -> None:
    with Log(path, every=every) as file:
        for number in range(1, 4):
            file(step(2 * number - 1))
            file(step(2 * number))
            file(Saved(path, 2 * number))
            file(epoch(number))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "log.jsonl")
    return tmp_path / "log.jsonl"


def test_holds_what_was_told(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kinds = ["step", "step", "epoch"] * 3
    assert [line["kind"] for line in lines] == kinds
    assert log.read(path) == ([step(n) for n in range(1, 7)], [epoch(n) for n in range(1, 4)])


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    def refused(word: str) -> None:
        raise AssertionError(word)

    with Log(tmp_path / "log.jsonl") as file:
        file(Epoch(2, 1, 0.5, 0.25, math.nan, 0.5, True, 3.0))
    text = (tmp_path / "log.jsonl").read_text()
    assert json.loads(text, parse_constant=refused)["validation_loss"] is None
    assert log.read(tmp_path / "log.jsonl")[1] == [Epoch(2, 1, 0.5, 0.25, None, 0.5, True, 3.0)]


def test_some_steps_only(tmp_path: Path) -> None:
    write(tmp_path / "log.jsonl", every=3)
    steps, epochs = log.read(tmp_path / "log.jsonl")
    assert [s.step for s in steps] == [3, 6]
    assert len(epochs) == 3


@pytest.mark.parametrize(
    ("steps", "epochs", "kept"),
    [(0, 0, 0), (1, 0, 1), (2, 0, 2), (2, 1, 3), (3, 1, 4), (6, 2, 8), (6, 3, 9), (99, 99, 9)],
)
def test_goes_on_where_the_checkpoint_is(path: Path, steps: int, epochs: int, kept: int) -> None:
    """Step 2 may be done and its epoch not: the end of an epoch is done again then."""
    lines = path.read_text().splitlines(keepends=True)
    with Log(path) as file:
        file.go_on(step=steps, epoch=epochs)
        assert path.read_text() == "".join(lines[:kept])
        file(step(steps + 1))
    assert path.read_text().splitlines(keepends=True)[:kept] == lines[:kept]
    assert len(path.read_text().splitlines()) == kept + 1


@pytest.mark.parametrize("end", ['{"kind": "st', '{"kind": "step"}\n', "\n", "[1, 2]\n", "\xff\n"])
def test_half_a_line_is_dropped(path: Path, end: str) -> None:
    before = path.read_bytes()
    path.write_bytes(before + end.encode("latin-1"))
    assert len(log.read(path)[0]) == 6
    with Log(path) as file:
        file.go_on(step=6, epoch=3)
        file(step(7))
    assert [s.step for s in log.read(path)[0]] == [1, 2, 3, 4, 5, 6, 7]


def test_a_missing_log_begins_anew(tmp_path: Path) -> None:
    with Log(tmp_path / "log.jsonl") as file:
        file.go_on(step=5, epoch=2)
        file(step(6))
    assert log.read(tmp_path / "log.jsonl") == ([step(6)], [])


def test_no_log(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        log.read(tmp_path / "log.jsonl")
    odd = [{"x": 2}, {**asdict(step(1)), "loss": "0.5"}, {**asdict(step(1)), "rate": [1]}]
    for found in odd:
        line = json.dumps({"kind": "step", "step": 1, "epoch": 1, **found})
        (tmp_path / "log.jsonl").write_text(f"{line}\n")
        with pytest.raises(ConfigError, match="not a log of minincep"):
            log.read(tmp_path / "log.jsonl")


def test_lines_that_are_no_events_are_passed_over(path: Path) -> None:
    before = log.read(path)
    with path.open("ab") as file:
        file.write(b"[" * 100_000 + b"\n[1]\n")
    assert log.read(path) == before
    with Log(path) as again:
        again.go_on(step=6, epoch=3)
    assert log.read(path) == before


OTHER = """
import sys
from pathlib import Path
from minincep.io.errors import ResultError
from minincep.train.log import Log
try:
    Log(Path(sys.argv[1]))
except ResultError as error:
    print(error)
"""


def test_one_program_at_a_time(path: Path) -> None:
    def other() -> str:
        arguments = [sys.executable, "-c", OTHER, str(path)]
        done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
        return str(done.stdout)

    with Log(path):
        assert "another training writes" in other()
    assert other() == ""


def test_where_no_folder_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="is not a folder; make it first"):
        Log(tmp_path / "no" / "log.jsonl")
