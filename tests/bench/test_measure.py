"""Timing: in turns, held against the roof, as often as there is time."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from minincep.bench import session, stage
from minincep.bench.record import Row
from minincep.bench.session import Part
from minincep.bench.stage import Settings
from minincep.bench.verify import Case
from minincep.bench.workloads import shapes
from minincep_kernels import Array
from minincep_kernels.registry import Variant
from minincep_kernels.shapes import Conv2dShape
from tests.bench.conftest import FixedGauge

FEW = Settings(repeats=4, turn=0.0, budget=1e9, roofs=1)


class Slow:
    """A variant that takes so long, and writes down that it was called."""

    def __init__(self, name: str, case: Case, seconds: float, calls: list[str]) -> None:
        self._result = case.exact[0].astype(np.float32)
        self._seconds, self._calls, self._name = seconds, calls, name

    def variant(self, below: str | None = None) -> Variant:
        return Variant("conv2d", self._name, lambda _: True, self.forward, below=below)

    def forward(self, x: Array, filters: Array, shape: Conv2dShape) -> Array:
        self._calls.append(self._name)
        time.sleep(self._seconds)
        return self._result.copy()


@pytest.fixture
def case() -> Case:
    return Case(shapes("conv2d")[0])


def rows(
    case: Case,
    variants: list[Variant],
    settings: Settings = FEW,
    watch: Callable[[list[Row]], None] = lambda rows: None,
) -> list[Row]:
    """Measure on one thread."""
    part = Part("conv2d", variants, [case.workload])
    with session.benches([part], [1], settings) as (bench,):
        return bench.rows(case.workload, variants, watch)


def two(case: Case, calls: list[str]) -> list[Variant]:
    return [
        Slow("low", case, 0.004, calls).variant(),
        Slow("high", case, 0.001, calls).variant(below="low"),
    ]


def test_a_row_says_all_that_was_seen(case: Case) -> None:
    low, high = rows(case, two(case, []))
    assert (low.variant, low.below, high.below) == ("low", None, "low")
    assert high.shape == {
        "batch": 1,
        "height": 9,
        "width": 7,
        "channels": 3,
        "kernel": [3, 3],
        "stride": [1, 1],
        "padding": [1, 1, 1, 1],
        "out_channels": 5,
    }
    assert len(high.seconds) == len(high.peak) == 4
    assert set(high.peak) == {3e9}
    assert high.median == pytest.approx(np.median(high.seconds))
    assert min(low.seconds) >= 0.004
    assert low.speedup_over_below is None
    assert high.speedup_over_below == pytest.approx(low.median / high.median)
    assert high.gflops == pytest.approx(case.workload.shape.flops / high.median / 1e9)
    assert high.work == high.flops == case.workload.shape.flops
    assert (high.threads, high.cache, high.error < 1e-6) == (1, "warm", True)
    assert high.networks == dict(case.workload.networks)


def test_the_share_of_the_roof_is_that_of_the_level_that_holds_the_arrays(case: Case) -> None:
    shape = case.workload.shape
    assert 1000 < shape.bytes < 4000  # the second level
    (row,) = rows(case, two(case, [])[1:])
    assert row.share_of_roof == pytest.approx(shape.flops / 3e9 / row.median)
    assert row.bound == "compute"
    (row,) = rows(case, [replace(two(case, [])[1], work=lambda _: 100)])
    assert (row.work, row.bound) == (100, "bandwidth")
    assert row.share_of_roof == pytest.approx(shape.bytes / 4e9 / row.median)
    (row,) = rows(case, [replace(two(case, [])[1], work=lambda _: 100)], replace(FEW, flushed=True))
    assert row.cache == "flushed"
    assert row.share_of_roof == pytest.approx(shape.bytes / 1e9 / row.median)


def test_variants_take_turns_in_changing_order(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "LONG", 1e9)  # on a busy machine, sleep takes what it takes
    calls: list[str] = []
    rows(case, two(case, calls), replace(FEW, repeats=12))
    turns = calls[4:]  # the first calls verify, and tell how long one takes
    pairs = [tuple(turns[i : i + 4 : 2]) for i in range(0, len(turns), 4)]
    assert turns[::2] == turns[1::2]  # a call that does not count, and one that does
    assert set(pairs) == {("low", "high"), ("high", "low")}
    assert len(pairs) == 12


def test_a_turn_is_long_enough_and_all_are_not_too_long(case: Case) -> None:
    calls: list[str] = []
    slow = [Slow("slow", case, 0.002, calls).variant()]
    rows(case, slow, replace(FEW, repeats=3, turn=0.2))
    assert len(calls) > 2 + 3 * 4  # the call before may have taken longer
    (row,) = rows(case, slow, replace(FEW, repeats=50, budget=0.001))
    assert len(row.seconds) == stage.LEAST


def test_caches_are_flushed_before_each_call_if_asked(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    gauge = FixedGauge(1)
    monkeypatch.setattr(session, "Gauge", lambda *_: gauge)
    rows(case, two(case, calls)[:1], replace(FEW, flushed=True, turn=1.0))
    assert gauge.asked == ["compute", "flush", "flush"] * 4  # of the kernel, and of the control
    assert len(calls) == 2 + 4


def test_the_first_call_compiles(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow("slow", case, 0.03, [])

    def forward(x: Array, filters: Array, shape: Conv2dShape) -> Array:
        y = slow.forward(x, filters, shape)
        slow._seconds = 0
        return y

    (row,) = rows(case, [Variant("conv2d", "slow", lambda _: True, forward)])
    assert row.compile_seconds > 0.02 > row.median


def test_what_does_not_support_a_shape_is_left_out(case: Case) -> None:
    calls: list[str] = []
    low, high = two(case, calls)
    found = rows(case, [replace(low, supports=lambda _: False), high])
    assert [row.variant for row in found] == ["high"]
    assert "low" not in calls
    assert rows(case, [replace(low, supports=lambda _: False)]) == []


def test_who_watches_sees_each_round(case: Case) -> None:
    seen: list[int] = []
    found = rows(case, two(case, []), watch=lambda rows: seen.append(len(rows[0].seconds)))
    assert seen == [1, 2, 3, 4]
    assert len(found) == 2
