"""Samples of wrong calls of every op, and what they must say.

`tests/autograd/test_ops.py` reads this table, as it does that of `tests/samples.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minincep.autograd import Op, Tensor, ops
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError, DTypeError, ShapeError
from tests.samples import STORED, THREES


@dataclass(frozen=True)
class ErrorSample:
    """A call that must raise, and what it must say (a regular expression)."""

    op: Op
    inputs: tuple[Any, ...]
    error: type[Exception]
    message: str
    static: Mapping[str, Any] = field(default_factory=dict)


def zeros(*shape: int, dtype: Any = np.float32) -> Array:
    return np.zeros(shape, dtype)


X, HALF = zeros(2, 5, 6, 3), zeros(2, 5, 6, 3, dtype=np.float16)
ROWS, FOUR, DOUBLE = zeros(2, 3), zeros(4), zeros(3, dtype=np.float64)
MIXED = "all inputs must be float32 or all float64, got .* float32, .* float64.*: convert them with"
FLOATS = "must be a Tensor or an array of float32 or float64, got"
NO_HALF = f"x {FLOATS} float16 array"
NO_LABELS = "^softmax_cross_entropy: labels must be an array of whole numbers, got"
BATCH_NORMS = [ops.batch_norm, ops.batch_norm_relu]
RESIDUAL: dict[str, Any] = {"factor": 0.5, "with_relu": True}
PLAIN = zeros(3), zeros(3), zeros(3), zeros(3)

ERRORS = [
    ErrorSample(ops.add, (ROWS, DOUBLE), DTypeError, f"^add: {MIXED}"),
    ErrorSample(ops.add, (ROWS, FOUR), ShapeError, r"\(2, 3\) and \(4,\) do not broadcast"),
    ErrorSample(ops.multiply, (ROWS, FOUR), ShapeError, r"\(2, 3\) and \(4,\) do not broadcast"),
    *[
        ErrorSample(ops.multiply, (ROWS, b), DTypeError, f"^multiply: b {FLOATS} {got}: convert")
        for b, got in [(2.0, "float"), ([1.0] * 3, "list"), (np.ones(3, int), "int64 array")]
    ],
    *[
        ErrorSample(ops.scale, (ROWS,), DTypeError, f"^scale: factor {message}", {"factor": factor})
        for factor, message in [
            (None, "must be a number, got None"),
            ("2", "must be a number, got str"),
            (True, "must be a number, got bool"),
            (np.ones(3), "must be a number, got float64 array"),
            (Tensor(np.ones(())), "must be a number, got Tensor"),
        ]
    ],
    ErrorSample(ops.relu, (None,), DTypeError, f"^relu: x {FLOATS} None$"),
    ErrorSample(
        ops.conv2d,
        (np.zeros((1, 5, 5, 3), np.uint8), zeros(1, 1, 3, 2)),
        DTypeError,
        rf"^conv2d: x {FLOATS} uint8 array: convert it with numpy.asarray\(x, dtype=numpy.float32",
    ),
    ErrorSample(ops.conv2d, (X, None), DTypeError, f"^conv2d: filters {FLOATS} None$"),
    ErrorSample(
        ops.conv2d,
        (X, zeros(1, 1, 3, 2), [0.0, 0.0]),
        DTypeError,
        f"^conv2d: bias {FLOATS} list: convert",
    ),
    ErrorSample(ops.conv2d, (X, zeros(1, 1, 3, 0)), ShapeError, "each of at least 1, got shape"),
    ErrorSample(
        ops.conv2d,
        (X, zeros(1, 1, 3, 2)),
        ShapeError,
        "padding must be 'same', 'valid' or a tuple of four whole numbers",
        {"padding": (1.0, 1.0, 1.0, 1.0)},
    ),
    ErrorSample(
        ops.residual_conv2d,
        (zeros(2, 5, 6, 2), X, zeros(1, 1, 3, 2), DOUBLE),
        DTypeError,
        f"^residual_conv2d: {MIXED}",
        RESIDUAL,
    ),
    ErrorSample(
        ops.residual_conv2d,
        (zeros(2, 5, 6, 3), X, zeros(1, 1, 3, 2), zeros(2)),
        ShapeError,
        r"residual_conv2d: x \(2, 5, 6, 3\) takes a change of its own shape, got \(2, 5, 6, 2\)",
        RESIDUAL,
    ),
    ErrorSample(
        ops.residual_conv2d,
        (zeros(2, 5, 6, 2), X, zeros(1, 1, 3, 2), zeros(3)),
        ShapeError,
        r"residual_conv2d: bias must be \(2,\), got \(3,\)",
        RESIDUAL,
    ),
    ErrorSample(
        ops.residual_conv2d,
        (zeros(2, 5, 6, 2), X, zeros(1, 1, 3, 2), zeros(2)),
        DTypeError,
        "^residual_conv2d: factor must be a number, got str",
        {**RESIDUAL, "factor": "1"},
    ),
    ErrorSample(ops.add_bias, (ROWS[0, 0:1].reshape(()), FOUR), ShapeError, "needs a bias"),
    ErrorSample(ops.add_bias, (ROWS, DOUBLE), DTypeError, f"^add_bias: {MIXED}"),
    ErrorSample(ops.add_bias, (ROWS, FOUR), ShapeError, r"x \(2, 3\) needs a bias \(3,\), got \(4"),
    ErrorSample(ops.multiply, (ROWS, DOUBLE), DTypeError, f"^multiply: {MIXED}"),
    ErrorSample(ops.scale, (HALF,), DTypeError, f"^scale: {NO_HALF}", {"factor": 2.0}),
    ErrorSample(ops.matmul, (ROWS, DOUBLE[:, None]), DTypeError, f"^matmul: {MIXED}"),
    ErrorSample(
        ops.matmul,
        (ROWS, ROWS),
        ShapeError,
        r"takes \(M, K\) and \(K, N\), got \(2, 3\) and \(2, 3",
    ),
    ErrorSample(ops.matmul, (ROWS, PLAIN[0]), ShapeError, r"got \(2, 3\) and \(3,\)"),
    ErrorSample(ops.relu, (HALF,), DTypeError, f"^relu: {NO_HALF}"),
    ErrorSample(
        ops.conv2d, (X, zeros(3, 3, 4, 2)), ShapeError, r"have 3 channels, filters .* take 4$"
    ),
    ErrorSample(
        ops.conv2d,
        (X.transpose(0, 3, 1, 2), zeros(1, 1, 3, 2)),
        ShapeError,
        r"looks like \(N, C, H, W\), transpose it to channels last",
    ),
    ErrorSample(ops.conv2d, (X, zeros(7, 1, 3, 2)), ShapeError, "7 x 1 window does not fit"),
    ErrorSample(
        ops.conv2d, (X, zeros(1, 1, 3, 2), FOUR), ShapeError, r"bias must be \(2,\), got \(4,\)"
    ),
    ErrorSample(ops.conv2d, (X, zeros(1, 1, 3, 2, dtype=float)), DTypeError, f"^conv2d: {MIXED}"),
    ErrorSample(ops.max_pool2d, (HALF,), DTypeError, f"^max_pool2d: {NO_HALF}", THREES),
    ErrorSample(
        ops.max_pool2d, (X[0],), ShapeError, r"\(N, H, W, C\), got shape \(5, 6, 3", THREES
    ),
    ErrorSample(ops.max_pool2d, (X[:, :2],), ShapeError, "give a larger image", THREES),
    ErrorSample(ops.avg_pool2d, (HALF,), DTypeError, f"^avg_pool2d: {NO_HALF}", THREES),
    ErrorSample(
        ops.avg_pool2d, (X[0],), ShapeError, r"\(N, H, W, C\), got shape \(5, 6, 3", THREES
    ),
    ErrorSample(ops.avg_pool2d, (X[:, :2],), ShapeError, "give a larger image", THREES),
    *[
        ErrorSample(
            ops.global_avg_pool2d,
            (x,),
            ShapeError,
            rf"takes \(N, H, W, C\) with pixels, got \({got}",
        )
        for x, got in [(X[0], "5, 6, 3"), (X[:, :0], "2, 0, 6, 3")]
    ],
    *[
        ErrorSample(
            op,
            (X, *PLAIN[:position], FOUR, *PLAIN[position + 1 :]),
            ShapeError,
            rf"x \(2, 5, 6, 3\) needs {name} of shape \(3,\), got \(4,\)",
            STORED,
        )
        for op in BATCH_NORMS
        for position, name in enumerate(["gamma", "beta", "mean", "variance"])
    ],
    *[
        ErrorSample(op, inputs, error, message, static)
        for op in BATCH_NORMS
        for inputs, error, message, static in [
            ((X, None, DOUBLE, *PLAIN[2:]), DTypeError, f"^{op.name}: {MIXED}", STORED),
            (
                (X, PLAIN[0], None, *PLAIN[2:]),
                DTypeError,
                f"^{op.name}: beta {FLOATS} None$",
                STORED,
            ),
            (
                (X, *PLAIN),
                DTypeError,
                f"^{op.name}: eps must be a number, got str",
                {**STORED, "eps": "1e-3"},
            ),
        ]
    ],
    *[
        ErrorSample(
            op,
            (x, *PLAIN),
            ShapeError,
            rf"takes \(..., C\) with at least one channel, got \({got}\)",
            STORED,
        )
        for op in BATCH_NORMS
        for x, got in [(zeros(), ""), (X[..., :0], "2, 5, 6, 0")]
    ],
    ErrorSample(ops.l2_normalize, (X,), ShapeError, r"takes \(N, C\), got \(2, 5, 6, 3\)"),
    ErrorSample(ops.softmax, (FOUR,), ShapeError, r"takes logits \(N, classes\), got \(4,\)"),
    ErrorSample(ops.log_softmax, (FOUR,), ShapeError, r"takes logits \(N, classes\), got \(4,\)"),
    ErrorSample(
        ops.softmax_cross_entropy,
        (ROWS, np.array([0, 1])),
        DTypeError,
        "label_smoothing must be a number, got str",
        {"label_smoothing": "a"},
    ),
    *[
        ErrorSample(ops.softmax_cross_entropy, (ROWS, labels), DTypeError, f"{NO_LABELS} {got}")
        for labels, got in [
            (np.array([0.0, 1.0]), "float64 array"),
            (zeros(2), "float32 array"),
            (Tensor(zeros(2)), "Tensor"),
            (np.array([True, False]), "bool array"),
            ([0, 1], r"list: convert it with numpy.asarray\(labels, dtype=int\)"),
            (None, "None$"),
        ]
    ],
    *[
        ErrorSample(ops.softmax_cross_entropy, inputs, error, message, static)
        for inputs, error, message, static in [
            ((FOUR, np.array([1])), ShapeError, r"takes logits \(N, classes\)", {}),
            ((ROWS, np.array([1])), ShapeError, r"need labels \(2,\), got \(1,\)", {}),
            ((ROWS[:0], np.array([], int)), ShapeError, r"logits \(0, 3\) need labels", {}),
            ((ROWS, np.array([0, 3])), ConfigError, "from 0 to 2, got 0 to 3", {}),
            ((ROWS, np.array([-1, 2])), ConfigError, "from 0 to 2, got -1 to 2", {}),
            ((ROWS, np.array([0, 1]), FOUR), ShapeError, r"must be \(3,\), got \(4,\)", {}),
            ((ROWS, np.array([0, 1]), zeros(3)), ConfigError, "this batch weigh nothing", {}),
            ((ROWS, np.array([0, 1])), ConfigError, "below 1, got 1.0", {"label_smoothing": 1.0}),
            ((ROWS, np.array([0, 1])), ConfigError, "got -0.1", {"label_smoothing": -0.1}),
        ]
    ],
    *[
        ErrorSample(ops.centre_loss, inputs, error, message)
        for inputs, error, message in [
            ((ROWS, ROWS, [0, 1]), DTypeError, "labels must be an array of whole numbers, got lis"),
            ((FOUR, ROWS, np.array([0])), ShapeError, r"takes embeddings \(N, C\) and labels \(N,"),
            ((ROWS, ROWS, np.array([0])), ShapeError, r"got \(2, 3\) and \(1,\)"),
            ((ROWS[:0], ROWS, np.array([], int)), ShapeError, r"got \(0, 3\) and \(0,\)"),
            ((ROWS, zeros(2, 4), np.array([0, 1])), ShapeError, r"centres \(classes, 3\), got"),
            ((ROWS, FOUR, np.array([0, 1])), ShapeError, r"centres \(classes, 3\), got \(4,"),
            ((ROWS, ROWS, np.array([0, 2])), ConfigError, "from 0 to 1, got 0 to 2"),
            ((ROWS, ROWS, np.array([-1, 1])), ConfigError, "from 0 to 1, got -1 to 1"),
        ]
    ],
    *[
        ErrorSample(ops.triplet_loss, (ROWS, labels), error, message, static)
        for labels, error, message, static in [
            (ROWS[:, 0], DTypeError, "labels must be an array of whole numbers", {}),
            (np.array([0]), ShapeError, r"got \(2, 3\) and \(1,\)", {}),
            (np.array([0, 1]), ConfigError, "at least 0, got -0.1", {"margin": -0.1}),
            (np.array([0, 1]), ConfigError, "at least 0, got nan", {"margin": float("nan")}),
        ]
    ],
    ErrorSample(
        ops.dropout,
        (ROWS, np.ones((2, 4), bool)),
        ShapeError,
        r"x \(2, 3\) needs a mask of its shape, got \(2, 4\)",
        {"rate": 0.5},
    ),
    ErrorSample(
        ops.dropout, (ROWS, np.ones((2, 3), bool)), ConfigError, "rate must be", {"rate": 1.0}
    ),
    *[
        ErrorSample(
            ops.dropout,
            (ROWS, keep),
            DTypeError,
            f"^dropout: keep must be an array of truth values, got {got}",
            {"rate": 0.5},
        )
        for keep, got in [
            (np.full((2, 3), 2), "int64 array"),
            (ROWS, r"float32 array: convert it with numpy.asarray\(keep, dtype=bool\)"),
            (None, "None$"),
        ]
    ],
    ErrorSample(ops.concat, (ROWS, None), DTypeError, rf"^concat: parts\[1\] {FLOATS} None$"),
    ErrorSample(ops.concat, (FOUR[0:1].reshape(()),), ShapeError, "must agree"),
    ErrorSample(ops.concat, (), ShapeError, "must agree in all axes but the last, got no part"),
    ErrorSample(ops.concat, (ROWS, zeros(3, 3)), ShapeError, r"got \(2, 3\), \(3, 3\)"),
    ErrorSample(ops.concat, (ROWS, zeros(2, 3, dtype=float)), DTypeError, f"^concat: {MIXED}"),
    *(
        ErrorSample(
            ops.channels,
            (ROWS,),
            ShapeError,
            rf"^channels {first} to {last} of an array \(2, 3\): there are none",
            {"first": first, "last": last},
        )
        for first, last in [(-1, 2), (1, 1), (2, 1), (0, 4)]
    ),
    ErrorSample(
        ops.reshape, (ROWS,), ShapeError, r"6 elements of shape \(2, 3\) to \(4,", {"shape": (4, 2)}
    ),
    ErrorSample(
        ops.reshape, (ROWS,), ShapeError, r"of shape \(2, 3\) to \(1.5, 4", {"shape": (1.5, 4)}
    ),
    ErrorSample(ops.mean, (ROWS[:0],), ShapeError, "mean of an array without elements"),
    ErrorSample(ops.softmax, (ROWS[:, :0],), ShapeError, r"takes logits \(N, classes\)"),
    *[
        ErrorSample(pool, (X,), ShapeError, message, {**THREES, name: value})
        for pool in (ops.max_pool2d, ops.avg_pool2d)
        for message, (name, value) in [
            ("stride must be two whole numbers", ("stride", (0, 1))),
            ("kernel size must be two whole numbers", ("kernel_size", 3)),
            ("must be smaller than the window of 3 x 3", ("padding", (0, 3, 0, 0))),
            ("padding must be 'same', 'valid' or", ("padding", "full")),
        ]
    ],
    ErrorSample(ops.mean, (HALF,), DTypeError, f"^mean: {NO_HALF}"),
]
