"""The register tile of filter gradients: sums of outer products.

The gradient of a filter is a product, too: at each tap, out[c, o] is the sum over all pixels of
x[pixel, c] gy[pixel, o].  The depth of this product is the pixels, millions of them, and what
multiplies lies across it: a pixel of x is a column of the left matrix.  So the tile of
`microkernel` cannot read it, and this one does, without a copy of anything:

                        a pixel of gy
                    | 1 row, 2 vectors  |     for k in pixels:
                    +-------------------+         b0, b1 = gy[k]                # 2 loads
    a pixel of x    |                   |         for r in range(14):
    14 channels     | 14 x 2 vectors    |             x = x[k, r]               # 1 load
                    | of sums           |             sum[r, 0] += x * b0
                    +-------------------+             sum[r, 1] += x * b1

The sums stay in registers while the pixels run by, as there; see `microkernel` for why 14 x 2.  The
14 channels lie side by side, so that one request for a cache line ahead serves nearly all of them.

Pixels come in lines, evenly spaced: in the shifted picture that a tap sees, the lines that reach
over the edge are shorter or missing, and nothing needs to be zero-filled.  A stride is a larger
space between pixels of x.
"""

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minincep_kernels.microkernel import AHEAD, ROWS, VECTORS
from minincep_kernels.vectors import (
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


def _write(rows: int, vectors: int, emit: Emitter) -> None:
    """The LLVM code of a tile of one height and width; `outer` says what it does."""
    builder = emit.builder
    a, a_line, a_step, b, b_line, b_step, lines, depth = emit.function.args[:8]
    out, out_stride, columns, more, later = emit.function.args[8:]
    cells = [(row, vector) for row in range(rows) for vector in range(vectors)]
    a_ahead, b_ahead = (builder.mul(step, whole(AHEAD)) for step in (a_step, b_step))
    counts = [builder.sub(columns, whole(vector * LANES)) for vector in range(vectors)]
    places = []
    for row, vector in cells:
        line = emit.at(out, builder.mul(out_stride, whole(row)))
        places.append(emit.at(line, vector * LANES))
        emit.prefetch(places[-1], level=1)

    def summed(load: Callable[[int, ir.Value], ir.Value]) -> list[ir.Value]:
        def along(_: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            a, b, later, *sums = state
            panel = [load(vector, emit.at(b, vector * LANES)) for vector in range(vectors)]
            for vector in range(vectors):
                emit.prefetch(emit.at(emit.at(b, b_ahead), vector * LANES), level=1)
            emit.prefetch(emit.at(a, a_ahead), level=1)
            emit.prefetch(later, level=2)
            new = []
            for row in range(rows):
                number = emit.splat(builder.load(emit.at(a, row)))
                for vector in range(vectors):
                    total = sums[row * vectors + vector]
                    new.append(emit.multiply_add(number, panel[vector], total))
            return [emit.at(a, a_step), emit.at(b, b_step), emit.at(later, b_step), *new]

        def down(_: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            a, b, later, *sums = state
            _, _, _, *sums = emit.loop(depth, [a, b, later, *sums], along)
            return [emit.at(a, a_line), emit.at(b, b_line), emit.at(later, b_line), *sums]

        return emit.loop(lines, [a, b, later, *[emit.splat(0.0)] * len(cells)], down)[3:]

    full = builder.icmp_signed(">=", columns, whole(vectors * LANES))
    sums = emit.either(
        full,
        lambda: summed(lambda _, pointer: emit.load(pointer)),
        lambda: summed(lambda vector, pointer: emit.load_first(counts[vector], pointer)),
    )

    def finish(
        load: Callable[[int, ir.Value], ir.Value], store: Callable[[int, ir.Value, ir.Value], None]
    ) -> list[ir.Value]:
        def with_earlier() -> list[ir.Value]:
            return [
                emit.add(load(vector, place), total)
                for (_, vector), place, total in zip(cells, places, sums, strict=True)
            ]

        totals = emit.either(builder.icmp_signed("!=", more, whole(0)), with_earlier, lambda: sums)
        for (_, vector), place, total in zip(cells, places, totals, strict=True):
            store(vector, total, place)
        return []

    emit.either(
        full,
        lambda: finish(
            lambda _, pointer: emit.load(pointer),
            lambda _, value, pointer: emit.store(value, pointer),
        ),
        lambda: finish(
            lambda vector, pointer: emit.load_first(counts[vector], pointer),
            lambda vector, value, pointer: emit.store_first(counts[vector], value, pointer),
        ),
    )


_KINDS = (
    *(POINTER, INT, INT, POINTER, INT, INT, INT, INT),
    *(POINTER, INT, INT, INT, POINTER),
)
_FIRST = enlist(
    Routine(f"outer_{rows}x{vectors}", _KINDS, functools.partial(_write, rows, vectors))
    for rows in range(1, ROWS + 1)
    for vectors in (VECTORS, 1)
)


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def outer(
    typing: Any,
    routines: Any,
    rows: Any,
    a: Any,
    a_offset: Any,
    a_steps: Any,
    b: Any,
    b_offset: Any,
    b_steps: Any,
    counts: Any,
    out: Any,
    out_offset: Any,
    out_stride: Any,
    columns: Any,
    more: Any,
    later: Any,
) -> Any:
    """One tile: out[r, j] = sum over k of a[k, r] b[k, j], or as much more than it was.

    All arrays are flat, float32, and seen from an offset; nothing checks the bounds, and nothing is
    read that is not multiplied.

    Parameters
    ----------
    routines
        A table (`vectors.table_of`) that has these.
    rows
        Height of the tile, 1 to `ROWS`.
    a, a_offset, a_steps
        The numbers a[k, 0] to a[k, rows - 1] lie side by side; (from line to line, from k to k in
        a line) in floats.
    b, b_offset, b_steps
        The same for b[k, 0] to b[k, columns - 1].
    counts
        (lines, how many k in a line), both at least 1.
    out, out_offset, out_stride
        Row r of the result starts at out_offset + r out_stride.
    columns
        How many columns there are, up to `COLUMNS`; if no more than LANES, one vector is enough.
    more
        Whether to add to what `out` holds: 0 or 1.
    later
        How much further on in `b` is what will be wanted soon: it is fetched meanwhile.
    """
    if not (is_flat(a) and is_flat(b) and is_flat(out)):
        return None
    pair = types.UniTuple(types.int64, 2)
    n = types.int64
    signature = types.void(n, n, a, n, pair, b, n, pair, pair, out, n, n, n, n, n)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        routines, rows, a, a_offset, a_steps, b, b_offset, b_steps, counts = arguments[:9]
        out, out_offset, out_stride, columns, more, later = arguments[9:]
        a_kind, b_kind, out_kind = (signature.args[i] for i in (2, 5, 9))
        values = [
            address(context, builder, a_kind, a, a_offset),
            *(builder.extract_value(a_steps, i) for i in range(2)),
            address(context, builder, b_kind, b, b_offset),
            *(builder.extract_value(b_steps, i) for i in range(2)),
            *(builder.extract_value(counts, i) for i in range(2)),
            address(context, builder, out_kind, out, out_offset),
            *(out_stride, columns, more),
            address(context, builder, b_kind, b, builder.add(b_offset, later)),
        ]
        narrow = builder.zext(builder.icmp_signed("<=", columns, whole(LANES)), INT)
        number = builder.add(builder.mul(builder.sub(rows, whole(1)), whole(2)), narrow)
        call_routine(builder, routines, _FIRST, number, values)
        return context.get_dummy_value()

    return signature, generate
