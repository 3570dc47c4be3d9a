"""A training that takes seconds: random pictures of three colours, and a small network."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import minincep as mi
from minincep.models import Network
from minincep.models.preprocessing import Preprocessing
from minincep.train.average import MovingAverage
from minincep.train.data import DataSet, image_folder
from minincep.train.loader import Loader
from minincep.train.optim import SGD
from minincep.train.schedule import Constant
from minincep.train.split import split
from minincep.train.trainer import Trainer
from minincep_kernels import Array

SIZE = 75
COLOURS = {"blue": (20, 40, 200), "green": (30, 180, 40), "red": (200, 40, 30)}
CONFIG: dict[str, Any] = {"width": 0.03, "blocks": (1, 1, 1)}


def pictures(folder: Path, count: int = 6) -> Path:
    """A folder for each colour, with so many pictures in it."""
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise = random.integers(0, 56, (80, 82, 3)) + np.array(colour)
            image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
            image.save(folder / name / f"{number}.png")
    return folder


def data(folder: Path) -> tuple[DataSet, DataSet]:
    """The pictures of a folder, split."""
    return split(image_folder(folder), 0.2, 0)


def network(**config: Any) -> Network:
    """A network for the three colours."""
    made = mi.create_model("inception_resnet_v2", **{"num_classes": 3, **CONFIG, **config})
    made.preprocessing = Preprocessing(SIZE, SIZE)
    made.labels = list(COLOURS)
    return made


def loader(pictures: DataSet, *, training: bool = True, **options: Any) -> Loader:
    """A loader that decodes in this process."""
    how = Preprocessing(SIZE, SIZE)
    wanted: dict[str, Any] = {"batch_size": 4, "workers": 0, "shuffle": training}
    return Loader(pictures, how, **{**wanted, "drop_last": training, **options})


def trainer(source: Path, folder: Path | None = None, **options: Any) -> Trainer:
    """A trainer of all that has a state: momentum, moving average, dropout, running statistics."""
    training, validation = data(source)
    net = options.pop("network", None) or network(dropout_rate=0.3)
    wanted: dict[str, Any] = {
        "optimizer": SGD(net.parameters(), momentum=0.9),
        "schedule": Constant(0.02),
        "epochs": 2,
        "average": MovingAverage(net, 0.9),
        "folder": folder,
    }
    return Trainer(
        net, loader(training), loader(validation, training=False), **{**wanted, **options}
    )


def bits(network: Network) -> dict[str, bytes]:
    """All arrays of a network, to the last bit."""
    return {name: array.tobytes() for name, array in network.arrays().items()}


def copies(network: Network) -> dict[str, Array]:
    """All arrays of a network as they are now."""
    return {name: array.copy() for name, array in network.arrays().items()}
