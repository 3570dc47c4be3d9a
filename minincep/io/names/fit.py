"""What every table of names gives: how the arrays of a file become those of a network.

A table is a module for one source, with

    names(paths: Iterable[str], ...) -> dict[str, str]      our path -> name in such a file
    fit(shapes: Mapping[str, tuple[int, ...]]) -> Fit | None

`fit` sees the names and shapes of all arrays of a file, and gives None if the file is of another
source.  It goes by names; that all are there, none is left over and every shape is right is checked
after it, once for all sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from minincep.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class Fit:
    """How the arrays of a file become those of a network.

    Attributes
    ----------
    source
        Who writes such files, for messages and for the record.
    architecture, config
        Of the network that fits, for `build_model`.
    names
        Path of each array of that network -> its name in the file.
    layout
        "tensorflow": filters (KH, KW, C, OC), dense (C, OC), as ours.  "torch": (OC, C, KH, KW),
        (OC, C).
    preprocessing
        How the source evaluated its networks.
    ignored
        Names in the file that are no weights: counters, state of an optimiser.
    background
        Whether class 0 stands for "none of the others".
    """

    source: str
    architecture: str
    config: Mapping[str, Any]
    names: Mapping[str, str]
    layout: Literal["tensorflow", "torch"]
    preprocessing: Preprocessing
    ignored: frozenset[str] = field(default=frozenset())
    background: bool = False
