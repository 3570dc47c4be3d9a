"""Which weights are meant: patterns over paths, such as ``mixed_5*`` or ``*/batch_norm/beta``.

A pattern is that of a shell (`fnmatch`): ``*`` stands for any text, also across ``/``, ``?`` for
one character.  It means the paths that it matches, and all that lies inside a module whose path it
matches: ``mixed_5b`` is everything in that block.
"""

import difflib
import fnmatch
from collections.abc import Iterable

from minincep_kernels.errors import ConfigError


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern means a path, or a module that it is inside of."""
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, f"{pattern}/*")


def matching(pattern: str, paths: Iterable[str]) -> list[str]:
    """The paths that a pattern means, in their order.

    Raises
    ------
    ConfigError
        If there is none, with the nearest path.
    """
    paths = list(paths)
    found = [path for path in paths if matches(pattern, path)]
    if not found:
        modules = [path[:end] for path in paths for end in range(len(path)) if path[end] == "/"]
        near = difflib.get_close_matches(pattern, dict.fromkeys([*modules, *paths]), 1, cutoff=0)
        hint = f"; the nearest path is {near[0]!r}" if near else ""
        raise ConfigError(f"the pattern {pattern!r} matches no weight{hint}")
    return found
