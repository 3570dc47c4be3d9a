"""Winograd's convolution: fewer multiplications, by way of polynomials.

m outputs of a filter with r taps are a product of polynomials, and a product of polynomials can be
worked out point by point: evaluate both at n = m + r - 1 points, multiply, interpolate.  That is n
multiplications where direct convolution has m r.  For one tile d of n inputs and one filter g,

    y = A^T [ (G g) * (B^T d) ]          F(m, r): n multiplications for m outputs

and A, B, G depend on the points alone.  In a layer, (G g) is worked out once for all pictures, the
two other transforms once for each channel, and the products, summed over the channels, are n matrix
products: they keep the cost, C OC, and the transforms only C + OC.  In two dimensions the same is
done along rows and then along columns: F(4 x 4, 3 x 3) takes 36 multiplications for 144.

Here the points are 0, pairs +p and -p, and infinity.  Write l(x) for the product of (x - q) over
all finite points q but one.  Then, as in Lagrange's interpolation,

- B^T has the coefficients of l in the row of that point, and of the product over all points in the
  row of infinity;
- G evaluates the filter at the point, over l(point), and gives the last tap for infinity;
- A^T evaluates: row i has the i-th powers of the points, and infinity counts in the last row.

Pairs halve the work: the rows of +p and -p are x q(x) + p q(x) and x q(x) - p q(x), with one q
whose every other coefficient is zero.

Exact in theory, the transforms lose digits in float32: evaluating at large or at close points adds
large numbers that cancel.  The points below lose the fewest among multiples of 1/16 (1/8 for r =
7), found by trying all of them with the usual estimate of the error's variance.

Winograd 1980, "Arithmetic complexity of computations"; Lavin and Gray 2016, "Fast algorithms for
convolutional neural networks", arXiv:1509.09308; Barabasz et al. 2018, "Error analysis and
improving the accuracy of Winograd convolution for deep neural networks", arXiv:1803.10986.  Filters
of 1 x 7 and 7 x 1, a large part of Inception-v4, gain most: n = 12 for m r = 42.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minincep_kernels import Array
from minincep_kernels.vectors import (
    FLOAT,
    INT,
    LANES,
    POINTER,
    Emitter,
    Routine,
    address,
    call_routine,
    enlist,
    is_flat,
    whole,
)

# The positive one of each pair of points of F(m, r), for (m, r).
POINTS = {
    (4, 3): ("11/16", "3/2"),
    (4, 7): ("3/8", "7/8", "5/4", "19/8"),
    (6, 7): ("3/8", "5/8", "1", "3/2", "11/4"),
}


def _times(a: Sequence[Fraction], b: Sequence[Fraction]) -> list[Fraction]:
    """The product of two polynomials, coefficients from the lowest power on."""
    product = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += x * y
    return product


@dataclass(frozen=True)
class Transform:
    """F(m, r) along one axis.

    Attributes
    ----------
    outputs, taps
        m and r.
    pairs
        The positive ones of the points; 0 and infinity are points always.
    """

    outputs: int
    taps: int
    pairs: tuple[Fraction, ...]

    @property
    def inputs(self) -> int:
        """How many inputs lie behind a tile, n = m + r - 1, and how many products it takes."""
        return self.outputs + self.taps - 1

    @property
    def points(self) -> list[Fraction]:
        """The finite points, in the order of the products; infinity comes last."""
        return [Fraction(0)] + [sign * p for p in self.pairs for sign in (1, -1)]

    def without(self, *left_out: Fraction) -> list[Fraction]:
        """The product of (x - q) over all finite points q but these."""
        product = [Fraction(1)]
        for point in self.points:
            if point not in left_out:
                product = _times(product, [-point, Fraction(1)])
        return product

    def filter_matrix(self) -> Array:
        """G, (n, r) in float64."""
        rows = []
        for point in self.points:
            others = math.prod((point - q for q in self.points if q != point), start=Fraction(1))
            rows.append([point**u / others for u in range(self.taps)])
        rows.append([Fraction(0)] * (self.taps - 1) + [Fraction(1)])
        return np.array(rows, np.float64)

    def transform_input(self, emit: Emitter, d: Sequence[ir.Value]) -> list[ir.Value]:
        """B^T d, on vectors of channels: n -> n."""
        result = [_combine(emit, self.without(Fraction(0)), d)]
        for p in self.pairs:
            others = self.without(p, -p)
            odd = _combine(emit, others, d)
            even = _combine(emit, others, d[1:])
            result += [emit.multiply_add(emit.splat(float(q)), odd, even) for q in (p, -p)]
        return [*result, _combine(emit, self.without(), d)]

    def transform_output(self, emit: Emitter, products: Sequence[ir.Value]) -> list[ir.Value]:
        """A^T times the products, on vectors of channels: n -> m."""
        return self._gather(emit, products, self.outputs, [Fraction(1)] * (1 + len(self.pairs)))

    def transform_output_gradient(self, emit: Emitter, gy: Sequence[ir.Value]) -> list[ir.Value]:
        """A times the gradient of the outputs: m -> n."""
        return self._spread(emit, gy, [Fraction(1)] * (1 + len(self.pairs)))

    def transform_filters(self, emit: Emitter, g: Sequence[ir.Value]) -> list[ir.Value]:
        """G g, in float32: r -> n."""
        return self._spread(emit, g, self._weights())

    def transform_filter_gradient(
        self, emit: Emitter, products: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """G^T times the gradient of the products: n -> r."""
        return self._gather(emit, products, self.taps, self._weights())

    def _weights(self) -> list[Fraction]:
        """1 / l(point) for 0 and for each pair, whose two points have the same."""
        return [
            1 / math.prod((point - q for q in self.points if q != point), start=Fraction(1))
            for point in (Fraction(0), *self.pairs)
        ]

    def _spread(
        self, emit: Emitter, values: Sequence[ir.Value], weights: Sequence[Fraction]
    ) -> list[ir.Value]:
        """The polynomial with these coefficients at each point, times the weight of the point."""
        result = [_add_scaled(emit, None, weights[0], values[0])]
        for p, weight in zip(self.pairs, weights[1:], strict=True):
            halves: list[Any] = [None, None]  # even and odd powers
            for power, value in enumerate(values):
                halves[power % 2] = _add_scaled(emit, halves[power % 2], weight * p**power, value)
            result += [emit.add(*halves), emit.subtract(*halves)]
        return [*result, values[-1]]

    def _gather(
        self, emit: Emitter, products: Sequence[ir.Value], count: int, weights: Sequence[Fraction]
    ) -> list[ir.Value]:
        """The transpose of `_spread`: n -> count."""
        zero, infinity = products[0], products[-1]
        sums, differences = [], []
        for plus, minus in zip(products[1:-1:2], products[2:-1:2], strict=True):
            sums.append(emit.add(plus, minus))
            differences.append(emit.subtract(plus, minus))
        result = []
        for power in range(count):
            total = None
            if power == count - 1:
                total = infinity
            if power == 0:
                total = _add_scaled(emit, total, weights[0], zero)
            parts = differences if power % 2 else sums
            for part, p, weight in zip(parts, self.pairs, weights[1:], strict=True):
                total = _add_scaled(emit, total, weight * p**power, part)
            result.append(total)
        return result


def _add_scaled(emit: Emitter, total: Any, factor: Fraction, value: ir.Value) -> ir.Value:
    """Total + factor value, in the fewest instructions."""
    if total is None:
        return value if factor == 1 else emit.multiply(emit.splat(float(factor)), value)
    if factor == 1:
        return emit.add(total, value)
    return emit.multiply_add(emit.splat(float(factor)), value, total)


def _combine(emit: Emitter, polynomial: Sequence[Fraction], d: Sequence[ir.Value]) -> ir.Value:
    """The sum of d[i] times the i-th coefficient; the leading one is 1."""
    total = None
    for factor, value in reversed(list(zip(polynomial, d, strict=False))):
        if factor:
            total = _add_scaled(emit, total, factor, value)
    return total


TRANSFORMS = {
    sizes: Transform(*sizes, tuple(Fraction(p) for p in points)) for sizes, points in POINTS.items()
}
DIRECT = Transform(1, 1, ())  # along an axis on which the filter has one tap


@dataclass(frozen=True)
class Tile:
    """A transform along rows (H) and one along columns (W)."""

    down: Transform
    across: Transform

    @property
    def outputs(self) -> tuple[int, int]:
        return self.down.outputs, self.across.outputs

    @property
    def inputs(self) -> tuple[int, int]:
        return self.down.inputs, self.across.inputs

    @property
    def products(self) -> int:
        """Matrix products that it takes, for all outputs of the tile together."""
        return self.down.inputs * self.across.inputs

    def transform_filters(self, filters: Array) -> Array:
        """G g G^T of each filter: (KH, KW, C, OC) -> (products, C, OC), worked out in float64."""
        down = np.ones((1, 1)) if self.down is DIRECT else self.down.filter_matrix()
        across = np.ones((1, 1)) if self.across is DIRECT else self.across.filter_matrix()
        _, _, channels, out_channels = filters.shape
        columns = np.tensordot(down, filters.astype(np.float64), (1, 0))
        both = np.tensordot(across, columns, (1, 1)).swapaxes(0, 1)
        result: Array = both.reshape(self.products, channels, out_channels).astype(np.float32)
        return result


def _each(
    transform: Transform, which: str, emit: Emitter, values: list[ir.Value]
) -> list[ir.Value]:
    if transform is DIRECT:
        return values
    return list(getattr(transform, which)(emit, values))


def twice(tile: Tile, which: str, emit: Emitter, grid: list[list[ir.Value]]) -> list[ir.Value]:
    """Transform the rows of a grid of vectors, then its columns; -> row by row."""
    rows = [_each(tile.across, which, emit, row) for row in grid]
    columns = [_each(tile.down, which, emit, list(column)) for column in zip(*rows, strict=True)]
    return [value for row in zip(*columns, strict=True) for value in row]


def grid(values: list[ir.Value], width: int) -> list[list[ir.Value]]:
    return [values[first : first + width] for first in range(0, len(values), width)]


# The tiles that kernels know, by number.
TILES = (
    Tile(TRANSFORMS[4, 3], TRANSFORMS[4, 3]),
    Tile(DIRECT, TRANSFORMS[4, 3]),
    Tile(TRANSFORMS[4, 3], DIRECT),
    Tile(DIRECT, TRANSFORMS[4, 7]),
    Tile(TRANSFORMS[4, 7], DIRECT),
    Tile(DIRECT, TRANSFORMS[6, 7]),
    Tile(TRANSFORMS[6, 7], DIRECT),
)


def places(emit: Emitter, table: ir.Value, count: int) -> list[ir.Value]:
    """The addresses in a table."""
    builder = emit.builder
    numbers = [builder.load(builder.gep(table, [whole(i)])) for i in range(count)]
    return [builder.inttoptr(number, POINTER) for number in numbers]


def _vectors_of(emit: Emitter, channels: ir.Value) -> ir.Value:
    """How many vectors hold so many channels."""
    up = emit.builder.add(channels, whole(LANES - 1))
    return emit.builder.sdiv(up, whole(LANES))


def _write_input(tile: Tile, emit: Emitter) -> None:
    """B^T d B of one tile, for all channels, `LANES` at a time."""
    table, out, stride, channels = emit.function.args
    addresses = places(emit, table, tile.products)

    def vector(index: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
        channel = emit.builder.mul(index, whole(LANES))
        d = [emit.load(emit.at(place, channel)) for place in addresses]
        transformed = twice(tile, "transform_input", emit, grid(d, tile.across.inputs))
        for position, value in enumerate(transformed):
            line = emit.at(out, emit.builder.mul(stride, whole(position)))
            emit.store(value, emit.at(line, channel))
        return []

    emit.loop(_vectors_of(emit, channels), [], vector)


def _write_output(tile: Tile, emit: Emitter) -> None:
    """max(floor, A^T products A + bias) of one tile, for all channels, `LANES` at a time."""
    products, stride, bias, table, channels, floor = emit.function.args
    builder = emit.builder
    addresses = places(emit, table, math.prod(tile.outputs))
    floors = emit.splat(floor)

    def vector(index: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
        channel = builder.mul(index, whole(LANES))
        m = []
        for position in range(tile.products):
            line = emit.at(products, builder.mul(stride, whole(position)))
            m.append(emit.load(emit.at(line, channel)))
        y = twice(tile, "transform_output", emit, grid(m, tile.across.inputs))
        start = emit.load(emit.at(bias, channel))
        y = [emit.at_least(emit.add(value, start), floors) for value in y]
        left = builder.sub(channels, channel)

        def store(put: Callable[[ir.Value, ir.Value], None]) -> list[ir.Value]:
            for value, place in zip(y, addresses, strict=True):
                put(value, emit.at(place, channel))
            return []

        emit.either(
            builder.icmp_signed(">=", left, whole(LANES)),
            lambda: store(emit.store),
            lambda: store(lambda value, place: emit.store_first(left, value, place)),
        )
        return []

    emit.loop(_vectors_of(emit, channels), [], vector)


TABLE = ir.PointerType(INT)
_FIRST_INPUT = enlist(
    Routine(
        f"winograd_input_{number}",
        (TABLE, POINTER, INT, INT),
        functools.partial(_write_input, tile),
    )
    for number, tile in enumerate(TILES)
)
_FIRST_OUTPUT = enlist(
    Routine(
        f"winograd_output_{number}",
        (POINTER, INT, POINTER, TABLE, INT, FLOAT),
        functools.partial(_write_output, tile),
    )
    for number, tile in enumerate(TILES)
)


def is_table(kind: Any) -> bool:
    """Whether this is the Numba type of a table of addresses: an array of int64, or an address."""
    if isinstance(kind, types.Array):
        return bool(kind.dtype == types.int64 and kind.ndim == 1)
    return kind in (types.int64, types.uint64)


def table_at(context: Any, builder: Any, kind: Any, table: Any, offset: Any) -> Any:
    if isinstance(kind, types.Array):
        data = context.make_array(kind)(context, builder, table).data
    else:
        data = builder.inttoptr(table, ir.PointerType(INT))
    return builder.gep(data, [offset])


@intrinsic  # type: ignore[untyped-decorator]
def transform_input(
    typing: Any,
    routines: Any,
    number: Any,
    table: Any,
    table_offset: Any,
    out: Any,
    out_offset: Any,
    stride: Any,
    channels: Any,
) -> Any:
    """B^T d B of one tile: products p of channel c go to out[out_offset + p stride + c].

    Parameters
    ----------
    routines
        A table (`vectors.table_of`) that has these.
    number
        Which of `TILES`.
    table, table_offset
        Where the inputs lie, row by row: addresses (`vectors.address_of`) of channel 0.
    channels
        Read and written up to the next multiple of `LANES`.
    """
    if not (is_table(table) and is_flat(out)):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        routines, number, table, table_offset, out, out_offset, stride, channels = arguments
        table = table_at(context, builder, signature.args[2], table, table_offset)
        out = address(context, builder, signature.args[4], out, out_offset)
        values = [table, out, stride, channels]
        call_routine(builder, routines, _FIRST_INPUT, number, values)
        return context.get_dummy_value()

    n = types.int64
    return types.void(n, n, table, n, out, n, n, n), generate


@intrinsic  # type: ignore[untyped-decorator]
def transform_output(
    typing: Any,
    routines: Any,
    number: Any,
    products: Any,
    products_offset: Any,
    stride: Any,
    weights: Any,
    bias_offset: Any,
    table: Any,
    table_offset: Any,
    channels: Any,
    floor: Any,
) -> Any:
    """max(floor, A^T products A + bias) of one tile.

    Parameters
    ----------
    routines
        A table (`vectors.table_of`) that has these.
    number
        Which of `TILES`.
    products, products_offset, stride
        Product p of channel c is at products_offset + p stride + c, readable up to the next
        multiple of `LANES`.
    weights, bias_offset
        Where the bias lies.
    table, table_offset
        Where the outputs go, row by row: addresses of channel 0.
    """
    if not (is_flat(products) and is_flat(weights) and is_table(table)):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        routines, number, products, products_offset, stride, weights = arguments[:6]
        bias_offset, table, table_offset, channels, floor = arguments[6:]
        products = address(context, builder, signature.args[2], products, products_offset)
        bias = address(context, builder, signature.args[5], weights, bias_offset)
        table = table_at(context, builder, signature.args[7], table, table_offset)
        values = [products, stride, bias, table, channels, floor]
        call_routine(builder, routines, _FIRST_OUTPUT, number, values)
        return context.get_dummy_value()

    n = types.int64
    return types.void(n, n, products, n, n, weights, n, table, n, n, types.float32), generate
