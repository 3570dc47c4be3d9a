"""The training benchmark, with learners that learn nothing."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks import training
from minincep.bench.engines import Floats
from minincep.bench.learners import Learner
from minincep.bench.players import memory

MODEL = "inception_resnet_v1"


class First(Learner):
    """Its loss is the number in its file; it writes down each step."""

    name = "first"
    packages = ("numpy",)
    file = "{model}.h5"
    factor = 1.0

    def load(self, path: Path, threads: int, x: Floats) -> None:
        self._loss = float(path.read_text()) * self.factor
        self._log = Path(os.environ["MININCEP_TEST_LOG"])
        self._ballast = np.ones(40_000_000, np.uint8)

    def run(self, x: Floats) -> Floats:
        with self._log.open("a") as log:
            log.write(f"{os.getpid()} {self.name} {x.shape}\n")
        return np.array([self._loss], np.float32)


class Second(First):
    name = "second"
    file = "{model}.safetensors"
    factor = 1 + training.TOLERANCE / 2


class Wrong(First):
    name = "wrong"
    factor = 1 + training.TOLERANCE * 2


class Nan(First):
    name = "nan"
    factor = float("nan")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def write(model: str, folder: Path) -> None:
        for suffix in ("h5", "safetensors"):
            (folder / f"{model}.{suffix}").write_text("7.5")

    monkeypatch.setattr(training, "write_weights", write)
    monkeypatch.setenv("MININCEP_TEST_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def command(log: Path, *options: str) -> list[str]:
    few = ["--threads", "1", "--batch", "2", "--starts", "1", "--repeats", "3", "--calls", "2"]
    return ["--models", MODEL, *few, "-o", str(log.with_name("training.json")), *options]


def test_learners_take_turns_in_processes_of_their_own(log: Path) -> None:
    training.main(command(log), (First, Second))
    entries = [line.split(maxsplit=2) for line in log.read_text().splitlines()]
    turns = (["first"] * 3 + ["second"] * 3) * (1 + 3)  # a warm-up; the first step is not timed
    assert [name for _, name, _ in entries] == ["first", "second", *turns]
    assert {shape for _, _, shape in entries} == {"(2, 160, 160, 3)"}
    assert len({pid for pid, _, _ in entries} | {str(os.getpid())}) == 3


def test_learners_are_started_anew_and_all_rounds_count(log: Path) -> None:
    training.main(command(log, "--starts", "2", "--repeats", "1"), (First, Second))
    entries = [line.split(maxsplit=2) for line in log.read_text().splitlines()]
    processes = {(pid, name) for pid, name, _ in entries}
    assert sorted(name for _, name in processes) == ["first", "first", "second", "second"]
    report = json.loads(log.with_name("training.json").read_text())
    (result,) = report["results"]
    assert report["starts"] == 2
    assert len(result["ratios"]["second"]["rounds"]) == 2
    assert [len(times["rounds"]) for times in result["seconds"].values()] == [2, 2]


def test_report_has_ratios_losses_and_memory(log: Path) -> None:
    training.main(command(log), (First, Second))
    report = json.loads(log.with_name("training.json").read_text())
    (result,) = report["results"]
    times, ratio = result["seconds"], result["ratios"]["second"]
    for index in range(3):
        own, theirs = (times[name]["rounds"][index] for name in ("first", "second"))
        assert ratio["rounds"][index] == pytest.approx(theirs / own)
    assert [ratio["min"], ratio["median"], ratio["max"]] == sorted(ratio["rounds"])
    assert result["first loss"]["first"] == 7.5
    assert result["first loss"]["second"] == pytest.approx(7.5 * Second.factor, rel=1e-6)
    assert (result["model"], result["batch"], result["threads"]) == (MODEL, 2, 1)
    assert report["machine"]["versions"].keys() == {"python", "numpy"}
    if memory("VmHWM") is not None:
        held = result["memory"]
        assert all(held[name]["peak"] >= held[name]["resident"] > 40 for name in held)
        share = held["second"]["peak"] / held["first"]["peak"]
        assert result["memory ratios"] == {"second": pytest.approx(share)}


@pytest.mark.parametrize("other", [Wrong, Nan])
def test_another_loss_stops_the_run_before_it_is_timed(log: Path, other: type[First]) -> None:
    with pytest.raises(SystemExit, match=f"losses of {other.name} and first are"):
        training.main(command(log), (First, other))
    assert len(log.read_text().splitlines()) == 2
    assert not log.with_name("training.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "vgg"], "no 'vgg', only: inception_v4"),
        (["--threads", "1,99999"], "--threads: there are"),
        (["--starts", "0"], "--starts, --repeats and --calls must be at least 1"),
        (["-o", "/no/such/folder/x.json"], "there is no /no/such/folder"),
    ],
)
def test_wrong_options_are_named(
    log: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        training.main(command(log, *options), (First, Second))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
