"""The training loop.

    trainer = Trainer(network, train, validation, optimizer=..., schedule=..., epochs=30)
    trainer.run()

`run` is the loop, `_update` one step of it, and `State` all that a run is, apart from arrays.
Everything random comes from the seed and from numbers of that state; so a run that goes on from a
checkpoint is the run that was not interrupted, to the last bit.
"""

import contextlib
import itertools
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from minincep.autograd import Tensor
from minincep.io.files import writing
from minincep.io.hdf5 import save
from minincep.models.network import Network
from minincep.nn.layers import Dropout
from minincep.train import checkpoint
from minincep.train.average import MovingAverage
from minincep.train.checkpoint import Checkpoint
from minincep.train.diverged import DivergedError, first_gradient, first_output
from minincep.train.evaluate import Report, answering, evaluate
from minincep.train.loader import Batch, Loader
from minincep.train.log import Epoch, Event, Saved, Step
from minincep.train.losses import classification_loss
from minincep.train.optim import Optimizer, clip_by_norm
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError

CHECKPOINT, BEST, LAST = "checkpoint.h5", "best.h5", "last.h5"

Loss = Callable[[Network, Tensor, Any], tuple[Tensor, Tensor]]


@dataclass
class State:
    """Where a run is.

    Attributes
    ----------
    epoch
        Epochs that are done.
    position
        Batches of the next one that are done.
    step
        Updates that are done.
    loss, correct, seen, seconds
        Sums over the pictures of the running epoch.
    best_epoch, best_accuracy, best_loss
        The best one on the pictures for validation, counted from 1; 0 for none.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    loss: float = 0.0
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_accuracy: float = 0.0
    best_loss: float = 0.0


class Trainer:
    """Trains a network; with a folder, keeps checkpoints, the best weights and the last.

    Parameters
    ----------
    network
        What it says of labels, preprocessing and source is written with its weights.
    train, validation
        Pictures to learn from, and to measure with after each epoch.
    optimizer
        Of the network's parameters.
    schedule
        Epochs so far (a fraction) -> learning rate.
    loss
        (network, pictures, labels) -> (loss, logits).
    epochs
        How often each picture is seen.
    average
        Moving average of the network; it is what is measured and written then.
    accumulate
        Batches for each update.
    clip_norm
        Largest norm of the gradient.
    seed
        For dropout; the loaders have their own.
    folder
        Where `checkpoint.h5`, `best.h5` and `last.h5` go; made if it is not there.
    checkpoint_minutes
        Time between checkpoints; one is written at the end of each epoch, too.
    notes
        What else the checkpoint is to say, such as settings.
    on_event
        Hears of each step, each epoch and each checkpoint.

    Attributes
    ----------
    state
        Where the run is.

    Raises
    ------
    DivergedError
        By `run`, if a loss, a gradient or a weight is not finite.
    OSError
        By `run`, if a file cannot be written.
    """

    state: State

    def __init__(
        self,
        network: Network,
        train: Loader,
        validation: Loader | None = None,
        *,
        optimizer: Optimizer,
        schedule: Callable[[float], float],
        loss: Loss = classification_loss,
        epochs: int,
        average: MovingAverage | None = None,
        accumulate: int = 1,
        clip_norm: float | None = None,
        seed: int = 0,
        folder: Path | None = None,
        checkpoint_minutes: float = 10.0,
        notes: Mapping[str, Any] | None = None,
        on_event: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self.network, self.train, self.validation = network, train, validation
        self.optimizer, self.schedule, self.loss = optimizer, schedule, loss
        self.epochs, self.average, self.accumulate = epochs, average, accumulate
        self.clip_norm = sys.float_info.max if clip_norm is None else clip_norm
        self.seed, self.folder, self.checkpoint_minutes = seed, folder, checkpoint_minutes
        self.notes, self.on_event = notes or {}, on_event
        self.state = State()
        self.stopping = False
        self._saved_step: int | None = None
        self._saved_at = self._clock = time.monotonic()

    def run(self) -> bool:
        """Train until all epochs are done; False if `stop` was called before."""
        if self.folder is not None:
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
        self._saved_at = self._clock = time.monotonic()
        while self.state.epoch < self.epochs:
            self.network.train()
            for batches in self._groups():
                self._update(batches)
                if self.stopping or self._is_due():
                    self.save()
                if self.stopping:
                    return False
            if not self._end_epoch():
                self.save()
                return False
        self.network.eval()
        self.write(LAST)
        return True

    def stop(self) -> None:
        """Ask `run` to end after the step that is running, with a checkpoint."""
        self.stopping = True

    def _groups(self) -> Iterator[list[Batch]]:
        """What is left of the epoch, as many batches at a time as make an update."""
        rest = self.train.epoch(self.state.epoch, first=self.state.position)
        while batches := list(itertools.islice(rest, self.accumulate)):
            yield batches

    @np.errstate(all="ignore")  # what is not finite is found and named
    def _update(self, batches: list[Batch]) -> None:
        """Forward and backward for each batch, one step of the optimiser, and word of it."""
        state, rate = self.state, self.schedule(self._epochs_so_far())
        self.network.zero_grad()
        total, correct, seen = 0.0, 0, 0
        for batch in batches:
            if len(batch.labels) >= 2:  # one picture has no batch statistics
                loss, logits = self._forward(batch)
                if not math.isfinite(loss.item()):
                    raise self._bad_loss(loss, batch)
                loss.backward(np.full((), 1 / len(batches), loss.dtype))
                total += loss.item() * len(batch.labels)
                correct += int((logits.data.argmax(axis=1) == batch.labels).sum())
                seen += len(batch.labels)
            state.position += 1
        if not seen:
            return
        if not math.isfinite(clip_by_norm(self.network.parameters(), self.clip_norm)):
            raise self._bad_gradient()
        self.optimizer.step(rate)
        if self.average:
            self.average.update()
        state.step += 1
        self._tell_step(total, correct, seen, rate)

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss and logits.  At one place of a run, dropout always drops the same."""
        for path, layer in self.network.modules():
            if isinstance(layer, Dropout):
                place = self.state.epoch, self.state.position, zlib.crc32(path.encode())
                layer.generator = np.random.default_rng([self.seed, *place])
        return self.loss(self.network, Tensor(batch.x), batch.labels)

    def _tell_step(self, total: float, correct: int, seen: int, rate: float) -> None:
        """Add to the sums of the epoch, and say how the step went."""
        state, seconds = self.state, self._lap()
        state.loss += total
        state.correct += correct
        state.seen += seen
        state.seconds += seconds
        so_far = self._epochs_so_far()
        self.on_event(Step(state.step, so_far, total / seen, correct / seen, rate, seen / seconds))

    def _end_epoch(self) -> bool:
        """Measure, keep the weights if they are the best, write a checkpoint; False if stopped.

        The best weights go first: if the program is killed in between, they are written again.
        """
        state, report = self.state, self.validate()
        if self.stopping:
            return False
        best = report is not None and _is_better(report, state)
        if report and best:
            state.best_accuracy = report.accuracy
            state.best_loss = min(sys.float_info.max, report.loss)  # where that is not finite, too
            state.best_epoch = state.epoch + 1
            self.write(BEST)
        event = Epoch(
            state.step,
            state.epoch + 1,
            state.loss / max(state.seen, 1),
            state.correct / max(state.seen, 1),
            report.loss if report else None,
            report.accuracy if report else None,
            best,
            state.seconds + self._lap(),
        )
        best_so_far = state.best_epoch, state.best_accuracy, state.best_loss
        self.state = State(state.epoch + 1, 0, state.step, 0.0, 0, 0, 0.0, *best_so_far)
        self.on_event(event)
        self.save()
        return True

    def validate(self) -> Report | None:
        """Measure on the pictures for validation, which changes nothing of the run.

        None if there are no such pictures, or `stop` was called meanwhile.
        """
        if self.validation is None:
            return None
        with self._averaged(), answering(self.network, self.validation) as logits_of:
            return evaluate(logits_of, self.validation, stop=lambda: self.stopping)

    def write(self, name: str) -> None:
        """Write a weights file into the folder, of the moving average if there is one."""
        if self.folder is not None:
            with self._averaged():
                save(self.network, self.folder / name)

    def save(self) -> None:
        """Write the checkpoint, if there is a folder."""
        self._saved_at = time.monotonic()
        if self.folder is None:
            return
        parts = {name: part.state() for name, part in self._parts().items()}
        arrays = checkpoint.joined({"network": self.network.arrays(), **parts})
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise self._diverged("numbers are not finite any more", f"first in {name}")
        header = {"run": self._identity(), "state": asdict(self.state), **self.notes}
        checkpoint.write(self.folder / CHECKPOINT, header, arrays)
        self._saved_step = self.state.step
        self.on_event(Saved(self.folder / CHECKPOINT, self.state.step))

    def resume(self, found: Checkpoint | None = None) -> None:
        """Go on from the checkpoint in the folder, or from one that is read already.

        Raises
        ------
        ConfigError
            If there is no folder.
        WeightError
            If the checkpoint is damaged, or of another training.
        """
        if found is None:
            if self.folder is None:
                raise ConfigError("nothing to resume: the trainer has no folder")
            found = checkpoint.read(self.folder / CHECKPOINT)
        found.check_run(self._identity())
        self.network.assign_all(found.part("network", self.network.arrays()))
        for name, part in self._parts().items():
            part.load_state(found.part(name))
        self.state = found.state(State)
        self._saved_step = self.state.step

    def _parts(self) -> "dict[str, Stateful]":
        """What has arrays to keep, the network apart: also a loss that has."""
        parts = {"optimizer": self.optimizer, "average": self.average, "loss": self.loss}
        return {name: part for name, part in parts.items() if isinstance(part, Stateful)}

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be of this run."""
        return {
            "network": self.network.architecture,
            "configuration": dict(self.network.config),
            "preprocessing": asdict(self.network.preprocessing),
            "pictures to learn from": checkpoint.digest(self.train.data),
            "pictures for validation": self.validation and checkpoint.digest(self.validation.data),
            "optimizer": type(self.optimizer).__name__,
            "batch size": self.train.batch_size,
            "batches for each update": self.accumulate,
            "moving average": self.average is not None,
            "seed": self.seed,
        }

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within the `with` block the network is its moving average, if there is one."""
        return self.average.in_place_of(self.network) if self.average else contextlib.nullcontext()

    def _epochs_so_far(self) -> float:
        return self.state.epoch + self.state.position / len(self.train)

    def _is_due(self) -> bool:
        return time.monotonic() - self._saved_at >= 60 * self.checkpoint_minutes

    def _lap(self) -> float:
        """Seconds since this was asked before."""
        before, self._clock = self._clock, time.monotonic()
        return max(self._clock - before, 1e-9)

    def _bad_loss(self, loss: Tensor, batch: Batch) -> DivergedError:
        where = "in the loss itself"
        if not np.isfinite(batch.x).all():
            where = "in the pictures"
        elif path := first_output(self.network, lambda: self._forward(batch)):
            where = f"first in what comes out of {path}"
        return self._diverged(f"the loss is {loss.item()}", where)

    def _bad_gradient(self) -> DivergedError:
        path = first_gradient(self.network)
        return self._diverged("the gradient is not finite", f"first, going back, in that of {path}")

    def _diverged(self, what: str, where: str) -> DivergedError:
        state = self.state
        kept = (
            ""
            if self._saved_step is None
            else f"; the checkpoint of step {self._saved_step} is kept"
        )
        return DivergedError(
            f"epoch {state.epoch + 1}, step {state.step + 1}: {what}, {where}: try a lower rate, a "
            f"warm-up, or to clip the gradient{kept}"
        )


@runtime_checkable
class Stateful(Protocol):
    """What has arrays of its own: optimisers, moving averages, losses with centres."""

    def state(self) -> dict[str, Array]: ...
    def load_state(self, state: Mapping[str, Array]) -> None: ...


def _is_better(report: Report, state: State) -> bool:
    """Whether a report beats the best: more are right, or as many with a lower loss."""
    best = state.best_accuracy, -state.best_loss
    return not state.best_epoch or (report.accuracy, -report.loss) > best
