"""Samples of every op: what goes in, and what must come out.

`tests/autograd/test_ops.py` reads this table and tests each op in every way that applies to all.
A new op needs its rows here and in `tests/error_samples.py`, and nothing else; a test sees to it
that they are not forgotten.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minincep.autograd import Op, Tensor, ops
from minincep_kernels import Array
from minincep_kernels.registry import choose
from minincep_kernels.shapes import Padding, conv2d_shape, moments_shape, pool2d_shape
from tests import oracle

Draw = Callable[[np.random.Generator], Array]


@dataclass(frozen=True)
class Sample:
    """A call of an op, and what it should give.

    Attributes
    ----------
    name
        What is special about it.
    inputs
        Draws the arrays; None for one that is absent.
    reference
        (inputs in float64, **static) -> the result.
    constant
        Positions of the inputs that have no gradient.
    call
        Makes of the op what to call, where that is not the op itself.
    """

    op: Op
    name: str
    inputs: tuple[Draw | None, ...]
    reference: Callable[..., Any]
    static: Mapping[str, Any] = field(default_factory=dict)
    constant: tuple[int, ...] = ()
    call: Callable[[Callable[..., Tensor]], Callable[..., Tensor]] | None = None

    def __call__(self, *inputs: Tensor | Array | None) -> Tensor:
        function = self.call(self.op) if self.call else self.op
        return function(*inputs, **self.static)

    def arrays(self, dtype: Any) -> list[Array | None]:
        """The inputs, the same at each call; labels and masks keep their type."""
        random = np.random.default_rng(7)
        drawn = [None if draw is None else draw(random) for draw in self.inputs]
        return [x if x is None or x.dtype.kind != "f" else x.astype(dtype) for x in drawn]


def normal(*shape: int, around: float = 0.0) -> Draw:
    return lambda random: np.asarray(around + random.standard_normal(shape))


def positive(*shape: int) -> Draw:
    return lambda random: random.uniform(0.5, 2.0, shape)


def distinct(*shape: int) -> Draw:
    """No two equal or almost so, none almost 0: a small step changes no comparison."""
    count = math.prod(shape)
    return lambda random: (random.permutation(count).reshape(shape) - count / 2 + 0.25) / 8


def fixed(values: Any) -> Draw:
    return lambda _: np.array(values)


def mask(*shape: int) -> Draw:
    return lambda random: random.random(shape) < 0.7


def conv2d(
    x: Array,
    filters: Array,
    bias: Array | None = None,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: Padding = "valid",
) -> Array:
    y = oracle.convolve(x, filters, conv2d_shape(x.shape, filters.shape, stride, padding))
    return y if bias is None else y + bias


def pooled(
    function: Callable[..., Array],
    x: Array,
    *,
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding = "valid",
) -> Array:
    return function(x, pool2d_shape(x.shape, kernel_size, stride, padding))


max_pool2d = functools.partial(pooled, oracle.max_pool)
avg_pool2d = functools.partial(pooled, oracle.average_pool)


def batch_norm(
    x: Array,
    gamma: Array | None,
    beta: Array,
    mean: Array,
    variance: Array,
    *,
    eps: float,
    of_batch: bool,
) -> Array:
    return oracle.batch_norm(x, gamma, beta, mean, variance, eps)


def batch_norm_of_batch(
    x: Array, gamma: Array | None, beta: Array, *, eps: float, of_batch: bool
) -> Array:
    return oracle.batch_norm(x, gamma, beta, *oracle.channel_statistics(x), eps)


def with_own_statistics(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Batch norm as the layer calls it: with the statistics of x itself."""

    def call(x: Tensor | Array, *arrays: Tensor | None, **static: Any) -> Tensor:
        shape = moments_shape(x.shape)
        rows = (x.data if isinstance(x, Tensor) else x).reshape(shape.input)
        statistics = choose("moments", shape).forward(rows, shape)
        return op(x, *arrays, *statistics, **static)

    return call


def alone(function: Callable[..., Array]) -> Callable[..., Array]:
    return function


def then_relu(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda *inputs, **static: np.maximum(function(*inputs, **static), 0)


def residual_conv2d(
    x: Array, branches: Array, filters: Array, bias: Array, *, factor: float, with_relu: bool
) -> Array:
    y = x + factor * conv2d(branches, filters, bias)
    return np.maximum(y, 0) if with_relu else y


def l2_normalize(x: Array, *, eps: float = 1e-10) -> Array:
    return np.array([row / math.sqrt(max(math.fsum(row**2), eps)) for row in x])


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max())
    return np.array([row / math.fsum(row) for row in powers])


def log_softmax(x: Array) -> Array:
    return np.log(softmax(x))


