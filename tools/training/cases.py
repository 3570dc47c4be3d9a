"""What is trained on both sides of a comparison, minincep's side of it, and the comparison.

No framework is imported here: the tests use this file too, with results that are stored.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from minincep.autograd import Tensor
from minincep.io.reference import draw, picture, scaled
from minincep.models.network import Network
from minincep.models.registry import build_model
from minincep.train.losses import classification_loss
from minincep.train.optim import create_optimizer

Floats = npt.NDArray[np.floating]
Arrays = dict[str, Floats]  # by minincep path, in minincep's layout

KEEP = 0.9  # of the running statistics at each step; PyTorch says momentum 0.1
BATCHES = 2  # of different pictures, one after the other, again and again
SMOOTHING = 0.1
UNFELT = "block8/conv2d_1x1/bias"  # batch norm takes it away again: its gradient is rounding


@dataclass(frozen=True)
class Case:
    """A short training.

    Attributes
    ----------
    config
        For `create_model`, beside dropout, which is off, and batch norm, as the libraries have it.
    settings
        For `create_optimizer`.
    """

    architecture: str
    size: int
    batch: int
    rate: float
    optimizer: str = "sgd"
    settings: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 20


@dataclass
class Result:
    """What a training gave: the loss of each step, and all arrays after the last."""

    losses: list[float]
    arrays: Arrays


@dataclass(frozen=True)
class Difference:
    """How far a training is from another one.

    Attributes
    ----------
    losses
        |difference| / loss, step by step.
    statistics
        Running statistics: length of the difference over the length of the array, and where that is
        largest.
    channels
        The same, channel by channel: largest difference over the standard deviation of the
        channels.
    weights
        Weights: length of the difference over the length of the way that they went in training, and
        where that is largest.  `UNFELT` is left out.
    """

    losses: list[float]
    statistics: tuple[float, str]
    channels: tuple[float, str]
    weights: tuple[float, str]


def network(case: Case) -> Network:
    """The network of a case in training mode, with reference weights."""
    found = build_model(
        case.architecture,
        **case.config,
        dropout_rate=0.0,
        batch_norm_gamma=True,
        batch_norm_decay=KEEP,
    )
    found.assign_all({path: start(path, array.shape) for path, array in found.arrays().items()})
    return found.train()


def start(path: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """An array before the first step."""
    match path.rpartition("/")[2]:
        case "running_mean":
            return np.zeros(shape, np.float32)
        case "running_var":
            return np.ones(shape, np.float32)
    return draw(path, shape)


def batch(case: Case, step: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Pictures (N, H, W, 3) and labels (N,) of a step."""
    first = step % BATCHES * case.batch
    seeds = range(first, first + case.batch)
    x = np.stack([scaled(picture(case.size, case.size, seed)) for seed in seeds])
    return x, np.array([seed * 37 % case.config["num_classes"] for seed in seeds])


def train(
    case: Case, dtype: Any = np.float32, on_step: Callable[[float], None] = lambda _: None
) -> Result:
    """minincep's side."""
    trained = network(case).astype(dtype)
    optimizer = create_optimizer(case.optimizer, trained.parameters(), **case.settings)
    losses = []
    for step in range(case.steps):
        x, labels = batch(case, step)
        loss, _ = classification_loss(
            trained, Tensor(x.astype(dtype)), labels, label_smoothing=SMOOTHING, auxiliary_weight=0
        )
        loss.backward()
        optimizer.step(case.rate)
        trained.zero_grad()
        losses.append(loss.item())
        on_step(losses[-1])
    return Result(losses, {path: array.copy() for path, array in trained.arrays().items()})


def is_statistic(path: str) -> bool:
    return path.endswith(("/running_mean", "/running_var"))


def difference(ours: Result, theirs: Result) -> Difference:
    """How far ours is from theirs.  A nan is infinitely far."""
    exact = np.array(theirs.losses)
    statistics, channels, weights = {}, {}, {}
    for path, array in theirs.arrays.items():
        apart = (ours.arrays[path] - array.astype(np.float64)).ravel()
        if is_statistic(path):
            statistics[path] = float(np.linalg.norm(apart) / np.linalg.norm(array))
            channels[path] = float(np.abs(apart).max() / array.std())
        elif path != UNFELT:
            way = (array.astype(np.float64) - start(path, array.shape)).ravel()
            weights[path] = float(np.linalg.norm(apart)) / max(float(np.linalg.norm(way)), 1e-30)
    return Difference(
        [float(e) for e in np.nan_to_num(np.abs(ours.losses - exact) / exact, nan=np.inf)],
        worst(statistics),
        worst(channels),
        worst(weights),
    )


def worst(errors: Mapping[str, float]) -> tuple[float, str]:
    """The largest, and where it is."""
    known = {path: error if error == error else np.inf for path, error in errors.items()}
    path = max(known, key=lambda path: known[path])
    return known[path], path


def fall(losses: list[float]) -> float:
    """How much lower the loss is at the end, as a share; a mean over all pictures each time."""
    return 1 - float(np.mean(losses[-BATCHES:]) / np.mean(losses[:BATCHES]))


def samples(result: Result) -> npt.NDArray[np.float64]:
    """Two numbers of each array, chosen by its path: what is stored of a result."""
    found = []
    for path, array in sorted(result.arrays.items()):
        random = np.random.RandomState(zlib.crc32(f"sample:{path}".encode()))
        found += [array.ravel()[random.randint(0, array.size, 2)]]
    return np.concatenate(found).astype(np.float64)


SIZES = {  # pixels, pictures, learning rate of full networks
    "inception_v4": (299, 4, 3.5e-5),
    "inception_resnet_v2": (299, 4, 1e-4),
    "inception_resnet_v1": (160, 8, 3e-5),
}
PAPERS = {"momentum": 0.9, "weight_decay": 4e-5}
FULL = {
    name: Case(name, *size, settings=PAPERS, config={"num_classes": 1000})
    for name, size in SIZES.items()
}
DECAY = 0.01  # of weights: so much that it shows
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "rmsprop": {"decay": 0.9, "momentum": 0.9, "eps": 1.0},
    "adam": {"eps": 1e-3},
    "adamw": {"eps": 1e-3},
}


def reduced(size: int, pictures: int, steps: int, **config: Any) -> dict[str, Case]:
    """Each network with each optimiser, by names such as ``inception_v4/adam``."""
    return {
        f"{name}/{kind}": Case(
            name,
            size,
            pictures,
            1e-4 if kind.startswith("adam") else 2e-4,
            optimizer={"nesterov": "sgd"}.get(kind, kind),
            settings={"weight_decay": DECAY} | settings,
            config=config,
            steps=steps,
        )
        for name in SIZES
        for kind, settings in OPTIMIZERS.items()
    }


REDUCED = reduced(139, 8, 20, num_classes=10, width=0.25, blocks=[1, 1, 1])
TINY = reduced(107, 6, 5, num_classes=5, width=0.1, blocks=[1, 1, 1])  # for the tests
