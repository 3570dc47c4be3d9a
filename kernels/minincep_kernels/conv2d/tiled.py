"""Convolution as compiled plans do it: each kind of step that multiplies, as a program of one.

In a plan, filters are packed once and steps follow each other without Python in between; here each
call packs anew.  So these variants are not there to be fast: they let one kind run in a whole
network, and meet the tests that all variants meet.

`tile`, `tile_direct` and `tile_implicit` are those of `program.products`; `winograd_4x4_3x3` is
F(4 x 4, 3 x 3), 4 x 4 outputs of a filter of 3 x 3, and there is one for each of `winograd.TILES`.

The input gradient of a convolution with stride 1 is itself one, of the output gradient with the
filters turned by 180 degrees.  All other gradients, and float64, are those of `im2col`.
"""

import math
from dataclasses import dataclass

import numpy as np

from minincep_kernels import Array, machine
from minincep_kernels.conv2d import im2col
from minincep_kernels.program.layout import DIRECT, IMPLICIT, POINTWISE, Method
from minincep_kernels.program.run import scratch_of
from minincep_kernels.program.runner import Runner
from minincep_kernels.program.step import STEP, ZEROS, Kind
from minincep_kernels.registry import DIRECT_TOLERANCE, Variant, register
from minincep_kernels.shapes import Conv2dShape
from minincep_kernels.vectors import COLUMNS_SLACK, padded
from minincep_kernels.winograd import TILES, Tile, Transform


def convolve(method: Method, x: Array, filters: Array, shape: Conv2dShape) -> Array:
    """Run one step: (N, H, W, C), (KH, KW, C, OC) -> (N, OH, OW, OC), all float32."""
    packed = method.pack(filters)
    bias = ZEROS + packed.size
    weights = np.zeros(bias + padded(shape.out_channels) + COLUMNS_SLACK, np.float32)
    weights[ZEROS:bias] = packed
    steps = np.zeros(1, STEP)
    chunks = method.fields(shape, machine.get_num_threads())
    for name, number in {**fields(shape), **chunks, "bias": bias}.items():
        steps[name] = number
    activations = np.zeros(x.size + COLUMNS_SLACK, np.float32)  # vectors reach over the end
    activations[: x.size] = x.reshape(-1)
    out = np.empty(shape.output, np.float32)
    runner = Runner(steps, scratch_of(steps[0]))
    runner(0, 1, shape.batch, weights, activations, out.reshape(-1))
    return out


def fields(shape: Conv2dShape) -> dict[str, int]:
    """What the step says of its shape; images and results lie in their arrays from the start on."""
    return {
        "in_pitch": shape.channels,
        "height": shape.height,
        "width": shape.width,
        "channels": shape.channels,
        "out_pitch": shape.out_channels,
        "out_height": shape.out_height,
        "out_width": shape.out_width,
        "out_channels": shape.out_channels,
        "kernel_height": shape.kernel[0],
        "kernel_width": shape.kernel[1],
        "stride_height": shape.stride[0],
        "stride_width": shape.stride[1],
        "top": shape.padding[0],
        "left": shape.padding[2],
        "residual_offset": -1,
        "filters": ZEROS,
    }


def mirrored(shape: Conv2dShape) -> Conv2dShape | None:
    """The convolution that gives the input gradient of one, if there is one."""
    sides = np.repeat(shape.kernel, 2) - 1 - shape.padding
    if shape.stride != (1, 1) or sides.min() < 0:
        return None
    top, bottom, left, right = (int(side) for side in sides)
    return Conv2dShape(
        *(shape.batch, shape.out_height, shape.out_width, shape.out_channels),
        *(shape.kernel, (1, 1), (top, bottom, left, right), shape.channels),
    )


@dataclass(frozen=True)
class Tiled:
    """The three functions of a variant, for one method."""

    method: Method

    def forward(self, x: Array, filters: Array, shape: Conv2dShape) -> Array:
        if not _single(x, filters):
            return im2col.forward(x, filters, shape)
        return convolve(self.method, x, filters, shape)

    def input_gradient(self, gy: Array, filters: Array, shape: Conv2dShape) -> Array:
        mirror = mirrored(shape)
        if mirror is None or not self.method.supports(mirror) or not _single(gy, filters):
            return im2col.input_gradient(gy, filters, shape)
        turned = np.ascontiguousarray(filters[::-1, ::-1].swapaxes(2, 3))
        return convolve(self.method, gy, turned, mirror)


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


METHODS = {"tile": POINTWISE, "tile_direct": DIRECT, "tile_implicit": IMPLICIT} | {
    name_of(tile): Method(Kind.WINOGRAD, number) for number, tile in enumerate(TILES)
}


def tolerance(method: Method) -> float:
    """`Variant.tolerance` of a method."""
    if method.kind != Kind.WINOGRAD:
        return DIRECT_TOLERANCE
    tile = TILES[method.tile]
    return DIRECT_TOLERANCE * loss(tile.down) * loss(tile.across)


for _name, _method in METHODS.items():
    register(
        Variant(
            op="conv2d",
            name=_name,
            supports=_method.supports,
            forward=Tiled(_method).forward,
            input_gradient=Tiled(_method).input_gradient,
            filter_gradient=im2col.filter_gradient,
            tolerance=tolerance(_method),
        )
    )
