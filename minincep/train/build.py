"""From settings to a trainer: the data, the network, how it is trained."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from minincep.io.errors import ImageError, WeightError
from minincep.io.hdf5 import load
from minincep.io.images import open_image
from minincep.io.text import printable
from minincep.models.network import Network
from minincep.models.preprocessing import Preprocessing
from minincep.models.registry import ARCHITECTURES, build_model, create_model
from minincep.train.augment import INCEPTION, LIGHT, Augmentation
from minincep.train.average import MovingAverage
from minincep.train.checkpoint import Checkpoint
from minincep.train.data import DataSet, read, with_classes
from minincep.train.freeze import freeze, freeze_batch_norm, unfreeze
from minincep.train.loader import Loader
from minincep.train.losses import auxiliary_fits, classification_loss
from minincep.train.optim import Optimizer, create_optimizer
from minincep.train.schedule import create_schedule
from minincep.train.settings import Settings
from minincep.train.split import check_classes, read_split
from minincep.train.trainer import Loss, Trainer
from minincep_kernels.errors import ConfigError

KINDS = {"light": LIGHT, "inception": INCEPTION}


def read_data(settings: Settings) -> tuple[DataSet, DataSet | None]:
    """Pictures to learn from, and to validate with.

    Raises
    ------
    ConfigError
        If there are too few, or the data cannot be read.
    ImageError
        If not one of the pictures of a part can be read.
    """
    if not settings.data:
        raise ConfigError("no data: name a folder of pictures, or a CSV file")
    if settings.validation_data is None:
        train, validation = read_split(settings.data, settings.validation, settings.seed)
    else:
        train = read(settings.data)
        check_classes(train, settings.data)
        others = read(settings.validation_data)
        validation = with_classes(others, train.classes, settings.validation_data)
    if len(train) < settings.batch_size:
        raise ConfigError(
            f"{len(train)} pictures to learn from make no batch of {settings.batch_size}: "
            f"give a batch size of {len(train)} or less"
        )
    _check_pictures(train, "to learn from")
    _check_pictures(validation, "for validation")
    return train, validation if len(validation) else None


def _check_pictures(data: DataSet, use: str) -> None:
    """Raise ImageError if none can be read: a loader finds that at the end of an epoch only."""
    reason: Exception | None = None
    for example in data.examples:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd metadata, which changes nothing
                open_image(example.path)
            return
        except (ImageError, OSError) as error:
            reason = reason or error
    if reason:
        raise ImageError(f"none of the {len(data)} pictures {use} can be read; {reason}")


def make_network(settings: Settings, classes: Sequence[str]) -> Network:
    """The network that training starts from, with labels and preprocessing.

    Raises
    ------
    ConfigError
        If a setting does not go with the network.
    WeightError
        If the weights file cannot be read.
    """
    network = _from_weights(settings, classes) if settings.weights else _new(settings, classes)
    network.labels = list(classes)
    size, crop = settings.image_size, settings.crop
    wanted = {"height": size, "width": size, "crop": crop}
    changed: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    network.preprocessing = how = dataclasses.replace(network.preprocessing, **changed)
    if settings.aux and not auxiliary_fits(network, how.height, how.width):
        raise ConfigError(
            f"{network.architecture} has no auxiliary head for pictures of {how.height} x "
            f"{how.width} pixels: set aux to 0"
        )
    return network


def _new(settings: Settings, classes: Sequence[str]) -> Network:
    if settings.model is None:
        raise ConfigError("no network: give --model, or --weights to start from")
    config = _changes(settings) | {"num_classes": len(classes)}
    given = {"width": settings.width, "blocks": settings.blocks}
    config |= {name: value for name, value in given.items() if value is not None}
    if settings.aux and "aux_logits" in signature(ARCHITECTURES[settings.model].define).parameters:
        config["aux_logits"] = True
    network = create_model(settings.model, seed=settings.seed, **config)
    network.source = f"minincep train: {settings.model} from scratch"
    return network


def _from_weights(settings: Settings, classes: Sequence[str]) -> Network:
    """Weights of a file, with a new classifier unless they tell these very classes apart."""
    assert settings.weights is not None
    network = load(settings.weights)
    if settings.model not in (None, network.architecture):
        raise ConfigError(f"{settings.weights} is {network.architecture}, not {settings.model}")
    if settings.width is not None or settings.blocks is not None:
        raise ConfigError(f"{settings.weights} says what the network is: leave out width, blocks")
    source = f"minincep train, from {network.source or Path(settings.weights).name}"
    if network.labels is None or list(network.labels) != list(classes):
        network = load(settings.weights, num_classes=len(classes), seed=settings.seed)
    rebuilt = build_model(network.architecture, **{**network.config, **_changes(settings)})
    rebuilt.assign_all(network.arrays())
    rebuilt.preprocessing, rebuilt.source = network.preprocessing, source
    return rebuilt


def _changes(settings: Settings) -> dict[str, Any]:
    """What of a network's configuration can be changed without changing its weights."""
    given = {"dropout_rate": settings.dropout, "batch_norm_decay": settings.batch_norm_decay}
    return {name: value for name, value in given.items() if value is not None}


