"""Programs of one step, laid out so that whatever is read or written beside its place shows.

Around and between the pixels of the input lies nan, around and between those of the output, and
around the scratch memory, lie numbers that must still be there afterwards.
"""

import dataclasses
import functools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from minincep_kernels import Array
from minincep_kernels.program import crew, native
from minincep_kernels.program.layout import Method
from minincep_kernels.program.run import rows_of, scratch_of
from minincep_kernels.program.runner import together
from minincep_kernels.program.step import COUNTERS, PLACES, STEP, ZEROS, Kind
from minincep_kernels.shapes import Conv2dShape
from minincep_kernels.vectors import COLUMNS_SLACK, padded
from tests import oracle

CANARY = np.float32(-7777)
PRODUCTS = (Kind.POINTWISE, Kind.DIRECT, Kind.IMPLICIT, Kind.WINOGRAD)


@dataclass(frozen=True)
class Case:
    """One step.  Its shape has out_channels = channels where channels stay what they are."""

    kind: Kind
    shape: Conv2dShape
    tile: int = 0
    relu: bool = False
    bias: bool = True
    residual: bool = False
    gap: int = 0  # channels of something else from pixel to pixel

    def __str__(self) -> str:
        """A name for a test."""
        s = self.shape
        window = "x".join(map(str, (*s.kernel, *s.stride)))
        return (
            f"{self.kind.name.lower()}{self.tile}-{s.height}x{s.width}x{s.channels}to"
            f"{s.out_channels}-window{window}-pad{''.join(map(str, s.padding))}"
            f"{'-relu' * self.relu}{'-residual' * self.residual}-gap{self.gap}"
        )

    @property
    def convolves(self) -> bool:
        return self.kind in PRODUCTS

    def numbers(self, *shape: int, seed: int) -> Array:
        return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

    def images(self) -> Array:
        return self.numbers(*self.shape.input, seed=0)

    def filters(self) -> Array:
        return self.numbers(*self.shape.filters, seed=1)

    def biases(self) -> Array:
        return self.numbers(self.shape.out_channels, seed=2)

    def added(self) -> Array:
        """The residual."""
        return self.numbers(*self.shape.output, seed=3)

    def expected(self) -> Array:
        return _expected(self)

    def only(self, image: int) -> "Case":
        """The case with one of its images alone."""
        return OneOf(
            **{**vars(self), "shape": dataclasses.replace(self.shape, batch=1)}, of=(self, image)
        )

    def step(self, rows: int | None, columns: int | None) -> Array:
        """The row of the table, in chunks of so many rows and columns: by default, one for all."""
        s = self.shape
        steps = np.zeros(1, STEP)
        fields = {
            "kind": int(self.kind),
            "in_offset": 5,
            "in_pitch": s.channels + self.gap,
            "height": s.height,
            "width": s.width,
            "channels": s.channels,
            "out_offset": 7,
            "out_pitch": s.out_channels + self.gap,
            "out_height": s.out_height,
            "out_width": s.out_width,
            "out_channels": s.out_channels,
            "kernel_height": s.kernel[0],
            "kernel_width": s.kernel[1],
            "stride_height": s.stride[0],
            "stride_width": s.stride[1],
            "top": s.padding[0],
            "left": s.padding[2],
            "residual_offset": -1,
            "relu": self.relu,
            "filters": ZEROS,
            "bias": -1,
            "tile": self.tile,
        }
        for name, number in fields.items():
            steps[name] = number
        steps["rows"] = rows or max(1, rows_in(steps[0], s.batch))
        steps["columns"] = columns or s.out_channels
        return steps


def rows_in(step: Any, batch: int) -> int:
    """What the chunks of a step share out."""
    return int(rows_of(np.asarray(step).view(np.recarray)[()], batch))


@dataclass(frozen=True)
class OneOf(Case):
    """One image of another case."""

    of: tuple[Case, int] | None = None

    def numbers(self, *shape: int, seed: int) -> Array:
        assert self.of is not None
        case, image = self.of
        if shape[0] != 1 or len(shape) != 4 or seed == 1:
            return case.numbers(*shape, seed=seed)
        return case.numbers(case.shape.batch, *shape[1:], seed=seed)[image : image + 1]


