"""What there is to export: the weights that other libraries have a place for, and words."""

import inspect
import json
import logging
from dataclasses import asdict

from minincep.models.network import Network
from minincep.models.registry import ARCHITECTURES
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError

_log = logging.getLogger("minincep")


def weights(network: Network, absent: tuple[str, ...]) -> dict[str, Array]:
    """All arrays by path, except below the absent paths, which a warning names.

    Raises
    ------
    ConfigError
        If the network has other numbers of blocks than the released one.
    """
    blocks = network.config["blocks"]
    define = ARCHITECTURES[network.architecture].define
    released = inspect.signature(define).parameters["blocks"].default
    if blocks != released:
        raise ConfigError(
            f"{network.architecture} has {blocks} blocks, elsewhere {released}: no other "
            "network takes these weights; export it as onnx, which holds the whole network"
        )
    arrays = network.arrays()
    dropped = sorted({path.partition("/")[0] for path in arrays if path.startswith(absent)})
    if dropped:
        _log.warning("left out, for there is no place for it: %s", ", ".join(dropped))
    return {path: array for path, array in arrays.items() if not path.startswith(absent)}


def description(network: Network) -> dict[str, str]:
    """What a user of the weights must know, such as how pictures are prepared; mostly JSON."""
    found = {
        "architecture": network.architecture,
        "config": json.dumps(dict(network.config)),
        "preprocessing": json.dumps(asdict(network.preprocessing)),
        "source": network.source,
    }
    if network.labels is not None:
        found["labels"] = json.dumps([str(label) for label in network.labels])
    return found
