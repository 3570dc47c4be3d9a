"""Ladders over all layers, worked out by hand."""

import dataclasses

import pytest

from minincep.bench.record import Record, RecordError, Row
from minincep.bench.summary import (
    BEST,
    Block,
    bandwidths,
    bars,
    blocks,
    climb,
    groups,
    merge,
    network_of,
)
from minincep_kernels.roofline import Level, Roof

ROOF = Roof(100e9, 10e9, (Level("L1", 1 << 15, 400e9),))
MACHINE = {"cpu": "Test CPU", "cores": 2}


def row(variant: str, below: str | None, side: int, median: float, **changes: object) -> Row:
    """Of a shape that one network has `side` times and another once; 1e9 operations a side."""
    flops = side * 1e9
    made = Row(
        op="conv2d",
        variant=variant,
        below=below,
        shape={"height": side, "kernel": [1, 1]},
        label=f"{side}x{side}",
        networks={"much": side, "once": 1},
        threads=1,
        cache="warm",
        flops=flops,
        bytes=side * 1e8,
        work=flops,
        seconds=[median / 2, median, 2 * median],
        peak=[1e11] * 3,
        control=[],
        median=median,
        compile_seconds=0.0,
        error=0.0,
        tolerance=1e-5,
        gflops=flops / median / 1e9,
        share_of_roof=0.5 / median,
        bound="compute",
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


ROWS = [
    row("naive", None, 2, 10.0),
    row("naive", None, 3, 20.0),
    row("direct", "naive", 2, 5.0),
    row("direct", "naive", 3, 4.0),
    row("winograd", "direct", 3, 1.0, work=1e9),
    row("other", None, 2, 4.0),
]


def test_ladder() -> None:
    found = {bar.variant: bar for bar in bars(ROWS)}
    assert list(found) == ["naive", "direct", "winograd", BEST, "other"]
    assert [bar.kind for bar in found.values()] == ["rung", "rung", "rung", "best", "beside"]
    # Three layers of the first shape and four of the second: 3 * 2e9 + 4 * 3e9 operations.
    assert dataclasses.asdict(found["naive"]) == pytest.approx(
        {
            "variant": "naive",
            "kind": "rung",
            "gflops": 18 / 110,
            "low": 18 / 165,
            "high": 18 / 82.5,
            "intensity": 10.0,
            "share": 7 * 0.5 / 110,
            "taken": 1.0,
            "covered": 1.0,
            "effective": False,
            "step": None,
        }
    )
    direct, winograd = found["direct"], found["winograd"]
    assert (direct.gflops, direct.step) == pytest.approx((18 / 31, 110 / 31))
    # The first shape runs on the rung below.
    assert (winograd.gflops, winograd.step) == pytest.approx((18 / 19, 31 / 19))
    assert (winograd.taken, winograd.covered) == (12 / 18, 1.0)
    assert winograd.effective
    assert not direct.effective
    assert (found[BEST].gflops, found[BEST].taken) == (18 / 16, 1.0)
    other = found["other"]
    assert (other.gflops, other.taken, other.covered) == (6 / 12, 6 / 18, 6 / 18)
    assert other.step is None


def test_one_network() -> None:
    found = {bar.variant: bar.gflops for bar in bars(ROWS, "once")}
    assert found["naive"] == 5 / 30
    assert found["winograd"] == 5 / 6
    assert bars(ROWS, "neither") == []


def test_shapes_of_no_network_count_once() -> None:
    rows = [row("naive", None, side, 2.0, networks={}) for side in (2, 3)]
    assert [bar.gflops for bar in bars(rows)] == [5 / 4]


def test_a_rung_that_covers_less_is_no_comparison() -> None:
    rows = [row("naive", None, 2, 10.0), *ROWS[2:4]]
    naive, direct, _ = bars(rows)
    assert (naive.covered, direct.covered, direct.step) == (6 / 18, 1.0, None)


def test_climbing() -> None:
    below = {"top": "tile", "blas": None, "tile": "foot", "b": "top", "a": "tile", "foot": None}
    assert climb(below) == (["foot", "tile", "top", "b", "a"], ["blas"])
    assert climb({"tile": "foot", "more": "tile"}) == (["tile", "more"], [])  # no foot measured
    assert climb({"x": "y", "y": "x", "z": "z"}) == ([], ["x", "y", "z"])
    long = {str(n): str(n - 1) if n else None for n in range(5000)}
    assert climb(long) == (list(long), [])


def test_rings_are_no_ladders() -> None:
    rows = [row("x", "y", 2, 1.0), row("y", "x", 2, 2.0)]
    assert [(bar.variant, bar.kind) for bar in bars(rows)][1:] == [("x", "beside"), ("y", "beside")]


def test_groups_are_of_kernels_that_compare() -> None:
    rows = [
        *ROWS[:2],
        row("naive", None, 2, 1.0, threads=2),
        row("naive", None, 2, 1.0, cache="flushed"),
        row("minincep", None, 2, 1.0, op="network"),
        row("direct", None, 2, 1.0, op="step"),
    ]
    assert {key: len(found) for key, found in groups(rows).items()} == {
        ("conv2d", 1, "warm"): 2,
        ("conv2d", 2, "warm"): 1,
        ("conv2d", 1, "flushed"): 1,
    }


def test_blocks() -> None:
    def step(path: str, method: str, seconds: float, batch: int = 1) -> Row:
        shape = {"model": "inception_v4", "batch": batch, "size": 299}
        return row(method, None, 2, seconds, op="step", path=path, shape=shape)

    rows = [
        step("stem", "direct", 1.0),
        step("repeat/block_1/conv + repeat/block_1/other", "pointwise", 2.0),
        step("repeat/block_1/more", "winograd 1x6", 3.0),
        step("repeat/block_2/more", "winograd 4x4", 4.0),
        step("pool", "max pool", 5.0),
        step("pool", "teleport", 6.0),
        step("stem", "direct", 7.0, batch=8),
    ]
    assert blocks(rows) == {
        ("inception_v4, 1 picture", 1): [
            Block("stem", {"direct": 1.0}),
            Block("repeat", {"pointwise": 2.0, "Winograd": 7.0}),
            Block("pool", {"pooling": 5.0, "other": 6.0}),
        ],
        ("inception_v4, 8 pictures", 1): [Block("stem", {"direct": 7.0})],
    }
    assert network_of(ROWS[0]) == ""


def record(rows: list[Row], roof: Roof = ROOF, **settings: object) -> Record:
    return Record(MACHINE, dict(settings), {1: roof}, rows)


def test_one_record_stays_as_it_is() -> None:
    one = record(ROWS)
    assert merge([one]) is one


def test_of_a_row_measured_again_the_last_counts() -> None:
    again = row("naive", None, 2, 7.0)
    roof = Roof(300e9, 30e9, (Level("L1", 1 << 15, 600e9), Level("L2", 1 << 20, 200e9)))
    merged = merge(
        [record(ROWS, op="conv2d", seed=0), record([again], roof, op="gemm", seed=0)],
    )
    assert merged.rows == [again, *ROWS[1:]]
    assert merged.settings == {"op": ["conv2d", "gemm"], "seed": 0}
    assert bandwidths(merged.roof[1]) == {"L1": 500e9, "L2": 200e9, "memory": 20e9}
    assert merged.roof[1].flops == 200e9


def test_records_of_different_machines_are_refused() -> None:
    other = Record(MACHINE | {"cpu": "Other CPU"}, {}, {}, [])
    with pytest.raises(RecordError, match="machines, Test CPU with 2 cores and Other CPU with 2"):
        merge([record(ROWS), other])
    with pytest.raises(RecordError, match="different machines"):
        merge([record(ROWS), Record(MACHINE | {"cores": 64}, {}, {}, [])])
