"""Winograd's transforms for tests: the matrices in exact fractions, and what is compiled, alone."""

import math
from fractions import Fraction

import numpy as np

from minincep_kernels import Array
from minincep_kernels.intrinsics import address_of
from minincep_kernels.jit import kernel
from minincep_kernels.vectors import LANES, all_routines, padded
from minincep_kernels.winograd import TILES, Tile, Transform, transform_input, transform_output

Matrix = list[list[Fraction]]

CANARY = np.float32(-7777)
NONE = np.float32(-np.inf)


# ------------------------------------------------------------------ what it should be


def finite_points(transform: Transform) -> list[Fraction]:
    return [Fraction(0), *(sign * p for p in transform.pairs for sign in (1, -1))]


def b_transposed(transform: Transform) -> Matrix:
    """Coefficients of the product of (x - q) over all other points, each point a row."""
    points = finite_points(transform)
    rows = []
    for left_out in [*points, None]:
        row = [Fraction(1)]
        for q in points:
            if q != left_out:
                shifted, scaled = [Fraction(0), *row], [*(-q * c for c in row), Fraction(0)]
                row = [a + b for a, b in zip(shifted, scaled, strict=True)]
        rows.append([*row, *[Fraction(0)] * (transform.inputs - len(row))])
    return rows


def g(transform: Transform) -> Matrix:
    points = finite_points(transform)
    rows = [
        [p**u / math.prod(p - q for q in points if q != p) for u in range(transform.taps)]
        for p in points
    ]
    return [*rows, [Fraction(int(u == transform.taps - 1)) for u in range(transform.taps)]]


def a_transposed(transform: Transform) -> Matrix:
    last = transform.outputs - 1
    return [
        [*(p**i for p in finite_points(transform)), Fraction(int(i == last))]
        for i in range(transform.outputs)
    ]


def along(transform: Transform, matrix: str) -> Array:
    """A matrix in float64; of an axis along which nothing is transformed, 1."""
    if transform.inputs == 1:
        return np.ones((1, 1))
    functions = {"A": a_transposed, "B": b_transposed, "G": g}
    return np.array(functions[matrix](transform), np.float64)


def both(tile: Tile, matrix: str) -> Array:
    """The matrix that does along rows and along columns at once."""
    return np.kron(along(tile.down, matrix), along(tile.across, matrix))


# ------------------------------------------------------------------ what is compiled


@kernel
def to_products(
    number: int, x: Array, inputs: int, stride: int, channels: int, out: Array, out_places: Array
) -> None:
    """The inputs lie a stride apart; the products will, too, from 1 on."""
    for i in range(inputs):
        out_places[2 + i] = address_of(x, 1 + i * stride)
    transform_input(all_routines(), number, out_places, 2, out, 1, stride, channels)


@kernel
def to_outputs(
    number: int,
    products: Array,
    outputs: int,
    strides: tuple[int, int],
    weights: Array,
    channels: int,
    floor: float,
    out: Array,
    out_places: Array,
) -> None:
    for i in range(outputs):
        out_places[2 + i] = address_of(out, 1 + i * strides[1])
    transform_output(
        *(all_routines(), number, products, 1, strides[0], weights, 3, out_places, 2),
        *(channels, np.float32(floor)),
    )


def in_memory(values: Array, stride: int, rest: float | np.float32) -> Array:
    """Rows a stride apart, from 1 on, with something else around them."""
    count, channels = values.shape
    memory = np.full(1 + count * stride + LANES, rest, np.float32)
    memory[1 : 1 + count * stride].reshape(count, stride)[:, :channels] = values
    return memory


def run_input(number: int, d: Array) -> Array:
    """(inputs, C) -> (products, C)."""
    tile = TILES[number]
    count, channels = d.shape
    stride = padded(channels) + 3
    wide = np.full((tile.products, padded(channels)), 5.0)
    out = in_memory(np.full_like(wide, CANARY), stride, CANARY)
    places = np.zeros(2 + count, np.int64)
    to_products.serial(number, in_memory(d, stride, np.nan), count, stride, channels, out, places)
    lines = out[1 : 1 + tile.products * stride].reshape(-1, stride)
    np.testing.assert_array_equal(lines[:, padded(channels) :], CANARY)
    assert out[0] == CANARY
    np.testing.assert_array_equal(out[1 + lines.size :], CANARY)
    return lines[:, :channels].copy()


def run_output(
    number: int, products: Array, bias: Array, floor: float | np.float32 = NONE
) -> Array:
    """(products, C) -> (outputs, C)."""
    tile = TILES[number]
    _, channels = products.shape
    outputs = math.prod(tile.outputs)
    strides = (padded(channels) + 1, channels + 3)
    weights = np.full(3 + padded(channels), np.nan, np.float32)
    weights[3 : 3 + channels] = bias
    out = np.full(1 + outputs * strides[1] + LANES, CANARY)
    places = np.zeros(2 + outputs, np.int64)
    memory = in_memory(products, strides[0], np.nan)
    to_outputs.serial(number, memory, outputs, strides, weights, channels, floor, out, places)
    lines = out[1 : 1 + outputs * strides[1]].reshape(-1, strides[1])
    y = lines[:, :channels].copy()
    lines[:, :channels] = CANARY
    np.testing.assert_array_equal(out, CANARY)
    return y


def assert_rounded(found: Array, wanted: Array, roundings: int) -> None:
    """Equal but for so many roundings of numbers as large as the largest."""
    tolerance = roundings * np.finfo(np.float32).eps * np.abs(wanted).max(axis=1, keepdims=True)
    assert (np.abs(found - wanted) <= tolerance).all()
