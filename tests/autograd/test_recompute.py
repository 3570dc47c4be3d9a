"""Running again instead of keeping: the same numbers, what happens once, and what is kept."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Tensor, no_grad, ops
from minincep.autograd.op import placeholder, tracing
from minincep.autograd.recompute import once, recompute
from minincep_kernels import Array


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


class Part:
    """(x w)**2 with a mask that is drawn, and a count of its runs and of its draws."""

    def __init__(self) -> None:
        self.weight = leaf(4, 4, seed=1)
        self.random = np.random.default_rng(2)
        self.runs = self.draws = 0

    def draw(self) -> Array:
        self.draws += 1
        return self.random.random(4) < 0.5

    def __call__(self, x: Tensor) -> Tensor:
        self.runs += 1
        y = ops.matmul(x, self.weight)
        y = ops.multiply(y, y)
        return ops.multiply(y, once(self.draw).astype(float))

    def again(self, x: Tensor) -> Tensor:
        return recompute(self, x, [self.weight])


def gradients(function: Any, part: Part, x: Tensor) -> list[Any]:
    y = function(x)
    ops.mean(ops.multiply(y, y)).backward()
    assert part.weight.grad is not None
    return [y.data.tolist(), part.weight.grad.tolist(), None if x.grad is None else x.grad.tolist()]


@pytest.mark.parametrize("requires_grad", [True, False])
def test_the_same_numbers(requires_grad: bool) -> None:
    wanted: list[Any] = []
    found: list[Any] = []
    for result, again in ((wanted, False), (found, True)):
        part, x = Part(), leaf(3, 4)
        x.requires_grad = requires_grad
        result += gradients(part.again if again else part, part, x)
        assert (part.runs, part.draws) == (2 if again else 1, 1)
    assert found == wanted


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_one_inside_another(depth: int) -> None:
    plain, part = Part(), Part()

    def nested(x: Tensor, depth: int = depth) -> Tensor:
        if not depth:
            return part.again(ops.relu(x))
        return recompute(lambda x: nested(x, depth - 1), x, [part.weight])

    found = gradients(nested, part, leaf(3, 4))
    assert found == gradients(lambda x: plain(ops.relu(x)), plain, leaf(3, 4))
    assert part.draws == 1


def test_two_after_each_other() -> None:
    plain, part = Part(), Part()
    found = gradients(lambda x: part.again(part.again(x)), part, leaf(3, 4))
    assert found == gradients(lambda x: plain(plain(x)), plain, leaf(3, 4))


def test_nothing_but_the_input_is_kept() -> None:
    kept: list[weakref.ref[Array]] = []

    def function(x: Tensor) -> Tensor:
        inner = ops.relu(x)
        kept.append(weakref.ref(inner.data))
        return ops.multiply(inner, inner)

    x = leaf(3)
    y = recompute(function, ops.scale(x, factor=2.0))
    gc.collect()
    assert kept[0]() is None
    y.backward(np.ones(3))
    assert len(kept) == 2
    gc.collect()
    assert kept[1]() is None
    assert x.grad is not None
    assert x.grad.tolist() == (8 * np.maximum(x.data, 0)).tolist()


def test_the_tape_can_be_read_twice() -> None:
    part, x = Part(), leaf(3, 4)
    y = part.again(x)
    y.backward(np.ones(y.shape), retain_tape=True)
    assert x.grad is not None
    first = x.grad.copy()
    y.backward(np.ones(y.shape))
    np.testing.assert_array_equal(x.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time through recompute"):
        y.backward(np.ones(y.shape))
    assert part.draws == 1


def test_weights_are_read_only_until_backward() -> None:
    part, x = Part(), leaf(3, 4)
    y = part.again(x)
    for array in (x.data, part.weight.data):
        assert not array.flags.writeable
    y.backward(np.ones(y.shape))
    for array in (x.data, part.weight.data):
        assert array.flags.writeable


def test_weights_that_have_been_exchanged() -> None:
    part = Part()
    y = part.again(leaf(3, 4))
    part.weight.data = part.weight.data + 1
    with pytest.raises(RuntimeError, match="a weight has got another array between the forward"):
        y.backward(np.ones(y.shape))


def test_nothing_runs_again_without_a_tape() -> None:
    part = Part()
    with no_grad():
        assert part.again(leaf(3, 4)).node is None
    assert recompute(ops.relu, Tensor(np.ones(3))).node is None
    assert part.runs == 1


class Listener:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def record(self, op: Any, *_: Any) -> None:
        self.heard.append(op.name)


def test_a_trace_hears_what_is_inside() -> None:
    listener = Listener()
    x = placeholder((3,), np.float64)
    x.requires_grad = True
    with tracing(listener):
        recompute(ops.relu, x)
    assert listener.heard == ["relu"]


def test_once_outside_is_each_time() -> None:
    calls: list[int] = []
    for _ in range(2):
        once(lambda: calls.append(1))
    assert calls == [1, 1]
