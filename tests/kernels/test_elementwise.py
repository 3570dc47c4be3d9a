"""Element by element: values, nan, and the same bits on any number of threads."""

from collections.abc import Callable

import numpy as np
import pytest

from minincep_kernels import Array, elementwise, machine

pytestmark = pytest.mark.usefixtures("one_thread")  # but for what asks for more

SHAPES = [(), (0, 3), (1,), (3, 5, 7), (2, 2, 2, 1)]
EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)
EACH_DTYPE = pytest.mark.parametrize("dtype", ["float32", "float64"])


def finished(x: Array, change: Array, *, relu: bool) -> Array:
    """`elementwise.finish_residual` with the same bias for each channel, not in place."""
    out = change.copy()
    bias = np.full(out.shape[-1:] or 1, 0.5, out.dtype)
    elementwise.finish_residual(x, bias, 0.25, out if out.ndim else out.reshape(1), relu=relu)
    return out


# Name: the kernel, and the same for one pair of numbers.
KERNELS: dict[str, tuple[Callable[[Array, Array], Array], Callable[[float, float], float]]] = {
    "relu": (lambda a, b: elementwise.relu(a), lambda a, b: a if a > 0 else 0.0),
    "relu_gradient": (elementwise.relu_gradient, lambda a, b: b if a > 0 else 0.0),
    "add": (elementwise.add, lambda a, b: a + b),
    "scale": (lambda a, b: elementwise.scale(a, 0.25), lambda a, b: a * 0.25),
    "finish_residual": (lambda a, b: finished(a, b, relu=False), lambda a, b: a + (b + 0.5) * 0.25),
    "finish_residual and ReLU": (
        lambda a, b: finished(a, b, relu=True),
        lambda a, b: max(a + (b + 0.5) * 0.25, 0.0),
    ),
}
EACH_KERNEL = pytest.mark.parametrize("name", KERNELS)


def draw(shape: tuple[int, ...], dtype: str) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    a, b = (np.asarray(random.standard_normal(shape), dtype) for _ in range(2))
    return a, b


@EACH_DTYPE
@EACH_SHAPE
@EACH_KERNEL
def test_value(name: str, shape: tuple[int, ...], dtype: str) -> None:
    kernel, of_one = KERNELS[name]
    a, b = draw(shape, dtype)
    y = kernel(a, b)
    assert (y.shape, str(y.dtype)) == (shape, dtype)
    wanted = [of_one(p, q) for p, q in zip(a.flat, b.flat, strict=True)]
    np.testing.assert_array_equal(y.reshape(-1), np.array(wanted, dtype))


@EACH_KERNEL
def test_same_bits_on_any_number_of_threads(name: str) -> None:
    kernel, _ = KERNELS[name]
    a, b = draw((3, 5, 7), "float32")
    with machine.num_threads(1):
        one = kernel(a, b)
    with machine.num_threads(2):
        two = kernel(a, b)
    np.testing.assert_array_equal(one, two)


def test_relu_of_special_numbers() -> None:
    x = np.array([np.nan, -np.inf, np.inf, -0.0, 0.0, -1e-300])
    wanted = [np.nan, 0, np.inf, 0, 0, 0]
    np.testing.assert_array_equal(elementwise.relu(x), wanted)
    out = np.zeros(x.shape)
    elementwise.finish_residual(x, np.zeros(6), 0.5, out, relu=True)
    np.testing.assert_array_equal(out, wanted)


def test_each_channel_has_its_bias() -> None:
    x, out = np.zeros((2, 3)), np.zeros((2, 3))
    elementwise.finish_residual(x, np.array([1.0, -2.0, 3.0]), 2.0, out, relu=True)
    np.testing.assert_array_equal(out, [[2, 0, 6], [2, 0, 6]])


def test_gradient_of_relu_at_zero_is_zero() -> None:
    gx = elementwise.relu_gradient(np.array([0.0, 2.0]), np.array([5.0, 7.0]))
    np.testing.assert_array_equal(gx, [0, 7])


def test_factor_is_rounded_to_the_type_of_the_array_first() -> None:
    x = np.arange(100, dtype=np.float32)
    np.testing.assert_array_equal(elementwise.scale(x, 0.17), x * np.float32(0.17))


def test_a_copy_of_some_channels() -> None:
    """Of few numbers and many, of whole arrays and numbers alone."""
    for shape in ((), (5,), (3, 4), (2, 3, 40, 200)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        for part in (x, x[..., 1:]) if shape else (x,):
            found = elementwise.copied(part)
            np.testing.assert_array_equal(found, part)
            assert not np.shares_memory(found, x)
            assert found.flags.c_contiguous
            assert found.flags.writeable
