"""Squares of numbers, turned over their diagonal in registers.

Rows become columns in steps: first neighbours change places (in squares of 2 x 2), then pairs of
neighbours, then fours, until the square is done.  Each step is a shuffle of two vectors for each
vector, log2(LANES) times: a quarter of an instruction for each number, where moving one number at a
time would take two.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

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


def _shuffled(emit: Emitter, a: ir.Value, b: ir.Value, lanes: list[int]) -> ir.Value:
    """Some lanes of two vectors, those of b counted on from LANES."""
    kind = ir.VectorType(ir.IntType(32), LANES)
    return emit.builder.shuffle_vector(a, b, ir.Constant(kind, lanes))


def _write(emit: Emitter) -> None:
    x, x_stride, out, out_stride = emit.function.args
    builder = emit.builder
    rows = [emit.load(emit.at(x, builder.mul(x_stride, whole(i)))) for i in range(LANES)]
    distance = 1
    while distance < LANES:
        upper = [lane if not lane & distance else LANES + lane - distance for lane in range(LANES)]
        lower = [lane + distance if not lane & distance else LANES + lane for lane in range(LANES)]
        for i in range(LANES):
            if not i & distance:
                a, b = rows[i], rows[i + distance]
                rows[i] = _shuffled(emit, a, b, upper)
                rows[i + distance] = _shuffled(emit, a, b, lower)
        distance *= 2
    for i, row in enumerate(rows):
        emit.store(row, emit.at(out, builder.mul(out_stride, whole(i))))


_NUMBER = enlist([Routine("transpose", (POINTER, INT, POINTER, INT), _write)])


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def transpose(
    typing: Any,
    routines: Any,
    x: Any,
    x_offset: Any,
    x_stride: Any,
    out: Any,
    out_offset: Any,
    out_stride: Any,
) -> Any:
    """out[j, i] = x[i, j] for LANES rows and as many columns; nothing checks the bounds.

    Parameters
    ----------
    routines
        A table (`vectors.table_of`) that has this one.
    x, x_offset, x_stride
        Row i starts at x_offset + i x_stride.
    out, out_offset, out_stride
        The same for the result.
    """
    if not (is_flat(x) and is_flat(out)):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        routines, x, x_offset, x_stride, out, out_offset, out_stride = arguments
        values = [
            *(address(context, builder, signature.args[1], x, x_offset), x_stride),
            *(address(context, builder, signature.args[4], out, out_offset), out_stride),
        ]
        call_routine(builder, routines, _NUMBER, whole(0), values)
        return context.get_dummy_value()

    n = types.int64
    return types.void(n, x, n, n, out, n, n), generate
