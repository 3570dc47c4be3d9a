"""Compare a network, end point by end point, with what an independent implementation gave.

A reference file holds no weights.  Both sides draw them by the rule in `reference`; the file has
the calibrated batch-norm statistics, and for each picture and end point the reference's float64
values at sampled positions and the error of its own float32 against them.

The *error* of an end point is max |difference| over the samples, divided by the standard deviation
of the end point.  A network passes where its error is at most so many times that of the reference's
own float32, and below a limit: `EAGER` for a network that runs op by op, `PLANNED` for its plan,
whose Winograd transforms save multiplications and lose a digit.
"""

import contextlib
import json
import math
import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from minincep.autograd import Tensor, no_grad
from minincep.io import reference
from minincep.io.errors import WeightError
from minincep.io.hdf5 import open_file
from minincep.models import Network
from minincep.models.network import SMALLEST
from minincep.models.registry import build_model
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError
from minincep_kernels.registry import forced, use

LARGEST = 4096  # pixels, and
MOST_SAMPLES = 1_000_000  # of an end point: a damaged file must not make us allocate without end
DAMAGE = (  # what h5py, JSON and the conversions below raise; ConfigError is a ValueError
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    MemoryError,
    OSError,
    RuntimeError,
)


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
class Rule:
    """What is allowed: times the error of the reference's own float32, and at all."""

    factor: float
    limit: float


EAGER = Rule(4.0, 1e-4)
PLANNED = Rule(8.0, 2e-4)

Run = Callable[[Array, Collection[str]], Mapping[str, Array]]


@dataclass(frozen=True)
class Row:
    """One end point compared: its error, and what was allowed."""

    endpoint: str
    error: float
    float32_error: float
    rule: Rule = EAGER

    @property
    def passed(self) -> bool:
        # A nan compares as false, and so fails.
        return self.error <= self.rule.factor * self.float32_error and self.error < self.rule.limit


def read_cases(path: Path) -> list[Case]:
    """All cases of a reference file.

    Raises
    ------
    WeightError
        If it is no reference file, or damaged.
    """
    with _open(path) as file:
        cases = [_case(name, group) for name, group in file["cases"].items()]
        if not cases:
            raise ValueError("no cases")
        return cases


def _case(name: str, group: h5py.Group) -> Case:
    height, width, seed = (
        operator.index(group.attrs[key]) for key in ("height", "width", "image_seed")
    )
    if not (SMALLEST <= min(height, width) <= max(height, width) <= LARGEST and 0 <= seed < 2**32):
        raise ValueError(f"picture {seed} of {height} x {width}")
    samples = [_sample(entry) for _, entry in sorted(group["endpoints"].items())]
    return Case(name, str(group.attrs["witness"]), height, width, seed, samples)


def _sample(entry: h5py.Group) -> Sample:
    name = str(entry.attrs["name"])
    shape = tuple(operator.index(length) for length in entry.attrs["shape"])
    index, values = entry["index"], entry["values"]
    if index.shape != (index.size,) or values.shape != index.shape or index.size > MOST_SAMPLES:
        raise ValueError(f"{name!r}: {index.shape} positions, {values.shape} values")
    index, values = index[()].astype(np.int64), values[()].astype(np.float64)
    deviation, float32_error = (float(entry.attrs[key]) for key in ("std", "float32_error"))
    if not (index.size and index.min() >= 0 and index.max() < math.prod(shape)):
        raise ValueError(f"{name!r}: no positions, or some outside of {shape}")
    if not (np.isfinite(values).all() and 0 < deviation < np.inf and 0 <= float32_error < np.inf):
        raise ValueError(f"{name!r}: numbers that are not finite, or negative")
    return Sample(name, shape, index, values, deviation, float32_error)


def reference_network(path: Path) -> Network:
    """The network of a reference file, with reference weights and calibrated statistics.

    Raises
    ------
    WeightError
        If it is no reference file, or damaged, or lacks statistics.
    """
    with _open(path) as file:
        network = build_model(str(file.attrs["architecture"]), **json.loads(file.attrs["config"]))
        arrays = {}
        for name, array in network.arrays().items():
            if name.endswith(("/running_mean", "/running_var")):
                stored = file.get(f"statistics/{name}")
                if not isinstance(stored, h5py.Dataset) or stored.shape != array.shape:
                    raise ValueError(f"no statistics of shape {array.shape} for {name}")
                arrays[name] = stored[()].astype(np.float32)
            else:
                arrays[name] = reference.draw(name, array.shape)
    network.assign_all(arrays)
    return network


def verify(network: Network, case: Case, run: Run | None = None, rule: Rule = EAGER) -> list[Row]:
    """Run a network on the picture of a case, and compare all end points of it.

    Parameters
    ----------
    run
        Gives the end points of these names for prepared pictures; by default the network does,
        op by op, with direct convolution (`im2col`) where no other variant is forced.

    Raises
    ------
    WeightError
        If the end points of the case are not those of the network, each once.  Only the auxiliary
        head may be missing: it does not fit every picture, and not every witness has one.
    ConfigError
        If the network is in training mode.
    """
    if any(module.training for _, module in network.modules()):
        raise ConfigError("verify compares networks in inference mode: call network.eval() first")
    names = Counter(sample.endpoint for sample in case.samples)
    known = network.endpoint_names()
    wrong = {
        "missing": [name for name in known if name not in names and name != "AuxLogits"],
        "unknown": [name for name in names if name not in known],
        "twice": [name for name in names if names[name] > 1],
    }
    if any(wrong.values()):
        report = "; ".join(
            f"{kind} {', '.join(map(repr, found))}" for kind, found in wrong.items() if found
        )
        raise WeightError(f"case {case.name!r} has not the end points of the network; {report}")
    picture = reference.picture(case.height, case.width, case.image_seed)
    x = reference.scaled(picture[None]).astype(_dtype(network))
    found = (run or op_by_op(network))(x, names)
    return [
        Row(s.endpoint, error(found[s.endpoint], s), s.float32_error, rule) for s in case.samples
    ]


def op_by_op(network: Network) -> Run:
    """The network itself, with direct convolution where no other variant is forced."""

    def run(x: Array, names: Collection[str]) -> Mapping[str, Array]:
        with no_grad(), use(conv2d=forced("conv2d") or "im2col"):
            found = network.run_endpoints(Tensor(x), names)
        return {name: y.data for name, y in found.items()}

    return run


def first_failure(rows: Sequence[Row]) -> Row | None:
    """The first end point that diverges, in the order of the network."""
    return next((row for row in rows if not row.passed), None)


def error(y: Array, sample: Sample) -> float:
    """Max |difference| over the samples / standard deviation; infinite for another shape."""
    if y.shape != sample.shape:
        return float("inf")
    difference = y.reshape(-1)[sample.index].astype(np.float64) - sample.values
    return float(np.max(np.abs(difference)) / sample.deviation)


def _dtype(network: Network) -> np.dtype[np.floating]:
    return next(iter(network.parameters().values())).dtype


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    with open_file(path) as file:
        try:
            if str(file.attrs.get("format")) != "minincep-reference":
                raise WeightError(
                    f"{path}: not a reference file of minincep; tests/data has them, and "
                    "tools/reference/make.py makes them"
                )
            yield file
        except WeightError:
            raise
        except DAMAGE as error:
            raise WeightError(f"{path}: damaged reference file ({error})") from None
