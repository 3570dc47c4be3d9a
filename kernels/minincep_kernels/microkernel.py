"""The register tile: where all the time goes, and why it goes no faster.

A convolution is a matrix product, pixels times filters.  Its inner step is one fused
multiply-add, and a core can start two of them a cycle, on whole vectors: that is the roof.  To stay
below it nothing but the multiply-adds may be slow, and three things want to be:

1. *Latency.*  A multiply-add takes four cycles or so, and the next one into the same sum must wait
   for it.  So at least 8 independent sums must be under way.
2. *Loads.*  A core reads two vectors a cycle, and a multiply-add needs two operands.  If both came
   from memory, loads would bound it at half the roof.  So what is loaded must be used many times.
3. *Stores and sums in memory.*  Each would cost a load and a store.  So sums stay in registers until
   they are finished.

The answer to all three is a tile of the result, held in registers while all of the depth K runs by:

                     depth K
                 b  | 1 row of filters, 2 vectors |       for k in range(K):
                    +-----------------------------+           b0, b1 = b[k]            # 2 loads
      a    a[r, k]  |                             |           for r in range(14):
    14 rows         |   14 x 2 vectors of sums    |               x = a[r, k]          # 1 load
    (pixels)        |   = 28 registers            |               sum[r, 0] += x * b0
                    +-----------------------------+               sum[r, 1] += x * b1

Each step is 28 multiply-adds, which take 14 cycles, and 16 loads, which take 8: the multiply-adds
are what bounds it.  Of the 32 registers of AVX-512, 28 hold sums, 2 the row of b, 1 the pixel: there
is no room for more.  With the 16 registers of AVX2 it is 6 rows: 12 sums, 2 and 1, and 12
multiply-adds, 6 cycles, to 8 loads, 4 cycles.  Fewer vectors a row would mean more loads for each
multiply-add, more vectors fewer rows.

Further out:

- b is *packed* (`pack`): what a tile reads of it lies in one run, a *panel* of 2 vectors' columns.
  A panel is read by every tile of pixels, so it should still be in the level-2 cache when the next
  tile comes; the callers see to that.
- a is read where it lies, one number for each row at a time: with channels last, the rows are
  pixels, `a_stride` floats apart, and K runs along the channels.  A filter larger than 1 x 1 reads
  the same way at each of its taps (u, v), shifted, so no patch is ever copied.
- Heights: 9, 17 or 64 pixels are no multiple of 14.  There is a tile for each height from 1 to 14,
  and `heights` shares the pixels out evenly: 64 are 13 + 13 + 13 + 13 + 12.

What follows the product costs one more pass over memory when it is done later, and next to nothing
while the sums are in registers: the bias, where the sums start from; a residual, which is added; the
ReLU; and the store, which may go into some channels of a wider row, so that a concatenation needs no
copy.

Each element is the same chain of multiply-adds, k = 0, 1, ..., whatever the height of the tile and
wherever in it the element lies.  So neither the number of pictures, nor of threads, nor any
blocking changes a bit of the result.

Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), is
the classic on blocking; Georganas et al. 2018, "Anatomy of high-performance deep learning
convolutions on SIMD architectures", arXiv:1808.05567, on reading images where they lie.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from minincep_kernels import Array
from minincep_kernels.vectors import (
    FLOAT,
    INT,
    LANES,
    POINTER,
    REGISTERS,
    Emitter,
    address,
    is_flat,
    padded,
    whole,
)

VECTORS = 2
COLUMNS = VECTORS * LANES
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


@register_jitable  # type: ignore[untyped-decorator]  # Numba has no types
def height_of(tile: int, tiles: int, rows: int) -> int:
    """Rows of a tile, when `rows` are shared out evenly over so many tiles."""
    return (tile + 1) * rows // tiles - tile * rows // tiles


def _emit(module: ir.Module, rows: int, vectors: int) -> ir.Function:
    """The LLVM function of a tile of one height and width; `tile` says what it does."""
    name = f"minincep_tile_{rows}x{vectors}"
    if name in module.globals:
        return module.globals[name]
    kinds = [POINTER, INT, INT, INT, INT, INT, INT, POINTER, POINTER]
    kinds += [POINTER, INT, POINTER, INT, INT, FLOAT]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    emit = Emitter(function)
    builder = emit.builder
    a, a_stride, taps_v, step_v, taps_h, step_h, depth, b, bias = function.args[:9]
    out, out_stride, residual, residual_stride, columns, floor = function.args[9:]
    cells = [(row, vector) for row in range(rows) for vector in range(vectors)]

    first_bias = [emit.load(emit.at(bias, vector * LANES)) for vector in range(vectors)]
    sums: list[ir.Value] = [first_bias[vector] for _, vector in cells]
    # If LLVM saw through these, it would work each out from the one before, in a chain.
    strides = [emit.opaque(builder.mul(a_stride, whole(row))) for row in range(rows)]

    def along_depth(_: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        pixels, b, *sums = state
        panel = [emit.load(emit.at(b, vector * LANES)) for vector in range(vectors)]
        new = []
        for row in range(rows):
            pixel = emit.splat(builder.load(emit.at(pixels, strides[row])))
            for vector in range(vectors):
                total = sums[row * vectors + vector]
                new.append(emit.multiply_add(pixel, panel[vector], total))
        return [emit.at(pixels, 1), emit.at(b, vectors * LANES), *new]

    def down(u: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        line = emit.at(a, builder.mul(u, step_v))

        def across(v: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            pixels = emit.at(line, builder.mul(v, step_h))
            return emit.loop(depth, [pixels, *state], along_depth)[1:]

        return emit.loop(taps_h, state, across)

    _, *sums = emit.loop(taps_v, [b, *sums], down)

    # The residual, if there is one.
    before = builder.block
    with builder.if_then(builder.icmp_unsigned("!=", residual, ir.Constant(POINTER, None))):
        with_residual = []
        for (row, vector), total in zip(cells, sums, strict=True):
            place = builder.mul(residual_stride, whole(row))
            more = emit.load(emit.at(emit.at(residual, place), vector * LANES))
            with_residual.append(builder.fadd(total, more))
        inside = builder.block
    merged = []
    for without, added in zip(sums, with_residual, strict=True):
        merged.append(builder.phi(without.type))
        merged[-1].add_incoming(without, before)
        merged[-1].add_incoming(added, inside)

    floors = emit.splat(floor)
    results = [emit.at_least(total, floors) for total in merged]

    def store(masked: bool) -> None:
        for (row, vector), value in zip(cells, results, strict=True):
            line = emit.at(out, builder.mul(out_stride, whole(row)))
            pointer = emit.at(line, vector * LANES)
            if masked:
                emit.store_first(builder.sub(columns, whole(vector * LANES)), value, pointer)
            else:
                emit.store(value, pointer)

    full = builder.icmp_signed(">=", columns, whole(vectors * LANES))
    emit.if_else(full, lambda: store(False), lambda: store(True))
    builder.ret_void()
    return function


@intrinsic  # type: ignore[untyped-decorator]
def tile(
    typing: Any,
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
) -> Any:
    """One tile of a product: out[r, j] = max(floor, bias[j] + sum a[r, u, v, k] b[u, v, k, j] + ...).

    All arrays are flat, float32, and seen from an offset; nothing checks the bounds.

    Parameters
    ----------
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
        How many columns there are, up to `COLUMNS`; if no more than LANES, the panel is a narrow one.
    floor
        0 for a ReLU, minus infinity for none.
    """
    if not (is_flat(a) and is_flat(b) and is_flat(out)):
        return None
    pair = types.UniTuple(types.int64, 2)
    whole_number = types.int64
    signature = types.void(
        *(whole_number, a, whole_number, whole_number, pair, pair, whole_number),
        *(b, whole_number, whole_number, out, whole_number, whole_number),
        *(whole_number, whole_number, whole_number, types.float32),
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, a, a_offset, a_stride, taps, steps, depth, b, b_offset, bias_offset = arguments[:10]
        out, out_offset, out_stride, residual_offset, residual_stride = arguments[10:15]
        columns, floor = arguments[15:]
        a_kind, b_kind, out_kind = (signature.args[i] for i in (1, 7, 10))
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
        ]
        narrow = builder.icmp_signed("<=", columns, whole(LANES))
        case = builder.add(
            builder.mul(rows, whole(2)), builder.zext(narrow, INT)
        )
        done = builder.append_basic_block()
        switch = builder.switch(case, done)
        for height in range(1, ROWS + 1):
            for is_narrow, vectors in enumerate((VECTORS, 1)):
                block = builder.append_basic_block()
                switch.add_case(whole(2 * height + is_narrow), block)
                with builder.goto_block(block):
                    builder.call(_emit(builder.module, height, vectors), values)
                    builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, generate
