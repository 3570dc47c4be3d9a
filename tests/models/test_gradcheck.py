"""Gradients of whole networks, made small, agree with differences.

In float64 and in training mode, with batch statistics and a fixed dropout mask.  The networks have
few channels and one block of each kind; pictures are not square.

A network of ReLUs has a kink wherever a unit is at zero.  Steps of 1e-8 meet hardly any, and
float64 still leaves seven digits of the difference.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Tensor, gradcheck, ops
from minincep.models import Network
from minincep.models.registry import build_model
from minincep.nn.layers import BatchNorm, Dropout
from minincep_kernels import Array
from tests.models.blocks import put_reference_weights

pytestmark = pytest.mark.usefixtures("one_thread")

STEP = 1e-8
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Case:
    """A reduced network, the size of its pictures, and what is read off it.

    Attributes
    ----------
    without_effect
        Parameters whose gradient is zero by mathematics: what they add is the same for a whole
        channel, and the batch norm after the next convolution takes it out again.
    """

    architecture: str
    size: tuple[int, int, int] = (2, 75, 139)
    endpoints: Sequence[str] = ("Logits",)
    config: Mapping[str, Any] = field(default_factory=dict)
    without_effect: Sequence[str] = ()

    def network(self) -> Network:
        """In training mode; each step sets the running statistics to those of the batch."""
        reduced: dict[str, Any] = {"width": 0.07, "blocks": (1, 1, 1), **self.config}
        network = build_model(
            self.architecture, batch_norm_gamma=True, batch_norm_decay=0.0, **reduced
        )
        put_reference_weights(network)
        return network.train()

    def picture(self) -> Tensor:
        return Tensor(np.random.default_rng(1).standard_normal((*self.size, 3)))

    def run(self, network: Network, x: Tensor) -> Tensor:
        """Everything that is read off the network, side by side; the same at each call."""
        for _, module in network.modules():
            if isinstance(module, Dropout):
                module.generator = np.random.default_rng(2)
        found = network.run_endpoints(x, self.endpoints)
        return ops.concat(*[found[name] for name in self.endpoints])


CASES = {
    "inception_v4": Case("inception_v4", config={"num_classes": 5}),
    "inception_resnet_v1": Case(
        "inception_resnet_v1",
        size=(3, 75, 139),
        endpoints=("Embeddings",),
        config={"embedding_size": 6},
    ),
    "inception_resnet_v1-classes": Case(
        "inception_resnet_v1",
        size=(3, 75, 139),
        endpoints=("Embeddings", "Logits"),
        config={"embedding_size": 6, "num_classes": 5},
    ),
    "inception_resnet_v2": Case(
        "inception_resnet_v2",
        config={"num_classes": 5},
        without_effect=["block8/conv2d_1x1/bias"],  # no ReLU is between it and Conv2d_7b_1x1
    ),
    "inception_resnet_v1_paper": Case("inception_resnet_v1_paper", config={"num_classes": 5}),
    "inception_resnet_v2_paper": Case("inception_resnet_v2_paper", config={"num_classes": 5}),
}
# The auxiliary head fits no picture below 299 pixels.
WITH_AUXILIARY_HEAD = {
    f"{name}-auxiliary": Case(
        name,
        size=(3, 299, 301),
        endpoints=("Logits", "AuxLogits"),
        config={"num_classes": 5, "aux_logits": True, "width": 0.03},
    )
    for name in ("inception_v4", "inception_resnet_v2")
}
ALL = CASES | WITH_AUXILIARY_HEAD


def freeze(network: Network) -> None:
    for _, module in network.modules():
        if isinstance(module, BatchNorm):
            module.frozen = True


def gradients(case: Case, network: Network, x: Tensor) -> tuple[Array, dict[str, Array]]:
    """A random weighting of the results, and the gradient of the weighted sum by parameter."""
    network.zero_grad()
    y = case.run(network, x)
    weighting = np.random.default_rng(3).standard_normal(y.shape)
    y.backward(weighting)
    found = {}
    for path, parameter in network.parameters().items():
        assert parameter.grad is not None, path
        found[path] = parameter.grad
    return weighting, found


def norm(arrays: Mapping[str, Array]) -> float:
    return math.sqrt(sum(float(np.sum(array**2)) for array in arrays.values()))


def joint_error(case: Case, network: Network, x: Tensor, *, seed: int) -> float:
    """All parameters moved at once in a random direction: does the result change as predicted?"""
    weighting, found = gradients(case, network, x)
    random = np.random.default_rng(seed)
    parameters = network.parameters()
    start = {path: parameter.data for path, parameter in parameters.items()}
    direction = {path: random.standard_normal(array.shape) for path, array in start.items()}
    sums = []
    for step in (STEP, -STEP):
        network.assign_all({path: start[path] + step * direction[path] for path in start})
        sums.append(float(np.sum(weighting * case.run(network, x).data)))
    network.assign_all(start)
    quotient = (sums[0] - sums[1]) / (2 * STEP)
    rate = sum(float(np.sum(found[path] * direction[path])) for path in found)
    return abs(quotient - rate) / max(abs(quotient), abs(rate), norm(found))


@pytest.mark.parametrize("name", ALL)
def test_all_parameters_at_once(name: str) -> None:
    case, x = ALL[name], ALL[name].picture()
    network = case.network()
    for seed in range(3):
        assert joint_error(case, network, x, seed=seed) < TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_all_parameters_at_once_with_frozen_batch_norm(name: str) -> None:
    case, x = CASES[name], CASES[name].picture()
    network = case.network()
    case.run(network, x)  # gives the batch norms statistics that suit the picture
    freeze(network)
    before = network.arrays()
    for seed in range(2):
        assert joint_error(case, network, x, seed=seed) < TOLERANCE
    after = network.arrays()
    assert all(np.array_equal(before[path], after[path]) for path in before)


@pytest.mark.parametrize("name", CASES)
def test_some_parameters_and_the_picture_one_by_one(name: str) -> None:
    """Each against its own size, so that a small gradient is not lost among large ones."""
    case, x = CASES[name], CASES[name].picture()
    network = case.network()
    x.requires_grad = True
    gradients(case, network, x)
    parameters = [q for p, q in network.parameters().items() if p not in case.without_effect]
    for leaf in (x, *parameters[::13], parameters[-1]):
        assert leaf.grad is not None
        step = 10 * STEP / float(np.linalg.norm(leaf.grad))  # so the result changes by so much
        gradcheck(
            lambda _: case.run(network, x), [leaf], tolerance=TOLERANCE, step=step, directions=1
        )


def without_gradient(found: Mapping[str, Array]) -> list[str]:
    """Paths of gradients that are nothing but rounding."""
    largest = max(np.abs(array).max() for array in found.values())
    return [path for path, array in found.items() if np.abs(array).max() < 1e-9 * largest]


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_has_a_gradient(name: str) -> None:
    case = CASES[name]
    _, found = gradients(case, case.network(), case.picture())
    assert without_gradient(found) == list(case.without_effect)


@pytest.mark.parametrize("name", WITH_AUXILIARY_HEAD)
def test_every_parameter_of_an_auxiliary_head_has_a_gradient(name: str) -> None:
    case = WITH_AUXILIARY_HEAD[name]
    _, found = gradients(case, case.network(), case.picture())
    head = {path: array for path, array in found.items() if path.startswith("aux_logits/")}
    assert len(head) == 8
    assert without_gradient(head) == []


@pytest.mark.parametrize("name", CASES)
def test_with_frozen_batch_norm_every_parameter_has_a_gradient(name: str) -> None:
    case, x = CASES[name], CASES[name].picture()
    network = case.network()
    case.run(network, x)
    freeze(network)
    _, found = gradients(case, network, x)
    assert without_gradient(found) == []
