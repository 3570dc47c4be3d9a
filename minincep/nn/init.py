"""First values of the weights, and of the generators that draw in training."""

import math
import zlib

import numpy as np

from minincep.nn.layers import Dropout
from minincep.nn.module import Module


def initialise(module: Module, seed: int, only: frozenset[str] | None = None) -> None:
    """Draw all weights, in place.

    Filters and dense weights come from a normal distribution of variance 2 / fan-in (He et al.
    2015, "Delving deep into rectifiers", equation 10), beta, bias and running mean are 0, gamma
    and running variance 1.

    Each array is drawn from a generator of its own, seeded by (seed, path): a change elsewhere in
    the network leaves it alone.  Each dropout gets such a generator too.

    Parameters
    ----------
    only
        Paths of the arrays to draw; all by default.
    """
    drawn = {}
    for path, array in module.arrays().items():
        if only is not None and path not in only:
            continue
        values = np.zeros(array.shape, np.float32)
        match path.rpartition("/")[2]:
            case "weight":
                _generator(seed, path).standard_normal(out=values, dtype=np.float32)
                values *= np.float32(math.sqrt(2.0 / math.prod(array.shape[:-1])))
            case "gamma" | "running_var":
                values.fill(1)
        drawn[path] = values
    module.assign_all(drawn)
    for path, part in module.modules():
        if isinstance(part, Dropout):
            part.generator = _generator(seed, path)


def _generator(seed: int, path: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(path.encode())])
