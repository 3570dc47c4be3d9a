"""Numbers that users give, checked: a wrong one would train for hours, and learn nothing."""

import math
import numbers
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from minincep_kernels.errors import ConfigError

Kind = TypeVar("Kind")


def number(
    name: str,
    value: object,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """The value as a float, if it is a finite number from `least` to `most`, `above` and `below`.

    Raises
    ------
    ConfigError
        If it is not; says what is needed.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    found = float(value) if is_number else math.nan  # type: ignore[arg-type]
    if math.isfinite(found) and least <= found <= most and above < found < below:
        return found
    limits = [
        text
        for text, limit in [
            (f"of at least {least:g}", least),
            (f"above {above:g}", above),
            (f"of at most {most:g}", most),
            (f"below {below:g}", below),
        ]
        if math.isfinite(limit)
    ]
    wanted = " and ".join(limits)
    raise ConfigError(f"{name} must be a finite number{wanted and ' ' + wanted}, got {value!r}")


def truth(name: str, value: object) -> bool:
    """The value, if it is True or False.

    Raises
    ------
    ConfigError
        If it is not: the text "no" is true to Python.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False, got {value!r}")
    return value


def named(what: str, kinds: Mapping[str, Kind], name: object) -> Kind:
    """The kind of a name.

    Raises
    ------
    ConfigError
        If there is none; says which there are.
    """
    if not isinstance(name, str) or name not in kinds:
        raise ConfigError(f"there is no {what} {name!r}, only: {', '.join(kinds)}")
    return kinds[name]
