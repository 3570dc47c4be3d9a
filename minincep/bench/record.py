"""The file that keeps what was measured: JSON, written whole, read with suspicion.

    {"format": "minincep-bench", "version": 1, "machine": {...}, "settings": {...},
     "roof": {"1": {"flops": ..., "bandwidth": ..., "levels": [...]}, ...}, "rows": [...]}

There is a roof for each number of threads, and a row for each variant, shape, number of threads and
state of the caches.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from minincep.io.files import NewFile
from minincep_kernels.errors import UserError
from minincep_kernels.roofline import Level, Roof

FORMAT, VERSION = "minincep-bench", 1
LARGEST = 1 << 28  # bytes of a file that is read


class RecordError(UserError, ValueError):
    """A file is no record of measurements, or one that does not fit."""


@dataclass(frozen=True)
class Row:
    """How fast one variant is on one shape.

    Attributes
    ----------
    below
        The variant that is the rung below, if there is one.
    shape
        The fields of the shape; for a whole network "model", "batch" and "size".
    label
        The shape in short.
    networks
        How many layers of each network have this shape.
    cache
        "warm" if the arrays were used just before, "flushed" if they came from memory.
    flops
        Operations of the plain definition.
    bytes
        What must be read and written at least once.
    work
        Operations that are really done.
    seconds
        For each repeat, the time of one call.
    peak
        For each repeat, operations a second of multiply-adds alone, measured beside it.
    control
        For each repeat, the time of NumPy's own work on the same arrays, measured beside it; none
        for whole networks.
    compile_seconds
        What the first call took longer: compiling, or reading what was compiled before.
    error, tolerance
        Largest difference from the exact result in its standard deviations, and what is allowed.
    share_of_roof
        The least time that the machine needs, over the median.
    bound
        What sets that least time: "compute" or "bandwidth".
    speedup_over_below
        Median of the rung below over this one, if both were measured.
    path
        Of a step of a network's plan, the path of the layer.
    """

    op: str
    variant: str
    below: str | None
    shape: dict[str, Any]
    label: str
    networks: dict[str, int]
    threads: int
    cache: str
    flops: float
    bytes: float
    work: float
    seconds: list[float]
    peak: list[float]
    control: list[float]
    median: float
    compile_seconds: float
    error: float
    tolerance: float
    gflops: float
    share_of_roof: float
    bound: str
    speedup_over_below: float | None = None
    path: str | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What tells rows apart."""
        shape = json.dumps(self.shape, sort_keys=True)
        return (self.op, shape, str(self.threads), self.cache, self.variant, self.path or "")


@dataclass
class Record:
    """What one machine has shown in one run.

    Attributes
    ----------
    machine
        The fingerprint: processor, caches, versions.
    settings
        How it was measured.
    roof
        What the machine can do, by the number of threads.
    """

    machine: dict[str, Any]
    settings: dict[str, Any]
    roof: dict[int, Roof] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "machine": self.machine,
            "settings": self.settings,
            "roof": {str(threads): asdict(roof) for threads, roof in self.roof.items()},
            "rows": [asdict(row) for row in self.rows],
        }


