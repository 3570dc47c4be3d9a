"""All settings of a training: one table for the command line, the config file and the checkpoint.

A config file is TOML with the names below; an unknown name is an error.  `RECIPES` are settings
that belong together.  What is asked for on the command line goes before the config file, that
before the recipe, and that before the defaults.
"""

import dataclasses
import difflib
import json
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from minincep.io.files import NewFile
from minincep.io.known import weights_path
from minincep_kernels.errors import ConfigError

MODELS = (
    *("inception_v4", "inception_resnet_v1", "inception_resnet_v2"),
    *("inception_resnet_v1_paper", "inception_resnet_v2_paper"),
)
OPTIMIZERS = ("sgd", "rmsprop", "adam", "adamw")
SCHEDULES = ("constant", "step", "exponential", "cosine")
AUGMENTATIONS = ("none", "light", "inception")
LARGEST = 1 << 20  # bytes of a config file

# From scratch; for weights that know something already, a tenth.
RATES = {"sgd": 0.02, "rmsprop": 0.045, "adam": 1e-3, "adamw": 1e-3}
DECAYS = {"sgd": 4e-5, "rmsprop": 4e-5, "adam": 4e-5, "adamw": 1e-2}

RECIPES: dict[str, dict[str, Any]] = {
    "small": {},
    # Szegedy et al. 2016, arXiv:1602.07261, section 4, for ImageNet; what it leaves open is as
    # in the released code (TF-slim).
    "paper": {
        "optimizer": "rmsprop",
        "rate": 0.045,
        "momentum": 0.0,
        "rms_decay": 0.9,
        "epsilon": 1.0,
        "schedule": "exponential",
        "factor": 0.94,
        "every": 2.0,
        "warmup": 0.0,
        "weight_decay": 4e-5,
        "label_smoothing": 0.1,
        "aux": 0.4,
        "average": 0.9999,
        "batch_norm_decay": 0.9997,
        "dropout": 0.2,
        "augment": "inception",
        "batch_size": 32,
        "epochs": 200,
    },
}


