"""The known mistakes with weights, each found by a test on the arrays of two networks, A and B.

A mistake is named only if undoing it makes the two arrays equal; but for the last test in the file,
nothing is guessed.  Which of the two networks has it cannot be seen from the arrays: the words say
what differs, not who is wrong.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minincep_kernels import Array

TOLERANCE = 1e-6  # differences up to here come from rounding
TRAINED = ("weight", "bias", "beta", "gamma")
AXES = {
    (1, 0, 2, 3): "height and width swapped",
    (0, 1, 3, 2): "channels in and out swapped",
    (1, 0, 3, 2): "height and width swapped, channels in and out too",
    (1, 0): "rows and columns swapped",
}


@dataclass(frozen=True)
class Mistake:
    """Why two arrays differ.

    Attributes
    ----------
    cause
        One word, for machines.
    text
        What differs, for people.
    """

    cause: str
    text: str


def difference(a: Array, b: Array) -> float:
    """Max |a - b|, divided by the standard deviation of b, or of a, if b is constant.

    Of two constant arrays it is the share of the larger number; of different shapes, infinite.
    """
    if a.shape != b.shape:
        return math.inf
    largest = float(np.max(np.abs(np.subtract(a, b, dtype=np.float64)), initial=0.0))
    if largest == 0:
        return 0.0
    for array in (b, a):
        if not _constant(array):
            return largest / float(array.std(dtype=np.float64))
    return largest / max(abs(float(a.flat[0])), abs(float(b.flat[0])))


def explain(path: str, a: Array, b: Array, *, classes: bool) -> Mistake | None:
    """The mistake that makes these two arrays differ, if it is one of those within an array.

    Parameters
    ----------
    path
        Of both arrays in their networks.
    classes
        Whether the last axis counts classes.
    """
    kind = path.rpartition("/")[2]
    for test in TESTS:
        found = test(kind, a, b)
        if found:
            return found
    return _classes(a, b) if classes else None


def _not_loaded(kind: str, a: Array, b: Array) -> Mistake | None:
    """A new network has 0 and 1 where a trained one has numbers."""
    fresh = float(kind in ("gamma", "running_var"))
    new_a, new_b = (bool(np.all(array == fresh)) for array in (a, b))
    if new_a == new_b:
        return None
    who = "A" if new_a else "B"
    if kind in ("running_mean", "running_var"):
        text = f"the statistics of batch norm were not loaded in {who}: mean 0, variance 1"
        return Mistake("statistics", text)
    if kind == "gamma":
        return Mistake("gamma", f"gamma was dropped in {who}: absent, or all ones")
    return Mistake("not_loaded", f"{kind} was not loaded in {who}: all zeros")


def _channel_order(kind: str, a: Array, b: Array) -> Mistake | None:
    """Only the first layer has three channels."""
    if a.ndim == 4 and a.shape[2] == 3 and _equal(a, b[:, :, ::-1]):
        text = "channels of the picture in the other order, RGB and BGR, in the first filter"
        return Mistake("channel_order", text)
    return None


def _flipped(kind: str, a: Array, b: Array) -> Mistake | None:
    """Some frameworks convolve as mathematicians do, and turn the filter by 180 degrees."""
    if a.ndim == 4 and _equal(a, b[::-1, ::-1]):
        return Mistake("flipped", "filters turned by 180 degrees")
    return None


def _transposed(kind: str, a: Array, b: Array) -> Mistake | None:
    if a.ndim < 2 or a.size != b.size or not math.isclose(_power(a), _power(b), rel_tol=1e-5):
        return None
    orders = sorted(
        itertools.permutations(range(b.ndim)), key=lambda order: (order not in AXES, order)
    )
    for order in orders:
        if _equal(a, b.transpose(order)):
            axes = AXES.get(order, f"axes in the order {order}")
            return Mistake("transposed", f"transposed: {axes}")
    for order, (x, y) in itertools.product(orders, ((a, b), (b, a))):
        if _equal(x.reshape(-1), y.transpose(order).reshape(-1)):
            return Mistake("transposed", "reshaped where it should have been transposed")
    return None


def _range(kind: str, a: Array, b: Array) -> Mistake | None:
    """A filter that was made for an input in [0, 255] is 1 / 127.5 of one for [-1, 1]."""
    if a.ndim != 4 or a.shape != b.shape or a.shape[2] != 3 or not b.any():
        return None
    factor = float(np.vdot(a, b)) / float(np.vdot(b, b))
    if not _equal(a, factor * b):
        return None
    text = f"the first filter of A is {factor:.4g} times that of B: made for another range of input"
    return Mistake("range", text)


def _rounded(kind: str, a: Array, b: Array) -> Mistake | None:
    """One is what is left of the other after it was stored in 16 bits."""
    if a.shape != b.shape:
        return None
    for x, y in ((a, b), (b, a)):
        with np.errstate(over="ignore"):
            half = x.astype(np.float16).astype(np.float32)
        if np.array_equal(half, y):
            return Mistake("rounded", "rounded to float16 in one of the networks")
        lower = np.ascontiguousarray(y, np.float32).view(np.uint32) & 0xFFFF  # not in bfloat16
        if not lower.any() and np.all(np.abs(x - y) <= np.abs(x) * 2.0**-7):
            return Mistake("rounded", "rounded to bfloat16 in one of the networks")
    return None


TESTS: Sequence[Callable[[str, Array, Array], Mistake | None]] = (
    _not_loaded,
    _rounded,
    _channel_order,
    _flipped,
    _transposed,
    _range,
)


def _classes(a: Array, b: Array) -> Mistake | None:
    if a.shape[:-1] != b.shape[:-1]:
        return None
    if abs(a.shape[-1] - b.shape[-1]) == 1:
        more, (larger, smaller) = ("A", (a, b)) if a.shape[-1] > b.shape[-1] else ("B", (b, a))
        if _equal(larger[..., 1:], smaller):
            return Mistake("background", f"only {more} has a background class, number 0")
        if _equal(larger[..., :-1], smaller):
            text = (
                f"only {more} has a last class; was it dropped in place of the background, class 0?"
            )
            return Mistake("background", text)
    elif a.shape == b.shape and a.shape[-1] > 1:
        for later, x, y in (("A", a, b), ("B", b, a)):
            if _equal(x[..., 1:], y[..., :-1]):
                text = f"each class has a number that is higher by one in {later}"
                return Mistake("background", text)
    return None


def misplaced(path: str, a: Array, others: Mapping[str, Array]) -> Mistake | None:
    """Whether an array of A is that of another layer of B, as it is or transposed.

    Parameters
    ----------
    others
        All arrays of B.
    """
    if _constant(a):
        return None  # is equal to many
    kind, power = path.rpartition("/")[2], _power(a)
    for other, b in others.items():
        if (
            other == path
            or other.rpartition("/")[2] != kind
            or b.size != a.size
            or not math.isclose(power, _power(b), rel_tol=1e-5)
        ):
            continue
        if _equal(a, b):
            return Mistake("swapped", f"A has here what B has in {other}")
        if _transposed(kind, a, b):
            return Mistake("swapped", f"A has here, transposed, what B has in {other}")
    return None


def averaged(pairs: Iterable[tuple[Array, Array]]) -> Mistake | None:
    """Whether arrays are those of one training: near each other everywhere, equal nowhere.

    Parameters
    ----------
    pairs
        Of all trained arrays, in A and B.
    """
    alike = [_correlation(a, b) for a, b in pairs if not (_constant(a) or _constant(b))]
    if not alike or np.median(alike) < 0.9:
        return None
    text = (
        "every trained array is close and none is equal: one network has the moving averages of "
        "the weights and the other the weights themselves, or it was trained further"
    )
    return Mistake("moving_average", text)


def _constant(array: Array) -> bool:
    return array.size == 0 or bool(array.min() == array.max())


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and difference(a, b) <= TOLERANCE


def _power(array: Array) -> float:
    """Sum of squares: the same for the same numbers in another order."""
    exact = array.astype(np.float64)
    return float(np.vdot(exact, exact))


def _correlation(a: Array, b: Array) -> float:
    return float(np.corrcoef(a.reshape(-1), b.reshape(-1))[0, 1]) if a.shape == b.shape else 0.0