def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    class_weights: Array | None = None,
    *,
    label_smoothing: float = 0.0,
) -> float:
    loss, weight = 0.0, 0.0
    for row, label in zip(log_softmax(logits), labels, strict=True):
        target = [label_smoothing / len(row)] * len(row)
        target[label] += 1 - label_smoothing
        own = 1.0 if class_weights is None else float(class_weights[label])
        loss -= own * float(np.dot(target, row))
        weight += own
    return loss / weight


def centre_loss(embeddings: Array, centres: Array, labels: Array) -> float:
    squares = [(row - centres[k]) ** 2 for row, k in zip(embeddings, labels, strict=True)]
    return math.fsum(np.ravel(squares)) / embeddings.size


def triplet_loss(embeddings: Array, labels: Array, *, margin: float = 0.2) -> float:
    def distance(a: int, b: int) -> float:
        return math.fsum((embeddings[a] - embeddings[b]) ** 2)

    costs = []
    for a, p in itertools.permutations(range(len(labels)), 2):
        negatives = [distance(a, n) for n in range(len(labels)) if labels[n] != labels[a]]
        if labels[a] == labels[p] and negatives:
            farther = [d for d in negatives if d > distance(a, p)]
            negative = min(farther) if farther else max(negatives)
            costs.append(max(0.0, distance(a, p) - negative + margin))
    return math.fsum(costs) / max(1, len(costs))


IMAGES, FILTERS = normal(2, 5, 6, 3), normal(3, 2, 3, 4)
LOGITS, LABELS = normal(4, 5), fixed([3, 0, 4, 4])
OF_X = {"eps": 1e-3, "of_batch": True}
STORED: dict[str, Any] = {"eps": 1e-3, "of_batch": False}
THREES = {"kernel_size": (3, 3), "stride": (2, 2)}
BATCH_NORMS = [(ops.batch_norm, alone), (ops.batch_norm_relu, then_relu)]
PADDED = {"kernel_size": (3, 2), "stride": (1, 2), "padding": "same"}

