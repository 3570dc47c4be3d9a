"""A step of a program: what to do, from where, to where.  All numbers, so that it can be stored.

Activations are channels last.  A pixel of a value takes `pitch` floats, of which the step uses the
first `channels`: if that is fewer, the value lies in some channels of a wider one, as the part of a
concatenation does.  Pictures of a batch follow each other.
"""

from enum import IntEnum

import numpy as np


class Kind(IntEnum):
    """What a step does; `run.run_chunk` says which function does it."""

    POINTWISE = 0
    DIRECT = 1
    IMPLICIT = 2
    WINOGRAD = 3
    MAX_POOL = 4
    AVERAGE_POOL = 5
    GLOBAL_AVERAGE = 6
    COPY = 7
    L2_NORMALIZE = 8
    SOFTMAX = 9


STEP = np.dtype(
    [
        (name, np.int64)
        for name in (
            "kind",
            "wait",  # so many steps, from the first on, must be complete before this one begins
            # The input: floats from the start of the activations, from pixel to pixel, and pixels.
            *("in_offset", "in_pitch", "height", "width", "channels"),
            *("out_offset", "out_pitch", "out_height", "out_width", "out_channels"),
            *("kernel_height", "kernel_width", "stride_height", "stride_width", "top", "left"),
            # What is added to a product before the ReLU; an offset below 0 means nothing.
            *("residual_offset", "residual_pitch", "relu"),
            # Floats from the start of the weights; a bias of an average pool below 0 means none.
            *("filters", "bias"),
            "tile",  # Winograd: which of `winograd.TILES`
            # A chunk, the unit of work that a thread takes: so many rows (pixels, lines of pixels,
            # or tiles; `run.rows_of` says which) and output channels.
            *("rows", "columns"),
        )
    ]
)

# The weights begin with zeros: the bias of products that have none, and what lies around an image.
ZEROS = 4096

# Counters of a step, each on a cache line of its own, so that threads do not fight over it.
CLAIMED, FINISHED, COUNTERS = 0, 8, 16

PLACES = 64  # addresses that a thread needs room for: at most as many as a tile has inputs
