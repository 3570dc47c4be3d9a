"""Winograd's transforms: the matrices in exact fractions, and what is compiled against them."""

import math
from fractions import Fraction

import numpy as np
import pytest

from minincep_kernels.vectors import LANES
from minincep_kernels.winograd import TILES, TRANSFORMS, Transform
from tests.kernels.transforms import (
    NONE,
    a_transposed,
    assert_rounded,
    b_transposed,
    both,
    finite_points,
    g,
    run_input,
    run_output,
)

EACH_TRANSFORM = pytest.mark.parametrize(
    "transform", TRANSFORMS.values(), ids=[f"F({m},{r})" for m, r in TRANSFORMS]
)
EACH_TILE = pytest.mark.parametrize("number", range(len(TILES)))


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
