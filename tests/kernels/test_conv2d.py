"""Convolution: every variant, on every window of the three networks and on awkward ones."""

import functools

import numpy as np
import pytest

import minincep_kernels.conv2d.im2col as im2col_file
from minincep_kernels import Array, machine
from minincep_kernels.conv2d import naive
from minincep_kernels.registry import Variant, variants
from minincep_kernels.shapes import Conv2dShape, conv2d_shape
from tests import oracle
from tests.network_shapes import conv2d_shapes, conv2d_windows, label

pytestmark = pytest.mark.usefixtures("one_thread")  # but for what asks for more

# Those whose matrix products are left to BLAS, which sums in another order on other threads.
BLAS = {"im2col", "pointwise"}

AWKWARD = [
    conv2d_shape((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), "valid"),
    conv2d_shape((0, 4, 4, 3), (3, 3, 3, 2), (1, 1), "same"),  # no image at all
    conv2d_shape((2, 3, 4, 3), (3, 4, 3, 2), (1, 1), "valid"),  # the filter is as large as it
    conv2d_shape((1, 2, 2, 2), (5, 5, 2, 3), (1, 1), "same"),  # and here larger
    conv2d_shape((1, 4, 5, 2), (3, 2, 2, 3), (1, 1), (4, 5, 3, 6)),  # windows of padding alone
    conv2d_shape((1, 6, 5, 2), (3, 3, 2, 3), (1, 1), (2, 0, 0, 1)),
    conv2d_shape((1, 9, 8, 2), (2, 3, 2, 3), (3, 4), "valid"),  # pixels that no window sees
    conv2d_shape((1, 9, 8, 2), (4, 5, 2, 3), (3, 2), "same"),
    conv2d_shape((1, 7, 8, 2), (1, 1, 2, 3), (2, 2), "valid"),  # not for `pointwise`
    conv2d_shape((1, 7, 8, 2), (1, 1, 2, 3), (1, 1), (1, 0, 0, 1)),  # nor this
]
SHAPES = [*conv2d_shapes(), *AWKWARD]


VARIANTS = list(variants("conv2d").values())


def on_all_shapes(some: list[Variant]) -> pytest.MarkDecorator:
    cases = [(variant, shape) for variant in some for shape in SHAPES if variant.supports(shape)]
    names = [f"{variant.name}-{label(shape)}" for variant, shape in cases]
    return pytest.mark.parametrize(("variant", "shape"), cases, ids=names)


EACH_DTYPE = pytest.mark.parametrize("dtype", ["float32", "float64"])
EACH_VARIANT = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)


@functools.cache
def arrays(shape: Conv2dShape, dtype: str) -> tuple[Array, Array, Array]:
    """Images, filters and the gradient of the output."""
    random = np.random.default_rng(0)
    sizes = (shape.input, shape.filters, shape.output)
    x, filters, gy = (random.standard_normal(size).astype(dtype) for size in sizes)
    return x, filters, gy


@functools.cache
def expected(shape: Conv2dShape, dtype: str) -> tuple[Array, Array, Array]:
    x, filters, gy = arrays(shape, dtype)
    return (
        oracle.convolve(x, filters, shape),
        oracle.convolve_input_gradient(gy, filters, shape),
        oracle.convolve_filter_gradient(x, gy, shape),
    )


def results(variant: Variant, shape: Conv2dShape, dtype: str) -> tuple[Array, Array, Array]:
    x, filters, gy = arrays(shape, dtype)
    return (
        variant.forward(x, filters, shape),
        variant.input_gradient(gy, filters, shape),
        variant.filter_gradient(x, gy, shape),
    )


def check(variant: Variant, shape: Conv2dShape, dtype: str) -> None:
    for actual, wanted in zip(results(variant, shape, dtype), expected(shape, dtype), strict=True):
        assert actual.dtype == dtype
        oracle.assert_close(actual, wanted)


