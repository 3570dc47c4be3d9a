"""Sizes of windows: counted one by one, and the mistakes one can make."""

import itertools
import re

import numpy as np
import pytest

from minincep_kernels.errors import ShapeError
from minincep_kernels.shapes import Padding, conv2d_shape, pad_sides, pool2d_shape


def windows_that_fit(length: int, kernel: int, stride: int) -> int:
    return sum(first + kernel <= length for first in range(0, length, stride))


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "before", "after"),
    list(itertools.product([3, 4, 9], [1, 2, 3], [1, 2, 4], [0, 2], [0, 1])),
)
def test_output_size(length: int, kernel: int, stride: int, before: int, after: int) -> None:
    count = windows_that_fit(before + length + after, kernel, stride)
    high = pool2d_shape((1, length, 5, 2), (kernel, 1), (stride, 1), (before, after, 0, 0))
    wide = pool2d_shape((1, 5, length, 2), (1, kernel), (1, stride), (0, 0, before, after))
    assert high.output == (1, count, 5, 2)
    assert wide.output == (1, 5, count, 2)
    assert (high.corner, wide.corner) == ((before, 0), (0, before))


@pytest.mark.parametrize(
    ("length", "kernel", "stride"),
    list(itertools.product([1, 4, 7, 9], [1, 2, 3, 7], [1, 2, 3])),
)
def test_same_padding_makes_as_many_windows_as_strides(
    length: int, kernel: int, stride: int
) -> None:
    shape = pool2d_shape((1, length, length, 1), (kernel, kernel), (stride, stride), "same")
    assert shape.out_height == shape.out_width == -(-length // stride)
    top, bottom, left, right = shape.padding
    assert (top, bottom) == (left, right)
    assert bottom - top in (0, 1)  # the odd pixel is at the end
    if top + bottom:  # and one pixel less would be one window less
        assert windows_that_fit(length + top + bottom - 1, kernel, stride) < shape.out_height


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "sides"),
    [
        ((35, 35), (3, 3), (1, 1), "same", (1, 1, 1, 1)),
        ((17, 17), (1, 7), (1, 1), "same", (0, 0, 3, 3)),
        ((17, 17), (7, 1), (1, 1), "same", (3, 3, 0, 0)),
        ((8, 9), (3, 3), (2, 2), "same", (0, 1, 1, 1)),
        ((8, 9), (3, 3), (2, 2), "valid", (0, 0, 0, 0)),
        ((8, 9), (3, 3), (2, 2), (4, 3, 2, 1), (4, 3, 2, 1)),
    ],
)
def test_padding(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
    sides: tuple[int, int, int, int],
) -> None:
    assert pad_sides(size, kernel, stride, padding) == sides


def test_sizes_of_a_convolution() -> None:
    """The stem of Inception-v4: 299 x 299 to 149 x 149."""
    shape = conv2d_shape((2, 299, 299, 3), (3, 3, 3, 32), (2, 2), "valid")
    assert shape.input == (2, 299, 299, 3)
    assert shape.filters == (3, 3, 3, 32)
    assert shape.output == (2, 149, 149, 32)
    assert shape.pixels == 2 * 149 * 149
    assert shape.taps == 27
    assert shape.flops == 2 * 2 * 149 * 149 * 27 * 32


X, FILTERS = (1, 8, 9, 4), (3, 3, 4, 6)


@pytest.mark.parametrize(
    ("x", "filters", "padding", "message"),
    [
        ((8, 9, 4), FILTERS, "same", "images must have the 4 axes (N, H, W, C), got shape (8, 9"),
        (
            X,
            (3, 3, 4),
            "same",
            "filters must have the 4 axes (KH, KW, C, OC), each of at least 1, got shape (3, 3, 4)",
        ),
        (X, (3, 3, 5, 6), "same", "images (1, 8, 9, 4) have 4 channels, filters (3, 3, 5, 6) take"),
        ((1, 4, 8, 9), FILTERS, "same", "looks like (N, C, H, W), transpose it to channels last"),
        (X, (9, 3, 4, 6), "valid", "a 9 x 3 window does not fit into an image of 8 x 9 pixels"),
        (X, (3, 12, 4, 6), (0, 0, 1, 1), "with padding (0, 0, 1, 1): give a larger image"),
        ((1, 0, 9, 4), FILTERS, "valid", "does not fit into an image of 0 x 9"),
        (X, FILTERS, "full", "padding must be 'same', 'valid' or a tuple of four whole numbers"),
        (X, FILTERS, (1, 1), "(top, bottom, left, right), got (1, 1)"),
        (X, FILTERS, (0, 0, 0, -1), "got (0, 0, 0, -1)"),
        (X, FILTERS, 1, "got 1"),
        (X, FILTERS, None, "got None"),
        (X, FILTERS, [1, 1, 1, 1], "got [1, 1, 1, 1]"),
        (X, FILTERS, np.ones(4, int), "got array([1, 1, 1, 1])"),
        (X, FILTERS, (1.0, 1.0, 1.0, 1.0), "got (1.0, 1.0, 1.0, 1.0)"),
        (X, FILTERS, ("1", "1", "1", "1"), "got ('1', '1', '1', '1')"),
        (X, FILTERS, (True, True, True, True), "got (True, True, True, True)"),
        (X, (0, 3, 4, 6), "same", "each of at least 1, got shape (0, 3, 4, 6)"),
        ((1, 8, 9, 0), (3, 3, 0, 6), "same", "each of at least 1, got shape (3, 3, 0, 6)"),
        (X, (3, 3, 4, 0), "same", "each of at least 1, got shape (3, 3, 4, 0)"),
    ],
)
def test_mistakes(
    x: tuple[int, ...], filters: tuple[int, ...], padding: Padding, message: str
) -> None:
    with pytest.raises(ShapeError, match=re.escape(message)):
        conv2d_shape(x, filters, (1, 1), padding)


def test_no_hint_where_the_axes_are_in_order() -> None:
    with pytest.raises(ShapeError) as raised:
        conv2d_shape(X, (3, 3, 5, 6), (1, 1), "same")
    assert "transpose" not in str(raised.value)
