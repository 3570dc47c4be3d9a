"""Compare the weights of two networks layer by layer, or a network with a reference dump.

Two networks are compared array by array; the difference is that of `mistakes.difference`.  A
reference dump (`verify`) holds what an independent implementation gave at the end points, so they
are compared too.  If it has calibrated statistics, its weights were drawn by the rule in
`reference`, and the arrays can be compared as well.

What is known of a difference is in `mistakes` if it can be seen from the arrays.  The settings that
are not in any array (eps, range of the input) are tried: the one with which the end points agree is
the one that the dump was made with.
"""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from minincep.io import convert, hdf5, mistakes, reference, verify
from minincep.io.errors import WeightError
from minincep.io.known import weights_path
from minincep.models.network import Network
from minincep.models.registry import ARCHITECTURES
from minincep.nn.layers import EPS, BatchNorm
from minincep_kernels import Array

FREE = ("num_classes", "aux_logits", "batch_norm_gamma", "dropout_rate", "batch_norm_decay")
BESIDE = ("preprocessing", "labels")


@dataclass(frozen=True)
class Pair:
    """One array in both networks.

    Attributes
    ----------
    a, b
        Its shapes; None where it is absent.
    difference
        Max |a - b| / standard deviation of b, infinite if the shapes are not the same.
    cause
        Of the difference, in a word; empty if there is none, or none is known.
    """

    path: str
    a: tuple[int, ...] | None
    b: tuple[int, ...] | None
    difference: float
    cause: str = ""

    @property
    def layer(self) -> str:
        return self.path.rpartition("/")[0].removesuffix("/batch_norm")

    @property
    def same(self) -> bool:
        return self.difference <= mistakes.TOLERANCE


@dataclass(frozen=True)
class Cause:
    """A likely cause of differences.

    Attributes
    ----------
    name
        One word, for machines.
    text
        For people.
    where
        What it explains: paths of arrays, or the first end point that diverges without it.
    """

    name: str
    text: str
    where: tuple[str, ...]


@dataclass(frozen=True)
class Outputs:
    """The end points of one case of a reference dump."""

    case: str
    witness: str
    rows: tuple[verify.Row, ...]


@dataclass(frozen=True)
class Comparison:
    """What differs between A and B, in the order of the network.

    Attributes
    ----------
    arrays
        Empty if B is a reference dump with weights that are not known.
    outputs
        Empty if B is a network.
    """

    architecture: str
    arrays: tuple[Pair, ...]
    outputs: tuple[Outputs, ...]
    causes: tuple[Cause, ...]

    @property
    def differing(self) -> list[Pair]:
        return [pair for pair in self.arrays if not pair.same]

    @property
    def first(self) -> Pair | None:
        """The first array that differs."""
        return next(iter(self.differing), None)

    @property
    def largest(self) -> Pair | None:
        """The array of the same shape in both that differs most."""
        alike = [pair for pair in self.differing if pair.a == pair.b]
        return max(alike, key=lambda pair: pair.difference, default=None)

    @property
    def unexplained(self) -> list[Pair]:
        return [pair for pair in self.differing if not pair.cause]

    @property
    def same(self) -> bool:
        """Nothing that changes an answer differs, and all end points agree."""
        agree = all(row.passed for outputs in self.outputs for row in outputs.rows)
        return agree and not self.differing and not self.causes


def compare_files(
    a: str | os.PathLike[str], b: str | os.PathLike[str], case: str | None = None
) -> Comparison:
    """Compare a weights file with another, or with a reference dump.

    Parameters
    ----------
    a, b
        Weights files of anybody whom `convert` knows; B may be a reference dump.
    case
        Only this case of the dump.

    Raises
    ------
    WeightError
        If a file cannot be read, or they are not of the same network.
    """
    if _format(Path(a)) == "minincep-reference":
        raise WeightError(f"{a} is a reference dump: give the weights file first, then the dump")
    network = _network(a)
    if _format(Path(b)) == "minincep-reference":
        return compare_reference(network, Path(b), case)
    other = _network(b)
    found = compare(network, other)
    if found.differing and not _is_ours(a):
        last_step = convert.convert(a, background="keep", moving_averages=False)
        found = _without_averages(found, compare(last_step, other), "A")
    if found.differing and not _is_ours(b):
        last_step = convert.convert(b, background="keep", moving_averages=False)
        found = _without_averages(found, compare(network, last_step), "B")
    return found


