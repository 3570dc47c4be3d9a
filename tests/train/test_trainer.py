"""The loop: it learns, can be interrupted anywhere, and stops when numbers run away."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minincep as mi
from minincep.autograd.op import op
from minincep.io.errors import WeightError
from minincep.models import Network
from minincep.nn.layers import BatchNorm
from minincep.train import evaluate
from minincep.train.diverged import DivergedError
from minincep.train.freeze import freeze_batch_norm
from minincep.train.log import Epoch, Event, Saved, Step
from minincep.train.losses import classification_loss
from minincep.train.optim import SGD, AdamW
from minincep.train.schedule import Constant
from minincep.train.trainer import State, Trainer
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError
from tests.train import small

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.pictures(tmp_path_factory.mktemp("source"))


def stopped(source: Path, folder: Path, after: int, **options: Any) -> Trainer:
    """A trainer that was asked to stop when so many steps were done."""
    trainer = small.trainer(source, folder, **options)

    def listen(event: Event) -> None:
        if isinstance(event, Step) and event.step == after:
            trainer.stop()

    trainer.on_event = listen
    assert not trainer.run()
    assert trainer.state.step == after
    return trainer


def test_says_how_it_goes(source: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    trainer = small.trainer(source, tmp_path, epochs=3, on_event=events.append)
    assert trainer.run()
    steps = [event for event in events if isinstance(event, Step)]
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert [step.step for step in steps] == list(range(1, 10))
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert [epoch.step for epoch in epochs] == [3, 6, 9]
    assert steps[3].epoch == 4 / 3
    assert steps[0].rate == 0.02
    assert epochs[1].loss == pytest.approx(np.mean([step.loss for step in steps[3:6]]))
    assert epochs[1].accuracy == pytest.approx(np.mean([step.accuracy for step in steps[3:6]]))
    assert [event.step for event in events if isinstance(event, Saved)] == [3, 6, 9]
    best = max(epochs, key=lambda e: (e.validation_accuracy or 0, -(e.validation_loss or 0)))
    assert trainer.state.best_epoch == best.epoch
    assert best.best
    accuracy, loss = best.validation_accuracy or 0.0, best.validation_loss or 0.0
    assert trainer.state == State(3, 0, 9, 0.0, 0, 0, 0.0, best.epoch, accuracy, loss)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.h5", "checkpoint.h5", "last.h5"]
    assert not trainer.network.training


def test_learns(source: Path) -> None:
    losses: list[float] = []
    training, _ = small.data(source)
    net = small.network(dropout_rate=0.0)
    pictures = small.loader(training, batch_size=15)
    options: dict[str, Any] = {"optimizer": AdamW(net.parameters()), "schedule": Constant(3e-3)}

    def listen(event: Event) -> None:
        if isinstance(event, Step):
            losses.append(event.loss)

    Trainer(net, pictures, epochs=8, on_event=listen, **options).run()
    assert losses[-1] < 0.6 * losses[0]


def test_files_hold_the_average(source: Path, tmp_path: Path) -> None:
    trainer = small.trainer(source, tmp_path, epochs=1)
    trainer.run()
    assert trainer.average
    averages = {name: array.tobytes() for name, array in trainer.average.arrays().items()}
    last = mi.load(tmp_path / "last.h5")
    assert small.bits(last) == averages != small.bits(trainer.network)
    assert (last.labels, last.preprocessing) == (
        ["blue", "green", "red"],
        small.network().preprocessing,
    )


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_resumed_run_is_the_same(source: Path, tmp_path: Path, after: int, accumulate: int) -> None:
    whole = small.trainer(source, folder(tmp_path / "whole"), accumulate=accumulate)
    whole.run()
    place = folder(tmp_path / "parts")
    before = stopped(source, place, after, accumulate=accumulate)
    resumed = small.trainer(source, place, accumulate=accumulate)
    resumed.resume()
    assert resumed.state == before.state
    assert resumed.run()
    assert small.bits(resumed.network) == small.bits(whole.network)
    for name in ("best.h5", "last.h5"):
        ours, theirs = mi.load(place / name), mi.load(tmp_path / "whole" / name)
        assert small.bits(ours) == small.bits(theirs)
    assert resumed.state == whole.state


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_stopped_while_it_validates(source: Path, tmp_path: Path) -> None:
    whole = small.trainer(source, epochs=1)
    whole.run()
    trainer = small.trainer(source, tmp_path, epochs=1)
    assert trainer.validation
    epoch = trainer.validation.epoch

    def slow(*arguments: int) -> Any:
        trainer.stop()
        yield from epoch(*arguments)

    trainer.validation.epoch = slow  # type: ignore[assignment, method-assign]
    assert not trainer.run()
    assert (trainer.state.epoch, trainer.state.position) == (0, 3)
    assert not (tmp_path / "best.h5").exists()
    resumed = small.trainer(source, tmp_path, epochs=1)
    resumed.resume()
    assert resumed.run()
    assert small.bits(resumed.network) == small.bits(whole.network)
    assert resumed.state == whole.state


def test_killed_between_best_weights_and_checkpoint(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = small.trainer(source, folder(tmp_path / "whole"))
    whole.run()
    place = folder(tmp_path / "killed")
    stopped(source, place, 2)
    trainer = small.trainer(source, place)
    trainer.resume()
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save", lambda: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            trainer.run()
    early = small.bits(mi.load(place / "best.h5"))
    resumed = small.trainer(source, place)
    resumed.resume()
    assert (resumed.state.step, resumed.state.best_epoch) == (2, 0)
    resumed.run()
    assert small.bits(mi.load(place / "best.h5")) == small.bits(mi.load(tmp_path / "whole/best.h5"))
    assert resumed.state == whole.state
    assert early  # it was there before the checkpoint


def test_runs_on_after_its_end(source: Path, tmp_path: Path) -> None:
    trainer = small.trainer(source, tmp_path, epochs=1)
    trainer.run()
    (tmp_path / "last.h5").unlink()  # as if it was killed before
    again = small.trainer(source, tmp_path, epochs=1)
    again.resume()
    assert again.run()
    assert small.bits(again.network) == small.bits(trainer.network)
    assert (tmp_path / "last.h5").exists()


def test_checkpoints_by_the_clock(source: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    small.trainer(source, tmp_path, epochs=1, checkpoint_minutes=0, on_event=events.append).run()
    assert [event.step for event in events if isinstance(event, Saved)] == [1, 2, 3, 3]


def test_validating_changes_nothing(source: Path) -> None:
    with_validation = small.trainer(source)
    without = small.trainer(source)
    without.validation = None
    events: list[Event] = []
    without.on_event = events.append
    with_validation.run()
    without.run()
    assert small.bits(with_validation.network) == small.bits(without.network)
    (first, _) = [event for event in events if isinstance(event, Epoch)]
    assert (first.validation_loss, first.validation_accuracy, first.best) == (None, None, False)


def test_plan_and_network_measure_the_same(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = small.trainer(source)
    op_by_op = trainer.validate()
    monkeypatch.setattr(evaluate, "WORTH_A_PLAN", 1)
    planned = trainer.validate()
    assert op_by_op
    assert planned
    assert planned.loss == pytest.approx(op_by_op.loss, rel=1e-4)
    assert planned.confusion.tolist() == op_by_op.confusion.tolist()
    assert trainer.network.training is False


def test_two_batches_for_an_update_are_one_of_twice_the_size(source: Path) -> None:
    results = []
    for size, accumulate in ((6, 1), (3, 2)):
        net = small.network(dropout_rate=0.0)
        freeze_batch_norm(net)
        net.train()
        training, _ = small.data(source)
        twelve = dataclasses.replace(training, examples=training.examples[:12])
        pictures = small.loader(twelve, batch_size=size)
        optimizer = SGD(net.parameters(), momentum=0.0)
        options: dict[str, Any] = {"optimizer": optimizer, "schedule": Constant(0.1)}
        Trainer(net, pictures, epochs=1, accumulate=accumulate, **options).run()
        results.append(net.arrays())
    one, two = results
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=1e-4, atol=1e-6, err_msg=name)


def test_one_picture_is_no_batch(source: Path) -> None:
    """Batch norm has no statistics of it; a picture that cannot be read may leave it alone."""
    training, _ = small.data(source)
    events: list[Event] = []
    trainer = small.trainer(source, on_event=events.append, epochs=1)
    trainer.train = small.loader(training, batch_size=7, drop_last=False)
    assert trainer.run()
    assert [event.epoch for event in events if isinstance(event, Step)] == [1 / 3, 2 / 3]


def test_gradients_are_clipped(source: Path) -> None:
    def moved(clip_norm: float | None) -> float:
        trainer = small.trainer(source, epochs=1, clip_norm=clip_norm, average=None)
        trainer.optimizer = SGD(trainer.network.parameters(), momentum=0.0)
        before = small.copies(trainer.network)
        trainer.run()
        parameters = trainer.network.parameters()
        changes = [p.data - before[name] for name, p in parameters.items()]
        return float(np.sqrt(sum(float(np.square(change).sum()) for change in changes)))

    assert moved(1e-3) <= 3 * 0.02 * 1e-3 * 1.001 < moved(None)


@op
def spoil(x: Array) -> tuple[Array, Any]:
    """x, with a gradient that is no number."""
    return x, ()


@spoil.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    return (gy * np.nan,)


def bad_backwards(network: Network, x: mi.Tensor, labels: Array) -> tuple[mi.Tensor, mi.Tensor]:
    loss, logits = classification_loss(network, x, labels)
    return spoil(loss), logits


def test_names_the_layer_of_a_loss_that_is_no_number(source: Path, tmp_path: Path) -> None:
    trainer = stopped(source, tmp_path, 2)
    before = (tmp_path / "checkpoint.h5").read_bytes()
    resumed = small.trainer(source, tmp_path)
    resumed.resume()
    path = "mixed_6a/branch_1/conv2d_0b_3x3"
    resumed.network.parameters()[f"{path}/weight"].data[0, 0, 0, 0] = np.nan
    with pytest.raises(DivergedError) as caught:
        resumed.run()
    text = str(caught.value)
    assert text.startswith("epoch 1, step 3: the loss is nan, first in what comes out of ")
    assert path in text
    assert text.endswith("the checkpoint of step 2 is kept")
    assert (tmp_path / "checkpoint.h5").read_bytes() == before
    assert trainer.state.step == 2
    assert "forward" not in vars(resumed.network)  # nobody watches any more


def test_names_the_first_gradient_that_is_no_number(source: Path, tmp_path: Path) -> None:
    trainer = small.trainer(source, tmp_path, loss=bad_backwards)
    before = small.copies(trainer.network)
    with pytest.raises(
        DivergedError, match=r"step 1: the gradient is not finite, .* of logits/bias"
    ):
        trainer.run()
    for name, parameter in trainer.network.parameters().items():
        np.testing.assert_array_equal(parameter.data, before[name])
    assert list(tmp_path.iterdir()) == []


def test_pictures_may_be_to_blame(source: Path) -> None:
    trainer = small.trainer(source)
    batches = list(trainer.train.epoch(0))
    batches[1].x[0, 0, 0, 0] = np.inf
    trainer.train.epoch = lambda *_, **__: iter(batches)  # type: ignore[assignment, method-assign]
    with pytest.raises(DivergedError, match="step 2: the loss is nan, in the pictures"):
        trainer.run()


def test_no_checkpoint_of_numbers_that_are_none(source: Path, tmp_path: Path) -> None:
    trainer = stopped(source, tmp_path, 1)
    before = (tmp_path / "checkpoint.h5").read_bytes()
    norm = next(m for _, m in trainer.network.modules() if isinstance(m, BatchNorm))
    norm.running_var[0] = np.inf
    with pytest.raises(DivergedError, match=r"not finite any more, first in network/.*running_var"):
        trainer.save()
    assert (tmp_path / "checkpoint.h5").read_bytes() == before


def test_only_its_own_checkpoint(source: Path, tmp_path: Path) -> None:
    stopped(source, tmp_path, 1)
    others: list[tuple[dict[str, Any], str]] = [
        ({"accumulate": 2}, "batches for each update differs: 1 there, 2 now"),
        ({"average": None}, "moving average differs"),
        ({"seed": 5}, "seed differs"),
        ({"network": small.network()}, "configuration differs"),
    ]
    for options, message in others:
        with pytest.raises(WeightError, match=message):
            small.trainer(source, tmp_path, **options).resume()
    other = small.trainer(source, tmp_path)
    other.optimizer = AdamW(other.network.parameters())
    with pytest.raises(WeightError, match="optimizer differs: SGD there, AdamW now"):
        other.resume()
    pictures = small.pictures(tmp_path / "other", 5)
    with pytest.raises(WeightError, match="pictures to learn from differs: 15 pictures of 3"):
        small.trainer(pictures, tmp_path).resume()
    with pytest.raises(ConfigError, match="no folder"):
        small.trainer(source).resume()


def test_moved_pictures_are_the_same(source: Path, tmp_path: Path) -> None:
    stopped(source, folder(tmp_path / "run"), 1)
    moved = small.pictures(tmp_path / "elsewhere")
    resumed = small.trainer(moved, tmp_path / "run")
    resumed.resume()
    assert resumed.state.step == 1


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_validation_that_is_not_finite(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: float
) -> None:
    """As a network may be whose running statistics are new: any finite loss is better."""
    trainer = small.trainer(source, tmp_path, epochs=3)
    losses = iter([loss, 2.0, loss])
    report = evaluate.Report(tuple(small.COLOURS), np.eye(3, dtype=np.int64), 0.0, None)
    monkeypatch.setattr(trainer, "validate", lambda: dataclasses.replace(report, loss=next(losses)))
    heard: list[tuple[int, float]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Saved):
            heard.append((trainer.state.best_epoch, trainer.state.best_loss))

    trainer.on_event = listen
    assert trainer.run()
    assert heard == [(1, sys.float_info.max), (2, 2.0), (2, 2.0)]
    assert (tmp_path / "best.h5").exists()