def _setting(
    default: Any,
    help: str,  # noqa: A002  (as in click)
    *,
    low: float = -sys.float_info.max,
    high: float = sys.float_info.max,
    choices: tuple[str, ...] = (),
) -> Any:
    metadata = {"help": help, "low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """What a training is to do.

    The text beside each setting is what `minincep train --help` says of it.

    Raises
    ------
    ConfigError
        If a value is of another kind, or out of range.
    """

    data: str = _setting("", "Folder of pictures, a folder for each class; or a CSV file.")
    validation: float = _setting(0.2, "Share of the pictures to validate with.", low=0, high=0.9)
    validation_data: str | None = _setting(None, "Other pictures to validate with.")
    model: str | None = _setting(None, "The network.", choices=MODELS)
    weights: str | None = _setting(None, "Weights file or name to start from: transfer learning.")
    width: float | None = _setting(None, "Factor of all channels.", low=0.01, high=8)
    blocks: tuple[int, ...] | None = _setting(None, "Numbers of repeated blocks, three of them.")
    dropout: float | None = _setting(None, "Share of dropout before the head.", low=0, high=0.99)
    batch_norm_decay: float | None = _setting(
        None, "How much of the running statistics stays at a step.", low=0, high=1
    )
    image_size: int | None = _setting(None, "Height and width in pixels.", low=75, high=2000)
    crop: float | None = _setting(
        None, "Share of a picture's height and width that is looked at.", low=0.01, high=1
    )
    augment: str = _setting("light", "How pictures are varied.", choices=AUGMENTATIONS)
    area: float | None = _setting(
        None, "Least share of a picture's area that varying it leaves.", low=0.01, high=1
    )
    turns: bool = _setting(False, "Turn pictures by 90, 180, 270 degrees, too.")
    vertical_flip: bool = _setting(False, "Mirror pictures top to bottom, too.")
    head_only: bool = _setting(False, "Freeze all but the classifier.")
    freeze: tuple[str, ...] = _setting((), "Freeze the weights whose path matches, such as 'mix*'.")
    freeze_batch_norm: bool = _setting(False, "Leave the statistics of batch norm as they are.")
    epochs: int = _setting(30, "Times that each picture is seen.", low=1, high=1_000_000)
    batch_size: int = _setting(16, "Pictures at once.", low=2, high=4096)
    accumulate: int = _setting(1, "Batches for each update.", low=1, high=10_000)
    optimizer: str = _setting("adamw", "How weights are updated.", choices=OPTIMIZERS)
    rate: float | None = _setting(
        None, "Learning rate; one that suits, a tenth of it with weights.", low=0, high=1000
    )
    momentum: float | None = _setting(None, "Of sgd (0.9) and rmsprop (0.9).", low=0, high=1)
    nesterov: bool = _setting(False, "Of sgd: look a step ahead.")
    rms_decay: float | None = _setting(None, "Of rmsprop's mean square (0.9).", low=0, high=1)
    epsilon: float | None = _setting(None, "Of rmsprop (1), adam and adamw (1e-8).", low=0, high=10)
    weight_decay: float | None = _setting(
        None, "Of filters, not of biases or norms; one that suits.", low=0, high=10
    )
    clip_norm: float | None = _setting(None, "Largest norm of the whole gradient.", low=1e-12)
    schedule: str = _setting("cosine", "How the rate changes.", choices=SCHEDULES)
    warmup: float = _setting(1.0, "Epochs in which the rate rises from 0.", low=0, high=1e6)
    factor: float | None = _setting(
        None, "Of schedules step (0.1) and exponential (0.94).", low=0, high=1
    )
    every: float = _setting(2.0, "Epochs for each factor of schedule exponential.", low=1e-3)
    at: tuple[float, ...] = _setting((), "Epochs at which schedule step takes its factor.")
    label_smoothing: float = _setting(
        0.1, "Share of the label that all classes get alike.", low=0, high=0.99
    )
    aux: float = _setting(0.0, "Weight of the auxiliary head's loss.", low=0, high=10)
    class_weights: str = _setting(
        "none", "Count rare classes as much as others.", choices=("none", "balanced")
    )
    average: float | None = _setting(
        None, "Decay of a moving average of the weights, which is measured and kept.", low=0, high=1
    )
    seed: int = _setting(0, "All that is random depends on it.", low=0, high=2**32 - 1)
    workers: int = _setting(1, "Processes that decode pictures.", low=0, high=64)
    threads: int | None = _setting(None, "Threads; by default all cores.", low=1, high=4096)
    recompute: bool = _setting(False, "Less memory: work blocks out again in the backward pass.")
    checkpoint_minutes: float = _setting(10.0, "Between two checkpoints.", low=0, high=1e6)
    log_every: int = _setting(1, "Steps for each line of the log.", low=1, high=1_000_000)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _checked(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        if self.blocks is not None and len(self.blocks) != 3:
            raise ConfigError(f"blocks must be three whole numbers, got {list(self.blocks)}")
        if self.schedule == "step" and not self.at:
            raise ConfigError("schedule step needs at, the epochs at which the rate falls")

    def with_defaults(self) -> "Settings":
        """The same, with a learning rate and a weight decay that suit where none is given."""
        rate, decay = self.rate, self.weight_decay
        if rate is None:
            rate = RATES[self.optimizer] * (0.1 if self.weights else 1)
        if decay is None:
            decay = DECAYS[self.optimizer]
        return dataclasses.replace(self, rate=rate, weight_decay=decay)

    def with_whole_paths(self) -> "Settings":
        """The same, with files and folders that mean the same from any folder."""
        named = {name: getattr(self, name) for name in PATHS}
        whole: dict[str, Any] = {
            name: str(Path(value).absolute())
            for name, value in named.items()
            if value and Path(value).exists() and not (name == "weights" and _is_known(value))
        }
        return dataclasses.replace(self, **whole)

    def items(self) -> dict[str, Any]:
        """All that is not None, by name; tuples are lists, as in JSON and TOML."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
            if value is not None
        }

    def write(self, path: Path) -> None:
        """Write a config file, whole or not at all, that repeats the training."""
        lines = [f"# minincep train --config {path.name} -o NEW_FOLDER repeats this training"]
        help_of = {field.name: field.metadata["help"] for field in dataclasses.fields(self)}
        lines += [f"{k} = {_toml(v)}  # {help_of[k]}" for k, v in self.items().items()]
        with NewFile(path) as new:
            new.write(("\n".join(lines) + "\n").encode())


