"""Whole networks: engines beside minincep, and the steps of its plan."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minincep as mi
from minincep.bench import engines, learners, networks
from minincep.bench.engines import Engine, Floats
from minincep.bench.journal import Journal
from minincep.bench.networks import NETWORK, TRAINING, Contest, Task
from minincep.bench.record import Record, load, save
from minincep.bench.remote import RemoteError
from minincep.bench.verify import RefusedError
from tests.bench.conftest import ROOF

MODEL = "inception_resnet_v1"
TASK = Task(MODEL, 1, 1)


class Own(engines.Minincep):
    """The network, not tuned, which would take a while."""

    def load(self, path: Path, threads: int, x: Floats) -> None:
        mi.set_num_threads(threads)
        self._plan = mi.compile(mi.load(path), image_size=x.shape[1], batch_size=len(x))


class Right(Own):
    name = "right"

    def run(self, x: Floats) -> Floats:
        return super().run(x) + np.float32(1e-6)


class Wrong(Own):
    name = "wrong"

    def run(self, x: Floats) -> Floats:
        return super().run(x) * np.float32(1.1)


class Step(Own):
    """Its loss is as good as any."""

    def run(self, x: Floats) -> Floats:
        return np.array([super().run(x).mean()], np.float32)


class Broken(Own):
    name = "broken"

    def run(self, x: Floats) -> Floats:
        raise RuntimeError("no such engine")


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(model: str, folder: Path) -> None:
        network = mi.create_model(model, width=0.05, blocks=(1, 1, 1), num_classes=7)
        mi.save(network, folder / f"{model}.h5")

    class FixedGauge:
        def __init__(self, threads: int, caches: object = ()) -> None:
            self.samples: list[list[float]] = []

        def take(self) -> None:
            self.samples.append([2e9, 1e9])

        roof = ROOF

    monkeypatch.setattr(learners, "write_weights", write)
    monkeypatch.setattr(networks, "Gauge", FixedGauge)
    monkeypatch.setattr(networks, "CALLS", 1)
    monkeypatch.setattr("minincep.plan.profile.Gauge", FixedGauge)


def contest(*others: type[Engine]) -> Contest:
    return replace(NETWORK, own=Own, others={other.name: other for other in others})


def test_a_row_for_each_engine_and_each_step(tmp_path: Path) -> None:
    both = contest(Right)
    wanted = both.engines(["right"])
    journal = Journal({}, {}, tmp_path / "record.json")
    (rows,) = networks.rows(journal, both, [TASK], wanted, 2)
    own, right = (row for row in rows if row.op == "network")
    steps = [row for row in rows if row.op == "step"]
    assert (own.variant, right.variant) == ("minincep", "right")
    assert own.label == f"{MODEL} 160x160, 1 picture"
    assert own.shape == {"model": MODEL, "batch": 1, "size": 160}
    assert own.flops == right.flops == right.work == sum(step.flops for step in steps)
    assert own.work == sum(step.work for step in steps) < own.flops
    assert (len(own.seconds), own.peak) == (2, [2e9, 2e9])
    assert own.compile_seconds > 0
    assert own.error == 0 < right.error < 1e-3
    assert len({step.path for step in steps}) > 10
    assert load(tmp_path / "record.json").rows == rows
    assert list(networks.rows(journal, both, [TASK], wanted, 2)) == []  # it is there already


def test_an_engine_that_gives_something_else_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"wrong and minincep differ by .*, 1e-03 allowed"):
        networks.measured(contest(Wrong), TASK, [Own, Wrong], 1)


def test_an_engine_that_fails_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RemoteError, match="broken failed; its own message is above"):
        networks.measured(contest(Broken), TASK, [Own, Broken], 1)
    assert "no such engine" in capfd.readouterr().err


def test_losses_are_held_against_each_other() -> None:
    loss = np.array([4.0], np.float32)
    assert TRAINING.error(loss, loss) == 0
    assert TRAINING.error(loss * np.float32(1.5), loss) == 0.5


def test_training_counts_both_ways(tmp_path: Path) -> None:
    mine = replace(TRAINING, own=Step)
    (row,), roof = networks.measured(mine, replace(TASK, batch=2), [Step], 1)
    (other, *steps), _ = networks.measured(contest(), replace(TASK, batch=2), [Own], 1)
    assert row.op == "training"
    assert row.flops == row.work == 3 * other.flops > 0
    assert steps
    save(Record({}, {}, {1: roof}, [row]), tmp_path / "record.json")
