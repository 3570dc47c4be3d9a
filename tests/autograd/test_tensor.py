"""The tape: order, accumulation, freeing, what it holds, and what it says when misused."""

import copy
import gc
import pickle
import re
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Tensor, no_grad, op, ops
from minincep.autograd.op import layer, placeholder, tracing
from minincep.nn.module import Parameter
from minincep_kernels import Array
from minincep_kernels.errors import DTypeError, ShapeError


def leaf(values: Any, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def gradient(x: Tensor) -> Any:
    assert x.grad is not None
    return x.grad.tolist()


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


# The life of the tape.


def test_second_backward() -> None:
    x = leaf([1.0])
    y = ops.relu(x)
    y.backward()
    with pytest.raises(RuntimeError, match=r"second time through relu: .*retain_tape=True"):
        y.backward()
    assert gradient(x) == [1.0]


def test_second_backward_through_a_part_that_is_gone() -> None:
    with layer("stem/conv"):
        shared = ops.relu(leaf([1.0]))
    one, two = ops.scale(shared, factor=2.0), ops.scale(shared, factor=3.0)
    one.backward()
    with pytest.raises(RuntimeError, match="second time through relu of layer stem/conv: "):
        two.backward()


def test_retain_tape() -> None:
    x = leaf([3.0])
    y = ops.multiply(x, x)
    y.backward(retain_tape=True)
    y.backward()
    assert gradient(x) == [12.0]
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_backward_lets_go_of_the_arrays() -> None:
    inner = ops.relu(leaf([1.0]))
    alive = weakref.ref(inner.data)  # the residual of relu
    y = ops.scale(inner, factor=2.0)
    del inner
    assert alive() is not None
    y.backward()
    gc.collect()
    assert alive() is None


def test_only_residuals_stay_in_memory() -> None:
    x = leaf(np.ones(1 << 17))
    tracemalloc.start()
    try:
        y = x
        for _ in range(20):
            y = ops.scale(y, factor=1.5)  # whose rule needs no array
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used < 1.5 * x.data.nbytes
    y.backward(np.ones(y.shape))
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, 1.5**20)


def test_shares_that_nobody_wants_are_dropped() -> None:
    x, fixed = leaf([3.0]), Tensor(np.array([2.0]))
    y = ops.add(ops.multiply(x, fixed), fixed)  # the rule of add gives a share to both
    assert y.node is not None
    assert y.node.inputs[1] is None
    y.backward()
    assert (gradient(x), fixed.grad) == ([2.0], None)


def test_backward_from_the_middle_of_a_chain() -> None:
    x = leaf([3.0])
    inner = ops.multiply(x, x)
    y = ops.scale(inner, factor=2.0)
    inner.backward(retain_tape=True)
    y.backward()
    assert gradient(x) == [6.0 + 12.0]


# Copies.


COPIES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    lambda x: pickle.loads(pickle.dumps(x)),
]


@pytest.mark.parametrize("make", COPIES, ids=["copy", "deepcopy", "pickle"])
def test_a_copy_has_no_tape(make: Callable[[Tensor], Tensor]) -> None:
    x = leaf([3.0])
    y = ops.multiply(x, x)
    other = make(y)
    assert (other.node, other.requires_grad, other.grad) == (None, False, None)
    assert other.data.tolist() == [9.0]
    del other
    gc.collect()
    assert not x.data.flags.writeable
    y.backward()
    assert x.data.flags.writeable
    assert gradient(x) == [6.0]


@pytest.mark.parametrize("make", COPIES, ids=["copy", "deepcopy", "pickle"])
def test_a_copy_of_a_leaf_is_a_leaf(make: Callable[[Tensor], Tensor]) -> None:
    weight = Parameter(np.array([3.0]))
    tape = ops.multiply(weight, weight)
    tape.backward(retain_tape=True)
    other = make(weight)
    assert type(other) is Parameter
    assert other.requires_grad
    assert gradient(other) == [6.0]
    assert not make(weight.detach()).requires_grad


def test_a_copy_of_a_node_gives_nothing_back() -> None:
    x = leaf([3.0])
    y = ops.multiply(x, x)
    other = copy.deepcopy(y.node)
    del other  # an error in __del__ is a warning, and warnings are errors
    gc.collect()
    assert not x.data.flags.writeable


# Arrays that the tape holds.


def test_held_arrays_are_read_only_until_backward() -> None:
    x, w = leaf([[1.0, 2.0]]), leaf([[3.0], [4.0]])
    y = ops.matmul(x, w)
    for held in (x.data, w.data):
        with pytest.raises(ValueError, match="read-only"):
            held[...] = 0
    y.data[...] = 0  # the rule of matmul does not use it
    y.backward(retain_tape=True)
    assert not x.data.flags.writeable
    y.backward()
    x.data[...], w.data[...] = 0, 0


def test_held_arrays_are_writeable_when_the_tape_is_dropped() -> None:
    x = leaf([1.0])
    y = ops.multiply(x, x)
    assert not x.data.flags.writeable
    del y
    assert x.data.flags.writeable


def test_an_array_is_held_as_long_as_one_node_uses_it() -> None:
    x = leaf([1.0])
    one, two = ops.multiply(x, x), ops.multiply(x, x)
    one.backward()
    assert not x.data.flags.writeable
    two.backward()
    assert x.data.flags.writeable


def test_nothing_is_held_without_a_tape() -> None:
    x = leaf([1.0])
    with no_grad():
        y = ops.multiply(x, x)
    assert x.data.flags.writeable
    assert y.data.flags.writeable


def test_arrays_that_were_read_only_before_stay_so() -> None:
    x = leaf([1.0])
    x.data.flags.writeable = False
    ops.multiply(x, x).backward()
    assert not x.data.flags.writeable


def test_a_view_let_go_before_its_array() -> None:
    x = leaf([[1.0, 2.0]])
    view = ops.reshape(x, shape=(2,))
    of_view, of_x = ops.multiply(view, view), ops.multiply(x, x)
    of_view.backward(np.ones(2))
    assert not x.data.flags.writeable
    of_x.backward(np.ones((1, 2)))
    assert x.data.flags.writeable
    assert gradient(x) == [[4.0, 8.0]]


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


def test_backward_lets_go_of_what_it_has_read() -> None:
    alive: list[bool] = []

    @op
    def watch(x: Array) -> tuple[Array, Any]:
        """x, and a look at the tape on the way back."""
        return x.copy(), ()

    @watch.vjp
    def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        alive.append(later() is not None)
        return (gy,)

    x = Tensor(np.ones(3), requires_grad=True)
    middle = ops.scale(watch(x), factor=2.0)
    later = weakref.ref(middle.data)
    loss = ops.mean(ops.multiply(middle, middle))  # which keeps middle as its residuals
    del middle
    assert later() is not None
    loss.backward()
    assert alive == [False]
