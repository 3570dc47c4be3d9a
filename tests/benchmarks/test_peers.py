"""The benchmark beside other engines, with engines that compute nothing."""

import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks import peers
from benchmarks.contenders import Contender
from minincep.bench.players import peak_memory

Floats = npt.NDArray[np.float32]


class First(Contender):
    """Gives the mean of each channel, and writes into its file that it ran."""

    name = "first"
    packages = ("numpy",)
    channels_first = False
    file = "log"
    axes = (1, 2)

    def load(self, path: Path, threads: int, x: Floats) -> None:
        self._log = path
        self._note(f"load {threads}")

    def run(self, x: Floats) -> Floats:
        self._note("run")
        return np.asarray(x.mean(axis=self.axes))

    def _note(self, what: str) -> None:
        with self._log.open("a") as log:
            log.write(f"{os.getpid()} {self.name} {what}\n")


class Second(First):
    name = "second"
    channels_first = True
    axes = (2, 3)


class Single(First):
    name = "single"
    batches = False


class Wrong(First):
    name = "wrong"

    def run(self, x: Floats) -> Floats:
        return super().run(x) + np.float32(1e-2)


class Nan(First):
    name = "nan"

    def run(self, x: Floats) -> Floats:
        return super().run(x) * np.float32("nan")


class Short(First):
    name = "short"

    def run(self, x: Floats) -> Floats:
        return super().run(x)[:, :1]


class Broken(First):
    name = "broken"

    def run(self, x: Floats) -> Floats:
        raise RuntimeError("no such engine")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


def command(log: Path) -> list[str]:
    output = str(log.with_name("results.json"))
    case = ["--models", "inception_resnet_v1", "--batch", "2", "--threads", "1"]
    return [
        str(log.parent),
        str(log.with_name("cache")),
        *case,
        "--repeats",
        "3",
        "--calls",
        "2",
        "-o",
        output,
    ]


def test_contenders_take_turns_in_processes_of_their_own(log: Path) -> None:
    peers.main(command(log), (First, Second))
    entries = [line.split(maxsplit=2) for line in log.read_text().splitlines()]
    turns = [("first", "run")] * 3 + [("second", "run")] * 3  # one of them untimed
    verify = [("first", "load 1"), ("first", "run"), ("second", "load 1"), ("second", "run")]
    assert [(name, what) for _, name, what in entries] == verify + turns * (1 + 3)
    processes = {(pid, name) for pid, name, _ in entries}
    assert len(processes) == 2
    assert len({str(os.getpid())} | {pid for pid, _ in processes}) == 3


def test_report_has_ratios_of_each_round(log: Path) -> None:
    peers.main(command(log), (First, Second))
    report = json.loads(log.with_name("results.json").read_text())
    (result,) = report["results"]
    times, ratio = result["milliseconds"], result["ratios"]["second"]
    for index in range(3):
        own, theirs = (times[name]["rounds"][index] for name in ("first", "second"))
        assert own > 0
        assert ratio["rounds"][index] == pytest.approx(theirs / own)
    rounds = sorted(ratio["rounds"])
    assert [ratio["min"], ratio["median"], ratio["max"]] == rounds
    assert result["differences"]["second"] <= peers.TOLERANCE
    assert (result["model"], result["batch"], result["threads"]) == ("inception_resnet_v1", 2, 1)
    assert (result["fastest other"], result["absent"]) == ("second", [])
    for name in ("first", "second"):
        assert result["first answer"][name]["seconds"] > 0
        assert (result["first answer"][name]["megabytes"] is None) == (peak_memory() is None)
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["versions"].keys() == {"python", "numpy"}
    assert [path.name for path in log.parent.iterdir() if path != log] == ["results.json"]


def test_an_engine_without_batches_is_absent_from_them(log: Path) -> None:
    peers.main(command(log), (First, Single, Second))
    (result,) = json.loads(log.with_name("results.json").read_text())["results"]
    assert result["absent"] == ["single"]
    assert result["milliseconds"].keys() == {"first", "second"}
    arguments = command(log)
    arguments[arguments.index("--batch") + 1] = "1"
    peers.main(arguments, (First, Single, Second))
    (result,) = json.loads(log.with_name("results.json").read_text())["results"]
    assert result["absent"] == []
    assert result["milliseconds"].keys() == {"first", "single", "second"}
    medians = {name: ratio["median"] for name, ratio in result["ratios"].items()}
    assert medians[result["fastest other"]] == min(medians.values())


@pytest.mark.parametrize("other", [Wrong, Nan, Short])
def test_disagreement_stops_the_run_before_it_is_timed(log: Path, other: type[First]) -> None:
    with pytest.raises(SystemExit, match=f"{other.name} and first differ"):  # text: status 1
        peers.main(command(log), (First, other))
    assert log.read_text().count("run") == 2
    assert not log.with_name("results.json").exists()


def test_an_engine_that_fails_ends_the_run(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="broken failed"):
        peers.main(command(log), (First, Broken))
    assert "no such engine" in capfd.readouterr().err


def test_a_missing_file_is_named(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.unlink()
    with pytest.raises(SystemExit) as stopped:
        peers.main(command(log), (First, Second))
    assert stopped.value.code == 2
    assert f"there is no {log}" in capsys.readouterr().err
