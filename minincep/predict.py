"""From pictures to answers: classify, embed, features."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from minincep.autograd import Tensor, no_grad
from minincep.autograd.ops import l2_normalize, softmax
from minincep.io.errors import ImageError
from minincep.io.hdf5 import load
from minincep.io.images import Pixels, open_image, prepare
from minincep.models.network import Network
from minincep.models.registry import ARCHITECTURES
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError

PathLike = str | os.PathLike[str]
Picture = PathLike | Pixels | Image.Image

LARGEST = 16  # that a prepared number can be, far above 1, unless each picture is whitened


@dataclass(frozen=True)
class Prediction:
    """One class that a picture may show, with its probability."""

    label: str
    index: int
    probability: float


def classify(
    network: Network | PathLike, pictures: Iterable[Picture], *, top: int = 5, batch_size: int = 8
) -> list[list[Prediction]]:
    """The most probable classes of each picture, most probable first.

    Parameters
    ----------
    network
        A network with classes, in inference mode, or the path of a weights file.
    pictures
        Paths, Pillow images, or arrays (H, W, 3) of uint8 in RGB; prepared as the network says.
    top
        How many classes of each, at least 1.
    batch_size
        Pictures that run through the network together, at least 1.

    Raises
    ------
    ConfigError
        If the network has no classes or is in training mode, or a number is out of range.
    ImageError
        If a picture cannot be read.
    WeightError
        If a weights file cannot be read.
    """
    network = _network(network)
    answers: list[list[Prediction]] = []
    for batch in _batches(network, pictures, batch_size):
        answers += classify_batch(network, batch, top=top)
    return answers


def classify_batch(network: Network, x: Array, *, top: int = 5) -> list[list[Prediction]]:
    """`classify` for pictures that are prepared, as `features` takes them: (N, H, W, 3) -> N lists.

    Raises
    ------
    ConfigError, ImageError, ShapeError, DTypeError
        As in `classify` and `features`.
    """
    if network.config.get("num_classes") is None:
        raise ConfigError(
            f"{network.architecture} of this file has no classes, it makes embeddings: use embed"
        )
    if top < 1:
        raise ConfigError(f"top must be at least 1, got {top}")
    with no_grad():
        probabilities = softmax(_network(network)(_prepared(network, x))).data
    answers = []
    for row in probabilities:
        best = np.argsort(-row, kind="stable")[:top]
        answers.append([Prediction(_label(network, k), int(k), float(row[k])) for k in best])
    return answers


def embed(
    network: Network | PathLike, pictures: Iterable[Picture], *, batch_size: int = 8
) -> npt.NDArray[np.float32]:
    """A vector of length 1 for each picture: close for pictures that are alike, (N, D).

    From Inception-ResNet-v1 it is facenet's embedding; from the others, what goes into the
    classifier (end point `PreLogitsFlatten`), scaled to length 1.

    Parameters and errors as in `classify`; any network will do.
    """
    network = _network(network)
    rows = [embed_batch(network, batch) for batch in _batches(network, pictures, batch_size)]
    return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)


def embed_batch(network: Network, x: Array) -> npt.NDArray[np.float32]:
    """`embed` for pictures that are prepared, as `features` takes them: (N, H, W, 3) -> (N, D)."""
    endpoint = ARCHITECTURES[network.architecture].embedding
    with no_grad():
        found = _network(network).run_endpoints(_prepared(network, x), [endpoint])[endpoint]
        return found.data if endpoint == "Embeddings" else l2_normalize(found).data


def features(
    network: Network | PathLike, x: npt.NDArray[np.float32], *, endpoints: Sequence[str]
) -> dict[str, Array]:
    """What comes out at end points, by name: prepared pictures (N, H, W, 3) -> (N, ...).

    `network.endpoint_names()` lists them.  x is NHWC, RGB, float32 (float64 only for a network
    converted by `astype`), in the range of `network.preprocessing`, mostly -1 to 1;
    `prepare_picture` prepares a picture so.

    Raises
    ------
    ConfigError
        If there is no end point of a name, or the network is in training mode.
    DTypeError
        If x is not float32, or not of the network's dtype.
    ImageError
        If x looks like grey levels from 0 to 255.
    ShapeError
        If x is not (N, H, W, 3), or smaller than 75 x 75.
    """
    if isinstance(endpoints, str):
        raise ConfigError(f"endpoints must be a list of names: [{endpoints!r}]")
    network = _network(network)
    with no_grad():
        found = network.run_endpoints(_prepared(network, x), endpoints)
    return {name: found[name].data for name in endpoints}


def prepare_picture(network: Network, picture: Picture) -> npt.NDArray[np.float32]:
    """Decode and prepare one picture as a network says: -> (H, W, 3).

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    if isinstance(picture, np.ndarray | Image.Image):
        return prepare(picture, network.preprocessing)
    return prepare(open_image(picture), network.preprocessing)


def _network(network: Network | PathLike) -> Network:
    if not isinstance(network, Network):
        return load(network)
    if network.training:
        raise ConfigError(
            "the network is in training mode, which would answer from the batch and change its "
            "statistics: call network.eval() first"
        )
    return network


def _prepared(network: Network, x: Array) -> Tensor:
    """Refuse what nobody has prepared: it would be answered, and wrongly."""
    if isinstance(x, np.ndarray) and x.size and x.dtype.kind in "fiu":
        low, high = float(x.min()), float(x.max())
        # A white dot on black becomes large by whitening, but then something else is below zero.
        whitened = network.preprocessing.scaling == "whitening" and low < 0
        if max(-low, high) > LARGEST and not whitened:
            raise ImageError(
                f"x goes from {low:g} to {high:g}, which looks like grey levels from 0 to 255: "
                "prepare each picture with prepare_picture(network, picture), or give the uint8 "
                "pictures to classify or embed"
            )
    return Tensor(x)


def _batches(network: Network, pictures: Iterable[Picture], size: int) -> Iterator[Array]:
    if isinstance(pictures, str | os.PathLike | Image.Image):
        raise ImageError("pictures must be a list: put the one picture into [ ]")
    if size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {size}")
    waiting = iter(pictures)
    while batch := list(itertools.islice(waiting, size)):
        yield np.stack([prepare_picture(network, picture) for picture in batch])


def _label(network: Network, index: int) -> str:
    labels = network.labels or ()
    return labels[index] if index < len(labels) else f"class {index}"
