"""Other people's weights, by name, into a network of ours."""

import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from minincep.io.errors import WeightError
from minincep.io.formats import detect
from minincep.io.formats.stored import Stored
from minincep.io.hdf5 import check_names, check_numbers
from minincep.io.names import (
    facenet,
    facenet_pytorch,
    kentsommer,
    keras_applications,
    keras_facenet,
    slim,
    timm,
    yuyang_huang,
)
from minincep.io.names.fit import Fit, Table
from minincep.io.text import printable
from minincep.models.network import Network
from minincep.models.registry import ARCHITECTURES, build_model
from minincep.nn.init import initialise
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError

TABLES: tuple[Table, ...] = (
    timm,
    facenet_pytorch,
    keras_applications,
    yuyang_huang,
    kentsommer,
    keras_facenet,
    slim,
    facenet,
)
SOURCES = (
    "timm and Cadene (Inception-v4, Inception-ResNet-v2), facenet-pytorch, keras.applications and "
    "yuyang-huang (Inception-ResNet-v2), kentsommer (Inception-v4), keras-facenet, TF-slim "
    "(Inception-v4, Inception-ResNet-v2) and facenet"
)
COUNTED = (
    "Keras wrote the names of its layers into such files only later: load it there, and save it as "
    "HDF5 (model.save('x.h5'))"
)
FOLDED = (
    "batch norm was folded into the filters: export with training=TrainingMode.PRESERVE and "
    "do_constant_folding=False, or save the state_dict"
)
MOST_LABELS = 1 << 24  # characters
REMARKS = {  # how names begin -> what is wrong with the file
    "layers/": COUNTED,
    "_layer_checkpoint_dependencies/": COUNTED,
    "onnx::Conv": FOLDED,
    "conv2d_1a_3x3/": "minincep wrote this; convert the weights file that it was made of",
}

_log = logging.getLogger("minincep")


def convert(
    path: str | os.PathLike[str],
    *,
    background: str | None = None,
    labels: Sequence[str] | None = None,
    moving_averages: bool | None = None,
    num_classes: int | None = None,
    shown: Callable[[Collection[str]], Iterable[str]] = iter,
) -> Network:
    """Read other people's weights as a network.

    The file says by its content which format it has, and by its names whose it is.  Every array of
    it must be one of the network's and fit it, and the other way round.

    Parameters
    ----------
    path
        A file, or a checkpoint of TensorFlow: its folder, one of its files or what their names
        begin with.
    background
        What becomes of a class for the background, the first of 1001: "drop" or "keep".
    labels
        Names of the classes.  If the background is dropped, its name may be the first.
    moving_averages
        Take the moving averages of the weights; by default if there is one of each.
    num_classes
        For a file without classifier: how many classes a new one is for, not trained.
    shown
        Wraps the paths that are read, to show progress.

    Raises
    ------
    WeightError
        If the file is missing, damaged or of no known kind, its arrays do not fit, or an option
        does not fit the file.
    """
    path = Path(path)
    with detect.arrays(path) as stored:
        shapes = {name: array.shape for name, array in stored.items()}
        fit = best_fit(path, shapes)
        names, averaged = _chosen(path, fit, moving_averages)
        dropped = _drops_background(path, fit, background)
        cut = ARCHITECTURES[fit.architecture].head if dropped else ()
        network = _built(path, fit, dropped, num_classes)
        wanted = {
            names[key]: _shape_in_file(array.shape, fit, key.startswith(cut))
            for key, array in network.arrays().items()
            if key in names
        }
        _check(path, shapes, wanted, fit)
        arrays = {
            key: _read(path, key, names[key], stored[names[key]], fit, key.startswith(cut))
            for key in shown(list(names))
        }
    network.assign_all(arrays)
    fresh = frozenset(network.arrays().keys() - arrays.keys())
    if fresh:
        initialise(network, 0, only=fresh)
        _log.warning("%s has no classifier: there is a new one, not trained", path)
    network.labels = _labels_for(path, network, labels, dropped)
    network.preprocessing = fit.preprocessing
    notes = [printable(path.name), fit.source]
    notes += ["moving averages"] if averaged else []
    notes += ["background dropped"] if dropped else []
    network.source = ", ".join(notes)
    return network


