"""Winograd's transforms: the matrices in exact fractions, and what is compiled against them."""

import math
from fractions import Fraction

import numpy as np
import pytest

from minincep_kernels import Array
from minincep_kernels.jit import kernel
from minincep_kernels.vectors import LANES, address_of, all_routines, padded
from minincep_kernels.winograd import (
    TILES,
    TRANSFORMS,
    Tile,
    Transform,
    transform_input,
    transform_output,
)

Matrix = list[list[Fraction]]

CANARY = np.float32(-7777)
NONE = np.float32(-np.inf)
EACH_TRANSFORM = pytest.mark.parametrize(
    "transform", TRANSFORMS.values(), ids=[f"F({m},{r})" for m, r in TRANSFORMS]
)
EACH_TILE = pytest.mark.parametrize("number", range(len(TILES)))


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


@EACH_TRANSFORM
def test_the_matrices_convolve_exactly(transform: Transform) -> None:
    """y_i is the sum of g_u d_(i + u), in fractions, for all filters and inputs."""
    a, b, f = a_transposed(transform), b_transposed(transform), g(transform)
    for i, u, k in np.ndindex(transform.outputs, transform.taps, transform.inputs):
        share = sum(a[i][j] * f[j][u] * b[j][k] for j in range(transform.inputs))
        assert share == (k == i + u)


@EACH_TRANSFORM
def test_points(transform: Transform) -> None:
    step = Fraction(1, 8 if transform.taps == 7 else 16)
    assert all(p > 0 and (p / step).denominator == 1 for p in transform.pairs)
    assert len(set(transform.pairs)) == len(transform.pairs)
    assert (
        2 + 2 * len(transform.pairs) == transform.inputs == transform.outputs + transform.taps - 1
    )
    assert transform.points == finite_points(transform)


@EACH_TRANSFORM
def test_filter_matrix(transform: Transform) -> None:
    np.testing.assert_array_equal(transform.filter_matrix(), np.array(g(transform), np.float64))


@EACH_TRANSFORM
def test_polynomials(transform: Transform) -> None:
    rows = b_transposed(transform)
    for point, row in zip(transform.points, rows, strict=False):
        assert [*transform.without(point), 0] == row
    assert transform.without() == rows[-1]


@EACH_TRANSFORM
def test_constants_are_exact_in_float32(transform: Transform) -> None:
    powers = [p**i for p in transform.pairs for i in range(transform.outputs)]
    halves = [c for p in transform.pairs for c in transform.without(p, -p)]
    for constant in [*powers, *halves, *transform.without(Fraction(0)), *transform.without()]:
        assert Fraction(float(np.float32(float(constant)))) == constant


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


@EACH_TILE
def test_input_transform_is_b(number: int) -> None:
    """Channel c has a one at input c, and so shows column c of the matrix."""
    tile = TILES[number]
    found = run_input(number, np.eye(tile.products, dtype=np.float32))
    wanted = both(tile, "B")
    assert_rounded(found, wanted, 4)
    np.testing.assert_array_equal(found == 0, wanted == 0)


@EACH_TILE
def test_output_transform_is_a(number: int) -> None:
    tile = TILES[number]
    found = run_output(number, np.eye(tile.products, dtype=np.float32), np.zeros(tile.products))
    np.testing.assert_array_equal(found, both(tile, "A"))


@EACH_TILE
def test_bias_and_floor(number: int) -> None:
    tile = TILES[number]
    random = np.random.default_rng(0)
    for channels in (1, LANES - 1, LANES, LANES + 1):
        products = random.integers(-4, 5, (tile.products, channels)).astype(np.float32)
        bias = random.integers(-4, 5, channels).astype(np.float32)
        products[-1, -1] = np.nan  # infinity is in the last output alone
        y = both(tile, "A") @ np.nan_to_num(products) + bias
        y[-1, -1] = np.nan
        for floor in (NONE, np.float32(0)):
            found = run_output(number, products, bias, floor)
            wanted = np.maximum(y, floor)
            np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
            assert_rounded(np.nan_to_num(found), np.nan_to_num(wanted), 50)


@EACH_TILE
def test_filters(number: int) -> None:
    tile = TILES[number]
    taps = tile.down.taps, tile.across.taps
    filters = np.random.default_rng(0).standard_normal((*taps, 2, 3)).astype(np.float32)
    wanted = np.tensordot(both(tile, "G"), filters.reshape(-1, 2, 3).astype(np.float64), 1)
    found = tile.transform_filters(filters)
    assert found.dtype == np.float32
    assert_rounded(found.reshape(tile.products, -1), wanted.reshape(tile.products, -1), 1)


@EACH_TILE
def test_one_tile_convolves(number: int) -> None:
    """Against the definition, for tile after tile of random numbers, a channel each."""
    tile = TILES[number]
    random = np.random.default_rng(0)
    (height, width), taps = tile.inputs, (tile.down.taps, tile.across.taps)
    channels = 5 * LANES + 1
    d = random.standard_normal((height, width, channels)).astype(np.float32)
    filters = random.standard_normal((*taps, channels, 1)).astype(np.float32)
    products = run_input(number, d.reshape(-1, channels))
    products *= tile.transform_filters(filters)[..., 0]
    y = run_output(number, products, np.zeros(channels)).reshape(*tile.outputs, channels)
    wanted = np.zeros(y.shape)
    for u, v in np.ndindex(*taps):
        window = d[u : u + tile.outputs[0], v : v + tile.outputs[1]].astype(np.float64)
        wanted += window * filters[u, v, :, 0]
    assert np.abs(y - wanted).max() < 1e-3 * wanted.std()


def test_tiles_are_distinct_and_halve_the_work_at_least_nearly() -> None:
    assert len(set(TILES)) == len(TILES)
    for tile in TILES:
        direct = math.prod(tile.outputs) * tile.down.taps * tile.across.taps
        assert direct >= 1.9 * tile.products
