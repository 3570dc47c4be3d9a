"""The moving average: as TensorFlow's, of running statistics too, put in place and taken away."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minincep as mi
from minincep.io.errors import WeightError
from minincep.models.network import Network
from minincep.nn.module import Module, Parameter
from minincep.train.average import MovingAverage
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError, ShapeError

pytestmark = pytest.mark.usefixtures("one_thread")

REFERENCE = dict(np.load(Path(__file__).parents[1] / "data/training/tensorflow.npz"))


class Scale(Module):
    """A weight, and a kept array."""

    def __init__(self, values: Array) -> None:
        self.weight = Parameter(values.copy())
        self.running_mean = values.copy()


def small() -> Network:
    return mi.create_model("inception_resnet_v1", width=0.05, blocks=(1, 1, 1), seed=3)


# TensorFlow works out the share in float32, in both.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-7)])
def test_agrees_with_tensorflow_step_by_step(dtype: str, tolerance: float) -> None:
    module = Scale(REFERENCE["start"].astype(dtype))
    average = MovingAverage(module, 0.6)
    for values, wanted in zip(
        REFERENCE["gradients"].astype(dtype), REFERENCE[f"average/{dtype}"], strict=True
    ):
        module.weight.data = values.copy()
        module.running_mean = values.copy()
        average.update()
        for found in average.arrays().values():
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale)


def test_it_begins_with_the_weights() -> None:
    network = small()
    arrays = MovingAverage(network, 0.9).arrays()
    assert arrays.keys() == network.arrays().keys()
    for path, array in network.arrays().items():
        np.testing.assert_array_equal(arrays[path], array)


def test_the_first_updates_weigh_more() -> None:
    module = Scale(np.zeros(1))
    average = MovingAverage(module, 0.15)
    module.weight.data = np.ones(1)
    found = []
    for _ in range(3):
        average.update()
        found.append(average.arrays()["weight"].item())
    np.testing.assert_allclose(found, [1 - 0.1, 1 - 0.1 * 0.15, 1 - 0.1 * 0.15**2], rtol=1e-15)


def test_in_place_of_the_weights_and_back() -> None:
    network = small()
    average = MovingAverage(network, 0.9)
    before = network.arrays()
    copies = {path: array.copy() for path, array in before.items()}
    network.assign_all({path: array + 1 for path, array in before.items()})
    average.update()
    own = network.arrays()
    with average.in_place_of(network):
        for path, array in network.arrays().items():
            np.testing.assert_allclose(array, copies[path] + 0.9, rtol=1e-5)
    assert all(array is own[path] for path, array in network.arrays().items())
    with pytest.raises(KeyError), average.in_place_of(network):  # whatever happens within
        raise KeyError
    assert all(array is own[path] for path, array in network.arrays().items())


def test_a_copy_of_the_network_can_have_the_averages() -> None:
    network, other = small(), small()
    network.assign_all({path: array + 1 for path, array in network.arrays().items()})
    average = MovingAverage(network, 0.9)
    with average.in_place_of(other):
        for path, array in other.arrays().items():
            np.testing.assert_array_equal(array, network.arrays()[path])


def test_the_averages_cannot_be_changed_from_outside() -> None:
    network = small()
    average = MovingAverage(network, 0.9)
    with average.in_place_of(network):
        for array in (*average.arrays().values(), *network.arrays().values()):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 1


def test_going_on_from_a_state_is_bit_for_bit_the_same() -> None:
    def follow(module: Scale, average: MovingAverage, first: int, last: int) -> None:
        for step in range(first, last):
            module.weight.data = np.random.default_rng(step).standard_normal(5)
            average.update()

    modules = [Scale(np.zeros(5)) for _ in range(3)]
    whole, first, then = [MovingAverage(module, 0.9) for module in modules]
    follow(modules[0], whole, 0, 7)
    follow(modules[1], first, 0, 4)
    saved = {name: array.copy() for name, array in first.state().items()}
    follow(modules[2], then, 8, 9)
    then.load_state(saved)
    follow(modules[2], then, 4, 7)
    assert saved["updates"] == 4
    for name, array in whole.state().items():
        np.testing.assert_array_equal(then.state()[name], array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("updates"), "does not fit the moving average: 'updates' is missing"),
        (lambda s: s.update({"average/bias": np.zeros(5)}), "'average/bias' is unexpected"),
        (
            lambda s: s.update({"average/\x1b[1m": np.zeros(5)}),
            "'average/\N{REPLACEMENT CHARACTER}",
        ),
        (
            lambda s: s.update({"average/weight": np.zeros(4)}),
            r"'average/weight' is float64 \(4,\)",
        ),
        (lambda s: s.update(updates=np.int64(-1)), "'updates' is below 0"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change: Any, message: str) -> None:
    average = MovingAverage(Scale(np.zeros(5)), 0.9)
    state = {name: array + 1 for name, array in average.state().items()}
    change(state)
    with pytest.raises(WeightError, match=message):
        average.load_state(state)
    assert all(np.all(array == 0) for array in average.state().values())


@pytest.mark.parametrize("decay", [1.0, -0.1, np.nan, "0.9"])
def test_a_decay_out_of_range(decay: Any) -> None:
    with pytest.raises(ConfigError, match=r"^decay of the moving average must be a finite number"):
        MovingAverage(Scale(np.zeros(5)), decay)


@pytest.mark.parametrize("values", [np.zeros(4), np.zeros(5, np.float32)])
def test_a_network_that_is_another_one(values: Array) -> None:
    module = Scale(np.zeros(5))
    average = MovingAverage(module, 0.9)
    with pytest.raises(ShapeError, match="make a new one"), average.in_place_of(Scale(values)):
        pass
    module.weight.data = values
    with pytest.raises(ShapeError, match="make a new one"):
        average.update()