@functools.cache
def _expected(case: Case) -> Array:
    """What a step should give, in float64."""
    y: Array
    x, shape = case.images(), case.shape
    doubles = x.astype(np.float64)
    match case.kind:
        case Kind.MAX_POOL:
            y = oracle.max_pool(x, shape)
        case Kind.GLOBAL_AVERAGE:
            y = doubles.mean(axis=(1, 2), keepdims=True)
        case Kind.COPY:
            y = doubles
        case Kind.L2_NORMALIZE:
            y = doubles / np.sqrt(np.maximum((doubles**2).sum(-1, keepdims=True), 1e-10))
        case Kind.SOFTMAX:
            powers = np.exp(doubles)
            y = powers / powers.sum(-1, keepdims=True)
        case Kind.AVERAGE_POOL:
            y = oracle.average_pool(x, shape)
        case _:
            y = oracle.convolve(x, case.filters(), shape)
    if case.convolves or case.kind == Kind.AVERAGE_POOL:
        y = y + case.biases() * case.bias + (case.added() if case.residual else 0)
    return np.maximum(y, 0) if case.relu else y


def execute(
    case: Case,
    *,
    threads: int = 1,
    rows: int | None = None,
    columns: int | None = None,
    late: dict[int, float] | None = None,
    images: Array | None = None,
) -> Array:
    """Run a case: (N, OH, OW, OC).

    Parameters
    ----------
    rows, columns
        Of a chunk.
    late
        By how many seconds a thread of some number comes late.
    """
    steps = case.step(rows, columns)
    step = steps[0]
    weights = np.zeros(ZEROS, np.float32)
    if case.convolves:
        weights = np.concatenate([weights, Method(case.kind, case.tile).pack(case.filters())])
    if case.convolves or case.bias:
        step["bias"] = weights.size
        bias = np.full(padded(case.shape.out_channels) + COLUMNS_SLACK, np.nan, np.float32)
        bias[: case.shape.out_channels] = case.biases() if case.bias else 0
        weights = np.concatenate([weights, bias])
    x = _laid_out(case.images() if images is None else images, 5, case.gap, np.float32(np.nan))
    out = _laid_out(np.full(case.shape.output, CANARY), 7, case.gap, CANARY)
    if case.residual:
        step["residual_offset"], step["residual_pitch"] = out.size + 3, case.shape.out_channels + 1
        out = np.concatenate([out, _laid_out(case.added(), 3, 1, CANARY)])
    before = out.copy()

    needed = scratch_of(step)
    scratch = np.full(threads * needed + 2 * COLUMNS_SLACK, CANARY)
    own_scratch = scratch[COLUMNS_SLACK:-COLUMNS_SLACK].reshape(threads, needed)
    places = np.full(threads * PLACES + 2, -1)
    own_places = places[1:-1].reshape(threads, PLACES)
    counters = np.zeros(COUNTERS, np.int64)

    def work(worker: int) -> None:
        time.sleep((late or {}).get(worker, 0))
        own = own_scratch[worker], own_places[worker]
        enter(steps, (0, 1), case.shape.batch, weights, x, out, *own, counters)

    together(work, threads)
    edges = np.concatenate([scratch[:COLUMNS_SLACK], scratch[-COLUMNS_SLACK:]])
    np.testing.assert_array_equal(edges, CANARY)
    assert (places[0], places[-1]) == (-1, -1)
    shape = case.shape.output
    count, pitch = shape[0] * shape[1] * shape[2], int(step["out_pitch"])
    here = slice(7, 7 + count * pitch)
    y = out[here].reshape(*shape[:3], pitch)[..., : shape[3]].copy()
    before[here].reshape(*shape[:3], pitch)[..., : shape[3]] = y
    np.testing.assert_array_equal(out, before)
    return y


def enter(steps: Any, part: tuple[int, int], batch: int, *arrays: Array) -> None:
    """Run some steps of a program, as one of the threads; the arrays are those of `run`."""
    assert all(array.flags.c_contiguous for array in (steps, *arrays))
    addresses = (array.ctypes.data for array in arrays)
    assert crew.call(native.function())(steps.ctypes.data, *part, batch, *addresses) == 0


def _laid_out(images: Array, offset: int, gap: int, rest: np.float32) -> Array:
    """Images from an offset on, with a gap after each pixel, and something else around them."""
    wide = np.pad(images, ((0, 0), (0, 0), (0, 0), (0, gap)), constant_values=rest)
    return np.pad(wide.ravel(), (offset, 2 * COLUMNS_SLACK), constant_values=rest)