SAMPLES = [
    Sample(ops.add, "same shape", (normal(2, 3), normal(2, 3)), np.add),
    Sample(ops.add, "first repeated", (normal(3, 1), normal(2, 3, 4)), np.add),
    Sample(ops.add, "both repeated", (normal(3, 1), normal(1, 4)), np.add),
    Sample(ops.add, "no axes", (normal(), normal()), np.add),
    Sample(ops.add_bias, "images", (IMAGES, normal(3)), np.add),
    Sample(ops.add_bias, "one channel", (normal(2, 1), normal(1)), np.add),
    Sample(ops.multiply, "same shape", (normal(2, 3), normal(2, 3)), np.multiply),
    Sample(ops.multiply, "second repeated", (normal(2, 3, 4), normal(4)), np.multiply),
    Sample(ops.multiply, "with a number", (normal(2, 3), normal()), np.multiply),
    Sample(ops.multiply, "no axes", (normal(), normal()), np.multiply),
    Sample(ops.scale, "images", (IMAGES,), lambda x, factor: x * factor, {"factor": -0.25}),
    Sample(ops.scale, "no axes", (normal(),), lambda x, factor: x * factor, {"factor": 3}),
    *[
        Sample(
            ops.residual_conv2d,
            name,
            (IMAGES, normal(2, 5, 6, 4), normal(1, 1, 4, 3), normal(3)),
            residual_conv2d,
            {"factor": 0.17, "with_relu": with_relu},
        )
        for name, with_relu in [("alone", False), ("then ReLU", True)]
    ],
    Sample(ops.matmul, "matrices", (normal(3, 4), normal(4, 2)), np.matmul),
    Sample(ops.matmul, "inner length 1", (normal(3, 1), normal(1, 2)), np.matmul),
    Sample(ops.relu, "images", (distinct(2, 4, 3, 2),), lambda x: np.maximum(x, 0)),
    Sample(ops.conv2d, "plain", (IMAGES, FILTERS), conv2d),
    Sample(ops.conv2d, "bias", (IMAGES, FILTERS, normal(4)), conv2d, {"padding": "same"}),
    Sample(ops.conv2d, "no bias", (IMAGES, FILTERS, None), conv2d, {"stride": (2, 3)}),
    Sample(ops.conv2d, "sides", (IMAGES, FILTERS), conv2d, {"padding": (3, 0, 1, 2)}),
    Sample(ops.conv2d, "1 x 1", (IMAGES, normal(1, 1, 3, 4)), conv2d),
    Sample(ops.max_pool2d, "plain", (distinct(2, 5, 6, 2),), max_pool2d, THREES),
    Sample(ops.max_pool2d, "padded", (distinct(2, 5, 6, 2),), max_pool2d, PADDED),
    Sample(ops.avg_pool2d, "plain", (IMAGES,), avg_pool2d, THREES),
    Sample(ops.avg_pool2d, "padded", (IMAGES,), avg_pool2d, PADDED),
    Sample(ops.global_avg_pool2d, "images", (IMAGES,), lambda x: x.sum((1, 2), keepdims=True) / 30),
    *[
        Sample(
            op,
            name,
            inputs,
            reference(batch_norm_of_batch),
            OF_X,
            call=with_own_statistics,
        )
        for op, reference in BATCH_NORMS
        for name, inputs in [
            ("of the batch", (IMAGES, positive(3), normal(3))),
            ("of the batch, no gamma", (normal(7, 2, around=5.0), None, normal(2))),
        ]
    ],
    *[
        Sample(op, name, inputs, reference(batch_norm), STORED, constant=(3, 4))
        for op, reference in BATCH_NORMS
        for name, inputs in [
            ("stored", (IMAGES, positive(3), normal(3), normal(3), positive(3))),
            ("stored, no gamma", (IMAGES, None, normal(3), normal(3), positive(3))),
        ]
    ],
    Sample(ops.l2_normalize, "rows", (normal(4, 5),), l2_normalize),
    Sample(ops.l2_normalize, "short rows", (normal(4, 5),), l2_normalize, {"eps": 100.0}),
    Sample(
        ops.l2_normalize,
        "a row of zeros",
        (fixed([[0.0, 0.0], [3.0, 4.0]]),),
        l2_normalize,
        {"eps": 1.0},
    ),
    Sample(ops.softmax, "logits", (LOGITS,), softmax),
    Sample(
        ops.softmax,
        "large logits",
        (normal(4, 5, around=1e3),),
        softmax,
    ),
    Sample(ops.log_softmax, "logits", (LOGITS,), log_softmax),
    Sample(
        ops.log_softmax,
        "large logits",
        (normal(4, 5, around=-1e3),),
        log_softmax,
    ),
    Sample(
        ops.softmax_cross_entropy, "plain", (LOGITS, LABELS), softmax_cross_entropy, constant=(1,)
    ),
    Sample(
        ops.softmax_cross_entropy,
        "smooth",
        (LOGITS, LABELS),
        softmax_cross_entropy,
        {"label_smoothing": 0.1},
        constant=(1,),
    ),
    Sample(
        ops.softmax_cross_entropy,
        "weighted",
        (LOGITS, LABELS, fixed([0.0, 1.0, 2.0, 3.0, 0.25])),
        softmax_cross_entropy,
        {"label_smoothing": 0.2},
        constant=(1, 2),
    ),
    Sample(
        ops.centre_loss,
        "one centre twice, one never",
        (normal(5, 3), normal(4, 3), fixed([2, 0, 2, 3, 0])),
        centre_loss,
        constant=(2,),
    ),
    *[
        Sample(ops.triplet_loss, name, (normal(9, 2), fixed(labels)), triplet_loss, static, (1,))
        for name, labels, static in [
            ("three classes", [2, 0, 2, 1, 0, 2, 1, 0, 0], {}),
            ("two classes", [0, 0, 1, 1, 1, 0, 1, 0, 0], {"margin": 0.5}),
            ("pairs", [3, 3, 8, 8, 1, 1, -4, -4, 0], {"margin": 2.0}),
        ]
    ],
    Sample(
        ops.dropout,
        "mask",
        (normal(4, 5), mask(4, 5)),
        lambda x, keep, rate: np.where(keep, x / (1 - rate), 0.0),
        {"rate": 0.2},
        constant=(1,),
    ),
    Sample(
        ops.concat,
        "three",
        (normal(2, 3, 4), normal(2, 3, 1), normal(2, 3, 2)),
        lambda *parts: np.concatenate(parts, axis=-1),
    ),
    Sample(ops.concat, "one", (normal(2, 3),), lambda x: x),
    *(
        Sample(
            ops.channels,
            f"{first} to {last}",
            (normal(2, 3, 5),),
            lambda x, first, last: x[..., first:last],
            {"first": first, "last": last},
        )
        for first, last in [(0, 2), (1, 4), (4, 5), (0, 5)]
    ),
    Sample(
        ops.reshape,
        "rows",
        (IMAGES,),
        lambda x, shape: np.array([row.ravel() for row in x]),
        {"shape": (-1, 90)},
    ),
    Sample(ops.mean, "images", (IMAGES,), lambda x: math.fsum(x.flat) / x.size),
    Sample(ops.mean, "no axes", (normal(),), lambda x: x),
]
