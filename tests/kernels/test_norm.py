"""Batch normalisation: statistics, both directions, and sums that do not depend on threads."""

import math

import numpy as np
import pytest

from minincep_kernels import Array, machine, norm
from tests import oracle

pytestmark = pytest.mark.usefixtures("one_thread")  # but for what asks for more

EPS = 1e-3
# One row; fewer rows than blocks; as many as make blocks of different lengths.
SHAPES = [(1, 3), (7, 4), (2, 3, 5, 1), (3, 9, 7, 5)]
EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)
EACH_DTYPE = pytest.mark.parametrize("dtype", ["float32", "float64"])


def draw(shape: tuple[int, ...], dtype: str) -> tuple[Array, Array, Array]:
    """x, the gradient of y, and a scale for each channel."""
    random = np.random.default_rng(0)
    x, gy = (3 * random.standard_normal(shape) + 2).astype(dtype), random.standard_normal(shape)
    return x, gy.astype(dtype), random.uniform(0.5, 2, shape[-1]).astype(dtype)


def numbers(x: Array, gy: Array, scale: Array) -> list[Array]:
    """Everything that this file computes."""
    mean, variance = norm.statistics(x)
    sum_gy, sum_products = norm.sums_backward(x, gy, mean)
    slope = sum_products / (x.size // x.shape[-1]) / (variance + np.float64(EPS))
    mean_gy = sum_gy / (x.size // x.shape[-1])
    gx = norm.input_gradient(x, gy, mean, scale, mean_gy.astype(x.dtype), slope.astype(x.dtype))
    return [mean, variance, norm.forward(x, mean, scale, mean), sum_gy, sum_products, gx]


@EACH_DTYPE
@EACH_SHAPE
def test_like_the_oracle(shape: tuple[int, ...], dtype: str) -> None:
    x, gy, scale = draw(shape, dtype)
    mean, variance, y, sum_gy, sum_products, gx = numbers(x, gy, scale)
    assert {str(a.dtype) for a in (mean, variance, y, gx)} == {dtype}

    true_mean, true_variance = oracle.channel_statistics(x)
    oracle.assert_close(mean, true_mean)
    oracle.assert_close(variance, true_variance)
    ones = np.ones(shape[-1])
    oracle.assert_close(y, oracle.batch_norm(x, scale, mean, mean, ones, 0.0))
    true_products = (oracle.rows(gy) * (oracle.rows(x) - mean)).sum(axis=0)
    assert sum_gy.dtype == sum_products.dtype == np.float64
    oracle.assert_close(sum_gy, oracle.rows(gy).sum(axis=0))
    oracle.assert_close(sum_products.astype(dtype), true_products)
    oracle.assert_close(gx, oracle.batch_norm_input_gradient(x, gy, scale, EPS), roundings=100)


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
        one = numbers(*drawn)
    with machine.num_threads(2):
        two = numbers(*drawn)
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
    sum_gy, _ = norm.sums_backward(x, x, mean)
    assert sum_gy.item() == pytest.approx(2**20 * float(np.float32(0.1)), rel=1e-12)
