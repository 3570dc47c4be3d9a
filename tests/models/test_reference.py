"""The networks agree, end point by end point, with implementations that are not ours.

And the check that says so would notice: each fault below makes it fail, and name the first end
point that contains the fault.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minincep.io.verify import Case, first_failure, read_cases, reference_network, verify
from minincep.models import Network
from minincep.nn.combinators import Concat, Residual
from minincep.nn.layers import BatchNorm, Conv2d
from minincep.nn.module import Module, Parameter
from minincep_kernels import Array, registry
from minincep_kernels.machine import get_num_threads, num_threads
from minincep_kernels.shapes import Pool2dShape
from tests.models.blocks import find

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = Path(__file__).parents[1] / "data"
FILES = {
    name: DATA / f"reference_{name}.h5"
    for name in ("inception_v4", "inception_resnet_v1", "inception_resnet_v2")
}
CASES = {(name, case.name): case for name, path in FILES.items() for case in read_cases(path)}


@pytest.fixture(scope="module")
def networks() -> Callable[[str], Network]:
    """The networks by name, each with its reference weights and made once."""
    return functools.cache(lambda name: reference_network(FILES[name]))


def test_witnesses() -> None:
    """Each network at its usual size and another; Inception-ResNet-v2 by two implementations."""
    assert list(CASES) == [
        ("inception_v4", "timm_299x299"),
        ("inception_v4", "timm_331x203"),
        ("inception_resnet_v1", "facenet_pytorch_160x160"),
        ("inception_resnet_v1", "facenet_pytorch_331x203"),
        ("inception_resnet_v2", "keras_299x299"),
        ("inception_resnet_v2", "timm_299x299"),
        ("inception_resnet_v2", "timm_331x203"),
    ]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_agrees_at_every_end_point(
    name: str, case: str, networks: Callable[[str], Network]
) -> None:
    rows = verify(networks(name), CASES[name, case])
    assert [row.endpoint for row in rows] == [s.endpoint for s in CASES[name, case].samples]
    assert first_failure(rows) is None


def test_agrees_on_two_threads(networks: Callable[[str], Network]) -> None:
    name, case = "inception_resnet_v1", "facenet_pytorch_160x160"
    with num_threads(2):
        assert get_num_threads() == 2
        rows = verify(networks(name), CASES[name, case])
    assert first_failure(rows) is None


@pytest.mark.parametrize("name", FILES)
def test_float64_agrees_to_the_digits_that_are_stored(name: str) -> None:
    """Without rounding, an error far below that of float32 would show."""
    network = reference_network(FILES[name]).astype(np.float64)
    rows = verify(network, smallest_case(name))
    assert max(row.error for row in rows) < 1e-9


def smallest_case(name: str) -> Case:
    cases = [case for (of, _), case in CASES.items() if of == name]
    return min(cases, key=lambda case: case.height * case.width)


# The faults.  Each is put into a built network, and taken out again when its test ends.

Fault = Callable[[Network, pytest.MonkeyPatch], None]


def eps_of_pytorch(network: Network, patch: pytest.MonkeyPatch) -> None:
    """The default of other libraries, where all released weights want 1e-3."""
    for _, module in network.modules():
        if isinstance(module, BatchNorm):
            patch.setattr(module, "eps", 1e-5)


def padding_counted(network: Network, patch: pytest.MonkeyPatch) -> None:
    """The default of PyTorch for average pooling."""

    def mean_with_padding(x: Array, shape: Pool2dShape) -> Array:
        top, bottom, left, right = shape.padding
        image = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(image, shape.kernel, axis=(1, 2))
        y: Array = windows[:, :: shape.stride[0], :: shape.stride[1]].mean(axis=(-2, -1))
        return y

    known = registry.variants("avg_pool2d")["separable"]
    wrong = dataclasses.replace(known, forward=mean_with_padding)
    patch.setitem(registry._variants["avg_pool2d"], known.name, wrong)


def swapped(path: str = "") -> Fault:
    """1x7 for 7x1 and the other way round, filters transposed to fit; in all blocks or in one."""

    def fault(network: Network, patch: pytest.MonkeyPatch) -> None:
        for _, module in find(network, path, Module).modules():
            if isinstance(module, Conv2d) and module.weight.shape[:2] in {(1, 7), (7, 1)}:
                filters = np.ascontiguousarray(module.weight.data.transpose(1, 0, 2, 3))
                patch.setattr(module, "weight", Parameter(filters))

    return fault


def scale_missing(path: str) -> Fault:
    """A block that adds its branches without scaling them down."""

    def fault(network: Network, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(find(network, path, Residual), "scale", 1.0)

    return fault


def relu_after_the_last_block(network: Network, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(find(network, "block8", Residual), "relu", True)


def reordered(path: str, *order: int) -> Fault:
    """Branches joined in another order."""

    def fault(network: Network, patch: pytest.MonkeyPatch) -> None:
        block = find(network, path, Concat)
        assert sorted(order) == list(range(len(block.branches)))
        patch.setattr(block, "branches", tuple(block.branches[index] for index in order))

    return fault


FAULTS: dict[str, list[tuple[str, Fault, str]]] = {
    "inception_v4": [
        ("eps", eps_of_pytorch, "Conv2d_1a_3x3"),
        ("padding", padding_counted, "Mixed_5b"),
        ("swap", swapped(), "Mixed_4a"),
        ("swap-b", swapped("mixed_6e"), "Mixed_6e"),
        ("swap-reduction", swapped("mixed_7a"), "Mixed_7a"),
        ("order-pool-last", reordered("mixed_3a", 1, 0), "Mixed_3a"),
        ("order-pool-first", reordered("mixed_5a", 1, 0), "Mixed_5a"),
        ("order-a", reordered("mixed_5d", 0, 2, 1, 3), "Mixed_5d"),
        ("order-reduction", reordered("mixed_6a", 2, 1, 0), "Mixed_6a"),
        ("order-c", reordered("mixed_7d", 0, 1, 3, 2), "Mixed_7d"),
    ],
    "inception_resnet_v1": [
        ("eps", eps_of_pytorch, "Conv2d_1a_3x3"),
        ("swap", swapped(), "Repeat_1/block17_1"),
        ("swap-b", swapped("repeat_1/block17_8"), "Repeat_1/block17_8"),
        ("scale-a", scale_missing("repeat/block35_5"), "Repeat/block35_5"),
        ("scale-b", scale_missing("repeat_1/block17_7"), "Repeat_1/block17_7"),
        ("scale-c", scale_missing("repeat_2/block8_1"), "Repeat_2/block8_1"),
        ("relu", relu_after_the_last_block, "Block8"),
        ("order-a", reordered("repeat/block35_2", 0, 2, 1), "Repeat/block35_2"),
        ("order-reduction", reordered("mixed_6a", 2, 1, 0), "Mixed_6a"),
        ("order-c", reordered("block8", 1, 0), "Block8"),
    ],
    "inception_resnet_v2": [
        ("eps", eps_of_pytorch, "Conv2d_1a_3x3"),
        ("padding", padding_counted, "Mixed_5b"),
        ("swap", swapped(), "Repeat_1/block17_1"),
        ("swap-b", swapped("repeat_1/block17_13"), "Repeat_1/block17_13"),
        ("scale-a", scale_missing("repeat/block35_1"), "Repeat/block35_1"),
        ("scale-b", scale_missing("repeat_1/block17_7"), "Repeat_1/block17_7"),
        ("scale-c", scale_missing("repeat_2/block8_9"), "Repeat_2/block8_9"),
        ("relu", relu_after_the_last_block, "Block8"),
        ("order-stem", reordered("mixed_5b", 3, 0, 1, 2), "Mixed_5b"),
        ("order-b", reordered("repeat_1/block17_20", 1, 0), "Repeat_1/block17_20"),
        ("order-reduction", reordered("mixed_7a", 1, 0, 2, 3), "Mixed_7a"),
    ],
}


KERAS = CASES["inception_resnet_v2", "keras_299x299"]
PLANTED = [
    (name, smallest_case(name), fault) for name, faults in FAULTS.items() for fault in faults
] + [
    ("inception_resnet_v2", KERAS, fault)
    for fault in FAULTS["inception_resnet_v2"]
    if fault[0] in ("eps", "order-stem")
]


@pytest.mark.parametrize(
    ("name", "case", "fault", "endpoint"),
    [
        pytest.param(name, case, fault, endpoint, id=f"{name}-{case.name}-{label}")
        for name, case, (label, fault, endpoint) in PLANTED
    ],
)
def test_a_fault_is_seen_and_placed(
    name: str,
    case: Case,
    fault: Fault,
    endpoint: str,
    networks: Callable[[str], Network],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault(networks(name), monkeypatch)
    failure = first_failure(verify(networks(name), case))
    assert failure is not None
    assert failure.endpoint == endpoint