PATHS = ("data", "validation_data", "weights")
NAMES = tuple(field.name for field in dataclasses.fields(Settings))

# What may be another at resuming: it changes no result (threads the last bits), or is meant to.
FREE = frozenset(
    {
        *("data", "validation_data", "epochs", "workers", "threads", "recompute"),
        *("checkpoint_minutes", "log_every"),
    }
)


def from_sources(*, recipe: str | None, config: Path | None, given: Mapping[str, Any]) -> Settings:
    """Settings from what is given, a config file, and a recipe, the first that has a name.

    Raises
    ------
    ConfigError
        If there is no such recipe or name, or a value cannot be used.
    """
    if recipe is not None and recipe not in RECIPES:
        raise ConfigError(f"no recipe {recipe!r}, only: {', '.join(RECIPES)}")
    from_file = {} if config is None else read_config(config)
    return from_items({**RECIPES[recipe or "small"], **from_file, **given}).with_defaults()


def from_items(items: Mapping[str, Any]) -> Settings:
    """Settings by name.

    Raises
    ------
    ConfigError
        If there is no such name, or a value cannot be used.
    """
    for name in items:
        if name not in NAMES:
            near = difflib.get_close_matches(str(name), NAMES, 1, cutoff=0)
            raise ConfigError(f"no setting {name!r:.80}; the nearest is {near[0]}")
    return Settings(**items)


def resumed(before: Mapping[str, Any], given: Mapping[str, Any]) -> Settings:
    """Settings to go on with: those of before, with what is given and may change.

    Raises
    ------
    ConfigError
        If something else is given than before that would make it another training.
    """
    settings = from_items(before)
    changed = from_items({**before, **given})
    for name in given:
        then, now = getattr(settings, name), getattr(changed, name)
        if name == "weights" and _is_same_file(then, now):
            continue
        if then != now and name not in FREE:
            raise ConfigError(
                f"{name} was {then!r} and is {now!r} now, which is another training: leave it out, "
                "or begin in another folder"
            )
    return changed


def read_config(path: Path) -> dict[str, Any]:
    """Settings of a TOML file, by name, and all of them checked.

    Raises
    ------
    ConfigError
        If it cannot be read, has an unknown name, or a value that cannot be used.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ConfigError(f"{path}: larger than {LARGEST:,} bytes, no config file")
        found = tomllib.loads(content.decode())
        from_items(found)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML ({error})") from None
    return found


KINDS = get_type_hints(Settings)
_WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


def _checked(field: "dataclasses.Field[Any]", value: Any) -> Any:
    """A value as the kind of its field."""
    kind = KINDS[field.name]
    if NoneType in get_args(kind):
        if value is None:
            return None
        kind = get_args(kind)[0]
    if get_origin(kind) is not tuple:
        return _one(field, kind, value)
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{field.name} must be a list, got {value!r:.80}")
    return tuple(_one(field, get_args(kind)[0], part) for part in value)


def _one(field: "dataclasses.Field[Any]", kind: type, value: Any) -> Any:
    name, limits = field.name, field.metadata
    if kind is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(f"{name} must be {_WORDS[kind]}, got {value!r:.80}")
    if isinstance(value, str) and not _is_unicode(value):
        raise ConfigError(f"{name} must be text in UTF-8, got {value!r:.200}: rename it")
    if limits["choices"] and value not in limits["choices"]:
        near = difflib.get_close_matches(value, limits["choices"], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"{name} must be one of {', '.join(limits['choices'])}, got {value!r:.80}{hint}"
        )
    if kind in (int, float) and not limits["low"] <= value <= limits["high"]:
        raise ConfigError(
            f"{name} must be from {limits['low']:g} to {limits['high']:g}, got {value!r:.80}"
        )
    return value


def _is_known(weights: str) -> bool:
    """Whether this is the name of weights, not a file, even if there is one of that name."""
    return weights_path(weights) != Path(weights)


def _is_same_file(one: str | None, other: str | None) -> bool:
    """Whether both are the same weights, whatever way leads to them."""
    if one is None or other is None:
        return False
    return os.path.realpath(weights_path(one)) == os.path.realpath(weights_path(other))


def _is_unicode(text: str) -> bool:
    """Whether this can be written; the name of a file, as the system gives it, need not be."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _toml(value: Any) -> str:
    """A value as TOML writes it, which is JSON's way but for control characters."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
