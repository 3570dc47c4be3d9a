"""Where activations lie: never two at one place at one time, and no more memory than it takes."""

import itertools

import numpy as np
import pytest

from minincep.plan.memory import ALIGNMENT, Life, place


def drawn(seed: int) -> list[Life]:
    random = np.random.default_rng(seed)
    lives = []
    for _ in range(int(random.integers(1, 40))):
        ready = int(random.integers(-1, 20))
        last = ready + int(random.geometric(0.3)) - 1
        size = int(random.choice([0, 1, 15, 16, 17, int(random.integers(1, 1000))]))
        lives.append(Life(size, ready, last))
    return lives


def steps(life: Life) -> set[int]:
    """The steps that may run while the value is in use."""
    return set(range(life.ready, life.last + 1))


def most_at_once(lives: list[Life]) -> int:
    return max(sum(life.size for life in lives if step in steps(life)) for step in range(-1, 60))


@pytest.mark.parametrize("seed", range(200))
def test_values_in_use_at_one_time_lie_apart(seed: int) -> None:
    lives = drawn(seed)
    offsets, memory = place(lives)
    assert len(offsets) == len(lives)
    where = [
        set(range(offset, offset + life.size)) for offset, life in zip(offsets, lives, strict=True)
    ]
    for a, b in itertools.combinations(range(len(lives)), 2):
        if steps(lives[a]) & steps(lives[b]):
            assert not where[a] & where[b], (lives[a], lives[b])
    assert all(offset % ALIGNMENT == 0 for offset in offsets)
    assert all(floats <= set(range(memory)) for floats in where)
    padding = ALIGNMENT * (len(lives) + 1)
    assert most_at_once(lives) <= memory <= sum(life.size for life in lives) + padding


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [
        (Life(16, 0, 2), Life(16, 3, 4), True),  # step 2 is complete when step 3 may begin
        (Life(16, 0, 2), Life(16, 2, 4), False),  # step 2 may still run
        (Life(16, 3, 4), Life(16, 0, 2), True),
        (Life(16, -1, 9), Life(16, 9, 9), False),
        (Life(16, 4, 4), Life(16, 4, 4), False),
    ],
)
def test_when_two_share(a: Life, b: Life, share: bool) -> None:
    offsets, memory = place([a, b])
    assert (offsets[0] == offsets[1]) == share
    assert memory == (16 if share else 32)


def test_a_chain_takes_two_places() -> None:
    """Each value is written from the one before: the memory goes to and fro."""
    lives = [Life(160, index, index + 1) for index in range(30)]
    offsets, memory = place(lives)
    assert memory == 320
    assert set(offsets) == {0, 160}


def test_small_values_fill_gaps() -> None:
    lives = [Life(64, 0, 5), Life(32, 0, 1), Life(32, 2, 5), Life(16, 0, 9), Life(48, 6, 9)]
    _, memory = place(lives)
    assert memory == most_at_once(lives) == 112


def test_sizes_are_rounded_up_to_whole_lines() -> None:
    assert place([Life(1, 0, 1), Life(1, 0, 1)]) == ([0, ALIGNMENT], 2 * ALIGNMENT)


def test_nothing() -> None:
    assert place([]) == ([], 0)
    assert place([Life(0, 0, 1), Life(0, 0, 1)]) == ([0, 0], 0)
