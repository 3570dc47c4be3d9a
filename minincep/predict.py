"""From pictures to answers: classify, embed, features.

Answers come from a plan: from a stored one beside the weights file if there is one that fits, or
from one that is compiled for the call.  Only what a plan cannot do (float64, forced kernel
variants, layers that it does not know) runs op by op, "eagerly".
"""

import contextlib
import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from minincep.io.errors import ImageError
from minincep.io.images import Pixels, open_image, prepare
from minincep.io.known import weights_path
from minincep.models.preprocessing import Preprocessing, shape_hint
from minincep.plan import store
from minincep.plan.plan import Plan
from minincep.plan.plan import compile as compile_plan
from minincep.plan.store import Description, StoredPlan
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError, DTypeError, PlanError, ShapeError

if TYPE_CHECKING:  # a stored plan does without them
    from minincep.models.network import Network

PathLike = str | os.PathLike[str]
Picture = PathLike | Pixels | Image.Image
Some = TypeVar("Some", bound=Picture)

LARGEST = 16  # that a prepared number can be, far above 1, unless each picture is whitened

_log = logging.getLogger("minincep")


@dataclass(frozen=True)
class Prediction:
    """One class that a picture may show, with its probability."""

    label: str
    index: int
    probability: float


def classify(
    network: "Network | StoredPlan | PathLike",
    pictures: Iterable[Picture],
    *,
    top: int = 5,
    batch_size: int = 8,
) -> list[list[Prediction]]:
    """The most probable classes of each picture, most probable first.

    A picture gets the same answer, to the last bit, alone and in any batch.

    Parameters
    ----------
    network
        A network with classes, in inference mode; or the path of a weights file, or of a stored
        plan.  For a weights file, a stored plan beside it is taken if it fits.
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
    PlanError
        If a stored plan is named that cannot be used here.
    WeightError
        If a weights file cannot be read.
    """
    _check_pictures(pictures, batch_size)
    answers = ready(network, batch_size=batch_size)
    answers.check_classes(top)
    found: list[list[Prediction]] = []
    for batch in _batches(answers, pictures, batch_size):
        found += answers.classify(batch, top=top)
    return found


def embed(
    network: "Network | StoredPlan | PathLike", pictures: Iterable[Picture], *, batch_size: int = 8
) -> npt.NDArray[np.float32]:
    """A vector of length 1 for each picture: close for pictures that are alike, (N, D).

    From Inception-ResNet-v1 it is facenet's embedding; from the others, what goes into the
    classifier (end point `PreLogitsFlatten`), scaled to length 1.

    Parameters and errors as in `classify`; any network will do.
    """
    _check_pictures(pictures, batch_size)
    answers = ready(network, batch_size=batch_size)
    rows = [answers.embed(batch) for batch in _batches(answers, pictures, batch_size)]
    return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)