def test_the_networks_have_these_windows() -> None:
    kernels = {kernel for kernel, _, _ in conv2d_windows()}
    assert kernels == {(1, 1), (3, 3), (5, 5), (1, 3), (3, 1), (1, 7), (7, 1)}
    over = {
        (shape.height + sum(shape.padding[:2]) - shape.kernel[0]) % shape.stride[0]
        for shape in conv2d_shapes()
    }
    assert over == {0, 1}  # windows that end with the image, and windows that leave a row over


@EACH_DTYPE
@on_all_shapes(VARIANTS)
def test_like_the_oracle(variant: Variant, shape: Conv2dShape, dtype: str) -> None:
    check(variant, shape, dtype)


@EACH_VARIANT
def test_supports_some_layer_of_the_networks(variant: Variant) -> None:
    assert any(variant.supports(shape) for shape in conv2d_shapes())


def test_pointwise_leaves_alone_what_is_no_matrix_product() -> None:
    supported = [shape for shape in SHAPES if variants("conv2d")["pointwise"].supports(shape)]
    assert {(s.kernel, s.stride, s.padding) for s in supported} == {((1, 1), (1, 1), (0, 0, 0, 0))}


@pytest.mark.parametrize("parts", [[1, 1, 1, 1, 1], [2, 2, 1], [5]])
def test_im2col_in_parts(parts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    shape = conv2d_shape((5, 6, 5, 3), (3, 3, 3, 4), (1, 1), "same")
    an_image = shape.out_height * shape.out_width * shape.taps * 8
    monkeypatch.setattr(im2col_file, "WORKSPACE", parts[0] * an_image + an_image // 2)
    seen = []

    def im2col(x: Array, *others: object) -> None:
        seen.append(len(x))
        compiled(x, *others)

    compiled = im2col_file.im2col
    monkeypatch.setattr(im2col_file, "im2col", im2col)
    check(variants("conv2d")["im2col"], shape, "float64")
    assert seen == [*parts, *parts]  # of the forward pass, and of the filter gradient


def test_im2col_takes_an_image_that_is_larger_than_the_workspace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(im2col_file, "WORKSPACE", 1)
    check(variants("conv2d")["im2col"], conv2d_shapes()[0], "float64")


@EACH_DTYPE
@on_all_shapes([variant for variant in VARIANTS if variant.name not in BLAS])
def test_same_bits_on_any_number_of_threads(
    variant: Variant, shape: Conv2dShape, dtype: str
) -> None:
    with machine.num_threads(1):
        one = results(variant, shape, dtype)
    with machine.num_threads(2):
        two = results(variant, shape, dtype)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_columns_same_bits_on_any_number_of_threads() -> None:
    shape = conv2d_shape((2, 7, 9, 3), (3, 3, 3, 4), (2, 2), "same")
    x, _, _ = arrays(shape, "float32")
    found = []
    for threads in (1, 2):
        columns = np.empty((2, *shape.output[1:3], 3, 3, 3), np.float32)
        images = np.empty_like(x)
        with machine.num_threads(threads):
            im2col_file.im2col(x, shape.stride, shape.corner, columns)
            im2col_file.col2im(columns, shape.stride, shape.corner, images)
        found.append((columns, images))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@EACH_VARIANT
def test_nan_reaches_every_output_that_sees_it(variant: Variant) -> None:
    shape = conv2d_shape((1, 3, 3, 1), (1, 1, 1, 2), (1, 1), "valid")
    x = np.zeros(shape.input)
    x[0, 1, 2] = np.nan
    y = variant.forward(x, np.zeros(shape.filters), shape)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x) & [True, True])


def test_the_oracle_on_numbers_worked_out_by_hand() -> None:
    shape = conv2d_shape((1, 2, 2, 1), (2, 2, 1, 1), (1, 1), (0, 1, 0, 0))
    x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(shape.input)
    filters = np.array([[10.0, 20.0], [30.0, 40.0]]).reshape(shape.filters)
    y = np.array([1 * 10 + 2 * 20 + 3 * 30 + 4 * 40, 3 * 10 + 4 * 20.0]).reshape(shape.output)
    np.testing.assert_array_equal(oracle.convolve(x, filters, shape), y)
    np.testing.assert_array_equal(naive.forward(x, filters, shape), y)
