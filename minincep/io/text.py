"""Text from files and folders, as it is shown to people and written for machines."""

import csv
import io
import json
import math
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

FORMULAS = tuple("=+-@\t\r\n＝＋－＠")  # with one of these a spreadsheet's formula may begin


def printable(text: str) -> str:
    """Text without the control characters that could take over a terminal; in one line."""
    return "".join(map(_shown, text))


def _shown(char: str) -> str:
    if unicodedata.category(char) == "Zs":  # such as the narrow one in the names of screenshots
        return " "
    return char if char.isprintable() else "\N{REPLACEMENT CHARACTER}"


def table(rows: Iterable[Sequence[object]]) -> str:
    """Lines of CSV, whose cells a spreadsheet shows as they are, and does not work out.

    A text that could be a formula, such as the name of a class that is called ``=cmd``, has ``'``
    before it, as OWASP advises; a `Path` has ``./``, with which it leads to the same file.
    """
    return "".join(map(_line, rows))


def _line(row: Sequence[object]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(map(_cell, row))  # which quotes "\r" only if a line ends with it, too
    return line.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: object) -> object:
    if isinstance(value, str | Path) and str(value).startswith(FORMULAS):
        return f"./{value}" if isinstance(value, Path) else f"'{value}"
    return value


def to_json(value: Any) -> str:
    """JSON in one line, with null for numbers that are not finite: JSON has none."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