def save(record: Record, path: Path) -> None:
    """Write a record, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    text = json.dumps(record.as_json(), indent=1, allow_nan=False) + "\n"
    with NewFile(path) as file:
        file.write(text.encode())


def load(path: Path) -> Record:
    """Read a record.

    Raises
    ------
    RecordError
        If the file is no record, or a damaged one; the message says where.
    OSError
        If it cannot be read.
    """
    if path.stat().st_size > LARGEST:
        raise RecordError(f"{path} is too large for a record of 'minincep bench'")
    try:
        content = json.loads(path.read_bytes(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise RecordError(
            f"{path} is no record of 'minincep bench': it is not JSON; give a file that "
            "'minincep bench ... --save' has written"
        ) from None
    reader = _Reader(path)
    top = reader.fields(content, "the file", _TOP)
    if top["format"] != FORMAT:
        raise RecordError(f"{path} is no record of 'minincep bench': its format is another")
    if top["version"] != VERSION:
        raise RecordError(
            f"{path} is a record of version {top['version']}, and this minincep reads version "
            f"{VERSION}: measure again"
        )
    roof = {}
    for threads, entry in top["roof"].items():
        if not (threads.isascii() and threads.isdecimal() and len(threads) < 6 and int(threads)):
            raise reader.error("roof", "has no number of threads for a name")
        roof[int(threads)] = reader.roof(entry, f"roof {threads}")
    rows = [reader.row(row, f"row {number}") for number, row in enumerate(top["rows"], 1)]
    keys = {row.key for row in rows}
    if len(keys) < len(rows):
        raise reader.error("rows", "has a row twice")
    return Record(top["machine"], top["settings"], roof, rows)


def _no_number(text: str) -> float:
    raise ValueError(text)


def _is_text(x: Any) -> bool:
    return isinstance(x, str) and len(x) <= 1000


def _is_whole(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and 0 < x < 1 << 31


def _is_amount(x: Any) -> bool:
    """A number of 0 or more, and such that quotients of two have a size, too."""
    number = isinstance(x, int | float) and not isinstance(x, bool)
    return number and (x == 0 or 1e-30 < x < 1e30)


def _is_positive(x: Any) -> bool:
    return _is_amount(x) and x > 0


def _are_positive(x: Any) -> bool:
    return isinstance(x, list) and 0 < len(x) <= 1_000_000 and all(map(_is_positive, x))


def _is_shape(x: Any) -> bool:
    def plain(value: Any) -> bool:
        if isinstance(value, list):
            return len(value) <= 8 and all(_is_side(part) for part in value)
        return isinstance(value, bool) or _is_text(value) or _is_side(value)

    return isinstance(x, dict) and len(x) <= 32 and all(map(plain, x.values()))


def _is_side(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and 0 <= x < 1 << 53


def _is_count(x: Any) -> bool:
    return isinstance(x, dict) and len(x) <= 100 and all(map(_is_whole, x.values()))


def _is_object(x: Any) -> bool:
    return isinstance(x, dict)


def _is_list(x: Any) -> bool:
    return isinstance(x, list)


_TOP = {
    "format": (_is_text, "text"),
    "version": (_is_whole, "a whole number"),
    "machine": (_is_object, "an object"),
    "settings": (_is_object, "an object"),
    "roof": (_is_object, "an object"),
    "rows": (_is_list, "a list"),
}
_LEVEL = {
    "name": (_is_text, "text"),
    "size": (_is_side, "a whole number"),
    "bandwidth": (_is_positive, "a number above 0"),
}
_ROOF = {
    "flops": (_is_positive, "a number above 0"),
    "bandwidth": (_is_positive, "a number above 0"),
    "levels": (_is_list, "a list"),
}
_TEXT, _POSITIVE = (_is_text, "text"), (_is_positive, "a number above 0")
_AMOUNT, _SERIES = (_is_amount, "a number of 0 or more"), (_are_positive, "a list of numbers")
_ROW = {
    "op": _TEXT,
    "variant": _TEXT,
    "below": (lambda x: x is None or _is_text(x), "text or null"),
    "shape": (_is_shape, "the fields of a shape"),
    "label": _TEXT,
    "networks": (_is_count, "numbers of layers"),
    "threads": (_is_whole, "a whole number"),
    "cache": (lambda x: x in ("warm", "flushed"), '"warm" or "flushed"'),
    "flops": _AMOUNT,
    "bytes": _AMOUNT,
    "work": _AMOUNT,
    "seconds": _SERIES,
    "peak": _SERIES,
    "control": (lambda x: x == [] or _are_positive(x), "a list of numbers"),
    "median": _POSITIVE,
    "compile_seconds": _AMOUNT,
    "error": _AMOUNT,
    "tolerance": _AMOUNT,
    "gflops": _AMOUNT,
    "share_of_roof": _AMOUNT,
    "bound": (lambda x: x in ("compute", "bandwidth"), '"compute" or "bandwidth"'),
    "speedup_over_below": (lambda x: x is None or _is_positive(x), "a number above 0, or null"),
    "path": (lambda x: x is None or _is_text(x), "text or null"),
}


@dataclass(frozen=True)
class _Reader:
    """Checks what a file says."""

    path: Path

    def error(self, where: str, what: str) -> RecordError:
        return RecordError(f"{self.path} is a damaged record of 'minincep bench': {where} {what}")

    def fields(self, content: Any, where: str, table: dict[str, Any]) -> dict[str, Any]:
        """An object with exactly these fields."""
        if not isinstance(content, dict):
            raise self.error(where, "is not an object")
        for name, (fits, wanted) in table.items():
            if name not in content:
                raise self.error(where, f"has no {name!r}")
            if not fits(content[name]):
                raise self.error(where, f"has a {name!r} that is not {wanted}")
        return {name: content[name] for name in table}

    def roof(self, content: Any, where: str) -> Roof:
        entry = self.fields(content, where, _ROOF)
        levels = [Level(**self.fields(level, where, _LEVEL)) for level in entry["levels"][:16]]
        return Roof(entry["flops"], entry["bandwidth"], tuple(levels))

    def row(self, content: Any, where: str) -> Row:
        row = Row(**self.fields(content, where, _ROW))
        if len(row.peak) != len(row.seconds):
            raise self.error(where, "has not as many 'peak' as 'seconds'")
        if len(row.control) not in (0, len(row.seconds)):
            raise self.error(where, "has not as many 'control' as 'seconds'")
        return row
