"""Two records: what has changed, and what is noise."""

from dataclasses import replace

import numpy as np
import pytest

from minincep.bench.compare import LEVEL, MARGIN, Verdict, blocks, compare
from minincep.bench.record import Record, RecordError, Row
from tests.bench.records import ROW, record

GENERATOR = np.random.default_rng(0)


def row(
    generator: np.random.Generator,
    *,
    factor: float = 1.0,
    noise: float = 0.01,
    clock: float = 1.0,
    memory: float = 1.0,
    repeats: int = 60,
    label: str = "",
) -> Row:
    """Times of a kernel on a machine whose clock wanders, and that is interrupted now and then.

    Its memory may be slower than on another day, which the peak does not show, only the control.
    """
    wander = clock * np.exp(np.cumsum(generator.normal(0, 0.01, repeats)))
    stolen = np.where(generator.random(repeats) < 0.2, generator.uniform(1, 3, repeats), 1)
    seconds = 1e-3 * factor * stolen * np.exp(np.abs(generator.normal(0, noise, repeats))) / wander
    peak = 1e11 * wander * np.exp(-np.abs(generator.normal(0, noise, repeats)))
    control = 2e-3 * memory * np.exp(np.abs(generator.normal(0, noise, repeats))) / wander
    return replace(
        ROW,
        seconds=(seconds * memory).tolist(),
        peak=peak.tolist(),
        control=control.tolist(),
        label=label,
        shape={"model": label},
    )


def verdicts(old: list[Row], new: list[Row], margin: float = MARGIN) -> list[Verdict]:
    machine = record().machine
    return compare(Record(machine, {}, {}, old), Record(machine, {}, {}, new), margin)


def words(factor: float, clock: float) -> list[str]:
    found: list[str] = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        (verdict,) = verdicts([row(generator)], [row(generator, factor=factor, clock=clock)])
        found.append(verdict.word)
    return found


@pytest.mark.parametrize("clock", [1.0, 0.8, 1.25])
def test_the_same_kernel_does_not_differ_whatever_the_clock(clock: float) -> None:
    assert words(1.0, clock) == ["same"] * 20


@pytest.mark.parametrize("clock", [1.0, 0.8, 1.25])
def test_five_per_cent_are_found_whatever_the_clock(clock: float) -> None:
    assert words(1.05, clock).count("slower") >= 18
    assert words(1 / 1.05, clock).count("faster") >= 18


def test_slow_memory_is_not_a_slow_kernel() -> None:
    generator = np.random.default_rng(4)
    old, new = row(generator), row(generator, memory=1.2)
    (verdict,) = verdicts([old], [new])
    assert verdict.word == "same"
    assert verdict.ratio == pytest.approx(1, rel=0.02)


def test_without_controls_or_with_another_numpy_the_peak_stands_in() -> None:
    generator = np.random.default_rng(5)
    old, new = row(generator), row(generator, memory=1.2)
    (verdict,) = verdicts([replace(old, control=[])], [new])
    assert verdict.word == "slower"
    first, second = record().machine, {**record().machine, "versions": {"numpy": "0.1"}}
    (verdict,) = compare(Record(first, {}, {}, [old]), Record(second, {}, {}, [new]))
    assert verdict.word == "slower"
    assert verdict.ratio == pytest.approx(1.2, rel=0.02)


def test_the_ratio_is_that_of_the_kernels() -> None:
    generator = np.random.default_rng(1)
    (verdict,) = verdicts([row(generator)], [row(generator, factor=1.3, clock=0.7)])
    assert verdict.ratio == pytest.approx(1.3, rel=0.02)
    assert verdict.p < LEVEL


def test_changes_within_the_margin_do_not_count() -> None:
    generator = np.random.default_rng(2)
    old, new = row(generator, noise=1e-4), row(generator, noise=1e-4, factor=1.01)
    (verdict,) = verdicts([old], [new])
    assert verdict.word == "same"
    (verdict,) = verdicts([old], [new], 0.0)
    assert verdict.word == "slower"


def test_among_many_rows_none_is_unusual_by_luck() -> None:
    generator = np.random.default_rng(3)
    old, new = (
        [row(generator, noise=0.1, repeats=20, label=str(i)) for i in range(300)] for _ in range(2)
    )
    found = verdicts(old, new, 0.0)
    assert [verdict.word for verdict in found] == ["same"] * 300
    alone = [verdicts([a], [b], 0.0)[0].p for a, b in zip(old, new, strict=True)]
    assert min(alone) < LEVEL  # uncorrected, one would be


def test_few_repeats_tell_nothing() -> None:
    old, new = row(GENERATOR, repeats=3), row(GENERATOR, repeats=3, factor=3.0)
    (verdict,) = verdicts([old], [new])
    assert verdict.word == "same"
    assert verdict.ratio == pytest.approx(3, rel=0.5)


def test_a_block_is_the_median_of_what_its_times_were_worth() -> None:
    one = replace(
        ROW,
        seconds=[1.0, 2.0, 3.0, 9.0, 1.0] * 16,
        peak=[6.0, 4.0, 2.0, 1.0, 9.0] * 16,
        control=[0.5, 0.5, 0.5, 0.5, 1.0] * 16,
    )
    assert blocks(one, False) == pytest.approx(np.log(8.0 * np.ones(16)))
    assert blocks(one) == pytest.approx(np.log(4.0 * np.ones(16)))
    assert len(blocks(replace(ROW, seconds=[1.0] * 11, control=[1.0] * 11))) == 8
    assert len(blocks(ROW)) == 3


def test_rows_are_matched() -> None:
    generator = np.random.default_rng(4)
    old = [row(generator, label=name) for name in "ab"]
    new = [row(generator, label=name, factor=2.0 if name == "b" else 1.0) for name in "cb"]
    (verdict,) = verdicts(old, [*new, replace(old[0], threads=2), replace(old[0], path="step")])
    assert (verdict.row.label, verdict.word) == ("b", "slower")


def test_records_that_have_nothing_in_common() -> None:
    whole = record()
    with pytest.raises(RecordError, match="no row in common: the same variant, shape"):
        verdicts([ROW], [replace(ROW, threads=2)])
    with pytest.raises(RecordError, match="of two machines"):
        compare(whole, Record({"cpu": "two"}, {}, {}, whole.rows))