def best_fit(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Fit:
    """The source whose names are most like those of a file.

    Raises
    ------
    WeightError
        If less than half of the names are those of any source.
    """
    fits = [fit for table in TABLES if (fit := table.fit(shapes)) is not None]
    fit = max(fits, key=lambda fit: fit.likeness, default=None)
    if fit is None or fit.likeness < 0.5:
        near = ""
        remark = next((REMARKS[p] for p in REMARKS for name in shapes if name.startswith(p)), "")
        if remark:
            near = f"; {remark}"
        elif fit is not None:
            near = f"; the nearest is {fit.source}, but only {fit.likeness:.0%} of the names agree"
        some = ", ".join(printable(name)[:80] for name in list(shapes)[:3]) or "nothing"
        raise WeightError(
            f"{path}: no source of weights that is known has these names: {some}{near}. Known are "
            f"{SOURCES}"
        )
    return fit


def _chosen(path: Path, fit: Fit, moving_averages: bool | None) -> tuple[dict[str, str], bool]:
    """Path -> name in the file of each array to read, and whether they are moving averages."""
    without = [key for key in fit.names if key not in fit.averages and "/running_" not in f"/{key}"]
    if moving_averages and (without or not fit.averages):
        lacking = fit.names[without[0]] if fit.averages else "any weight"
        raise WeightError(
            f"{path}: no moving average of {printable(lacking)}; take the weights themselves"
        )
    use = bool(fit.averages) and not without and moving_averages is not False
    if fit.averages:
        _log.warning("%s: %s", path, _remark(use, moving_averages, len(without)))
    return {**fit.names, **(fit.averages if use else {})}, use


def _remark(use: bool, moving_averages: bool | None, lacking: int) -> str:
    if use:
        return "the moving averages of the weights are taken, not the weights of the last step"
    if moving_averages is False:
        return "the weights of the last step are taken, not their moving averages"
    return f"the weights of the last step are taken: {lacking} have no moving average"


def _drops_background(path: Path, fit: Fit, background: str | None) -> bool:
    if background not in (None, "drop", "keep"):
        raise ConfigError(f"background must be 'drop', 'keep' or None, got {background!r}")
    if fit.background and background is None:
        raise WeightError(
            f"{path}: has 1001 classes, of which the first stands for the background: drop it "
            "(--background drop), which leaves ImageNet's 1000, or keep it (--background keep)"
        )
    if background == "drop" and not fit.background:
        raise WeightError(
            f"{path}: has {fit.config.get('num_classes') or 'no'} classes, none of which is known "
            "to stand for the background; convert it without --background"
        )
    return background == "drop"


def _built(path: Path, fit: Fit, dropped: bool, num_classes: int | None) -> Network:
    """The network that fits, without weights."""
    config = dict(fit.config)
    if fit.classifier and num_classes is not None:
        raise WeightError(
            f"{path}: has a classifier; convert it without --num-classes, and give the number to "
            "'load' to replace it"
        )
    if not fit.classifier:
        if num_classes is None:
            raise WeightError(
                f"{path}: has no classifier: take the file that has one, or have a new one made, "
                "not trained, for N classes (--num-classes N)"
            )
        config["num_classes"] = num_classes
    elif dropped:
        config["num_classes"] -= 1
    try:
        return build_model(fit.architecture, **config)
    except ConfigError as error:
        raise WeightError(f"{path}: no network can be made for it: {error}") from None


def _check(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
    fit: Fit,
) -> None:
    """Compare the weights of a file with those that are wanted of it, by name and shape."""
    known = fit.ignored | set(fit.names.values()) | set(fit.averages.values())
    found = {name: shape for name, shape in shapes.items() if name in wanted}
    beyond = {printable(n)[:200]: shape for n, shape in shapes.items() if n not in known}
    check_names(str(path), beyond | found, wanted)


def _shape_in_file(shape: tuple[int, ...], fit: Fit, cut: bool) -> tuple[int, ...]:
    """Shape of one of our arrays as the source stores it, with the background if that is cut."""
    if cut:
        shape = (*shape[:-1], shape[-1] + 1)
    if fit.layout == "tensorflow":
        return shape
    return (*shape[:1:-1], *shape[:2]) if len(shape) == 4 else shape[::-1]


def _read(path: Path, key: str, name: str, stored: Stored, fit: Fit, cut: bool) -> Array:
    """One array in our layout, without the background if that is cut."""
    array = stored.read()
    check_numbers(f"{path}: {printable(name)}", key, array)
    if fit.layout == "torch":
        axes = (2, 3, 1, 0) if array.ndim == 4 else tuple(reversed(range(array.ndim)))
        array = array.transpose(axes)
    return np.ascontiguousarray(array[..., 1:] if cut else array)


def _labels_for(
    path: Path, network: Network, labels: Sequence[str] | None, dropped: bool
) -> Sequence[str] | None:
    if labels is None:
        return None
    classes = network.config.get("num_classes")
    if classes is None:
        raise WeightError(f"{path}: has no classes, so there is nothing for labels to name")
    if dropped and len(labels) == classes + 1:
        labels = labels[1:]
    if len(labels) != classes:
        also = f", or {classes + 1} with the background's first" if dropped else ""
        raise WeightError(
            f"{path}: {len(labels)} labels for {classes} classes; give {classes}{also}"
        )
    return list(labels)


def read_labels(path: str | os.PathLike[str]) -> list[str]:
    """Names of classes from a text file, one a line, UTF-8.

    Raises
    ------
    WeightError
        If it cannot be read, or is no text.
    """
    try:
        if not Path(path).is_file():
            raise WeightError(f"{path} cannot be read: there is no such file, or no ordinary one")
        with Path(path).open(encoding="utf-8-sig") as file:
            text = file.read(MOST_LABELS + 1)
    except OSError as error:
        raise WeightError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WeightError(f"{path}: labels must be text in UTF-8, one a line") from None
    labels = text.removesuffix("\n").split("\n")
    if len(text) > MOST_LABELS or not all(label.strip() for label in labels):
        raise WeightError(f"{path}: labels must be one a line, none of them empty")
    return labels
