"""Where each activation lies: one block of memory, shared by what is never there together."""

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 16  # floats: a cache line


@dataclass(frozen=True)
class Life:
    """When a value is in use, in numbers of steps.

    Attributes
    ----------
    size
        Floats.
    ready
        So many steps, from the first on, are complete before anybody writes to it.
    last
        The last step that writes to it or reads it.
    """

    size: int
    ready: int
    last: int


def place(lives: Sequence[Life]) -> tuple[list[int], int]:
    """An offset in floats for each value, and how many floats there are in all.

    Two values may share memory if every step that touches the one is complete before any step may
    write the other.  Largest first, each goes to the lowest place where it fits: greedy, and as
    good as the lower bound, the most that is in use at once, for these networks (Pisarchyk and Lee
    2020, "Efficient memory management for deep neural net inference", arXiv:2001.03288, section 4).
    """
    offsets = [0] * len(lives)
    placed: list[int] = []
    for index in sorted(range(len(lives)), key=lambda i: (-lives[i].size, i)):
        life = lives[index]
        beside = [other for other in placed if not _apart(life, lives[other])]
        offset = 0
        for other in sorted(beside, key=lambda i: offsets[i]):
            if offset + life.size <= offsets[other]:
                break
            offset = max(offset, _aligned(offsets[other] + lives[other].size))
        offsets[index] = offset
        placed.append(index)
    ends = [offset + life.size for offset, life in zip(offsets, lives, strict=True)]
    return offsets, _aligned(max(ends, default=0))


def _apart(a: Life, b: Life) -> bool:
    return a.last < b.ready or b.last < a.ready


def _aligned(floats: int) -> int:
    return -(-floats // ALIGNMENT) * ALIGNMENT
