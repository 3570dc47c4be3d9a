"""Tensors: gradients in order and added up, what is recorded, and what misuse is told."""

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Tensor, no_grad, op, ops
from minincep.autograd.op import layer, placeholder, tracing
from minincep_kernels import Array
from minincep_kernels.errors import DTypeError, ShapeError
from tests.autograd.leaves import gradient, leaf


@op
def misruled(x: Array, *, mistake: str) -> tuple[Array, Any]:
    """An op whose rule fails, or forgets its gradient."""
    return x, ()


@misruled.vjp
def _(
    residuals: Any, gy: Array, needs: tuple[bool, ...], *, mistake: str
) -> tuple[Array | None, ...]:
    if mistake == "forgets":
        return (None,)
    raise ValueError("a mistake in a rule")


@op
def ruleless(x: Array) -> tuple[Array, Any]:
    """An op without a rule."""
    return x, ()


# Gradients.


def test_diamond() -> None:
    """A node must wait for the gradients of all that use it, also over paths of other lengths.

    y = a**2 + a**3 with a = 2 x, so dy/dx = 2 (2 a + 3 a**2), at x = 3.
    """
    x = leaf(3.0)
    a = ops.scale(x, factor=2.0)
    y = ops.multiply(a, ops.add(a, ops.multiply(a, a)))
    y.backward()
    assert gradient(x) == 2 * (2 * 6 + 3 * 36)


def test_ladder_of_diamonds() -> None:
    """2**60 paths: each node is visited once, or this never ends."""
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = ops.multiply(y, y)
    y.backward()
    assert gradient(x) == 2.0**60


def test_long_chain() -> None:
    x = leaf([1.0, 2.0])
    y = x
    for _ in range(5000):
        y = ops.add_bias(y, np.zeros(2))
    y.backward(np.array([3.0, 5.0]))
    assert gradient(x) == [3.0, 5.0]


def test_long_chain_dropped_without_backward() -> None:
    x = leaf([1.0])
    y = x
    for _ in range(5000):
        y = ops.multiply(y, x)
    del y
    assert x.data.flags.writeable


def test_gradients_add_up_in_leaves() -> None:
    x = leaf([1.0, 2.0])
    for _ in range(2):
        ops.mean(ops.multiply(x, x)).backward()
    assert gradient(x) == [2.0, 4.0]


def test_gradients_do_not_stay_inside_the_tape() -> None:
    x = leaf([1.0])
    inner = ops.scale(x, factor=2.0)
    ops.scale(inner, factor=3.0).backward()
    assert inner.grad is None


def test_gradients_are_arrays_of_their_own() -> None:
    a, b, given = leaf([1.0]), leaf([2.0]), np.ones(1)
    ops.add(a, b).backward(given)
    assert a.grad is not None
    a.grad += 5
    assert (gradient(b), given.tolist()) == ([1.0], [1.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_numbers_are_arrays(dtype: Any) -> None:
    x = leaf(3.0, dtype)
    for _ in range(2):
        ops.multiply(ops.multiply(x, x), x).backward()
    assert isinstance(x.grad, np.ndarray)
    assert (x.grad.dtype, x.grad.item()) == (dtype, 2 * 27)


def test_broadcasting_is_undone() -> None:
    a, b, c = leaf(np.ones((3, 1))), leaf(np.ones((2, 1, 4))), leaf(2.0)
    ops.add(ops.multiply(a, c), b).backward(np.ones((2, 3, 4)))
    assert gradient(a) == [[16.0]] * 3  # 2 x 4 places, times c
    assert gradient(b) == [[[3.0] * 4]] * 2
    assert gradient(c) == 24.0


def test_backward_from_a_leaf() -> None:
    x = leaf([1.0, 2.0])
    x.backward(np.array([3.0, 4.0]))
    assert gradient(x) == [3.0, 4.0]


def test_only_what_requires_a_gradient_gets_one() -> None:
    x, fixed = leaf([1.0]), Tensor(np.ones(1))
    ops.multiply(x, fixed).backward()
    assert fixed.grad is None


# Recording.


def test_no_grad() -> None:
    x = leaf([1.0])
    with no_grad():
        y = ops.relu(x)
    assert (y.node, y.requires_grad) == (None, False)
    assert ops.relu(x).requires_grad


def test_no_grad_ends_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert ops.relu(leaf([1.0])).requires_grad


def test_nothing_is_recorded_without_need() -> None:
    assert ops.relu(Tensor(np.ones(1))).node is None
    assert ops.relu(leaf([1.0]).detach()).node is None


# Tracing.


class Listener:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def record(self, *call: Any) -> None:
        self.heard.append(call)


def test_a_trace_hears_every_call() -> None:
    x, filters = placeholder((1, 5, 6, 3), np.float32), np.ones((3, 3, 3, 4), np.float32)
    listener = Listener()
    with tracing(listener):
        with layer("stem/conv"):
            y = ops.conv2d(x, filters, stride=(2, 2))
        z = ops.relu(y)
    static = {"stride": (2, 2), "padding": "valid"}
    assert listener.heard == [
        (ops.conv2d, (x, filters, None), static, "stem/conv", y),
        (ops.relu, (y,), {}, "", z),
    ]
    assert z.shape == (1, 2, 2, 4)


def test_a_trace_computes_nothing() -> None:
    x = leaf(np.ones((1 << 12, 1)))
    listener = Listener()
    tracemalloc.start()
    try:
        with tracing(listener):
            y = ops.add(x, placeholder((1 << 12, 1 << 12), np.float64))  # 128 MB, if they were
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert y.shape == (1 << 12, 1 << 12)
    assert used < 1 << 20
    assert (y.node, y.requires_grad, y.data.flags.writeable) == (None, False, False)
    assert x.data.flags.writeable


def test_a_trace_ends() -> None:
    listener = Listener()
    with pytest.raises(ShapeError) as raised, tracing(listener), layer("logits"):
        ops.matmul(leaf([1.0]), leaf([1.0]))
    assert raised.value.__notes__ == ["in layer logits"]
    assert ops.relu(leaf([-1.0, 2.0])).data.tolist() == [0.0, 2.0]
    assert listener.heard == []


def test_inputs_have_names() -> None:
    assert ops.conv2d.input_names == ("x", "filters", "bias")
    assert ops.concat.input_names == ("parts",)


# Mistakes.


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (np.ones(2, np.int64), "int64 array"),
        (np.ones(2, np.float16), "float16 array"),
        (np.ones(2, bool), "bool array"),
        ([1.0], "list"),
        (1.0, "float"),
    ],
)
def test_what_is_no_tensor(data: Any, got: str) -> None:
    with pytest.raises(DTypeError, match=f"float32 or float64, got {got}: convert it with"):
        Tensor(data)


