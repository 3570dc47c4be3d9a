"""What every table of names gives: how the arrays of a file become those of a network.

A table is a module for one source, with

    names(paths: Iterable[str], ...) -> dict[str, str]      our path -> name in such a file
    fit(shapes: Mapping[str, tuple[int, ...]]) -> Fit | None

`fit` sees the names and shapes of all arrays of a file, and gives None if it knows none of them.
The table whose names are most like those of the file is taken; that all are there, none is left
over and every shape is right is checked after it, once for all sources.
"""

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from minincep.models.preprocessing import FACENET_2017, FACENET_2018, Preprocessing
from minincep.models.registry import build_model

BACKGROUND = 1001  # classes, if there is one more than ImageNet has
FACES = "inception_resnet_v1"  # ends in embeddings, or in any number of identities


@dataclass(frozen=True)
class Fit:
    """How the arrays of a file become those of a network.

    Attributes
    ----------
    source
        Who writes such files, for messages and for the record.
    architecture, config
        Of the network that fits, for `build_model`.  Without `num_classes` if the file lacks the
        classifier; `names` then lacks its paths.
    names
        Path of each array of that network -> its name in the file.
    layout
        "tensorflow": filters (KH, KW, C, OC), dense (C, OC), as ours.  "torch": (OC, C, KH, KW),
        (OC, C).
    preprocessing
        How the source evaluated its networks.
    likeness
        Share of the names of the file, and of those that the source gives, that are both.
    averages
        Path -> name of its moving average, for those that have one.
    ignored
        Names in the file that are no weights: counters, state of an optimiser.
    """

    source: str
    architecture: str
    config: Mapping[str, Any]
    names: Mapping[str, str]
    layout: Literal["tensorflow", "torch"]
    preprocessing: Preprocessing
    likeness: float
    averages: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()

    @property
    def classifier(self) -> bool:
        """Whether the file has what the network ends with."""
        return "num_classes" in self.config

    @property
    def background(self) -> bool:
        """Whether class 0 stands for "none of the others"."""
        return self.architecture != FACES and self.config.get("num_classes") == BACKGROUND


def facenet_preprocessing(embedding_size: int) -> Preprocessing:
    """How facenet's models prepare faces: those of 2017 embed in 128 numbers, of 2018 in 512."""
    return FACENET_2017 if embedding_size == 128 else FACENET_2018


class Table(Protocol):
    """A module for one source; its `names` differ in what else they want to know."""

    def fit(self, shapes: Mapping[str, tuple[int, ...]]) -> Fit | None: ...


@functools.cache
def paths(architecture: str, *, classifier: bool = True, **config: Any) -> tuple[str, ...]:
    """Paths of all arrays of a network, in the order of its definition.

    Parameters
    ----------
    classifier
        Without those of the last layer, if this is false.
    """
    arrays = build_model(architecture, **config).arrays()
    return tuple(path for path in arrays if classifier or not path.startswith("logits/"))


def likeness(found: Collection[str], known: Collection[str]) -> float:
    """Share of all these names that are in both, 0 to 1."""
    both = len(set(found) & set(known))
    return both / (len(set(found)) + len(set(known)) - both) if both else 0.0


def units(shapes: Mapping[str, tuple[int, ...]], name: str, axis: int) -> int:
    """Outputs of the dense layer whose weight has this name; 1, which fits nothing, if it is odd.

    Parameters
    ----------
    axis
        Where they are: 0 in PyTorch, 1 in TensorFlow.
    """
    shape = shapes.get(name, ())
    return shape[axis] if len(shape) == 2 else 1


def num_classes(shapes: Mapping[str, tuple[int, ...]], name: str, axis: int) -> dict[str, int]:
    """The entry of `config`, if the classifier's weight, of this name, is in the file."""
    return {"num_classes": units(shapes, name, axis)} if name in shapes else {}
