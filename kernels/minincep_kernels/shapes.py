"""The sizes of an operation: what goes in, what comes out, and how much work that is at least.

`flops` counts operations of the plain definition, and `bytes` what must be read and written at
least once in float32: both bound the time that any kernel takes (`roofline`).
"""

import math
from dataclasses import dataclass
from typing import Literal

from minincep_kernels.errors import ShapeError

Padding = Literal["same", "valid"] | tuple[int, int, int, int]


@dataclass(frozen=True)
class GemmShape:
    """A matrix product (M, K) @ (K, N) -> (M, N)."""

    rows: int
    columns: int
    depth: int

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.columns * self.depth

    @property
    def bytes(self) -> int:
        return 4 * (self.rows * self.depth + self.depth * self.columns + self.rows * self.columns)


@dataclass(frozen=True)
class MomentsShape:
    """Mean and variance of each channel: (M, C) -> 2 x (C,).

    The rows are all axes of the activations but the last: M = N H W.
    """

    rows: int
    channels: int

    @property
    def input(self) -> tuple[int, int]:
        return (self.rows, self.channels)

    @property
    def flops(self) -> int:
        """For each number an addition to the mean; its deviation, the square, an addition."""
        return 4 * self.rows * self.channels

    @property
    def bytes(self) -> int:
        return 4 * (self.rows + 2) * self.channels


@dataclass(frozen=True)
class NormalizeShape(MomentsShape):
    """(x - mean) scale + shift, then perhaps a ReLU: (M, C), 3 x (C,) -> (M, C)."""

    relu: bool

    @property
    def flops(self) -> int:
        return (4 if self.relu else 3) * self.rows * self.channels

    @property
    def bytes(self) -> int:
        return 4 * (2 * self.rows + 3) * self.channels


@dataclass(frozen=True)
class Pool2dShape:
    """A window of kernel (KH, KW) that steps by stride (SH, SW) over images (N, H, W, C).

    Attributes
    ----------
    padding
        Pixels outside the image at the top, bottom, left and right: (PT, PB, PL, PR).
    """

    batch: int
    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]

    @property
    def out_height(self) -> int:
        top, bottom, _, _ = self.padding
        return (self.height + top + bottom - self.kernel[0]) // self.stride[0] + 1

    @property
    def out_width(self) -> int:
        _, _, left, right = self.padding
        return (self.width + left + right - self.kernel[1]) // self.stride[1] + 1

    @property
    def input(self) -> tuple[int, int, int, int]:
        return (self.batch, self.height, self.width, self.channels)

    @property
    def output(self) -> tuple[int, int, int, int]:
        return (self.batch, self.out_height, self.out_width, self.channels)

    @property
    def flops(self) -> int:
        """One operation for each number of each window, padding counted as if computed."""
        return self.kernel[0] * self.kernel[1] * math.prod(self.output)

    @property
    def bytes(self) -> int:
        return 4 * (math.prod(self.input) + math.prod(self.output))

    @property
    def corner(self) -> tuple[int, int]:
        """Padding at the top and at the left, which is all that a kernel must know of it."""
        return (self.padding[0], self.padding[2])


@dataclass(frozen=True)
class Conv2dShape(Pool2dShape):
    """A convolution of images (N, H, W, C) with filters (KH, KW, C, OC)."""

    out_channels: int

    @property
    def output(self) -> tuple[int, int, int, int]:
        return (self.batch, self.out_height, self.out_width, self.out_channels)

    @property
    def filters(self) -> tuple[int, int, int, int]:
        return (*self.kernel, self.channels, self.out_channels)

    @property
    def pixels(self) -> int:
        """Output pixels of the whole batch: the rows of the matrix product."""
        return self.batch * self.out_height * self.out_width

    @property
    def taps(self) -> int:
        """Input values behind one output value: the depth of the matrix product."""
        return self.kernel[0] * self.kernel[1] * self.channels

    @property
    def flops(self) -> int:
        """Multiplications and additions of direct convolution, padding counted as if computed."""
        return 2 * self.pixels * self.taps * self.out_channels

    @property
    def bytes(self) -> int:
        return 4 * sum(map(math.prod, (self.input, self.filters, self.output)))


