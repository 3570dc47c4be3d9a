"""The register tile: where all the time goes, and why it goes no faster.

A convolution is a matrix product, pixels times filters.  Its inner step is one fused
multiply-add, and a core can start two of them a cycle, on whole vectors: that is the roof.  To stay
below it nothing but the multiply-adds may be slow, and three things want to be:

1. *Latency.*  A multiply-add takes four cycles or so, and the next one into the same sum must wait
   for it.  So at least 8 independent sums must be under way.
2. *Loads.*  A core reads two vectors a cycle, and a multiply-add needs two operands.  If both came
   from memory, loads would bound it at half the roof.  So what is loaded must be used many times.
3. *Stores and sums in memory.*  Each would cost a load and a store.  So sums stay in registers
   until they are finished.

The answer to all three is a tile of the result, held in registers while all of the depth K runs by:

                     depth K
                 b  | 1 row of filters, 2 vectors |       for k in range(K):
                    +-----------------------------+           b0, b1 = b[k]            # 2 loads
      a    a[r, k]  |                             |           for r in range(14):
    14 rows         |   14 x 2 vectors of sums    |               x = a[r, k]          # 1 load
    (pixels)        |   = 28 registers            |               sum[r, 0] += x * b0
                    +-----------------------------+               sum[r, 1] += x * b1

Each step is 28 multiply-adds, which take 14 cycles, and 16 loads and 3 requests for later, which
take 10: the multiply-adds are what bounds it.  Of the 32 registers of AVX-512, 28 hold sums, 2 the
row of b, 1 the pixel: there is no room for more.  With the 16 registers of AVX2 it is 6 rows: 12
sums, 2 and 1, and 12 multiply-adds, 6 cycles, to 8 loads and 3 requests, 5.5 cycles.  Fewer vectors
a row would mean more loads for each multiply-add, more vectors fewer rows.

Further out:

- b is *packed* (`pack`): what a tile reads of it lies in one run, a *panel* of 2 vectors' columns.
  A panel is read by one tile of pixels after the other (Goto and van de Geijn's order): it comes
  from memory once, and from the level-2 cache from then on.
- a is read where it lies, one number for each row at a time: with channels last, the rows are
  pixels, `a_stride` floats apart, and K runs along the channels.  A filter larger than 1 x 1 reads
  the same way at each of its taps (u, v), shifted, so no patch is ever copied.
- Heights: 9, 17 or 64 pixels are no multiple of 14.  There is a tile for each height from 1 to 14,
  and `height_of` shares the pixels out evenly: 64 are 13 + 13 + 13 + 13 + 12.
- Filters come from memory, once for each picture, and memory is slow to answer and narrow: here a
  core reads 17 GB/s, and multiplies 230 GFLOP/s.  So at each step a tile asks for one cache line of
  what comes later (`later`), the next panel, into the level-2 cache.  The callers share that panel
  out over all tiles that use this one; asked for all at once, or only when it is needed, it would
  keep the multiply-adds waiting.  And `AHEAD` steps before it uses a row of b, it asks for it in
  the level-1 cache.
- Long sums round more than short ones.  So no more than `PIECE` terms are summed from zero, and
  the totals, which wait on the stack meanwhile, are added up at the end of each piece.

What follows the product costs one more pass over memory when it is done later, and next to nothing
while the sums are in registers: the bias, where the sums start from; a residual, which is added;
the ReLU; and the store, which may go into some channels of a wider row, so that a concatenation
needs no copy.

Each element is the same chain of multiply-adds, in the same order, whatever the height of the tile
and wherever in it the element lies.  So neither the number of pictures, nor of threads, nor any
blocking changes a bit of the result.

Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), is
the classic on blocking; Georganas et al. 2018, "Anatomy of high-performance deep learning
convolutions on SIMD architectures", arXiv:1808.05567, on reading images where they lie.
"""

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minincep_kernels import Array
from minincep_kernels.jit import inlined
from minincep_kernels.vectors import (
    FLOAT,
    INT,
    LANES,
    POINTER,
    REGISTERS,
    Emitter,
    Routine,
    address,
    call_routine,
    enlist,
    is_flat,
    padded,
    whole,
)

VECTORS = 2
COLUMNS = VECTORS * LANES
AHEAD = 16  # steps of depth between asking the level-2 cache for a row of b and using it
PIECE = 512  # terms that are summed from zero: longer sums round more
ROWS = (REGISTERS - VECTORS - 1) // VECTORS  # 14 with 32 registers, 6 with 16


