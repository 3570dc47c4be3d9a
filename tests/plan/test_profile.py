"""The profile of a plan: what is counted, and what it is held against."""

import numpy as np
import pytest

import minincep as mi
from minincep.models import Network
from minincep.plan import profile as profiles
from minincep.plan.plan import Plan
from minincep.plan.profile import Profile, StepTime, profile
from minincep_kernels import roofline
from minincep_kernels.roofline import Gauge, Roof

ROOF = Roof(flops=1e9, bandwidth=1e8)


class FixedGauge:
    """A machine that is always the same."""

    roof = ROOF

    def __init__(self, threads: int) -> None:
        self.taken = 0

    def take(self) -> None:
        self.taken += 1


@pytest.fixture(scope="module")
def network() -> Network:
    return mi.create_model("inception_resnet_v2", width=0.2, blocks=(1, 1, 1), num_classes=5)


@pytest.fixture(scope="module")
def plan(network: Network) -> Plan:
    return mi.compile(network, image_size=139, batch_size=2)


@pytest.fixture
def found(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Profile:
    monkeypatch.setattr(profiles, "Gauge", FixedGauge)
    x = np.zeros((2, 139, 139, 3), np.float32)
    return profile(plan, x, repeats=2)


def test_every_step_is_there(plan: Plan, found: Profile) -> None:
    assert [step.path for step in found.steps] == list(plan.program.paths)
    assert all(step.seconds > 0 for step in found.steps)
    assert found.total_seconds == pytest.approx(sum(step.seconds for step in found.steps))
    assert (found.batch, found.roof) == (2, ROOF)


def test_what_a_convolution_costs(network: Network, found: Profile) -> None:
    (first,) = [step for step in found.steps if step.path == "conv2d_1a_3x3"]
    width = network.arrays()["conv2d_1a_3x3/weight"].shape[3]
    assert first.flops == first.work == 2 * (2 * 69 * 69) * (3 * 3 * 3) * width
    assert first.bytes == 4 * (2 * 139 * 139 * 3 + 2 * 69 * 69 * width + 3 * 3 * 3 * width)
    assert first.gflops == pytest.approx(first.flops / first.seconds / 1e9)


def test_what_winograd_saves(network: Network, found: Profile) -> None:
    (second,) = [step for step in found.steps if step.path == "conv2d_2a_3x3"]
    assert second.method == "winograd 4x4"
    _, _, before, after = network.arrays()["conv2d_2a_3x3/weight"].shape
    tiles = 2 * 17 * 17  # of 67 x 67 pixels
    assert second.work == 2 * tiles * 36 * before * after
    assert second.work < second.flops == 2 * 2 * 67 * 67 * 9 * before * after


def test_a_residual_is_read_too(network: Network, found: Profile) -> None:
    (up,) = [step for step in found.steps if step.path == "repeat/block35_1/conv2d_1x1"]
    _, _, before, after = network.arrays()["repeat/block35_1/conv2d_1x1/weight"].shape
    pixels = 2 * 15 * 15
    assert up.shape.startswith(f"15x15x{before} ")
    assert up.bytes == 4 * (pixels * (before + 2 * after) + before * after)


@pytest.mark.parametrize(
    ("work", "size", "bound", "share"),
    [(2e9, 1e8, "compute", 0.5), (1e9, 3e8, "bandwidth", 0.75), (0.0, 1e8, "bandwidth", 0.25)],
)
def test_the_roof_is_the_lower_of_two(work: float, size: float, bound: str, share: float) -> None:
    step = StepTime("path", "shape", "method", 4.0, work, work, size, ROOF)
    assert step.bound == bound
    assert step.share_of_roof == pytest.approx(share)


def test_the_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "MEMORY", 1 << 20)
    gauge = Gauge(1)
    for _ in range(3):
        gauge.take()
    found = gauge.roof
    assert found.flops > 1e8
    assert found.bandwidth > 1e7
    assert found.seconds(found.flops, 0) == pytest.approx(1)
    assert found.seconds(0, found.bandwidth) == pytest.approx(1)