def described(network: Network) -> dict[str, Any]:
    """What a checkpoint is to say of a network, for `resumed`."""
    return {
        "architecture": network.architecture,
        "configuration": dict(network.config),
        "preprocessing": dataclasses.asdict(network.preprocessing),
        "source": network.source,
    }


def resumed(found: Checkpoint, classes: Sequence[str]) -> Network:
    """The network that a checkpoint describes, for these classes; its weights are still to come.

    Raises
    ------
    WeightError
        If it describes none.
    """
    try:
        about = found.header["network"]
        network = build_model(about["architecture"], **about["configuration"])
        network.preprocessing = Preprocessing(**about["preprocessing"])
        network.labels, network.source = list(classes), printable(str(about["source"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightError(f"{found.path} describes no network ({error!s:.200})") from None
    return network


def freeze_as_set(network: Network, settings: Settings) -> None:
    """Freeze what the settings say.

    Raises
    ------
    ConfigError
        If a pattern matches nothing.
    """
    if settings.head_only:
        freeze(network, ["*"])
        heads = [head.removesuffix("/") for head in ARCHITECTURES[network.architecture].head]
        paths = network.parameters()
        unfreeze(network, [h for h in heads if any(p.startswith(f"{h}/") for p in paths)])
    if settings.freeze:
        freeze(network, settings.freeze)
    if settings.freeze_batch_norm:
        freeze_batch_norm(network)


def make_optimizer(settings: Settings, network: Network) -> Optimizer:
    """The optimiser of what is not frozen."""
    named = {
        "momentum": settings.momentum,
        "decay": settings.rms_decay,
        "eps": settings.epsilon,
        "weight_decay": settings.weight_decay,
        "nesterov": settings.nesterov or None,
    }
    given = {name: value for name, value in named.items() if value is not None}
    return create_optimizer(settings.optimizer, network.parameters(), **given)


def make_schedule(settings: Settings) -> Callable[[float], float]:
    """The learning rate as a function of the epoch."""
    named: dict[str, Any] = {"rate": settings.rate, "warmup_epochs": settings.warmup}
    factor = {} if settings.factor is None else {"factor": settings.factor}
    match settings.schedule:
        case "cosine":
            named |= {"epochs": settings.epochs}
        case "step":
            named |= {"at_epochs": settings.at, **factor}
        case "exponential":
            named |= {"every_epochs": settings.every}
            named |= {} if settings.factor is None else {"decay": settings.factor}
    return create_schedule(settings.schedule, **named)


def make_loss(settings: Settings, data: DataSet) -> Loss:
    """The loss, with balanced class weights if they are wanted: all / (classes x of this class)."""
    weights = None
    if settings.class_weights == "balanced":
        counts = np.array(data.counts())
        weights = (len(data) / (len(counts) * np.maximum(counts, 1))).astype(np.float32)
    return functools.partial(
        classification_loss,
        label_smoothing=settings.label_smoothing,
        auxiliary_weight=settings.aux,
        class_weights=weights,
    )


def make_trainer(
    settings: Settings,
    network: Network,
    train: Loader,
    validation: Loader | None,
    *,
    folder: Path | None = None,
) -> Trainer:
    """All of it together."""
    freeze_as_set(network, settings)
    if settings.recompute:
        network.recompute_blocks()
    return Trainer(
        network,
        train,
        validation,
        optimizer=make_optimizer(settings, network),
        schedule=make_schedule(settings),
        loss=make_loss(settings, train.data),
        epochs=settings.epochs,
        average=MovingAverage(network, settings.average) if settings.average else None,
        accumulate=settings.accumulate,
        clip_norm=settings.clip_norm,
        seed=settings.seed,
        folder=folder,
        checkpoint_minutes=settings.checkpoint_minutes,
        notes={"network": described(network), "settings": settings.items()},
    )


def make_loaders(
    settings: Settings, how: Preprocessing, train: DataSet, validation: DataSet | None
) -> tuple[Loader, Loader | None]:
    """Loaders of both parts, to be closed; in training, the end of an epoch is no part batch."""
    shared: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "workers": settings.workers,
    }
    varied = make_augmentation(settings)
    training = Loader(train, how, augmentation=varied, shuffle=True, drop_last=True, **shared)
    return training, None if validation is None else Loader(validation, how, **shared)


def make_augmentation(settings: Settings) -> Augmentation | None:
    """How pictures are varied; None if they are not."""
    if settings.augment == "none":
        return None
    kind = KINDS[settings.augment]
    if settings.area is not None:
        kind = dataclasses.replace(kind, area=(settings.area, kind.area[1]))
    return dataclasses.replace(kind, turns=settings.turns, vertical_flip=settings.vertical_flip)
