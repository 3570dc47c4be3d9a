"""What the steps of a program work on."""

from typing import NamedTuple

from minincep_kernels import Array


class Memory(NamedTuple):
    """All arrays of a program, as one thread sees them; flat, so that a step says where.

    Attributes
    ----------
    x, out
        Activations that are read and written; in a plan both are the same memory.
    weights
        Packed filters and biases, behind `step.ZEROS` zeros.
    scratch
        This thread's own, for patches and transformed tiles.
    places
        This thread's own, for `step.PLACES` addresses.
    routines
        `vectors.all_routines()`.
    """

    x: Array
    out: Array
    weights: Array
    scratch: Array
    places: Array
    routines: int