def pack(filters: Array, channels: int) -> Array:
    """Filters (..., C, OC) as panels, the columns that a tile reads: -> flat.

    The last panel is one vector wide if that is enough; missing columns are zeros.

    Parameters
    ----------
    channels
        OC; all other axes are the depth, which runs slowest to fastest within each panel.
    """
    matrix = filters.reshape(-1, channels)
    depth = len(matrix)
    packed = np.zeros(depth * padded(channels), np.float32)
    for first in range(0, channels, COLUMNS):
        columns = matrix[:, first : first + COLUMNS]
        width = padded(columns.shape[1])
        panel = packed[depth * first : depth * (first + width)].reshape(depth, width)
        panel[:, : columns.shape[1]] = columns
    return packed


@inlined
def height_of(tile: int, tiles: int, rows: int) -> int:
    """Rows of a tile, when `rows` are shared out evenly over so many tiles."""
    return (tile + 1) * rows // tiles - tile * rows // tiles


def _write(rows: int, vectors: int, emit: Emitter) -> None:
    """The LLVM code of a tile of one height and width; `tile` says what it does."""
    builder = emit.builder
    a, a_stride, taps_v, step_v, taps_h, step_h, depth, b, bias = emit.function.args[:9]
    out, out_stride, residual, residual_stride, columns, floor = emit.function.args[9:15]
    later, later_step = emit.function.args[15:]
    cells = [(row, vector) for row in range(rows) for vector in range(vectors)]

    first_bias = [emit.load(emit.at(bias, vector * LANES)) for vector in range(vectors)]
    sums: list[ir.Value] = [first_bias[vector] for _, vector in cells]
    # If LLVM saw through these, it would work each out from the one before, in a chain.
    strides = [emit.opaque(builder.mul(a_stride, whole(row))) for row in range(rows)]

    def along_depth(_: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        pixels, b, later, *sums = state
        panel = [emit.load(emit.at(b, vector * LANES)) for vector in range(vectors)]
        for vector in range(vectors):
            emit.prefetch(emit.at(b, (AHEAD * vectors + vector) * LANES), level=1)
        emit.prefetch(later, level=2)
        new = []
        for row in range(rows):
            pixel = emit.splat(builder.load(emit.at(pixels, strides[row])))
            for vector in range(vectors):
                total = sums[row * vectors + vector]
                new.append(emit.multiply_add(pixel, panel[vector], total))
        return [emit.at(pixels, 1), emit.at(b, vectors * LANES), emit.at(later, later_step), *new]

    def along(pixels: ir.Value, count: ir.Value, state: list[ir.Value]) -> Any:
        _, *state = emit.loop(count, [pixels, *state], along_depth)
        return state

    def piece(start: ir.Value) -> Any:
        def add(p: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            b, later, *totals = state
            first = builder.sdiv(builder.mul(p, depth), pieces)
            last = builder.sdiv(builder.mul(builder.add(p, whole(1)), depth), pieces)
            zeros = [emit.splat(0.0)] * len(totals)
            count = builder.sub(last, first)
            b, later, *sums = along(emit.at(start, first), count, [b, later, *zeros])
            return [b, later, *map(emit.add, totals, sums)]

        return add

    def down(u: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        line = emit.at(a, builder.mul(u, step_v))

        def across(v: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            return emit.loop(pieces, state, piece(emit.at(line, builder.mul(v, step_h))))

        return emit.loop(taps_h, state, across)

    # One tap and one piece is so frequent that it has a way of its own, all of it in registers.
    pieces = builder.sdiv(builder.add(depth, whole(PIECE - 1)), whole(PIECE))
    sums = emit.either(
        builder.icmp_signed("==", builder.mul(builder.mul(taps_v, taps_h), pieces), whole(1)),
        lambda: along(a, depth, [b, later, *sums])[2:],
        lambda: emit.loop(taps_v, [b, later, *sums], down)[2:],
    )

    def with_residual() -> list[ir.Value]:
        result = []
        for (row, vector), total in zip(cells, sums, strict=True):
            line = emit.at(residual, builder.mul(residual_stride, whole(row)))
            result.append(emit.add(total, emit.load(emit.at(line, vector * LANES))))
        return result

    nothing = builder.icmp_unsigned("==", residual, ir.Constant(POINTER, None))
    sums = emit.either(nothing, lambda: sums, with_residual)
    floors = emit.splat(floor)
    results = [emit.at_least(total, floors) for total in sums]

    def store(masked: bool) -> list[ir.Value]:
        for (row, vector), value in zip(cells, results, strict=True):
            line = emit.at(out, builder.mul(out_stride, whole(row)))
            pointer = emit.at(line, vector * LANES)
            if masked:
                emit.store_first(builder.sub(columns, whole(vector * LANES)), value, pointer)
            else:
                emit.store(value, pointer)
        return []

    full = builder.icmp_signed(">=", columns, whole(vectors * LANES))
    emit.either(full, lambda: store(False), lambda: store(True))


_KINDS = (
    *(POINTER, INT, INT, INT, INT, INT, INT, POINTER, POINTER),
    *(POINTER, INT, POINTER, INT, INT, FLOAT, POINTER, INT),
)
_FIRST = enlist(
    Routine(f"tile_{rows}x{vectors}", _KINDS, functools.partial(_write, rows, vectors))
    for rows in range(1, ROWS + 1)
    for vectors in (VECTORS, 1)
)


@intrinsic  # type: ignore[untyped-decorator]
def tile(
    typing: Any,
    routines: Any,
    rows: Any,
    a: Any,
    a_offset: Any,
    a_stride: Any,
    taps: Any,
    steps: Any,
    depth: Any,
    b: Any,
    b_offset: Any,
    bias_offset: Any,
    out: Any,
    out_offset: Any,
    out_stride: Any,
    residual_offset: Any,
    residual_stride: Any,
    columns: Any,
    floor: Any,
    later_offset: Any,
    later_step: Any,
) -> Any:
    """One tile: out[r, j] = max(floor, bias[j] + sum of a[r, k] b[k, j] + residual[r, j]).

    All arrays are flat, float32, and seen from an offset; nothing checks the bounds.

    Parameters
    ----------
    routines
        A table (`vectors.table_of`) that has these.
    rows
        Height of the tile, 1 to `ROWS`.
    a, a_offset, a_stride
        Row r starts at a_offset + r a_stride.
    taps, steps
        (KH, KW) taps of the filter, and how many floats of `a` lie from one to the next, in the
        two directions.
    depth
        Numbers side by side at each tap.
    b, b_offset
        A panel, (KH KW depth, COLUMNS or LANES) without gaps.
    bias_offset
        Where in `b` the numbers are that the sums start from.
    out, out_offset, out_stride
        Row r of the result starts at out_offset + r out_stride.
    residual_offset, residual_stride
        The same for what is added from `out`; an offset below 0 means nothing.
    columns
        How many columns there are, up to `COLUMNS`; if no more than LANES, the panel is a narrow
        one.
    floor
        0 for a ReLU, minus infinity for none.
    later_offset, later_step
        What of `b` to ask for meanwhile: from there on, so many floats further at each step of
        depth.  Any number will do; nothing is read.
    """
    if not (is_flat(a) and is_flat(b) and is_flat(out)):
        return None
    pair = types.UniTuple(types.int64, 2)
    whole_number = types.int64
    signature = types.void(
        *(whole_number, whole_number, a, whole_number, whole_number, pair, pair, whole_number),
        *(b, whole_number, whole_number, out, whole_number, whole_number),
        *(whole_number, whole_number, whole_number, types.float32, whole_number, whole_number),
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        routines, rows, a, a_offset, a_stride, taps, steps, depth, b = arguments[:9]
        b_offset, bias_offset, out, out_offset, out_stride = arguments[9:14]
        residual_offset, residual_stride, columns, floor = arguments[14:18]
        later_offset, later_step = arguments[18:]
        a_kind, b_kind, out_kind = (signature.args[i] for i in (2, 8, 11))
        nothing = builder.icmp_signed("<", residual_offset, whole(0))
        residual = builder.select(
            nothing,
            ir.Constant(POINTER, None),
            address(context, builder, out_kind, out, residual_offset),
        )
        values = [
            address(context, builder, a_kind, a, a_offset),
            a_stride,
            builder.extract_value(taps, 0),
            builder.extract_value(steps, 0),
            builder.extract_value(taps, 1),
            builder.extract_value(steps, 1),
            depth,
            address(context, builder, b_kind, b, b_offset),
            address(context, builder, b_kind, b, bias_offset),
            address(context, builder, out_kind, out, out_offset),
            out_stride,
            residual,
            residual_stride,
            columns,
            floor,
            address(context, builder, b_kind, b, later_offset),
            later_step,
        ]
        narrow = builder.zext(builder.icmp_signed("<=", columns, whole(LANES)), INT)
        number = builder.add(builder.mul(builder.sub(rows, whole(1)), whole(2)), narrow)
        call_routine(builder, routines, _FIRST, number, values)
        return context.get_dummy_value()

    return signature, generate
