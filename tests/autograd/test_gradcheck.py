"""The check of gradients: it must see a wrong rule, however little is wrong with it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minincep.autograd import GradientError, Op, Tensor, gradcheck, op, ops
from minincep_kernels import Array


def cube(spoil: Callable[[Array], Array]) -> Op:
    """x**3, element by element, with something done to its gradient."""

    @op
    def cubed(x: Array) -> tuple[Array, Any]:
        return x**3, (x,)

    @cubed.vjp
    def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        (x,) = residuals
        return (spoil(3 * x**2 * gy),)

    return cubed


def draw(*shape: int) -> Tensor:
    return Tensor(np.random.default_rng(0).uniform(1, 2, shape), requires_grad=True)


def one_element_less(gradient: Array) -> Array:
    changed = gradient.copy()
    changed[2, 3] = 0
    return changed


def test_a_right_rule_passes_and_the_error_is_told() -> None:
    assert 0 < gradcheck(cube(lambda g: g), [draw(5, 7)]) < 1e-6


@pytest.mark.parametrize(
    "spoil",
    [
        lambda g: g * 1.0001,
        lambda g: -g,
        lambda g: g * 0,
        lambda g: np.roll(g, 1, axis=1),
        lambda g: g + 1e-3,
        one_element_less,
    ],
    ids=["factor", "sign", "nothing", "shifted", "offset", "one element"],
)
def test_a_wrong_rule_fails(spoil: Callable[[Array], Array]) -> None:
    with pytest.raises(GradientError, match=r"input 0 of shape \(5, 7\): backward says .* > 1e-06"):
        gradcheck(cube(spoil), [draw(5, 7)])


def test_nan_fails() -> None:
    with pytest.raises(GradientError):
        gradcheck(cube(lambda g: g * np.nan), [draw(5, 7)])


def test_the_second_input_is_checked_and_named() -> None:
    wrong = cube(lambda g: 2 * g)
    with pytest.raises(GradientError, match=r"input 1 of shape \(3,\)"):
        gradcheck(lambda a, b: ops.add(a, wrong(b)), [draw(3), draw(3)])


def test_inputs_that_require_no_gradient_are_left_out() -> None:
    wrong = cube(lambda g: 2 * g)
    gradcheck(lambda a, b: ops.add(a, wrong(b)), [draw(3), draw(3).detach()])


def test_an_input_that_has_no_influence() -> None:
    gradcheck(lambda a, b: ops.scale(a, factor=2.0), [draw(3), draw(3)])


def test_tolerance() -> None:
    slightly_wrong = cube(lambda g: g * 1.0001)
    assert 1e-6 < gradcheck(slightly_wrong, [draw(3)], tolerance=1e-3) < 1e-3


def test_inputs_come_back_unchanged() -> None:
    x = draw(3)
    before, kept = x.data, x.data.copy()
    gradcheck(cube(lambda g: g), [x])
    assert x.data is before
    np.testing.assert_array_equal(x.data, kept)


@pytest.mark.parametrize("before", [None, np.arange(3.0)], ids=["none", "some"])
def test_gradients_come_back_unchanged(before: Array | None) -> None:
    x = draw(3)
    x.grad = before
    gradcheck(cube(lambda g: g), [x])
    assert x.grad is before


@pytest.mark.parametrize("call", [1, 2, 4])
def test_inputs_come_back_after_an_error(call: int) -> None:
    """An error in the forward pass, in a step along a direction, and in another."""
    calls = 0

    def failing(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == call:
            raise ZeroDivisionError
        return ops.scale(x, factor=2.0)

    x = draw(3)
    data, x.grad = x.data, np.arange(3.0)
    grad = x.grad
    with pytest.raises(ZeroDivisionError):
        gradcheck(failing, [x])
    assert x.data is data
    assert x.grad is grad
    assert gradcheck(cube(lambda g: g), [x]) < 1e-6


def test_inputs_drawn_with_the_same_seed_are_no_weighting() -> None:
    """A weighting equal to the input would hide every gradient of a function of its length."""
    drawn = np.random.default_rng(3).standard_normal((4, 5))
    gradcheck(ops.l2_normalize, [Tensor(drawn, requires_grad=True)], seed=3)


@pytest.mark.parametrize(
    "x",
    [Tensor(np.ones(3, np.float32), requires_grad=True), Tensor(np.ones(3))],
    ids=["float32", "no gradient"],
)
def test_inputs_that_cannot_be_checked(x: Tensor) -> None:
    with pytest.raises(ValueError, match="needs float64 inputs, at least one of which requires"):
        gradcheck(cube(lambda g: g), [x])
