"""Batch normalisation: statistics, both directions, and sums that do not depend on threads."""

import math

import numpy as np
import pytest

from minincep_kernels import Array, machine, norm
from tests import oracle

pytestmark = pytest.mark.usefixtures("one_thread")  # but for what asks for more

EPS = 1e-3
# Lines of one row, of several, and rows that are left over; one block, and several.
SHAPES = [(1, 3), (7, 4), (2, 3, 5, 1), (3, 9, 7, 5), (71, 600), (9, 13, 17, 33), (331, 64)]
EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)
EACH_DTYPE = pytest.mark.parametrize("dtype", ["float32", "float64"])


def draw(shape: tuple[int, ...], dtype: str) -> tuple[Array, Array, Array]:
    """x, the gradient of y, and a scale for each channel."""
    random = np.random.default_rng(0)
    x, gy = (3 * random.standard_normal(shape) + 2).astype(dtype), random.standard_normal(shape)
    return x, gy.astype(dtype), random.uniform(0.5, 2, shape[-1]).astype(dtype)


def numbers(x: Array, gy: Array, scale: Array, *, relu: bool) -> list[Array]:
    """Everything that this file computes."""
    mean, variance = norm.statistics(x)
    affine = norm.Affine(mean, scale, mean, relu)
    sums = norm.sums_backward(x, gy, affine)
    mean_gy, mean_product = sums / (x.size // x.shape[-1])
    slope = (mean_product / (variance + np.float64(EPS))).astype(x.dtype)
    gx = norm.input_gradient(x, gy, affine, mean_gy.astype(x.dtype), slope)
    scaled = norm.scaled_gradient(x, gy, affine, scale)
    return [mean, variance, norm.forward(x, affine), sums, gx, scaled]


@pytest.mark.parametrize("relu", [False, True])
@EACH_DTYPE
@EACH_SHAPE
def test_like_the_oracle(shape: tuple[int, ...], dtype: str, relu: bool) -> None:
    x, gy, scale = draw(shape, dtype)
    mean, variance, y, sums, gx, scaled = numbers(x, gy, scale, relu=relu)
    assert {str(a.dtype) for a in (mean, variance, y, gx, scaled)} == {dtype}

    true_mean, true_variance = oracle.channel_statistics(x)
    oracle.assert_close(mean, true_mean)
    oracle.assert_close(variance, true_variance)
    ones = np.ones(shape[-1])
    true_y = oracle.batch_norm(x, scale, mean, mean, ones, 0.0)
    if relu:
        gy, true_y = np.where(true_y > 0, gy, 0).astype(dtype), np.maximum(true_y, 0)
    oracle.assert_close(y, true_y)
    true_products = (oracle.rows(gy) * (oracle.rows(x) - mean)).sum(axis=0)
    assert sums.dtype == np.float64
    oracle.assert_close(sums[0], oracle.rows(gy).sum(axis=0))
    oracle.assert_close(sums[1].astype(dtype), true_products)
    oracle.assert_close(gx, oracle.batch_norm_input_gradient(x, gy, scale, EPS), roundings=100)
    oracle.assert_close(scaled, gy * scale.astype(np.float64))


@EACH_DTYPE
def test_inverse_deviation(dtype: str) -> None:
    variance = np.array([0.0, 1e-6, 0.5, 2.0, 1e6], dtype)
    inverse = norm.inverse_deviation(variance, EPS)
    assert inverse.dtype == dtype
    exact = np.array([1 / math.sqrt(float(value) + EPS) for value in variance])
    oracle.assert_close(inverse, exact, roundings=1)


@EACH_SHAPE
def test_same_bits_on_any_number_of_threads(shape: tuple[int, ...]) -> None:
    drawn = draw(shape, "float64")  # sums of float32 in float64 are the same in any order
    with machine.num_threads(1):
        one = numbers(*drawn, relu=True)
    with machine.num_threads(2):
        two = numbers(*drawn, relu=True)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_variance_far_from_zero() -> None:
    """The mean of the squares minus the square of the mean would have no correct digit here."""
    x = np.array([[10000.0], [10001.0], [10002.0], [10003.0]], np.float32)
    mean, variance = norm.statistics(x)
    assert (mean.item(), variance.item()) == (10001.5, 1.25)


def test_sums_of_many_rows_are_taken_in_float64() -> None:
    """In float32 a sum of ones stops at 2**24, and of tenths it is off in the third digit."""
    x = np.full((2**20, 1), 0.1, np.float32)
    mean, variance = norm.statistics(x)
    assert mean.item() == np.float32(0.1)
    assert variance.item() < 1e-20
    ones = np.ones(1, np.float32)
    sums = norm.sums_backward(x, x, norm.Affine(mean, ones, ones))
    assert sums[0].item() == pytest.approx(2**20 * float(np.float32(0.1)), rel=1e-12)


def test_variance_with_a_first_row_far_from_all_others() -> None:
    """The worst that a sum of squares from the first row on can meet."""
    x = np.random.default_rng(0).standard_normal((100_000, 1))
    x[0] = 1e6
    for dtype, tolerance in (("float32", 1e-6), ("float64", 1e-10)):
        drawn = x.astype(dtype)
        mean, variance = norm.statistics(drawn)
        wanted = oracle.channel_statistics(drawn)
        np.testing.assert_allclose([mean, variance], wanted, rtol=tolerance)


def test_equal_numbers_have_no_variance() -> None:
    x = np.full((331, 64), 0.1, np.float32)
    mean, variance = norm.statistics(x)
    np.testing.assert_array_equal(mean, x[0])
    np.testing.assert_array_equal(variance, 0)


def test_nan_is_not_hidden_by_the_relu() -> None:
    x = np.array([[np.nan, -1.0], [2.0, np.nan]])
    affine = norm.Affine(np.zeros(2), np.ones(2), np.zeros(2), relu=True)
    np.testing.assert_array_equal(norm.forward(x, affine), [[np.nan, 0], [2, np.nan]])
    assert np.isnan(norm.statistics(x)).all()