def moments_shape(x: tuple[int, ...]) -> MomentsShape:
    """The sizes of the statistics of activations (..., C)."""
    return MomentsShape(math.prod(x[:-1]), x[-1])


def normalize_shape(x: tuple[int, ...], *, relu: bool) -> NormalizeShape:
    """The sizes of a normalisation of activations (..., C)."""
    return NormalizeShape(math.prod(x[:-1]), x[-1], relu)


def pool2d_shape(
    x: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int], padding: Padding
) -> Pool2dShape:
    """Check the sizes of a pooling, and work out its padding.

    Raises
    ------
    ShapeError
        If `x` is not (N, H, W, C), kernel or stride is not two whole numbers of at least 1, or
        the window is larger than the padded image.
    """
    if len(x) != 4:
        raise ShapeError(f"images must have the 4 axes (N, H, W, C), got shape {x}")
    for name, pair in [("kernel size", kernel), ("stride", stride)]:
        if not _are_whole(pair, 2, least=1):
            raise ShapeError(f"{name} must be two whole numbers of at least 1, got {pair!r}")
    batch, height, width, channels = x
    sides = pad_sides((height, width), kernel, stride, padding)
    shape = Pool2dShape(batch, height, width, channels, kernel, stride, sides)
    if shape.out_height < 1 or shape.out_width < 1:
        raise ShapeError(
            f"a {kernel[0]} x {kernel[1]} window does not fit into an image of {height} x {width} "
            f"pixels with padding {sides}: give a larger image"
        )
    return shape


def conv2d_shape(
    x: tuple[int, ...], filters: tuple[int, ...], stride: tuple[int, int], padding: Padding
) -> Conv2dShape:
    """Check the sizes of a convolution, and work out its padding.

    Raises
    ------
    ShapeError
        If `x` is not (N, H, W, C), `filters` is not (KH, KW, C, OC) with the same C and none of
        them 0, or the filter is larger than the padded image.
    """
    if len(filters) != 4 or 0 in filters:
        raise ShapeError(
            f"filters must have the 4 axes (KH, KW, C, OC), each of at least 1, got shape {filters}"
        )
    kernel_height, kernel_width, channels, out_channels = filters
    window = pool2d_shape(x, (kernel_height, kernel_width), stride, padding)
    if window.channels != channels:
        hint = ""
        if x[1] == channels:
            hint = "; it looks like (N, C, H, W), transpose it to channels last (0, 2, 3, 1)"
        raise ShapeError(
            f"images {x} have {window.channels} channels, filters {filters} take {channels}{hint}"
        )
    return Conv2dShape(
        window.batch,
        window.height,
        window.width,
        window.channels,
        window.kernel,
        window.stride,
        window.padding,
        out_channels,
    )


def pad_sides(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: Padding
) -> tuple[int, int, int, int]:
    """Padding in pixels (PT, PB, PL, PR).

    ``"valid"`` is none.  ``"same"`` is as much as makes ceil(size / stride) windows, the odd pixel
    at the bottom and right, as TensorFlow defines it; with stride 1 and odd kernels, the only case
    in the released networks, that is (k - 1) / 2 on each side.
    """
    if isinstance(padding, tuple) and _are_whole(padding, 4, least=0):
        return padding
    if isinstance(padding, str) and padding == "valid":
        return (0, 0, 0, 0)
    if isinstance(padding, str) and padding == "same":
        sides: list[int] = []
        for length, window, step in zip(size, kernel, stride, strict=True):
            total = max((-(-length // step) - 1) * step + window - length, 0)
            sides += [total // 2, total - total // 2]
        return (sides[0], sides[1], sides[2], sides[3])
    raise ShapeError(
        "padding must be 'same', 'valid' or a tuple of four whole numbers of pixels (top, bottom, "
        f"left, right), got {padding!r}"
    )


def _are_whole(numbers: object, count: int, *, least: int) -> bool:
    """Whether this is a tuple of so many whole numbers, none smaller than `least`."""
    return (
        isinstance(numbers, tuple)
        and len(numbers) == count
        and all(isinstance(n, int) and not isinstance(n, bool) and n >= least for n in numbers)
    )