def _without_averages(found: Comparison, again: Comparison, who: str) -> Comparison:
    """What was found, or if the weights of the last step fit better than their averages, that."""
    now_same = {pair.path for pair in again.arrays if pair.same}
    gained = tuple(pair.path for pair in found.differing if pair.path in now_same)
    if not gained:
        return found
    cause = Cause(
        "moving_average",
        f"{who} holds moving averages, which count, and the weights of the last step: "
        f"with those {len(gained)} more arrays are the same",
        gained,
    )
    pairs = tuple(
        dataclasses.replace(pair, cause=cause.name) if pair.path in gained else pair
        for pair in found.arrays
    )
    others = (other for other in found.causes if not set(other.where) <= set(gained))
    return dataclasses.replace(found, arrays=pairs, causes=(cause, *others))


def _network(path: str | os.PathLike[str]) -> Network:
    return hdf5.load(path) if _is_ours(path) else convert.convert(path, background="keep")


def _is_ours(path: str | os.PathLike[str]) -> bool:
    known = weights_path(path)  # a name, or a path that is one
    return known != Path(path) or _format(known) == hdf5.FORMAT


def _format(path: Path) -> str:
    """What an HDF5 file says that it is; empty for all others."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return ""
    with hdf5.open_file(path) as file:
        return hdf5.attribute(path, file, "format", str, default="")


def compare(a: Network, b: Network) -> Comparison:
    """Compare two networks by their arrays, preprocessing and labels.

    An absent gamma counts as ones, which it is equal to.

    Raises
    ------
    WeightError
        If they are not of the same architecture, with the same blocks and widths.
    """
    _check_alike(a, b)
    head = ARCHITECTURES[a.architecture].head
    in_a, in_b = a.arrays(), b.arrays()
    pairs: list[Pair] = []
    found: dict[str, mistakes.Mistake] = {}
    for path in _merged(list(in_a), list(in_b)):
        x, y = _array(path, in_a), _array(path, in_b)
        if x is None or y is None:
            text = f"only {'B' if x is None else 'A'} has {path.partition('/')[0]}"
            found[path] = mistakes.Mistake("absent", text)
            pairs.append(Pair(path, _shape(x), _shape(y), np.inf))
            continue
        pair = Pair(path, x.shape, y.shape, mistakes.difference(x, y))
        pairs.append(pair)
        if not pair.same:
            mistake = mistakes.explain(path, x, y, classes=path.startswith(head))
            mistake = mistake or mistakes.misplaced(path, x, in_b)
            if mistake:
                found[path] = mistake
    # Only if no other mistake explains anything of what is trained.
    trained = [pair for pair in pairs if pair.path.rpartition("/")[2] in mistakes.TRAINED]
    if not any(pair.same or pair.path in found for pair in trained):
        mistake = mistakes.averaged((in_a[pair.path], in_b[pair.path]) for pair in trained)
        if mistake:
            found |= {p.path: mistake for p in pairs if not p.same and p.path not in found}
    named = tuple(
        dataclasses.replace(pair, cause=found[pair.path].cause) if pair.path in found else pair
        for pair in pairs
    )
    causes = (*_grouped(found), *_beside_the_weights(a, b))
    return Comparison(a.architecture, named, (), causes)


def _check_alike(a: Network, b: Network) -> None:
    if a.architecture != b.architecture:
        raise WeightError(
            f"A is {a.architecture}, B is {b.architecture}: only weights of the same network can "
            "be compared"
        )
    for key, value in a.config.items():
        if key not in FREE and value != b.config[key]:
            raise WeightError(
                f"{key} is {value} in A and {b.config[key]} in B: only weights of the same "
                "network can be compared"
            )


def _merged(a: Sequence[str], b: Sequence[str]) -> list[str]:
    """All paths, in the order of the network: each that only B has, after the one before it."""
    merged, known = list(a), set(a)
    at = 0
    for path in b:
        if path in known:
            at = merged.index(path) + 1
        else:
            merged.insert(at, path)
            at += 1
    return merged


def _array(path: str, arrays: Mapping[str, Array]) -> Array | None:
    if path.endswith("/gamma") and path not in arrays:
        beta = arrays.get(path.removesuffix("gamma") + "beta")
        return None if beta is None else np.ones_like(beta)
    return arrays.get(path)


def _shape(array: Array | None) -> tuple[int, ...] | None:
    return None if array is None else array.shape


def _grouped(found: Mapping[str, mistakes.Mistake]) -> list[Cause]:
    groups: dict[mistakes.Mistake, list[str]] = {}
    for path, mistake in found.items():
        groups.setdefault(mistake, []).append(path)
    return [Cause(it.cause, it.text, tuple(paths)) for it, paths in groups.items()]


def _beside_the_weights(a: Network, b: Network) -> Iterator[Cause]:
    """What travels with the weights and changes answers, too."""
    mine, other = (dataclasses.asdict(network.preprocessing) for network in (a, b))
    for key in mine:
        if mine[key] != other[key]:
            name = "range" if key == "scaling" else "preprocessing"
            text = f"{key} of pictures is {mine[key]} in A and {other[key]} in B"
            yield Cause(name, text, ("preprocessing",))
    if a.labels and b.labels and len(a.labels) == len(b.labels):
        wrong = [i for i, (x, y) in enumerate(zip(a.labels, b.labels, strict=True)) if x != y]
        if wrong:
            at = wrong[0]
            text = (
                f"{len(wrong)} labels differ: class {at} is {a.labels[at]!r} in A and "
                f"{b.labels[at]!r} in B"
            )
            yield Cause("labels", text, ("labels",))


@dataclass(frozen=True)
class Setting:
    """How a dump may have been made; with nothing but a text, as we would have made it."""

    cause: str
    text: str
    eps: float = EPS
    scaling: str = "symmetric"
    background: bool = False


OURS = Setting("", "")
OTHERS = (
    Setting("eps", "batch norm with eps 1e-5, the default of PyTorch", eps=1e-5),
    Setting("eps", "batch norm with eps 1e-4", eps=1e-4),
    Setting("range", "pictures from 0 to 255", scaling="levels"),
    Setting("range", "pictures from 0 to 1", scaling="unit"),
    Setting("range", "pictures as (x - 127.5) / 128", scaling="fixed"),
    Setting("range", "pictures whitened one by one", scaling="whitening"),
    Setting("range", "pictures by mean and deviation of ImageNet", scaling="imagenet"),
    Setting("channel_order", "pictures in the order BGR", scaling="bgr"),
    Setting("background", "no background class, which only one of the two has", background=True),
)


def compare_reference(network: Network, path: Path, wanted: str | None = None) -> Comparison:
    """Compare a network with a reference dump: by its arrays, if they are known, and end points.

    Parameters
    ----------
    wanted
        Only the case of this name.

    Raises
    ------
    WeightError
        If the dump is damaged, of another network, or has no such case.
    """
    cases = [case for case in verify.read_cases(path) if wanted in (None, case.name)]
    if not cases:
        raise WeightError(f"{path} has no case {wanted!r}")
    with hdf5.open_file(path) as file:
        drawn = "statistics" in file
    witness = verify.reference_network(path) if drawn else network
    compared = Comparison(network.architecture, (), (), ())
    causes: list[Cause] = []
    if drawn:
        # A dump says nothing of preprocessing, labels, and whether there must be an auxiliary head.
        compared = compare(network, witness)
        pairs = tuple(pair for pair in compared.arrays if pair.cause != "absent")
        compared = dataclasses.replace(compared, arrays=pairs)
        causes = [
            cause
            for cause in compared.causes
            if cause.name != "absent" and cause.where[0] not in BESIDE
        ]
    outputs = []
    for case in cases:
        rows = _run(network, case, OURS)
        if not rows:
            raise WeightError(
                f"{path}: case {case.name!r} has no end point of {network.architecture}"
            )
        outputs.append(Outputs(case.name, case.witness, tuple(rows)))
        if verify.first_failure(rows):
            causes += _settings(witness, case)
    distinct = tuple(dict.fromkeys(causes))
    return dataclasses.replace(compared, outputs=tuple(outputs), causes=distinct)


def _settings(network: Network, case: verify.Case) -> Iterator[Cause]:
    """The setting with which more end points agree than with ours, if there is one."""
    ours = _run(network, case, OURS)
    best, agreeing = OURS, _agreeing(ours)
    if len(agreeing) == len(ours):
        return  # so it is the arrays
    for setting in OTHERS:
        found = _agreeing(_run(network, case, setting))
        if len(found) > len(agreeing):
            best, agreeing = setting, found
    if best is not OURS:
        text = f"with {best.text}, {len(agreeing)} of {len(ours)} end points agree"
        yield Cause(best.cause, text, tuple(agreeing))


def _agreeing(rows: Sequence[verify.Row]) -> list[str]:
    """End points before the first that diverges."""
    return [row.endpoint for row in itertools.takewhile(lambda row: row.passed, rows)]


def _run(network: Network, case: verify.Case, setting: Setting) -> list[verify.Row]:
    """The end points that both have, compared."""
    known = set(network.endpoint_names())
    samples = [sample for sample in case.samples if sample.endpoint in known]
    picture = reference.picture(case.height, case.width, case.image_seed)[None]
    with _eps(network, setting.eps):
        x = _scaled(picture, setting.scaling)
        found = verify.op_by_op(network)(x, [sample.endpoint for sample in samples])
    rows = []
    for sample in samples:
        y = found[sample.endpoint]
        if setting.background and y.shape != sample.shape:
            y, sample = _without_background(y, sample)
        rows.append(verify.Row(sample.endpoint, verify.error(y, sample), sample.float32_error))
    return rows


@contextlib.contextmanager
def _eps(network: Network, eps: float) -> Iterator[None]:
    norms = [module for _, module in network.modules() if isinstance(module, BatchNorm)]
    before = [norm.eps for norm in norms]
    for norm in norms:
        norm.eps = eps
    try:
        yield
    finally:
        for norm, value in zip(norms, before, strict=True):
            norm.eps = value


IMAGENET = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)  # mean, deviation


def _scaled(picture: npt.NDArray[np.uint8], scaling: str) -> Array:
    levels = picture.astype(np.float32)
    match scaling:
        case "levels":
            return levels
        case "unit":
            return levels / np.float32(255)
        case "fixed":
            return (levels - np.float32(127.5)) / np.float32(128)
        case "whitening":
            return np.asarray((levels - levels.mean()) / levels.std())
        case "imagenet":
            return np.asarray((levels / np.float32(255) - IMAGENET[0]) / IMAGENET[1])
        case "bgr":
            return np.ascontiguousarray(reference.scaled(picture)[..., ::-1])
    return reference.scaled(picture)


def _without_background(y: Array, sample: verify.Sample) -> tuple[Array, verify.Sample]:
    """Class 0 taken from the one that has a class more."""
    classes = sample.shape[-1]
    if y.shape[-1] == classes + 1:
        return y[..., 1:], sample
    kept = sample.index % classes > 0
    row, number = np.divmod(sample.index[kept], classes)
    less = dataclasses.replace(
        sample,
        shape=(*sample.shape[:-1], classes - 1),
        index=row * (classes - 1) + number - 1,
        values=sample.values[kept],
    )
    return y, less
