"""Networks of a few small layers, and a machine that is always the same, for benchmarks."""

from collections.abc import Sequence

import pytest

from minincep.bench import session, workloads
from minincep.bench.workloads import Layer
from minincep_kernels.machine import Cache
from minincep_kernels.roofline import Level, Roof

NONE, SAME = (0, 0, 0, 0), (1, 1, 1, 1)
LAYERS = [
    Layer("conv2d", (9, 7, 3), (3, 3), (1, 1), SAME, 5, False),
    Layer("batch_norm", (9, 7, 5), (1, 1), (1, 1), NONE, 5, True),
    Layer("max_pool2d", (9, 7, 5), (3, 3), (2, 2), NONE, 5, False),
    Layer("avg_pool2d", (4, 3, 5), (3, 3), (1, 1), SAME, 5, False),
    Layer("conv2d", (4, 3, 5), (1, 1), (1, 1), NONE, 8, False),
    Layer("conv2d", (4, 3, 5), (1, 1), (1, 1), NONE, 8, False),
]
ROOF = Roof(flops=2e9, bandwidth=1e9, levels=(Level("L1", 1000, 8e9), Level("L2", 4000, 4e9)))


class FixedGauge:
    """Does what a gauge does, and writes down what it was asked for."""

    roof = ROOF

    def __init__(self, threads: int, caches: Sequence[Cache] = ()) -> None:
        self.threads = threads
        self.samples: list[list[float]] = []
        self.asked: list[str] = []

    def take(self) -> None:
        self.samples.append([])

    def roof_since(self, first: int) -> Roof:
        assert len(self.samples) > first
        return ROOF

    def compute(self) -> float:
        self.asked.append("compute")
        return 3e9

    def flush(self) -> None:
        self.asked.append("flush")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "_layers", lambda network: LAYERS)
    monkeypatch.setattr(session, "Gauge", FixedGauge)
