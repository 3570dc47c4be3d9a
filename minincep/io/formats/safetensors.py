"""safetensors files: a header of JSON, then all numbers, little-endian and without gaps.

    8 bytes     length of the header
    header      {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
    numbers     array after array; offsets count from here

References
----------
https://github.com/huggingface/safetensors#format
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from minincep.io.errors import WeightError
from minincep.io.formats.numbers import NUMBER_BYTES, check_shape, floats
from minincep.io.formats.source import Span, opened
from minincep.io.formats.stored import Stored

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
LONGEST_HEADER = 1 << 22  # bytes; an array takes about a hundred


@contextmanager
def arrays(path: Path) -> Iterator[dict[str, Stored]]:
    """Arrays by name; none of them read.  What is under `__metadata__` is passed over.

    Raises
    ------
    WeightError
        If the file is missing or damaged, or its arrays overlap, or leave a gap.
    """
    with opened(path) as source:
        whole = source.whole()
        length = int.from_bytes(whole.part(0, 8).content(8), "little")
        numbers_start = 8 + length
        header = _header(path, whole.part(8, length).content(LONGEST_HEADER))
        numbers = whole.part(numbers_start, len(whole) - numbers_start)
        found, ends = {}, {}
        for name, entry in header.items():
            dtype, shape, begin, end = _entry(path, name, entry)
            size = NUMBER_BYTES[dtype] * math.prod(shape)
            if end - begin != size:
                raise WeightError(
                    f"{path}: {name!r:.200} has {end - begin:,} bytes, but {dtype} of shape "
                    f"{shape} needs {size:,}; get the file again"
                )
            span = numbers.part(numbers_start + begin, size)
            found[name] = Stored(
                shape, dtype, size, partial(floats, span, name, dtype, shape, [span])
            )
            if size:
                ends[begin] = end
        _check_cover(numbers, ends)
        yield found


def _header(path: Path, content: bytes) -> dict[str, object]:
    """The entries of the arrays, by name."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        named = dict(pairs)
        if len(named) != len(pairs):
            raise ValueError("a name is there twice")
        return named

    try:
        header = json.loads(content.decode(), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise WeightError(f"{path}: not a safetensors file, or damaged ({error!s:.200})") from None
    if not isinstance(header, dict):
        raise WeightError(f"{path}: not a safetensors file, its header holds no names")
    header.pop("__metadata__", None)
    return header


def _entry(path: Path, name: str, entry: object) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape, and where the numbers begin and end."""
    wrong = WeightError(f"{path}: the entry of {name!r:.200} is damaged; get the file again")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise wrong
    shape, offsets = entry["shape"], entry["data_offsets"]
    for values in (shape, offsets):
        if not isinstance(values, list) or any(type(value) is not int for value in values):
            raise wrong
    if len(offsets) != 2 or not isinstance(entry["dtype"], str):
        raise wrong
    if entry["dtype"] not in DTYPES:
        raise WeightError(
            f"{path}: {name!r:.200} holds numbers of type {entry['dtype']!r:.20}, which is not "
            f"known; known are {', '.join(DTYPES)}"
        )
    return DTYPES[entry["dtype"]], check_shape(path, name, shape), offsets[0], offsets[1]


def _check_cover(numbers: Span, ends: Mapping[int, int]) -> None:
    """Refuse arrays that overlap, or leave a gap in which something else could hide."""
    at = 0
    for begin in sorted(ends):
        if begin != at:
            break
        at = ends[begin]
    else:
        if at == len(numbers):
            return
    raise numbers.source.damaged(numbers.start + at, "here one array should end and the next begin")
