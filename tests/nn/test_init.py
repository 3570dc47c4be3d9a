"""First values of the weights."""

import math

import numpy as np
import pytest

from minincep.nn.combinators import (
    Branch,
    Chain,
    Settings,
    conv,
    dense,
    dropout,
    global_avg_pool,
    named,
)
from minincep.nn.init import initialise
from minincep.nn.layers import Dropout
from minincep.nn.module import Module
from minincep_kernels import Array


def drawn(parts: Branch, seed: int = 0) -> dict[str, Array]:
    module = Chain(parts, 3, Settings(gamma=True))
    initialise(module, seed)
    return module.arrays()


HEAD = [conv("2_1x1", 8), global_avg_pool(), dense("Logits", 5)]


def test_a_change_elsewhere_leaves_a_weight_alone() -> None:
    """Each array is drawn from (seed, path), not one after the other."""
    first = drawn([conv("1_3x3", 16), *HEAD])
    second = drawn([conv("1_3x3", 16), conv("1b_3x3", 16), *HEAD])
    assert len(second) == len(first) + 5
    for path, array in first.items():
        np.testing.assert_array_equal(array, second[path])


def test_seed_and_path_decide() -> None:
    parts = [conv("1_3x3", 16), conv("2_3x3", 16), conv("3_3x3", 16)]
    weights = [drawn(parts, seed)[f"conv2d_{n}_3x3/weight"] for seed in (0, 1) for n in (2, 3)]
    for index, weight in enumerate(weights):
        assert not any(np.array_equal(weight, other) for other in weights[:index])
    np.testing.assert_array_equal(drawn(parts)["conv2d_2_3x3/weight"], weights[0])


@pytest.mark.parametrize(
    ("path", "fan_in"),
    [("conv2d_1_3x3/weight", 9 * 3), ("conv2d_2_1x7/weight", 7 * 400), ("logits/weight", 200)],
)
def test_variance_is_two_over_fan_in(path: str, fan_in: int) -> None:
    parts = [conv("1_3x3", 400), conv("2_1x7", 200), dense("Logits", 300)]
    weight = drawn(parts)[path].astype(np.float64)
    spread = 5 / math.sqrt(2 * weight.size)  # five standard errors of a standard deviation
    assert weight.std() == pytest.approx(math.sqrt(2 / fan_in), rel=spread)
    assert abs(weight.mean()) < 5 * math.sqrt(2 / fan_in / weight.size)


def test_everything_else_begins_as_the_identity() -> None:
    for path, array in drawn([conv("1_3x3", 16), *HEAD]).items():
        match path.rpartition("/")[2]:
            case "beta" | "bias" | "running_mean":
                assert not array.any(), path
            case "gamma" | "running_var":
                assert (array == 1).all(), path
        assert array.dtype == np.float32


def test_only_some_are_drawn() -> None:
    module = Chain(HEAD, 3, Settings())
    initialise(module, 0)
    before = module.arrays()
    initialise(module, 1, only=frozenset({"logits/weight"}))
    after = module.arrays()
    assert [path for path in after if after[path] is not before[path]] == ["logits/weight"]


def test_seed_and_path_decide_what_is_dropped() -> None:
    def masks(seed: int) -> list[list[float]]:
        module = Chain([named("A", dropout(0.5)), named("B", dropout(0.5))], 3, Settings())
        initialise(module, seed)
        return [part.generator.random(4).tolist() for part in dropouts(module)]

    drawn = [*masks(0), *masks(1)]
    assert all(drawn.count(mask) == 1 for mask in drawn)
    assert masks(1) == drawn[2:]


def dropouts(module: Module) -> list[Dropout]:
    return [part for _, part in module.modules() if isinstance(part, Dropout)]
