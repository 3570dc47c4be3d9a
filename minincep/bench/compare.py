"""Has a kernel changed?  Two records of one machine, row by row, with a test of significance.

Two runs on a shared machine differ by several per cent for no reason of the kernel: the clock is
another, a neighbour has come.  Four things are done about it.

- Times are held against a control, which was timed just before each of them: what NumPy does with
  the same arrays, a matrix product or a pass.  A slower clock, a core or a cache that is shared,
  arrays in other places of memory: all that slows both.  (The peak of multiply-adds alone, which
  stands in where there is no control, does not tell of caches and memory.)
- Repeats that follow each other are alike, and some are interrupted.  So a few of them are one
  observation, a block, by their median.
- Blocks are compared by their ranks (Mann and Whitney 1947, "On a test of whether one of two random
  variables is stochastically larger than the other"): no distribution is assumed, and one bad block
  is one rank.  And a row counts as slower only if it is significantly so by more than a margin,
  which stands for what the control does not tell.
- Among many rows, some are unusual by luck: levels are corrected for their number (Holm 1979, "A
  simple sequentially rejective multiple test procedure").
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from minincep.bench.record import Record, RecordError, Row
from minincep_kernels import Array

MARGIN = 0.02  # of the time, that a row must be slower or faster at least
LEVEL = 0.01  # how likely it may be that any row is called slower or faster and is not
BLOCK = 5  # repeats, if there are enough for so many blocks:
BLOCKS = 8  # with fewer, no difference could be significant


@dataclass(frozen=True)
class Verdict:
    """What became of a row.

    Attributes
    ----------
    ratio
        The new time over the old one, each held against its control.
    p
        How likely so large a difference is if there is none above the margin, for all rows
        together.
    """

    row: Row
    ratio: float
    p: float

    @property
    def word(self) -> Literal["slower", "faster", "same"]:
        """Slower, faster, or no difference that can be told from noise."""
        if self.p > LEVEL:
            return "same"
        return "slower" if self.ratio > 1 else "faster"


def compare(old: Record, new: Record, margin: float = MARGIN) -> list[Verdict]:
    """Compare the rows that both records have: the same variant, shape, threads and caches.

    Raises
    ------
    RecordError
        If the records are of two machines, or have no row in common.
    """
    if _hardware(old) != _hardware(new):
        raise RecordError("the records are of two machines: times of one cannot tell of the other")
    before = {row.key: row for row in old.rows}
    pairs = [(before[row.key], row) for row in new.rows if row.key in before and row.path is None]
    if not pairs:
        raise RecordError(
            "the records have no row in common: the same variant, shape, threads and caches"
        )
    controlled = _numpy(old) == _numpy(new)  # another NumPy is another control
    found = [_ratio_and_p(first, second, margin, controlled) for first, second in pairs]
    corrected = _holm([p for _, p in found])
    return [
        Verdict(row, ratio, p)
        for (_, row), (ratio, _), p in zip(pairs, found, corrected, strict=True)
    ]


def _hardware(record: Record) -> list[object]:
    return [record.machine.get(name) for name in ("cpu", "cores", "lanes", "caches")]


def _numpy(record: Record) -> object:
    versions = record.machine.get("versions")
    return versions.get("numpy") if isinstance(versions, dict) else None


def _ratio_and_p(old: Row, new: Row, margin: float, controlled: bool) -> tuple[float, float]:
    controlled = controlled and bool(old.control and new.control)
    before, after = (blocks(row, controlled) for row in (old, new))
    slower = stats.mannwhitneyu(after, before + np.log1p(margin), alternative="greater")
    faster = stats.mannwhitneyu(after, before - np.log1p(margin), alternative="less")
    ratio = float(np.exp(np.median(after) - np.median(before)))
    return ratio, min(1.0, 2 * float(min(slower.pvalue, faster.pvalue)))


def blocks(row: Row, controlled: bool = True) -> Array:
    """For each block of repeats, the logarithm of what the time was worth.

    That is in times of the control, or in operations.
    """
    worth = np.log(row.seconds) + (-np.log(row.control) if controlled else np.log(row.peak))
    count = max(len(worth) // BLOCK, min(BLOCKS, len(worth)))
    return np.array([np.median(part) for part in np.array_split(worth, count)])


def _holm(ps: list[float]) -> list[float]:
    """The same levels, for all of them together."""
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(np.argsort(ps, kind="stable")):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return corrected
