"""Gradients are added up in place and handed over uncopied, but only where nobody else looks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Op, Tensor, op, ops
from minincep_kernels import Array, buffers

SHAPE = (64, 512)  # more than `elementwise.SMALL` numbers


def leaf(*shape: int) -> Tensor:
    return Tensor(np.ones(shape), requires_grad=True)


def giving(make: Callable[[Array], Array]) -> Op:
    """An op like the identity, with gradients that `make` makes."""

    @op
    def given(x: Array) -> tuple[Array, Any]:
        return x.copy(), ()

    @given.vjp
    def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (make(gy),)

    return given


def place(array: Array | None) -> int:
    assert array is not None
    return int(array.ctypes.data)


MAKERS: dict[str, Callable[[tuple[int, ...]], Array]] = {
    "new": np.ones,
    "reshaped": lambda shape: np.ones(np.prod(shape)).reshape(shape),
    "aligned": lambda shape: buffers.empty(shape, np.float64),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_gradient_of_a_leaf_is_not_copied(make: Callable[[tuple[int, ...]], Array]) -> None:
    places = []

    def made(gy: Array) -> Array:
        gradient = make(gy.shape)
        places.append(place(gradient))
        return gradient

    x = leaf(1024, 512)
    ops.mean(giving(made)(x)).backward()
    assert [place(x.grad)] == places


def test_gradients_that_meet_are_added_in_place() -> None:
    places = []

    def made(gy: Array) -> Array:
        gradient = gy * 2
        places.append(place(gradient))
        return gradient

    x, double = leaf(*SHAPE), giving(made)
    y = ops.add(ops.add(double(x), double(x)), double(x))
    y.backward(np.ones(SHAPE))
    assert place(x.grad) == places[0]
    np.testing.assert_array_equal(x.grad, np.full(SHAPE, 6.0))


def test_a_second_backward_adds_into_what_arrives() -> None:
    """What is in `grad` may have been taken by the user."""
    x, double = leaf(*SHAPE), giving(lambda gy: gy * 2)
    double(x).backward(np.ones(SHAPE))
    taken = x.grad
    double(x).backward(np.ones(SHAPE))
    np.testing.assert_array_equal(taken, np.full(SHAPE, 2.0))
    np.testing.assert_array_equal(x.grad, np.full(SHAPE, 4.0))


VIEWS: dict[str, Callable[[Array], tuple[Array, Any]]] = {  # what is given, and what is kept
    "itself": lambda new: (new, new),
    "a part of it": lambda new: (new, new[1:, ::2]),
    "what it is a part of": lambda new: ((whole := np.concatenate([new, new]))[: len(new)], whole),
    "another shape": lambda new: (new.reshape(-1).reshape(SHAPE), new),
    "memory": lambda new: (new, new.data),
    "of aligned memory": lambda new: ((a := _copied(new)), a[2:]),
    "a view that is gone": lambda new: ((a := _copied(new))[:], a[1:][1:]),
}


def _copied(new: Array) -> Array:
    array = buffers.empty((2048, 512), new.dtype)[: len(new)]
    array[...] = new
    return array


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("meet", [True, False])
def test_what_somebody_keeps_is_not_changed(
    view: Callable[[Array], tuple[Array, Any]], meet: bool
) -> None:
    """A rule gives a gradient, and keeps hold of its memory in one way or the other."""
    kept: list[Any] = []

    def made(gy: Array) -> Array:
        gradient, held = view(gy * 2)
        kept.append((held, np.array(held)))
        return gradient

    x, double = leaf(*SHAPE), giving(made)
    y = ops.add(double(x), double(x)) if meet else double(x)
    y.backward(np.ones(SHAPE))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad, np.full(SHAPE, 4.0 if meet else 2.0))
    x.grad += 1
    for held, before in kept:
        np.testing.assert_array_equal(np.array(held), before)


def test_a_gradient_that_is_a_constant_is_not_changed() -> None:
    constant = np.full(SHAPE, 2.0)
    x, double = leaf(*SHAPE), giving(lambda gy: constant)
    ops.add(double(x), double(x)).backward(np.ones(SHAPE))
    np.testing.assert_array_equal(x.grad, np.full(SHAPE, 4.0))
    np.testing.assert_array_equal(constant, np.full(SHAPE, 2.0))


def test_a_rule_that_gives_one_array_twice() -> None:
    """As that of `add` does: the sums of both sides must not meet in one array."""
    a, b, c = leaf(*SHAPE), leaf(*SHAPE), leaf(*SHAPE)
    double = giving(lambda gy: gy * 2)
    both = ops.add(ops.scale(a, factor=1.0), ops.scale(b, factor=1.0))
    y = ops.add(double(both), ops.add(double(a), double(c)))
    given = np.ones(SHAPE)
    y.backward(given)
    for x, wanted in ((a, 4.0), (b, 2.0), (c, 2.0)):
        np.testing.assert_array_equal(x.grad, np.full(SHAPE, wanted))
    assert len({place(x.grad) for x in (a, b, c)}) == 3
    np.testing.assert_array_equal(given, np.ones(SHAPE))


def test_residuals_that_are_given_as_gradients() -> None:
    """A tape that is kept must find them unchanged."""
    w = Tensor(np.full(SHAPE, 3.0))

    @op
    def product(x: Array, w: Array) -> tuple[Array, Any]:
        return x * w, (w,)

    @product.vjp
    def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return residuals[0], None  # right for a gradient of ones

    x = leaf(*SHAPE)
    y = ops.add(product(x, w), product(x, w))
    for turn in (1, 2):
        y.backward(np.ones(SHAPE), retain_tape=True)
        np.testing.assert_array_equal(x.grad, np.full(SHAPE, turn * 6.0))
    np.testing.assert_array_equal(w.data, np.full(SHAPE, 3.0))


def test_a_leaf_gets_an_array_that_lies_together() -> None:
    x = leaf(*SHAPE)
    giving(lambda gy: np.broadcast_to(gy[:1], gy.shape))(x).backward(np.ones(SHAPE))
    assert x.grad is not None
    assert x.grad.flags.c_contiguous
    assert x.grad.flags.writeable


def chosen(x: Tensor, *bounds: tuple[int, int]) -> Tensor:
    """Some channels of x, times 1, 2, ... by their order, side by side."""
    parts = (ops.channels(x, first=first, last=last) for first, last in bounds)
    return ops.concat(*(ops.scale(part, factor=i + 1) for i, part in enumerate(parts)))


@pytest.mark.parametrize(
    ("bounds", "wanted"),
    [
        ([(0, 2), (2, 5)], [1, 1, 2, 2, 2]),
        ([(0, 3), (1, 4)], [1, 3, 3, 2, 0]),
        ([(2, 3), (2, 3), (4, 5)], [0, 0, 3, 0, 3]),
    ],
)
def test_gradients_of_some_channels_are_added_where_they_belong(
    bounds: list[tuple[int, int]], wanted: list[int]
) -> None:
    x = leaf(3, 7, 5)
    y = chosen(ops.scale(x, factor=1.0), *bounds)
    y.backward(np.ones(y.shape))
    np.testing.assert_array_equal(x.grad, np.broadcast_to(np.array(wanted), x.shape))


def test_gradients_of_some_channels_join_those_of_all() -> None:
    for all_first in (True, False):
        x = leaf(4, 5)
        both = [ops.scale(x, factor=10.0), chosen(x, (1, 3), (0, 5))]
        y = ops.concat(*(both if all_first else both[::-1]))
        y.backward(np.ones(y.shape))
        np.testing.assert_array_equal(x.grad, [[12, 13, 13, 12, 12]] * 4)


def test_what_a_rule_keeps_is_not_changed_by_gradients_of_some_channels() -> None:
    kept: list[Array] = []

    def remembered(gy: Array) -> Array:
        kept.append(gy.copy())
        return kept[0]

    x = leaf(4, 5)
    inside = ops.scale(x, factor=1.0)
    y = ops.concat(chosen(inside, (1, 3)), giving(remembered)(inside))
    y.backward(np.ones(y.shape))
    np.testing.assert_array_equal(kept[0], np.ones((4, 5)))
    np.testing.assert_array_equal(x.grad, [[1, 2, 2, 1, 1]] * 4)