def test_mixed_types() -> None:
    with pytest.raises(DTypeError, match=r"add: .* got a float64, b float32: convert them"):
        ops.add(leaf([1.0]), leaf([1.0], np.float32))


def test_inputs_may_be_given_by_name() -> None:
    x, filters, bias = leaf(np.ones((1, 1, 1, 1))), leaf(np.ones((1, 1, 1, 2))), leaf([1.0, 2.0])
    y = ops.conv2d(x, filters, bias=bias)
    assert y.data.tolist() == [[[[2.0, 3.0]]]]
    y.backward(np.ones(y.shape))
    assert gradient(bias) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("inputs", "static", "message"),
    [
        ((), {}, "^scale: missing a required argument: 'x'"),
        ((np.ones(1), np.ones(1)), {"factor": 2.0}, "^scale: too many positional arguments"),
        ((np.ones(1),), {}, "^scale: missing a required argument: 'factor'"),
        ((np.ones(1),), {"factors": 2.0}, "^scale: .*'fact"),
    ],
)
def test_calls_that_do_not_fit(inputs: Any, static: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        ops.scale(*inputs, **static)


def test_backward_needs_a_gradient_where_there_is_no_single_number() -> None:
    y = ops.relu(leaf([1.0, 2.0]))
    with pytest.raises(ShapeError, match=r"result of shape \(2,\): reduce it to one number"):
        y.backward()


def test_backward_with_a_gradient_that_does_not_fit() -> None:
    y = ops.relu(leaf([1.0, 2.0], np.float32))
    with pytest.raises(ShapeError, match=r"gradient has shape \(1,\), the tensor \(2,\)"):
        y.backward(np.ones(1, np.float32))


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (np.ones(2), "float64 array"),
        (np.ones(2, int), "int64 array"),
        ([1, 1], "list"),
        (1.0, "float"),
        (Tensor(np.ones(2, np.float32)), "Tensor"),
    ],
)
def test_backward_with_what_is_no_gradient(given: Any, got: str) -> None:
    y = ops.relu(leaf([1.0, 2.0], np.float32))
    message = f"gradient is a {got}, the tensor float32: give a NumPy array"
    with pytest.raises(DTypeError, match=message):
        y.backward(given)


def test_backward_from_what_requires_no_gradient() -> None:
    with pytest.raises(RuntimeError, match="requires no gradient: it was made under no_grad"):
        ops.relu(Tensor(np.ones(1))).backward()


@pytest.mark.parametrize(
    ("inputs", "error"),
    [((np.ones((2, 3)), np.ones((2, 3))), ShapeError), ((np.ones(2), np.ones(2, "f")), DTypeError)],
)
def test_errors_name_the_layer(inputs: tuple[Array, Array], error: type[Exception]) -> None:
    with layer("mixed_5b/branch_1"), pytest.raises(error) as raised:
        ops.matmul(*inputs)
    assert raised.value.__notes__ == ["in layer mixed_5b/branch_1"]
    with pytest.raises(error) as raised:
        ops.matmul(*inputs)
    assert not hasattr(raised.value, "__notes__")


def test_errors_of_a_rule_name_the_layer() -> None:
    with layer("mixed_5b/branch_1"):
        y = misruled(leaf([1.0]), mistake="fails")
    with pytest.raises(ValueError, match="a mistake in a rule") as raised:
        y.backward()
    assert raised.value.__notes__ == ["in the backward pass of layer mixed_5b/branch_1"]


def test_a_rule_that_forgets_a_gradient() -> None:
    y = misruled(leaf([1.0]), mistake="forgets")
    with pytest.raises(RuntimeError, match="backward rule of misruled left out a gradient"):
        y.backward()


def test_an_op_without_a_rule() -> None:
    y = ruleless(leaf([1.0]))
    with pytest.raises(RuntimeError, match="op ruleless has no backward rule"):
        y.backward()


def test_what_is_shown() -> None:
    x = leaf([1.0, 2.0], np.float32)
    assert repr(x) == "Tensor(float32, shape (2,))"
    assert repr(ops.relu(x)) == "Tensor(float32, shape (2,), made by relu)"
    assert re.fullmatch("<op relu>", repr(ops.relu))
    assert leaf(2.5).item() == 2.5