def features(
    network: "Network | StoredPlan | PathLike",
    x: npt.NDArray[np.float32],
    *,
    endpoints: Sequence[str],
    batch_size: int = 8,
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
    size = x.shape[1:3] if isinstance(x, np.ndarray) and x.ndim == 4 and x.shape[3] == 3 else None
    count = min(len(x), batch_size) if size else 1
    answers = ready(network, image_size=size, batch_size=max(count, 1), endpoints=endpoints)
    return answers.features(x, endpoints)


class Prepares(Protocol):
    """What says how pictures are prepared: a network, and one that is ready."""

    @property
    def preprocessing(self) -> Preprocessing: ...


def prepare_picture(network: Prepares, picture: Picture) -> npt.NDArray[np.float32]:
    """Decode and prepare one picture as a network says: -> (H, W, 3).

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    if isinstance(picture, np.ndarray | Image.Image):
        return prepare(picture, network.preprocessing)
    return prepare(open_image(picture), network.preprocessing)


def prepared_ahead(
    network: Prepares, pictures: Iterable[Some], count: int
) -> Generator[tuple[Some, Future[Array]], None, None]:
    """Each picture with its preparation, which another thread does ahead, by `count` at most.

    So decoding goes on while the network works, in memory that does not grow.
    """
    waiting: deque[tuple[Some, Future[Array]]] = deque()
    decoder = ThreadPoolExecutor(1, "decoder")
    try:
        for picture in pictures:
            waiting.append((picture, decoder.submit(prepare_picture, network, picture)))
            if len(waiting) > count:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        decoder.shutdown(cancel_futures=True)


class Ready:
    """A network that answers prepared pictures: made by `ready`.

    Attributes
    ----------
    description
        What the answers mean, and how pictures are prepared.
    """

    description: Description
    _run: Callable[[Array, Collection[str]], dict[str, Array]]

    def __init__(
        self,
        description: Description,
        run: Callable[[Array, Collection[str]], dict[str, Array]],
    ) -> None:
        self.description = description
        self._run = run

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures are prepared."""
        return self.description.preprocessing

    @property
    def classes(self) -> int | None:
        """How many classes it tells apart; None if it only makes embeddings."""
        classes: int | None = self.description.config.get("num_classes")
        return classes

    def check_classes(self, top: int) -> None:
        """Raise ConfigError if it has no classes, or so many best ones cannot be named."""
        if self.classes is None:
            raise ConfigError(
                f"{self.description.architecture} of this file has no classes, it makes "
                "embeddings: use embed"
            )
        if top < 1:
            raise ConfigError(f"top must be at least 1, got {top}")

    def classify(self, x: Array, *, top: int = 5) -> list[list[Prediction]]:
        """The most probable classes of each picture: (N, H, W, 3) -> N lists.

        Raises
        ------
        ConfigError, ImageError, ShapeError, DTypeError
            As the functions `classify` and `features`.
        """
        self.check_classes(top)
        answers = []
        for logits in self.logits(x).astype(np.float64):  # each picture for itself
            shares = np.exp(logits - logits.max())
            row = shares / shares.sum()
            best = np.argsort(-row, kind="stable")[:top]
            answers.append([Prediction(self._label(k), int(k), float(row[k])) for k in best])
        return answers

    def logits(self, x: Array) -> Array:
        """What the classes are told apart by: (N, H, W, 3) -> (N, classes)."""
        self.check_classes(1)
        return self._answers(x, ())[""]

    def embed(self, x: Array) -> npt.NDArray[np.float32]:
        """A vector of length 1 for each picture: (N, H, W, 3) -> (N, D)."""
        endpoint = self.description.embedding
        found = self._answers(x, [endpoint])[endpoint]
        if endpoint == "Embeddings":  # of length 1 already
            return found
        found = found.reshape(len(found), -1)
        squares = [float(np.square(row).sum()) for row in found.astype(np.float64)]
        lengths = np.sqrt(np.maximum(squares, 1e-10))
        unit: npt.NDArray[np.float32] = (found / lengths[:, None]).astype(found.dtype)
        return unit

    def features(self, x: Array, endpoints: Collection[str]) -> dict[str, Array]:
        """What comes out at end points that it was made ready for: (N, H, W, 3) -> (N, ...)."""
        found = self._answers(x, endpoints)
        return {name: found[name] for name in endpoints}

    def _answers(self, x: Array, endpoints: Collection[str]) -> dict[str, Array]:
        """Refuse what nobody has prepared: it would be answered, and wrongly."""
        if isinstance(x, np.ndarray) and x.size and x.dtype.kind in "fiu":
            low, high = float(x.min()), float(x.max())
            # A white dot on black becomes large by whitening, but then the rest is below zero.
            whitened = self.preprocessing.scaling == "whitening" and low < 0
            if max(-low, high) > LARGEST and not whitened:
                raise ImageError(
                    f"x goes from {low:g} to {high:g}, which looks like grey levels from 0 to 255: "
                    "prepare each picture with prepare_picture(network, picture), or give the "
                    "uint8 pictures to classify or embed"
                )
        return self._run(x, endpoints)

    def _label(self, index: int) -> str:
        labels = self.description.labels or ()
        return labels[index] if index < len(labels) else f"class {index}"


def ready(
    network: "Network | StoredPlan | PathLike",
    *,
    image_size: tuple[int, int] | None = None,
    batch_size: int = 8,
    endpoints: Collection[str] = (),
    eager: bool = False,
) -> Ready:
    """Make a network ready to answer.

    Parameters
    ----------
    network
        As in `classify`.
    image_size
        Height and width of the pictures; by default what the preprocessing makes.
    batch_size
        Pictures that a plan runs at once, if it is compiled now.
    endpoints
        For `Ready.features`.
    eager
        Run op by op, so that forced kernel variants are obeyed.

    Raises
    ------
    ConfigError
        If the network is in training mode, there is no end point of a name, or a stored plan is to
        run eagerly.
    PlanError, WeightError
        As in `classify`.
    """
    if isinstance(network, str | os.PathLike):
        network = _opened(network, image_size, endpoints, eager)
    if isinstance(network, StoredPlan):
        _check_fit("this plan", network, image_size, endpoints)
        return _with_plan(network.description, network)
    if any(module.training for _, module in network.modules()):
        raise ConfigError(
            "the network is in training mode, which would answer from the batch and change its "
            "statistics: call network.eval() first"
        )
    network.check_endpoints(endpoints)
    description = describe(network)
    if not eager:
        with contextlib.suppress(PlanError):  # it does what a plan cannot
            return _with_plan(description, compile_for(network, image_size, batch_size, endpoints))
    return _eager(description, network)


def describe(network: "Network") -> Description:
    """What a network says of its answers."""
    from minincep.models.registry import ARCHITECTURES

    known = ARCHITECTURES.get(network.architecture)
    return Description(
        network.architecture,
        {k: list(v) if isinstance(v, tuple) else v for k, v in network.config.items()},
        network.preprocessing,
        None if network.labels is None else tuple(network.labels),
        network.source,
        known.embedding if known else "",
    )


def compile_for(
    network: "Network",
    image_size: tuple[int, int] | None,
    batch_size: int,
    endpoints: Collection[str],
    **options: Any,
) -> Plan:
    """A plan that can classify and embed, and has these end points; more options of `compile`."""
    embedding = describe(network).embedding
    wanted = [name for name in dict.fromkeys([embedding, *endpoints]) if name]
    return compile_plan(
        network, image_size=image_size, batch_size=batch_size, endpoints=wanted, **options
    )


def _opened(
    name: PathLike, image_size: tuple[int, int] | None, endpoints: Collection[str], eager: bool
) -> "Network | StoredPlan":
    """The plan at a path; or of a weights file, the plan beside it if it can be used, or itself."""
    path = weights_path(name)
    if path.suffix == store.SUFFIX:
        if eager:
            raise ConfigError(f"{path} is a plan, whose kernels are chosen: give the weights file")
        return store.load(path)
    beside = path.with_name(path.name + store.SUFFIX)
    if not eager and path.is_file() and beside.is_file():
        try:
            plan = store.load(beside, path)
            _check_fit(str(beside), plan, image_size, endpoints)
        except PlanError as error:
            _log.warning("%s; compiling in memory, 'minincep compile' makes a new one", error)
        else:
            return plan
    from minincep.io.hdf5 import load

    return load(name)


def _check_fit(
    name: str, plan: StoredPlan, image_size: tuple[int, int] | None, endpoints: Collection[str]
) -> None:
    how = plan.description.preprocessing
    wanted = image_size or (how.height, how.width)
    if plan.image_size != wanted:
        height, width = plan.image_size
        raise PlanError(
            f"{name} is for pictures of {height} x {width} pixels, not {wanted[0]} x {wanted[1]}"
        )
    needed = [plan.description.embedding, *endpoints]
    if missing := [end for end in needed if end not in ("", *plan.endpoints)]:
        raise PlanError(f"{name} has no end point {', '.join(missing)}")


def _with_plan(description: Description, plan: Plan) -> Ready:
    def run(x: Array, endpoints: Collection[str]) -> dict[str, Array]:
        if not isinstance(x, np.ndarray) or x.dtype != np.float32:
            kind = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise DTypeError(f"{description.architecture} takes an array of float32, got {kind}")
        if x.ndim != 4 or x.shape[3] != 3 or not len(x):
            raise ShapeError(
                f"{description.architecture} takes pictures (N, H, W, 3), got {x.shape}"
                f"{shape_hint(x.shape)}"
            )
        return plan.run_endpoints(x)

    return Ready(description, run)


def _eager(description: Description, network: "Network") -> Ready:
    from minincep.autograd import Tensor, no_grad
    from minincep.nn.module import endpoints as collected

    def run(x: Array, endpoints: Collection[str]) -> dict[str, Array]:
        with no_grad(), collected(endpoints) as found:
            y = network(Tensor(x))
        return {"": y.data} | {name: x.data for name, x in found.items()}

    return Ready(description, run)


def _check_pictures(pictures: Iterable[Picture], batch_size: int) -> None:
    if isinstance(pictures, str | os.PathLike | Image.Image):
        raise ImageError("pictures must be a list: put the one picture into [ ]")
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")


def _batches(network: Prepares, pictures: Iterable[Picture], size: int) -> Iterator[Array]:
    with contextlib.closing(prepared_ahead(network, pictures, size)) as waiting:
        while batch := [picture.result() for _, picture in itertools.islice(waiting, size)]:
            yield np.stack(batch)
