"""The life of the tape: what it lets go of and when, what copies of it are, what it holds."""

import copy
import gc
import pickle
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Tensor, no_grad, op, ops
from minincep.autograd.op import layer
from minincep.nn.module import Parameter
from minincep_kernels import Array
from tests.autograd.leaves import gradient, leaf


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
