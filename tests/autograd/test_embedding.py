"""Losses on embeddings: which negative is chosen, and what costs nothing."""

import numpy as np
import pytest

from minincep.autograd import Tensor, ops


def line(*places: float) -> Tensor:
    """Embeddings on a line."""
    return Tensor(np.array(places)[:, None], requires_grad=True)


def run(x: Tensor, labels: list[int], margin: float) -> tuple[float, list[float]]:
    """The loss, and its gradient for each place."""
    loss = ops.triplet_loss(x, np.array(labels), margin=margin)
    loss.backward()
    assert x.grad is not None
    return loss.item(), x.grad.ravel().tolist()


# The anchor is at 0 and its positive at 2; as an anchor, the positive has the same negatives.
@pytest.mark.parametrize(
    ("negatives", "chosen"),
    [
        ((1.0, 2.25, -2.5, 9.0), 2.25),  # the nearest that is farther than the positive
        ((1.0, -1.5, 0.5), -1.5),  # none is farther: the farthest
        ((1.0, -2.0, 2.5), 2.5),  # as far as the positive is not farther
    ],
)
def test_the_negative(negatives: tuple[float, ...], chosen: float) -> None:
    x = line(0.0, 2.0, *negatives)
    labels = [0, 0, *range(1, 1 + len(negatives))]
    # What the positive does as an anchor, worked out by itself.
    away = [(n - 2.0) ** 2 for n in negatives]
    farther = [d for d in away if d > 4]
    other = min(farther) if farther else max(away)
    loss, _ = run(x, labels, margin=5.0)
    assert loss == pytest.approx((max(0, 9 - chosen**2) + max(0, 9 - other)) / 2)


def test_gradients_pull_the_positive_and_push_the_negative() -> None:
    loss, gradient = run(line(0.0, 2.0, 2.5), [0, 0, 1], margin=3.0)
    # Anchor 0: 4 - 6.25 + 3; anchor 2: 4 - 0.25 + 3, its only negative being too near.
    assert loss == pytest.approx((0.75 + 6.75) / 2)
    # Half of: 2 (0-2) - 2 (0-2.5) + 2 (0-2);  2 (2-0) + 2 (2-0) - 2 (2-2.5);  2 (0-2.5) + ...
    np.testing.assert_allclose(gradient, [-1.5, 4.5, -3.0])


@pytest.mark.parametrize(
    ("places", "labels"),
    [
        ((0.0, 1.0, 5.0), [0, 0, 1]),  # the negative is far away
        ((0.0, 1.0, 5.0), [0, 0, 0]),  # there is none
        ((0.0, 1.0, 5.0), [0, 1, 2]),  # there is no positive
        ((0.0,), [0]),
    ],
)
def test_what_costs_nothing(places: tuple[float, ...], labels: list[int]) -> None:
    loss, gradient = run(line(*places), labels, margin=0.2)
    assert loss == 0
    assert gradient == [0] * len(places)


def test_a_nan_does_not_pass_for_a_good_embedding() -> None:
    loss, gradient = run(line(0.0, np.nan, 5.0, 6.0), [0, 0, 1, 1], margin=0.2)
    assert np.isnan(loss)
    assert np.isnan(gradient).all()


def test_neighbours_in_float32() -> None:
    """Distances of near neighbours, far from the origin, keep their digits."""
    random = np.random.default_rng(0)
    exact = (100 + 1e-3 * random.standard_normal((8, 4))).astype(np.float32)
    labels = np.arange(8) % 2
    found = ops.triplet_loss(exact, labels, margin=1e-6).item()
    wanted = ops.triplet_loss(exact.astype(np.float64) - 100, labels, margin=1e-6).item()
    assert found == pytest.approx(wanted, rel=1e-3)


def test_each_row_pulls_at_its_centre() -> None:
    embeddings, centres = np.array([[1.0], [4.0], [3.0]]), np.array([[0.0], [5.0]])
    x, c = (Tensor(array, requires_grad=True) for array in (embeddings, centres))
    loss = ops.centre_loss(x, c, np.array([0, 0, 1]))
    loss.backward()
    assert x.grad is not None
    assert c.grad is not None
    assert loss.item() == pytest.approx((1 + 16 + 4) / 3)
    np.testing.assert_allclose(x.grad.ravel(), np.array([2, 8, -4]) / 3)
    np.testing.assert_allclose(c.grad.ravel(), np.array([-10, 4]) / 3)
