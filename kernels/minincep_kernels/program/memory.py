"""What the steps of a program work on."""

from typing import NamedTuple


class Memory(NamedTuple):
    """Where all that a program works on begins, as one thread sees it: addresses.

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
        A table (`vectors.table_of`) that has these.
    """

    x: int
    out: int
    weights: int
    scratch: int
    places: int
    routines: int
