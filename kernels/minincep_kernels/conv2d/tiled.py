"""What the rungs on the register tile share: each is a method of plans, run as a variant.

In a plan, filters are packed once and steps follow each other without Python in between; here each
call packs anew (`gradients`).  That is what training needs, where filters change at each step, and
it lets one kind run in a whole network, and meet the tests that all variants meet.

Where no variant is forced, the fastest of these runs, each part of a layer for itself.  float64,
and an input gradient with padding wider than the filter, are left to `im2col`.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from minincep_kernels import Array
from minincep_kernels.conv2d import gradients, im2col
from minincep_kernels.program import layout
from minincep_kernels.program.layout import Method
from minincep_kernels.program.step import Kind
from minincep_kernels.registry import DIRECT_TOLERANCE, Part, Variant, prefer, register
from minincep_kernels.shapes import Conv2dShape
from minincep_kernels.winograd import TILES, Tile, Transform


@dataclass(frozen=True)
class Tiled:
    """The three functions of a variant, for one method."""

    method: Method

    def forward(self, x: Array, filters: Array, shape: Conv2dShape) -> Array:
        if not _single(x, filters):
            return im2col.forward(x, filters, shape)
        return gradients.forward(self.method, x, filters, shape)

    def input_gradient(self, gy: Array, filters: Array, shape: Conv2dShape) -> Array:
        if not _single(gy, filters) or not gradients.has_phases(shape):
            return im2col.input_gradient(gy, filters, shape)
        return gradients.input_gradient(self.method, gy, filters, shape)

    def filter_gradient(self, x: Array, gy: Array, shape: Conv2dShape) -> Array:
        if not _single(x, gy):
            return im2col.filter_gradient(x, gy, shape)
        tile = self.method.tile if self.method.kind == Kind.WINOGRAD else None
        return gradients.filter_gradient(x, gy, shape, tile)


def _single(*arrays: Array) -> bool:
    return all(array.dtype == np.float32 for array in arrays)


def name_of(tile: Tile) -> str:
    """F(4 x 4, 3 x 3) is "winograd_4x4_3x3"."""
    outputs = "x".join(map(str, tile.outputs))
    return f"winograd_{outputs}_{tile.down.taps}x{tile.across.taps}"


def loss(transform: Transform) -> float:
    """How many times larger errors come out of a transform than of direct convolution.

    The usual estimate: inputs and filters are independent, of variance 1, and each product of
    transforms is off by a rounding of its own size.  The root mean square over the outputs.
    """
    if transform.taps == 1:
        return 1.0
    finite = transform.points
    inputs = [*(transform.without(point) for point in finite), transform.without()]
    errors = np.square(np.array([math.hypot(*row) for row in inputs]))
    errors *= np.square(transform.filter_matrix()).sum(axis=1)
    evaluated = [[float(point**power) for point in finite] for power in range(transform.outputs)]
    outputs = np.column_stack([evaluated, np.eye(transform.outputs)[-1]])
    return float(np.sqrt((np.square(outputs) @ errors).mean() / transform.taps))


def tolerance(method: Method) -> float:
    """`Variant.tolerance` of a method."""
    if method.kind != Kind.WINOGRAD:
        return DIRECT_TOLERANCE
    tile = TILES[method.tile]
    return DIRECT_TOLERANCE * loss(tile.down) * loss(tile.across)


def work(method: Method, shape: Conv2dShape) -> float:
    """`Variant.work` of a method: transforms are not counted."""
    if method.kind != Kind.WINOGRAD:
        return shape.flops
    tile = TILES[method.tile]
    down, across = tile.outputs
    tiles = shape.batch * -(-shape.out_height // down) * -(-shape.out_width // across)
    return 2.0 * tiles * tile.products * shape.channels * shape.out_channels


METHODS: dict[str, Method] = {}


def rung(name: str, method: Method, *, below: str, about: str) -> None:
    """Register a method as a variant."""
    METHODS[name] = method
    functions = Tiled(method)
    register(
        Variant(
            op="conv2d",
            name=name,
            supports=method.supports,
            forward=functions.forward,
            input_gradient=functions.input_gradient,
            filter_gradient=functions.filter_gradient,
            tolerance=tolerance(method),
            below=below,
            work=functools.partial(work, method),
            about=about,
        )
    )


@functools.cache
def _preferred(shape: Conv2dShape, part: Part) -> str:
    """The name of the fastest variant."""
    method = layout.choose(shape)
    if part == "input_gradient" and shape.stride == (1, 1):
        [mirror] = gradients.phases(shape)
        method = layout.choose(mirror) if gradients.has_phases(shape) else method
    elif part == "filter_gradient":
        method = layout.choose_filter_gradient(shape)
    return next(name for name, known in METHODS.items() if known == method)


prefer("conv2d", _preferred)
