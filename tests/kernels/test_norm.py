"""Batch normalisation: each rung of its ladders, gradients, and sums that ignore threads."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from minincep_kernels import Array, machine, norm
from minincep_kernels.norm import normalize
from minincep_kernels.norm.sums import blocks_of
from minincep_kernels.registry import Variant, choose, ladder, variants
from minincep_kernels.shapes import MomentsShape, NormalizeShape, moments_shape, normalize_shape
from tests import oracle

pytestmark = pytest.mark.usefixtures("one_thread")  # but for what asks for more

EPS = 1e-3
# Lines of one row, of several, and rows that are left over; one block, and several.
SHAPES = [(1, 3), (7, 4), (2, 3, 5, 1), (3, 9, 7, 5), (71, 600), (9, 13, 17, 33), (331, 64)]
EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)
EACH_DTYPE = pytest.mark.parametrize("dtype", ["float32", "float64"])
EACH_RELU = pytest.mark.parametrize("relu", [False, True])
EACH_MOMENTS = pytest.mark.parametrize("rung", variants("moments").values(), ids=lambda v: v.name)
EACH_NORMALIZE = pytest.mark.parametrize(
    "rung", variants("normalize").values(), ids=lambda v: v.name
)


def draw(shape: tuple[int, ...], dtype: str) -> tuple[Array, Array, Array]:
    """x, the gradient of y, and a scale for each channel."""
    random = np.random.default_rng(0)
    x, gy = (3 * random.standard_normal(shape) + 2).astype(dtype), random.standard_normal(shape)
    return x, gy.astype(dtype), random.uniform(0.5, 2, shape[-1]).astype(dtype)


def moments(x: Array, rung: Variant | None = None) -> tuple[Array, Array]:
    """Mean and variance of (..., C), by the variant that is preferred unless one is given."""
    shape = moments_shape(x.shape)
    rung = rung or choose("moments", shape)
    mean, variance = rung.forward(x.reshape(shape.input), shape)
    return mean, variance


def normalized(x: Array, affine: Array, rung: Variant | None = None, *, relu: bool) -> Array:
    shape = normalize_shape(x.shape, relu=relu)
    rung = rung or choose("normalize", shape)
    y: Array = rung.forward(x.reshape(shape.input), affine, shape)
    return y.reshape(x.shape)


def numbers(x: Array, gy: Array, scale: Array, *, relu: bool) -> list[Array]:
    """Everything that the preferred kernels compute."""
    shape = normalize_shape(x.shape, relu=relu)
    mean, variance = moments(x)
    inverse = norm.channel_table(None, mean, mean, variance, EPS)[4]
    table = np.stack([mean, scale, mean, scale, inverse])
    sums, gx = norm.backward(x, gy, table, shape, of_batch=True)
    same, scaled = norm.backward(x, gy, table, shape, of_batch=False)
    np.testing.assert_array_equal(same, sums)
    y = normalized(x, table[:3], relu=relu)
    return [mean, variance, y, sums, gx, scaled, norm.channel_sums(gy)]


@EACH_RELU
@EACH_DTYPE
@EACH_SHAPE
def test_like_the_oracle(shape: tuple[int, ...], dtype: str, relu: bool) -> None:
    x, gy, scale = draw(shape, dtype)
    mean, _, y, sums, gx, scaled, plain = numbers(x, gy, scale, relu=relu)
    assert {str(a.dtype) for a in (y, gx, scaled, plain)} == {dtype}
    oracle.assert_close(plain, oracle.rows(gy).sum(axis=0))

    true_y = oracle.batch_norm(x, scale, mean, mean, np.ones(shape[-1]), 0.0)
    if relu:
        gy = np.where(true_y > 0, gy, 0).astype(dtype)
    true_products = (oracle.rows(gy) * (oracle.rows(x) - mean)).sum(axis=0)
    assert sums.dtype == np.float64
    oracle.assert_close(sums[0], oracle.rows(gy).sum(axis=0))
    oracle.assert_close(sums[1].astype(dtype), true_products)
    oracle.assert_close(gx, oracle.batch_norm_input_gradient(x, gy, scale, EPS), roundings=100)
    oracle.assert_close(scaled, gy * scale.astype(np.float64))


@EACH_MOMENTS
@EACH_DTYPE
@EACH_SHAPE
def test_moments_like_the_oracle(rung: Variant, shape: tuple[int, ...], dtype: str) -> None:
    x, _, _ = draw(shape, dtype)
    before = x.copy()
    mean, variance = moments(x, rung)
    true_mean, true_variance = oracle.channel_statistics(x)
    oracle.assert_close(mean, true_mean)
    oracle.assert_close(variance, true_variance)
    assert mean.dtype == variance.dtype == dtype
    np.testing.assert_array_equal(x, before)


@EACH_NORMALIZE
@EACH_RELU
@EACH_DTYPE
@EACH_SHAPE
def test_normalize_like_the_oracle(
    rung: Variant, shape: tuple[int, ...], dtype: str, relu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalize, "BLOCK", 512)  # several blocks, the last of them short
    x, _, scale = draw(shape, dtype)
    before = x.copy()
    y = normalized(x, np.stack([scale + 1, scale, -scale]), rung, relu=relu)
    true_y = oracle.batch_norm(x, scale, -scale, scale + 1, np.ones(shape[-1]), 0.0)
    assert (true_y < 0).any()
    oracle.assert_close(y, np.maximum(true_y, 0) if relu else true_y)
    assert y.dtype == dtype
    np.testing.assert_array_equal(x, before)


def test_the_ladders() -> None:
    assert [rung.name for rung in ladder("moments")] == ["naive", "two_pass", "one_pass"]
    assert [rung.name for rung in ladder("normalize")] == ["naive", "blocked", "fused"]
    assert choose("moments", MomentsShape(2, 3)).name == "one_pass"
    assert choose("normalize", NormalizeShape(2, 3, True)).name == "fused"


@pytest.mark.parametrize("gamma", [None, [0.5, 1.0, 2.0, 3.0, 4.0]])
@EACH_DTYPE
def test_channel_table(dtype: str, gamma: list[float] | None) -> None:
    mean, beta = np.arange(5, dtype=dtype), np.arange(7, 12, dtype=dtype)
    variance = np.array([0.0, 1e-6, 0.5, 2.0, 1e6], dtype)
    factor = None if gamma is None else np.array(gamma, dtype)
    table = norm.channel_table(factor, beta, mean, variance, EPS)
    assert table.dtype == dtype
    inverse = table[4]
    exact = np.array([1 / math.sqrt(float(value) + EPS) for value in variance])
    oracle.assert_close(inverse, exact, roundings=1)
    np.testing.assert_array_equal(table[0], mean)
    np.testing.assert_array_equal(table[1], inverse if factor is None else factor * inverse)
    np.testing.assert_array_equal(table[2], beta)
    np.testing.assert_array_equal(table[3], table[1])


@EACH_SHAPE
def test_same_bits_on_any_number_of_threads(shape: tuple[int, ...]) -> None:
    drawn = draw(shape, "float64")  # sums of float32 in float64 are the same in any order
    found = []
    for threads in (1, 2):
        with machine.num_threads(threads):
            found.append(numbers(*drawn, relu=True))
            found[-1] += moments(drawn[0], variants("moments")["two_pass"])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (5, 1000), (103, 5), (5000, 96)])
def test_blocks_hold_every_number_once(shape: tuple[int, int]) -> None:
    rows, channels = shape
    end = 0
    for first, last, width in blocks_of(rows, channels).tolist():
        assert first == end < last
        assert width % channels == (last - first) % width == 0
        end = last
    assert end == rows * channels


@EACH_MOMENTS
def test_variance_far_from_zero(rung: Variant) -> None:
    """The mean of the squares minus the square of the mean would have no correct digit here."""
    x = np.array([[10000.0], [10001.0], [10002.0], [10003.0]], np.float32)
    mean, variance = moments(x, rung)
    assert (mean.item(), variance.item()) == (10001.5, 1.25)


@EACH_MOMENTS
def test_moments_of_many_rows_are_taken_in_float64(rung: Variant) -> None:
    """In float32 a sum of ones stops at 2**24, and of tenths it is off in the third digit."""
    x = np.full((2**20, 1), 0.1, np.float32)
    mean, variance = moments(x, rung)
    assert mean.item() == np.float32(0.1)
    assert variance.item() < 1e-20


def test_sums_of_many_rows_are_taken_in_float64() -> None:
    x = np.full((2**20, 1), 0.1, np.float32)
    wanted = pytest.approx(2**20 * float(np.float32(0.1)), rel=1e-12)
    shape = normalize_shape(x.shape, relu=False)
    table = np.array([[0], [1], [1], [1], [1]], np.float32)
    sums, _ = norm.backward(x, x, table, shape, of_batch=False, gradient=False)
    assert sums[0].item() == wanted
    assert norm.channel_sums(x, np.float64).item() == wanted
    assert norm.channel_sums(x).item() == np.float32(wanted.expected)


@EACH_MOMENTS
def test_variance_with_a_first_row_far_from_all_others(rung: Variant) -> None:
    """The worst that a sum of squares from the first row on can meet."""
    x = np.random.default_rng(0).standard_normal((100_000, 1))
    x[0] = 1e6
    for dtype, tolerance in (("float32", 1e-6), ("float64", 1e-10)):
        drawn = x.astype(dtype)
        wanted = oracle.channel_statistics(drawn)
        np.testing.assert_allclose(moments(drawn, rung), wanted, rtol=tolerance)


@EACH_MOMENTS
def test_equal_numbers_have_no_variance(rung: Variant) -> None:
    for rows in (1, 331):
        x = np.full((rows, 64), 0.1, np.float32)
        mean, variance = moments(x, rung)
        np.testing.assert_array_equal(mean, x[0])
        np.testing.assert_allclose(variance, 0, atol=1e-30)


@EACH_MOMENTS
def test_nan_stays_in_its_channel(rung: Variant) -> None:
    x = np.random.default_rng(0).standard_normal((331, 3))
    x[200, 1] = np.nan
    for found in moments(x, rung):
        np.testing.assert_array_equal(np.isnan(found), [False, True, False])


@EACH_NORMALIZE
def test_nan_is_not_hidden_by_the_relu(rung: Variant) -> None:
    x = np.array([[np.nan, -1.0], [2.0, np.nan]])
    affine = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    y = normalized(x, affine, rung, relu=True)
    np.testing.assert_array_equal(y, [[np.nan, 0], [2, np.nan]])


@pytest.mark.parametrize("size", [(0, 4), (2, 0, 3, 4)])
def test_nothing_gives_nothing(size: tuple[int, ...]) -> None:
    x, table = np.zeros(size), np.ones((5, 4))
    for rung in variants("normalize").values():
        assert normalized(x, table[:3], rung, relu=True).shape == size
    assert norm.channel_sums(x).tolist() == [0] * 4
    for of_batch in (False, True):
        sums, gx = norm.backward(x, x, table, normalize_shape(size, relu=True), of_batch=of_batch)
        assert sums.tolist() == np.zeros((2, 4)).tolist()
        assert gx.shape == size


@EACH_RELU
def test_only_what_is_wanted_backwards(relu: bool) -> None:
    x, gy, scale = draw((3, 5, 7), "float32")
    table = np.stack([scale, scale, scale, scale, scale])
    shape = normalize_shape(x.shape, relu=relu)
    for of_batch in (False, True):
        sums, gx = norm.backward(x, gy, table, shape, of_batch=of_batch)
        assert sums.all()
        of_sums, nothing = norm.backward(x, gy, table, shape, of_batch=of_batch, gradient=False)
        np.testing.assert_array_equal(of_sums, sums)
        assert not nothing.size
        _, alone = norm.backward(x, gy, table, shape, of_batch=of_batch, sums=False)
        np.testing.assert_array_equal(alone, gx)


def test_work_that_the_definition_asks_for() -> None:
    """Counted by hand, for 5 rows of 3 channels."""
    found: dict[str, Any] = {"moments": moments_shape((1, 5, 3))}
    found |= {str(relu): normalize_shape((5, 1, 3), relu=relu) for relu in (False, True)}
    assert {shape.input for shape in found.values()} == {(5, 3)}
    assert [shape.flops for shape in found.values()] == [4 * 15, 3 * 15, 4 * 15]
    assert [shape.bytes for shape in found.values()] == [4 * (15 + 6)] + 2 * [4 * (30 + 9)]
    assert dataclasses.replace(found["True"], relu=False) == found["False"]


@pytest.mark.parametrize("wide", ["x", "gy", "both"])
@pytest.mark.parametrize("width", [5, 33])
def test_some_channels_of_a_wider_array(wide: str, width: int) -> None:
    """Whatever lies between the rows, and behind the last, is not looked at."""
    x, gy, scale = draw((3, 9, 7, width), "float32")
    apart = {"x": x, "gy": gy}
    for name in apart if wide == "both" else [wide]:
        wider = np.full((3, 9, 7, width + 8), np.nan, np.float32)
        wider[..., 6 : 6 + width] = apart[name]
        apart[name] = wider[..., 6 : 6 + width]
    wanted = numbers(x, gy, scale, relu=True)
    found_numbers = numbers(apart["x"], apart["gy"], scale, relu=True)
    for found, number in zip(found_numbers, wanted, strict=True):
        oracle.assert_close(found, number)


def test_rows_that_are_not_evenly_apart_are_copied() -> None:
    x, gy, scale = draw((6, 5), "float32")
    backwards, columns = x[::-1].copy()[::-1], x.T.copy().T
    wanted = numbers(x, gy, scale, relu=True)
    for other in (backwards, columns):
        for found, number in zip(numbers(other, gy, scale, relu=True), wanted, strict=True):
            np.testing.assert_array_equal(found, number)


@EACH_DTYPE
@EACH_SHAPE
def test_relu_gradient_sums(shape: tuple[int, ...], dtype: str) -> None:
    y, gy, _ = draw(shape, dtype)
    g, sums = norm.relu_gradient_sums(y, gy)
    wanted = np.where(y > 0, gy, 0)
    np.testing.assert_array_equal(g, wanted)
    assert g.dtype == sums.dtype == np.dtype(dtype)
    oracle.assert_close(sums, wanted.reshape(-1, shape[-1]).astype(np.float64).sum(axis=0))
