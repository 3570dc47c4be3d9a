"""How good a network is on pictures whose classes are known."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minincep.autograd import Tensor, no_grad
from minincep.models.network import Network
from minincep.plan.plan import compile as compile_plan
from minincep.train.loader import Loader
from minincep_kernels import Array
from minincep_kernels.errors import PlanError

TOP = 5  # counted from twice as many classes on
WORTH_A_PLAN = (
    32  # pictures; for fewer, making a plan of a large network takes longer than it saves
)

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Confused:
    """A picture that was taken for another class."""

    path: Path
    label: str
    taken_for: str
    probability: float


@dataclass(frozen=True)
class Report:
    """What an evaluation finds.

    Attributes
    ----------
    classes
        Their names.
    confusion
        (classes, classes): how many pictures of each class (row) were taken for which (column).
    loss
        Mean cross-entropy, without label smoothing.
    top5
        Share of the pictures whose class is among the five most probable; None below ten classes.
    confused
        The pictures that were taken for another class, the surest first.
    """

    classes: tuple[str, ...]
    confusion: Counts
    loss: float
    top5: float | None
    confused: tuple[Confused, ...] = ()

    @property
    def count(self) -> int:
        """Pictures."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of the pictures whose class is the most probable one."""
        return float(np.trace(self.confusion) / self.count)

    @property
    def support(self) -> Counts:
        """Pictures of each class."""
        counts: Counts = self.confusion.sum(axis=1)
        return counts

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """Of what was taken for a class, the share that is; NaN if nothing was."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """Of what is of a class, the share that was taken for it; NaN if nothing is."""
        return _ratio(np.diag(self.confusion), self.support)

    @property
    def f1(self) -> npt.NDArray[np.float64]:
        """Harmonic mean of precision and recall."""
        both = self.confusion.sum(axis=0) + self.support
        return _ratio(2 * np.diag(self.confusion), both)

    def as_json(self) -> dict[str, Any]:
        """All of it, for machines; None for what is not finite."""
        rows = zip(self.support, self.precision, self.recall, self.f1, strict=True)
        return {
            "pictures": self.count,
            "accuracy": self.accuracy,
            "top5": self.top5,
            "loss": _number(self.loss),
            "classes": [
                {
                    "label": name,
                    "pictures": int(support),
                    "precision": _number(precision),
                    "recall": _number(recall),
                    "f1": _number(f1),
                }
                for name, (support, precision, recall, f1) in zip(self.classes, rows, strict=True)
            ],
            "confusion": self.confusion.tolist(),
        }


def _ratio(part: Counts, whole: Counts) -> npt.NDArray[np.float64]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _number(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


@np.errstate(all="ignore")  # where logits are not finite, the loss is not
def evaluate(
    logits_of: Callable[[Array], Array],
    loader: Loader,
    *,
    stop: Callable[[], bool] = lambda: False,
    done: Callable[[int], None] = lambda _: None,
    keep: int = 0,
) -> Report | None:
    """Run pictures through a network, and count.

    Parameters
    ----------
    logits_of
        Prepared pictures (N, H, W, 3) -> logits (N, classes): a plan, or `answering`.
    loader
        Gives the pictures.
    stop
        Asked at each batch whether to leave off; the result is None then.
    done
        Told at each batch how many pictures it had.
    keep
        How many of the pictures to list that were taken for another class.
    """
    classes = len(loader.data.classes)
    confusion: Counts = np.zeros((classes, classes), np.int64)
    total, among_best = 0.0, 0
    confused: list[tuple[float, int, int]] = []
    for batch in loader.epoch(0):
        if stop():
            return None
        if not len(batch.labels):
            continue
        logits = logits_of(batch.x).astype(np.float64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        rows, best = np.arange(len(logs)), logits.argmax(axis=1)
        np.add.at(confusion, (batch.labels, best), 1)
        total -= float(logs[rows, batch.labels].sum())
        above = (logits > logits[rows, batch.labels, None]).sum(axis=1)
        among_best += int((above < TOP).sum())
        wrong = np.flatnonzero(best != batch.labels)
        sure = np.exp(logs[wrong, best[wrong]])
        confused += zip(
            sure.tolist(), batch.indices[wrong].tolist(), best[wrong].tolist(), strict=True
        )
        confused = sorted(confused, reverse=True)[:keep]
        done(len(rows))
    count = int(confusion.sum())
    return Report(
        loader.data.classes,
        confusion,
        total / max(count, 1),
        among_best / max(count, 1) if classes >= 2 * TOP else None,
        tuple(_confused(loader, confused)),
    )


def _confused(loader: Loader, found: Sequence[tuple[float, int, int]]) -> Iterator[Confused]:
    data = loader.data
    for probability, index, best in found:
        example = data.examples[index]
        label, taken_for = data.classes[example.label], data.classes[best]
        yield Confused(example.path, label, taken_for, probability)


@contextlib.contextmanager
def answering(network: Network, loader: Loader) -> Iterator[Callable[[Array], Array]]:
    """Within the `with` block a network answers, also one in training: pictures -> logits.

    A plan answers if the loader has enough pictures to be worth making one.  Afterwards the network
    is in training mode again if it was before, and nothing else of it has changed.
    """
    modes = {module: module.training for _, module in network.modules()}
    network.eval()
    try:
        plan = None
        if len(loader.data) >= WORTH_A_PLAN:
            size = loader.preprocessing.height, loader.preprocessing.width
            with contextlib.suppress(PlanError):
                plan = compile_plan(network, image_size=size, batch_size=loader.batch_size)
        yield plan or (lambda x: _eager(network, x))
    finally:
        for module, mode in modes.items():
            module.training = mode


def _eager(network: Network, x: Array) -> Array:
    with no_grad():
        return network(Tensor(x)).data
