"""Pooling: largest value and mean, on the windows of the three networks and on awkward ones."""

from collections.abc import Callable

import numpy as np
import pytest

from minincep_kernels import Array, machine, pool
from minincep_kernels.registry import Variant, choose, ladder, variants
from minincep_kernels.shapes import Pool2dShape, pool2d_shape
from tests import oracle
from tests.network_shapes import label, pool2d_shapes

pytestmark = pytest.mark.usefixtures("one_thread")  # but for what asks for more

SHAPES = [
    *pool2d_shapes(),
    pool2d_shape((1, 1, 1, 1), (1, 1), (1, 1), "valid"),
    pool2d_shape((0, 4, 4, 3), (3, 3), (2, 2), "same"),
    pool2d_shape((1, 2, 2, 2), (3, 3), (1, 1), "same"),
    pool2d_shape((1, 9, 8, 2), (2, 3), (3, 4), "valid"),  # pixels that no window sees
    pool2d_shape((1, 9, 8, 2), (3, 2), (2, 1), (2, 1, 1, 0)),
    pool2d_shape((1, 8, 8, 3), (5, 5), (3, 3), "valid"),
]
EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=label)
EACH_MAX = pytest.mark.parametrize("rung", variants("max_pool2d").values(), ids=lambda v: v.name)
EACH_AVERAGE = pytest.mark.parametrize(
    "rung", variants("avg_pool2d").values(), ids=lambda v: v.name
)
EACH_DTYPE = pytest.mark.parametrize("dtype", ["float32", "float64"])


def arrays(shape: Pool2dShape, dtype: str) -> tuple[Array, Array]:
    """Images, with many equal values in one channel, and the gradient of the output."""
    random = np.random.default_rng(0)
    x = random.standard_normal(shape.input)
    x[..., 0] = x[..., 0] > 0
    return x.astype(dtype), random.standard_normal(shape.output).astype(dtype)


def max_pool(x: Array, gy: Array, shape: Pool2dShape, rung: Variant) -> list[Array]:
    y, place = rung.forward(x, shape)
    return [y, place, pool.max_backward(gy, place, shape)]


def average_pool(x: Array, gy: Array, shape: Pool2dShape, rung: Variant) -> list[Array]:
    return [rung.forward(x, shape), pool.average_backward(gy, shape)]


@EACH_MAX
@EACH_DTYPE
@EACH_SHAPE
def test_max_like_the_oracle(rung: Variant, shape: Pool2dShape, dtype: str) -> None:
    x, gy = arrays(shape, dtype)
    before = x.copy()
    y, place, gx = max_pool(x, gy, shape, rung)
    assert y.dtype == gx.dtype == dtype
    assert place.dtype == np.uint8
    np.testing.assert_array_equal(y, oracle.max_pool(x, shape))
    oracle.assert_close(gx, oracle.max_pool_gradient(x, gy, shape))
    np.testing.assert_array_equal(x, before)


@EACH_AVERAGE
@EACH_DTYPE
@EACH_SHAPE
def test_average_like_the_oracle(rung: Variant, shape: Pool2dShape, dtype: str) -> None:
    x, gy = arrays(shape, dtype)
    before = x.copy()
    y, gx = average_pool(x, gy, shape, rung)
    assert y.dtype == gx.dtype == dtype
    oracle.assert_close(y, oracle.average_pool(x, shape))
    oracle.assert_close(gx, oracle.average_pool_gradient(gy, shape))
    np.testing.assert_array_equal(x, before)


def test_the_ladders() -> None:
    names = ["naive", "channels_inside", "one_pass"]
    assert [rung.name for rung in ladder("max_pool2d")] == names
    assert [rung.name for rung in ladder("avg_pool2d")] == ["naive", "separable"]
    assert choose("max_pool2d", SHAPES[0]).name == "one_pass"
    assert choose("avg_pool2d", SHAPES[0]).name == "separable"


def test_additions_that_are_left_when_columns_are_shared() -> None:
    shape = pool2d_shape((2, 5, 7, 3), (3, 3), (1, 1), "same")
    work = variants("avg_pool2d")["separable"].work
    assert work is not None
    assert shape.flops == 9 * 2 * 5 * 7 * 3
    assert work(shape) == 6 * 2 * 5 * 7 * 3


