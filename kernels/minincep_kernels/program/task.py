"""A task of a training step's convolutions: what `learn` does, from where, to where.

All offsets are in floats and from address 0: what a task reads and writes are arrays of their own,
not parts of one memory as in a plan.
"""

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt


class Task(IntEnum):
    """What there is to do; `learn` says which function does it."""

    PACK = 0
    TRANSFORM_FILTERS = 1
    TRANSFORM_INPUT = 2
    TRANSFORM_OUTPUT_GRADIENT = 3
    PRODUCTS = 4
    TRANSFORM_FILTER_GRADIENT = 5
    TAPS = 6


TASK = np.dtype(
    [
        (name, np.int64)
        for name in (
            "kind",
            "wait",  # so many tasks, from the first on, must be complete before this one begins
            "chunks",  # units of work that a thread takes
            *("in_offset", "gy_offset", "out_offset"),  # side by side, for `OFFSETS`
            # The convolution, as in `step.STEP`; images or filters are what comes in.
            *("in_pitch", "batch", "height", "width", "channels"),
            *("gy_pitch", "out_height", "out_width", "out_channels"),
            *("kernel_height", "kernel_width", "stride_height", "stride_width", "top", "left"),
            "tile",  # Winograd: which of `winograd.TILES`
            # Rows and columns of the matrix in `out`, how much of both makes up a chunk, and how
            # many matrices there are.
            *("rows", "columns", "chunk_rows", "chunk_columns", "matrices"),
            "depth",  # terms of the sums
            "turned",  # PACK: whether the filters are those of the input gradient
            "more",  # PRODUCTS: whether to add to what is there
        )
    ]
)

OFFSETS = ("in_offset", "gy_offset", "out_offset")


def offsets_of(table: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The offsets of a table of tasks, as they lie in it: (tasks, 3)."""
    first = TASK.names.index(OFFSETS[0]) if TASK.names else 0
    return table.view(np.int64).reshape(len(table), -1)[:, first : first + len(OFFSETS)]
