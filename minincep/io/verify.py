"""Compare a network, end point by end point, with what an independent implementation gave.

A reference file holds no weights.  Both sides draw them by the rule in `reference`; the file has
the calibrated batch-norm statistics, and for each picture and end point the reference's float64
values at sampled positions and the error of its own float32 against them.

The *error* of an end point is max |difference| over the samples, divided by the standard deviation
of the end point.  A network passes where its error is at most `FACTOR` times that of the
reference's own float32, and below `LIMIT`.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from minincep.autograd import Tensor, no_grad
from minincep.io import reference
from minincep.io.errors import WeightError
from minincep.io.hdf5 import open_file
from minincep.models import Network
from minincep.models.registry import build_model
from minincep_kernels import Array

FACTOR = 4.0
LIMIT = 1e-4


@dataclass(frozen=True)
class Sample:
    """What the reference gave at one end point.

    Attributes
    ----------
    shape
        Shape of the whole end point, batch axis included.
    index
        Positions of the samples in it, counted in C order.
    values
        The reference's float64 values there.
    deviation
        Standard deviation of the whole end point.
    float32_error
        Error of the reference's own float32.
    """

    endpoint: str
    shape: tuple[int, ...]
    index: Array
    values: Array
    deviation: float
    float32_error: float


@dataclass(frozen=True)
class Case:
    """One picture through the reference."""

    name: str
    witness: str
    height: int
    width: int
    image_seed: int
    samples: Sequence[Sample]


@dataclass(frozen=True)
class Row:
    """One end point compared: its error, and what was allowed."""

    endpoint: str
    error: float
    float32_error: float

    @property
    def passed(self) -> bool:
        # A nan compares as false, and so fails.
        return self.error <= FACTOR * self.float32_error and self.error < LIMIT


def read_cases(path: Path) -> list[Case]:
    """All cases of a reference file.

    Raises
    ------
    WeightError
        If it is no reference file.
    """
    with _open(path) as file:
        cases = []
        for name, group in file["cases"].items():
            samples = [
                Sample(
                    str(entry.attrs["name"]),
                    tuple(int(n) for n in entry.attrs["shape"]),
                    entry["index"][()],
                    entry["values"][()],
                    float(entry.attrs["std"]),
                    float(entry.attrs["float32_error"]),
                )
                for _, entry in sorted(group["endpoints"].items())
            ]
            cases.append(
                Case(
                    name,
                    str(group.attrs["witness"]),
                    int(group.attrs["height"]),
                    int(group.attrs["width"]),
                    int(group.attrs["image_seed"]),
                    samples,
                )
            )
        return cases


def reference_network(path: Path) -> Network:
    """The network of a reference file, with reference weights and calibrated statistics.

    Raises
    ------
    WeightError
        If it is no reference file, or lacks statistics.
    """
    with _open(path) as file:
        network = build_model(str(file.attrs["architecture"]), **json.loads(file.attrs["config"]))
        arrays = {}
        for name, array in network.arrays().items():
            if name.endswith(("/running_mean", "/running_var")):
                stored = file.get(f"statistics/{name}")
                if not isinstance(stored, h5py.Dataset) or stored.shape != array.shape:
                    raise WeightError(f"{path}: no statistics of shape {array.shape} for {name}")
                arrays[name] = stored[()].astype(np.float32)
            else:
                arrays[name] = reference.draw(name, array.shape)
    network.assign_all(arrays)
    return network


def verify(network: Network, case: Case) -> list[Row]:
    """Run a network on the picture of a case, and compare all end points of it."""
    picture = reference.picture(case.height, case.width, case.image_seed)
    x = Tensor(reference.scaled(picture[None]).astype(_dtype(network)))
    with no_grad():
        found = network.run_endpoints(x, [sample.endpoint for sample in case.samples])
    return [
        Row(s.endpoint, _error(found[s.endpoint].data, s), s.float32_error) for s in case.samples
    ]


def first_failure(rows: Sequence[Row]) -> Row | None:
    """The first end point that diverges, in the order of the network."""
    return next((row for row in rows if not row.passed), None)


def _error(y: Array, sample: Sample) -> float:
    if y.shape != sample.shape:
        return float("inf")
    difference = y.reshape(-1)[sample.index].astype(np.float64) - sample.values
    return float(np.max(np.abs(difference)) / sample.deviation)


def _dtype(network: Network) -> np.dtype[np.floating]:
    return next(iter(network.parameters().values())).dtype


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    with open_file(path) as file:
        if file.attrs.get("format") != "minincep-reference":
            raise WeightError(
                f"{path}: not a reference file of minincep; tests/data has them, and "
                "tools/reference/make.py makes them"
            )
        yield file