@EACH_DTYPE
def test_global_average_like_the_oracle(dtype: str) -> None:
    whole = pool2d_shape((2, 5, 7, 3), (5, 7), (1, 1), "valid")
    x, gy = arrays(whole, dtype)
    y, gx = pool.global_average_forward(x), pool.global_average_backward(gy, x.shape)
    assert y.dtype == gx.dtype == dtype
    oracle.assert_close(y, oracle.average_pool(x, whole))
    oracle.assert_close(gx, oracle.average_pool_gradient(gy, whole))
    assert gx.flags.writeable


Pooling = Callable[[Array, Array, Pool2dShape, Variant], list[Array]]


@pytest.mark.parametrize(
    ("function", "rung"),
    [(max_pool, rung) for rung in variants("max_pool2d").values()]
    + [(average_pool, rung) for rung in variants("avg_pool2d").values()],
    ids=lambda value: value.name if isinstance(value, Variant) else value.__name__,
)
@EACH_SHAPE
def test_same_bits_on_any_number_of_threads(
    function: Pooling, rung: Variant, shape: Pool2dShape
) -> None:
    x, gy = arrays(shape, "float32")
    with machine.num_threads(1):
        one = function(x, gy, shape, rung)
    with machine.num_threads(2):
        two = function(x, gy, shape, rung)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@EACH_MAX
def test_the_first_of_equals_wins(rung: Variant) -> None:
    shape = pool2d_shape((1, 2, 3, 1), (2, 3), (1, 1), "valid")
    x = np.array([[0.0, 7.0, 1.0], [7.0, 7.0, 7.0]]).reshape(shape.input)
    _, place = rung.forward(x, shape)
    assert place.item() == 1


@EACH_MAX
@pytest.mark.parametrize(("size", "dtype"), [(15, "uint8"), (16, "uint16")])
def test_places_take_no_more_memory_than_they_must(rung: Variant, size: int, dtype: str) -> None:
    shape = pool2d_shape((1, size, size, 1), (size, size), (1, 1), "valid")
    x = np.zeros(shape.input)
    x[0, -1, -1] = 1
    y, place = rung.forward(x, shape)
    assert (y.item(), place.item(), str(place.dtype)) == (1, size**2 - 1, dtype)
    assert pool.max_backward(y, place, shape).tolist() == x.tolist()


@EACH_MAX
def test_padding_never_wins(rung: Variant) -> None:
    shape = pool2d_shape((1, 2, 2, 1), (3, 3), (1, 1), "same")
    y, _ = rung.forward(np.full(shape.input, -5.0), shape)
    np.testing.assert_array_equal(y, np.full(shape.output, -5.0))


@EACH_AVERAGE
def test_padding_is_not_counted(rung: Variant) -> None:
    shape = pool2d_shape((1, 4, 4, 1), (3, 3), (1, 1), "same")
    y = rung.forward(np.full(shape.input, 3.0), shape)
    np.testing.assert_array_equal(y, np.full(shape.output, 3.0))


@EACH_MAX
def test_largest_of_a_window_with_nan_is_nan(rung: Variant) -> None:
    shape = pool2d_shape((1, 3, 6, 2), (3, 3), (1, 3), "valid")
    x = np.random.default_rng(0).standard_normal(shape.input)
    x[0, 1, 1:3, 0] = np.nan  # two in the left window of one channel
    y, place = rung.forward(x, shape)
    np.testing.assert_array_equal(y, oracle.max_pool(x, shape))
    assert np.isnan(y).sum() == 1
    assert place[0, 0, 0, 0] == 1 * 3 + 1  # the first of the two


@EACH_AVERAGE
def test_mean_of_a_window_with_nan_is_nan(rung: Variant) -> None:
    shape = pool2d_shape((1, 3, 6, 2), (3, 3), (1, 3), "valid")
    x = np.random.default_rng(0).standard_normal(shape.input)
    x[0, 1, 1, 0] = np.nan
    assert np.isnan(rung.forward(x, shape)).tolist() == [[[[True, False], [False, False]]]]


@EACH_MAX
def test_nobody_wins_a_window_without_a_number_above_minus_infinity(rung: Variant) -> None:
    shape = pool2d_shape((1, 2, 2, 1), (2, 2), (1, 1), "valid")
    y, place = rung.forward(np.full(shape.input, -np.inf), shape)
    assert y.item() == -np.inf
    assert place.item() == 2 * 2
    gx = pool.max_backward(np.ones(shape.output), place, shape)
    np.testing.assert_array_equal(gx, np.zeros(shape.input))
