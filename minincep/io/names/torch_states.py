"""The state of a PyTorch network in a file: alone, or as one part of a training checkpoint.

`{"state_dict": ..., "state_dict_ema": ..., "optimizer": ...}` is a usual checkpoint; a network that
was wrapped has `module.` before each of its names.  Readers join nested names with dots.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

MOST_DOTS = 8  # in the name of an array of a network
COUNTER = "num_batches_tracked"  # of each batch norm, absent in older files


@dataclass(frozen=True)
class State:
    """Names in a file, without what stands before all of them.

    Attributes
    ----------
    prefix
        What stands before the names of the network: "", "module.", "state_dict.", ...
    found
        Names of the arrays of the network.
    averages
        Prefix of their moving averages, None if there are none.
    ignored
        Full names of all else that a training checkpoint holds, and of the counters.
    """

    prefix: str
    found: frozenset[str]
    averages: str | None
    ignored: frozenset[str]

    def names(self, table: Mapping[str, str]) -> dict[str, str]:
        """Path -> name becomes path -> full name."""
        return {path: self.prefix + name for path, name in table.items()}

    def average_names(self, table: Mapping[str, str], stored: Collection[str]) -> dict[str, str]:
        """Path -> full name of its moving average."""
        if self.averages is None:
            return {}
        full = {path: self.averages + name for path, name in table.items()}
        return {path: name for path, name in full.items() if name in stored}


def state(stored: Iterable[str], known: Collection[str]) -> State | None:
    """Find the network whose arrays have these names; None if there is not one of them."""
    names = list(stored)
    prefixes = Counter(prefix for name in names for prefix in _prefixes(name, known))
    if not prefixes:
        return None
    most = max(prefixes.values())
    usual = [prefix for prefix, count in prefixes.items() if 2 * count > most]
    plain = sorted((p for p in usual if not _averaged(p)), key=len) or sorted(usual, key=len)
    averages = next((p for p in usual if _averaged(p) and p != plain[0]), None)
    inside = [name for name in names if name.startswith(plain[0])]
    counters = {name for name in names if name.endswith(COUNTER)}
    beside = set(names) - set(inside) if plain[0] else set()
    if averages is not None:
        beside |= {name for name in names if name.startswith(averages)}
    return State(
        prefix=plain[0],
        found=frozenset(n.removeprefix(plain[0]) for n in set(inside) - counters - beside),
        averages=averages,
        ignored=frozenset(counters | beside),
    )


def _prefixes(name: str, known: Collection[str]) -> Iterable[str]:
    """What stands before a known name at the end of this one."""
    parts = name.rsplit(".", MOST_DOTS)
    for start in range(len(parts)):
        tail = ".".join(parts[start:])
        prefix = name.removesuffix(tail)
        if tail in known and prefix.isprintable():
            yield prefix


def _averaged(prefix: str) -> bool:
    return "ema" in prefix.lower()
