"""Evaluation: numbers that were counted by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minincep.train.data import DataSet, Example
from minincep.train.evaluate import Report, answering, evaluate
from minincep.train.loader import Batch
from minincep_kernels import Array
from tests.train import small

CLASSES = ("a", "b", "c")
LABELS = np.array([0, 0, 0, 1, 1, 2])
TAKEN = np.array([0, 1, 1, 1, 1, 0])


class Given:
    """Stands in for a loader: a picture is the number of its place."""

    def __init__(self, labels: Array, classes: tuple[str, ...] = CLASSES) -> None:
        examples = tuple(Example(Path(f"{i}.png"), int(k)) for i, k in enumerate(labels))
        self.data = DataSet(classes, examples)
        self.labels = labels

    def epoch(self, number: int) -> Iterator[Batch]:
        for part in np.array_split(np.arange(len(self.labels)), 2):
            x = part.astype(np.float32)
            yield Batch(x, self.labels[part].astype(np.int64), part.astype(np.int64))
        empty = np.zeros(0, np.int64)  # of which no picture could be read
        yield Batch(np.zeros(0, np.float32), empty, empty)


def report(labels: Array, logits: Array, **options: Any) -> Report:
    given: Any = Given(labels, tuple(f"class {k}" for k in range(logits.shape[1])))
    found = evaluate(lambda x: logits[x.astype(int)], given, **options)
    assert found is not None
    return found


def sure_of(taken: Array, classes: int) -> Array:
    """Logits that give the class of each picture half of the probability."""
    logits = np.zeros((len(taken), classes), np.float32)
    logits[np.arange(len(taken)), taken] = np.log(classes - 1)
    return logits


def test_counts() -> None:
    found = report(LABELS, sure_of(TAKEN, 3))
    assert found.confusion.tolist() == [[1, 2, 0], [0, 2, 0], [1, 0, 0]]
    assert found.accuracy == 0.5
    assert found.count == 6
    assert found.support.tolist() == [3, 2, 1]
    np.testing.assert_allclose(found.precision, [1 / 2, 1 / 2, np.nan])
    np.testing.assert_allclose(found.recall, [1 / 3, 1, 0])
    np.testing.assert_allclose(found.f1, [2 / 5, 2 / 3, 0])
    assert found.loss == pytest.approx((3 * np.log(2) + 3 * np.log(4)) / 6, rel=1e-6)
    assert found.top5 is None


def test_large_logits() -> None:
    found = report(np.array([0, 1]), np.array([[1e4, 0, 0], [1e4, 0, 0]], np.float32))
    assert found.loss == pytest.approx(5e3)


def test_five_best_of_ten() -> None:
    logits = np.tile(np.arange(10.0, dtype=np.float32), (4, 1))
    assert report(np.array([9, 5, 4, 0]), logits).top5 == 0.5
    assert report(np.array([8, 5, 4, 0]), logits[:, 1:]).top5 is None


def test_wrong_answers_surest_first() -> None:
    logits = sure_of(TAKEN, 3)
    logits[5] *= 3
    found = report(LABELS, logits, keep=2)
    assert [(str(c.path), c.label, c.taken_for) for c in found.confused] == [
        ("5.png", "class 2", "class 0"),
        ("2.png", "class 0", "class 1"),
    ]
    assert found.confused[0].probability == pytest.approx(0.8)
    assert report(LABELS, logits).confused == ()


def test_stops_when_it_is_asked() -> None:
    told: list[int] = []
    given: Any = Given(LABELS)
    logits = sure_of(TAKEN, 3)
    found = evaluate(
        lambda x: logits[x.astype(int)], given, stop=lambda: bool(told), done=told.append
    )
    assert found is None
    assert told == [3]


def test_json() -> None:
    found = report(LABELS, sure_of(TAKEN, 3)).as_json()
    assert (found["pictures"], found["accuracy"], found["top5"]) == (6, 0.5, None)
    assert found["classes"][2] == {
        "label": "class 2",
        "pictures": 1,
        "precision": None,
        "recall": 0.0,
        "f1": 0.0,
    }
    lost = sure_of(TAKEN, 3)
    lost[0] = np.inf
    assert report(LABELS, lost).as_json()["loss"] is None


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("pictures", [1, 1000])
def test_the_network_is_left_as_it_was(pictures: int) -> None:
    network = small.network(dropout_rate=0.5)
    network.train()
    network.logits.training = False  # type: ignore[attr-defined]
    before = small.bits(network)
    modes = [module.training for _, module in network.modules()]
    x = np.random.default_rng(0).uniform(-1, 1, (2, 75, 75, 3)).astype(np.float32)
    given: Any = Given(np.zeros(pictures, int))
    given.preprocessing, given.batch_size = network.preprocessing, 2
    with answering(network, given) as logits_of:
        first, again = logits_of(x), logits_of(x)
    np.testing.assert_array_equal(first, again)
    assert small.bits(network) == before
    assert [module.training for _, module in network.modules()] == modes
    assert modes.count(False) == 1
