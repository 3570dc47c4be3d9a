"""Check gradients against differences: do the derivatives that `backward` finds predict changes?"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from minincep.autograd.tensor import Tensor


class GradientError(AssertionError):
    """A gradient disagrees with the difference quotient."""


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    *,
    tolerance: float = 1e-6,
    step: float = 1e-5,
    directions: int = 3,
    seed: int = 0,
) -> float:
    """Compare `backward` with central differences along random directions, input by input.

    With a random direction d in the input and a random weighting g of the result, the gradient
    says that  sum(g f(x))  grows along d at the rate  sum(gradient d);  the difference quotient
    says what it does.  One direction checks all elements at once.

    Parameters
    ----------
    function
        From tensors to a tensor, the same at each call (fix the dropout mask).
    inputs
        Its arguments, float64; those with `requires_grad` are checked.  Their data and grad are
        afterwards what they were.
    tolerance
        Largest relative error, |quotient - rate| / max(|quotient|, |rate|, typical rate).
    step
        Length of a step along a direction of unit root mean square.
    directions
        Number of directions for each input.
    seed
        Seed of directions and weighting.

    Returns
    -------
    float
        The largest relative error seen.

    Raises
    ------
    GradientError
        If an error is larger than the tolerance; names input, rate and quotient.
    ValueError
        If an input is not float64, or none requires a gradient.
    """
    checked = [x for x in inputs if x.requires_grad]
    if not checked or any(x.dtype != np.float64 for x in inputs):
        raise ValueError(
            "gradcheck needs float64 inputs, at least one of which requires a gradient"
        )
    # Not the numbers of default_rng(seed), from which the inputs may have been drawn.
    random = np.random.default_rng((seed, 1602_07261))
    with _restored(checked):
        result = function(*inputs)
        weighting = random.standard_normal(result.shape)
        for x in checked:
            x.grad = None
        result.backward(weighting)
        gradients = [np.zeros(x.shape) if x.grad is None else x.grad for x in checked]

        worst = 0.0
        for index, x in enumerate(inputs):
            if not x.requires_grad:
                continue
            gradient = gradients[[c is x for c in checked].index(True)]
            original = x.data
            for _ in range(directions):
                direction = random.standard_normal(x.shape)
                sums = []
                for sign in (1, -1):
                    x.data = np.asarray(original + sign * step * direction)
                    sums.append(float(np.sum(weighting * function(*inputs).data)))
                x.data = original
                quotient = (sums[0] - sums[1]) / (2 * step)
                rate = float(np.sum(gradient * direction))
                typical = float(np.linalg.norm(gradient))  # of a random direction
                error = abs(quotient - rate) / max(abs(quotient), abs(rate), typical, 1e-300)
                worst = max(worst, error)
                if not error <= tolerance:
                    raise GradientError(
                        f"input {index} of shape {x.shape}: backward says {rate:.12g}, differences "
                        f"say {quotient:.12g}, relative error {error:.2g} > {tolerance:.2g}"
                    )
    return worst


@contextlib.contextmanager
def _restored(tensors: Sequence[Tensor]) -> Iterator[None]:
    """After the `with` block, data and grad of the tensors are what they were, error or not."""
    before = [(x, x.data, x.grad) for x in tensors]
    try:
        yield
    finally:
        for x, data, grad in before:
            x.data, x.grad = data, grad
