"""The networks by name."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minincep.models.inception_resnet_v1 import inception_resnet_v1, inception_resnet_v1_paper
from minincep.models.inception_resnet_v2 import inception_resnet_v2, inception_resnet_v2_paper
from minincep.models.inception_v4 import inception_v4
from minincep.models.network import Network
from minincep.models.preprocessing import Preprocessing
from minincep.nn.combinators import Branch, Settings
from minincep.nn.init import initialise
from minincep_kernels.errors import ConfigError

MOST_CLASSES = 1_000_000  # a damaged file must not make us allocate without end


@dataclass(frozen=True)
class Architecture:
    """A network that can be created.

    Attributes
    ----------
    define
        Gives its parts; its keyword arguments are the network's configuration.
    embedding
        End point that describes a picture.
    head
        Where the paths of the weights begin that belong to the classes.
    preprocessing
        How pictures are usually prepared; a weights file brings its own.
    """

    define: Callable[..., Branch]
    embedding: str
    head: tuple[str, ...]
    preprocessing: Preprocessing


ARCHITECTURES = {
    "inception_v4": Architecture(
        inception_v4,
        "PreLogitsFlatten",
        ("logits/", "aux_logits/aux_logits/"),
        Preprocessing(299, 299, crop=0.875),
    ),
    "inception_resnet_v1": Architecture(
        inception_resnet_v1,
        "Embeddings",
        ("logits/",),
        Preprocessing(160, 160, keep_aspect=False, filter="bilinear", scaling="fixed"),
    ),
    "inception_resnet_v2": Architecture(
        inception_resnet_v2,
        "PreLogitsFlatten",
        ("logits/", "aux_logits/logits/"),
        Preprocessing(299, 299, crop=0.8975),
    ),
    "inception_resnet_v1_paper": Architecture(
        inception_resnet_v1_paper, "PreLogitsFlatten", ("logits/",), Preprocessing(299, 299)
    ),
    "inception_resnet_v2_paper": Architecture(
        inception_resnet_v2_paper, "PreLogitsFlatten", ("logits/",), Preprocessing(299, 299)
    ),
}


def list_models() -> list[str]:
    """Names that `create_model` takes."""
    return list(ARCHITECTURES)


def build_model(
    name: str,
    *,
    width: float = 1.0,
    batch_norm_gamma: bool = False,
    batch_norm_decay: float = 0.99,
    **config: Any,
) -> Network:
    """A network whose weights have shapes but no values; see `create_model`."""
    if name not in ARCHITECTURES:
        raise ConfigError(f"no model {name!r}, only: {', '.join(ARCHITECTURES)}")
    define = ARCHITECTURES[name].define
    known = {key: p.default for key, p in inspect.signature(define).parameters.items()}
    for key in config:
        if key not in known:
            shared = ["width", "batch_norm_gamma", "batch_norm_decay"]
            raise ConfigError(f"{name} has no option {key!r}, only: {', '.join([*known, *shared])}")
    config = known | config
    full = config | {
        "width": width,
        "batch_norm_gamma": batch_norm_gamma,
        "batch_norm_decay": batch_norm_decay,
    }
    _check(full, known)
    config["blocks"] = full["blocks"] = tuple(config["blocks"])
    settings = Settings(width=width, gamma=batch_norm_gamma, decay=batch_norm_decay)
    preprocessing = ARCHITECTURES[name].preprocessing
    return Network(name, full, define(**config), settings, preprocessing)


def create_model(name: str, *, seed: int = 0, **config: Any) -> Network:
    """A new network with random weights, in inference mode.

    Parameters
    ----------
    name
        One of `list_models()`.
    seed
        Seed of the weights, each array drawn from (seed, its path), and of dropout.
    **config
        ``num_classes``, ``aux_logits`` (v4, v2), ``embedding_size`` (v1), ``dropout_rate``,
        ``blocks`` (numbers of repeated blocks), ``width`` (factor of all channels),
        ``batch_norm_gamma``, ``batch_norm_decay``.

        ``aux_logits`` adds the auxiliary head; calling the network does not run it, in training
        neither.  Two lines in the training loop do, see `Network.run_endpoints`:

            out = net.run_endpoints(x, ["Logits", "AuxLogits"])
            loss = ops.add(ce(out["Logits"], y), ops.scale(ce(out["AuxLogits"], y), factor=0.4))

    Raises
    ------
    ConfigError
        If there is no such model or option, or an option is out of range.
    """
    network = build_model(name, **config)
    initialise(network, seed)
    return network


def _check(config: dict[str, Any], defaults: dict[str, Any]) -> None:
    for key in ("num_classes", "embedding_size"):
        if key not in defaults or (config[key] is None and defaults[key] is None):
            continue
        if not _whole(config[key], MOST_CLASSES):
            raise ConfigError(
                f"{key} must be a whole number from 1 to {MOST_CLASSES}, got {config[key]!r}"
            )
    blocks = config["blocks"]
    if (
        not isinstance(blocks, list | tuple)
        or len(blocks) != 3
        or not all(_whole(n, 25) for n in blocks)
    ):
        raise ConfigError(f"blocks must be three whole numbers from 1 to 25, got {blocks!r}")
    for key, low, high in [
        ("dropout_rate", 0.0, 0.999),
        ("width", 0.01, 8.0),
        ("batch_norm_decay", 0.0, 1.0),
    ]:
        value = config[key]
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise ConfigError(f"{key} must be a number from {low} to {high}, got {value!r}")
    for key in ("aux_logits", "batch_norm_gamma"):
        if not isinstance(config.get(key, False), bool):
            raise ConfigError(f"{key} must be True or False, got {config[key]!r}")


def _whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
