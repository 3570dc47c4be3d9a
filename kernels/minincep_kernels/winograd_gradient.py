"""Winograd's convolution backwards: the filter gradient, from the same transforms.

`winograd` works out y = A^T [ (G g) * (B^T d) ].  That is linear in the filter g, and the gradient
of a linear function is its transpose, read from right to left:

    gg = G^T [ (A gy) * (B^T d) ]

summed over all tiles of all pictures.  So there are three transforms, of the output gradient, the
input and the result, and in between, for each of the products, a sum of outer products over the
tiles (`outer`): F(4 x 4, 3 x 3) takes 36 multiplications for 144 here, too.

The input gradient needs nothing new.  It is a convolution of gy with the turned filters.  What it
needs, as the forward pass of a training step does, are transformed filters, G g G^T, at each step
anew: hence they are transformed here by vectors, in float32, and not in Python.
"""

import functools
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
from minincep_kernels.winograd import TABLE, TILES, Tile, grid, is_table, places, table_at, twice


def _vectors(emit: Emitter, channels: ir.Value, body: Any) -> None:
    """Emit body(first channel, how many are left) for each vector of channels."""

    def vector(index: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
        channel = emit.builder.mul(index, whole(LANES))
        body(channel, emit.builder.sub(channels, channel))
        return []

    up = emit.builder.add(channels, whole(LANES - 1))
    emit.loop(emit.builder.sdiv(up, whole(LANES)), [], vector)


def _write_spread(which: str, tile: Tile, emit: Emitter) -> None:
    """From the places in a table to all products, for all channels."""
    table, out, stride, channels = emit.function.args
    across = tile.across.outputs if which == "transform_output_gradient" else tile.across.taps
    down = tile.down.outputs if which == "transform_output_gradient" else tile.down.taps
    addresses = places(emit, table, down * across)

    def vector(channel: ir.Value, left: ir.Value) -> None:
        values = [emit.load_first(left, emit.at(place, channel)) for place in addresses]
        for position, value in enumerate(twice(tile, which, emit, grid(values, across))):
            line = emit.at(out, emit.builder.mul(stride, whole(position)))
            emit.store(value, emit.at(line, channel))

    _vectors(emit, channels, vector)


def _write_gather(tile: Tile, emit: Emitter) -> None:
    """From all products to the places in a table, for all channels."""
    table, products, stride, channels = emit.function.args
    addresses = places(emit, table, tile.down.taps * tile.across.taps)

    def vector(channel: ir.Value, left: ir.Value) -> None:
        values = []
        for position in range(tile.products):
            line = emit.at(products, emit.builder.mul(stride, whole(position)))
            values.append(emit.load_first(left, emit.at(line, channel)))
        taps = twice(tile, "transform_filter_gradient", emit, grid(values, tile.across.inputs))
        for value, place in zip(taps, addresses, strict=True):
            emit.store_first(left, value, emit.at(place, channel))

    _vectors(emit, channels, vector)


_KINDS = (TABLE, POINTER, INT, INT)
_FIRST = {
    which: enlist(
        Routine(f"gradient_{which}_{number}", _KINDS, functools.partial(_write_spread, which, tile))
        for number, tile in enumerate(TILES)
    )
    for which in ("transform_output_gradient", "transform_filters")
}
_FIRST["transform_filter_gradient"] = enlist(
    Routine(
        f"gradient_transform_filter_gradient_{number}",
        _KINDS,
        functools.partial(_write_gather, tile),
    )
    for number, tile in enumerate(TILES)
)


def _transform(which: str, explained: str) -> Any:
    """The intrinsic that calls the routines of one sort."""

    def transform(
        typing: Any,
        routines: Any,
        number: Any,
        table: Any,
        products: Any,
        offset: Any,
        stride: Any,
        channels: Any,
    ) -> Any:
        if not (is_table(table) and is_flat(products)):
            return None

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            routines, number, table, products, offset, stride, channels = arguments
            values = [
                table_at(context, builder, signature.args[2], table, whole(0)),
                address(context, builder, signature.args[3], products, offset),
                *(stride, channels),
            ]
            call_routine(builder, routines, _FIRST[which], number, values)
            return context.get_dummy_value()

        n = types.int64
        return types.void(n, n, table, products, n, n, n), generate

    transform.__doc__ = explained + _PARAMETERS
    return intrinsic(transform)


_PARAMETERS = """

    Nothing is read beyond the last channel.

    Parameters
    ----------
    routines
        A table (`vectors.table_of`) that has these.
    number
        Which of `TILES`.
    table
        Addresses of channel 0 of each output pixel or tap, row by row.
    products, offset, stride
        Product p of channel c is at offset + p stride + c; where products are written, they are up
        to the next multiple of `LANES`.
    channels
        How many.
    """

transform_output_gradient = _transform("transform_output_gradient", "A gy A^T of one tile.")
transform_filters = _transform("transform_filters", "G g G^T of the filters of one channel.")
transform_filter_gradient = _transform(
    "transform_filter_gradient", "G^T products G: the gradient of the filters of one channel."
)
