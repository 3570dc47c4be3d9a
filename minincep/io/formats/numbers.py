"""Numbers as files store them, little-endian and one after the other, as arrays of float32."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minincep.io.errors import WeightError
from minincep.io.formats.crc32c import crc32c, masked
from minincep.io.formats.source import Span
from minincep.io.formats.wire import varints
from minincep_kernels import Array

STORED_AS = {"float32": "<f4", "float64": "<f8", "float16": "<f2", "bfloat16": "<u2"}
NUMBER_BYTES = {
    dtype: size
    for size, dtypes in {
        1: "int8 uint8 bool",
        2: "float16 bfloat16 int16 uint16",
        4: "float32 int32 uint32",
        8: "float64 int64 uint64",
    }.items()
    for dtype in dtypes.split()
}
MOST_AXES = 32
MOST_NUMBERS = 1 << 48  # what an address can reach; a length of 0 beside others counts as 1


def check_shape(path: Path, name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """A shape, if there can be an array of it.

    Raises
    ------
    WeightError
        If an axis has a negative length, or it is too large for any machine.
    """
    if (
        len(shape) > MOST_AXES
        or min(shape, default=0) < 0
        or math.prod(max(length, 1) for length in shape) > MOST_NUMBERS
    ):
        raise WeightError(f"{path}: {name!r:.200} has an impossible shape, {shape!s:.200}")
    return tuple(shape)


def floats(
    where: Span,
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    spans: Sequence[Span],
    checksum: int | None = None,
) -> Array:
    """Read an array -> float32, of a shape.

    Parameters
    ----------
    where, name
        For messages.
    spans
        Where the numbers are, all of them: part after part.
    checksum
        Masked CRC-32C of their bytes, if it is known.

    Raises
    ------
    WeightError
        If they are not floating-point numbers, not as many, or damaged.
    """
    if dtype not in STORED_AS:
        raise WeightError(
            f"{where.source.path}: {name!r:.200} holds {dtype}, not floating-point numbers"
        )
    there, needed = sum(map(len, spans)), NUMBER_BYTES[dtype] * math.prod(shape)
    if there != needed:
        raise where.source.damaged(
            where.start, f"{name!r:.200} has {there:,} bytes, shape {shape} needs {needed:,}"
        )
    stored = np.empty(shape, STORED_AS[dtype])
    places, filled, found = stored.reshape(-1).view(np.uint8), 0, 0
    for span in spans:
        for piece in span.pieces():
            places[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
            filled += len(piece)
            found = crc32c(piece, found) if checksum is not None else 0
    if checksum is not None and masked(found) != checksum:
        raise where.source.damaged(where.start, f"the checksum of {name!r:.200} is another one")
    return as_float32(stored, dtype)


def bits16(spans: Sequence[Span], most: int) -> Array:
    """Read numbers of 16 bits that are stored as varints -> their bits, uint16.

    Raises
    ------
    WeightError
        If they are more, or larger ones, or damaged.
    """
    found, count = [], 0
    for span in spans:
        for numbers in varints(span):
            count += numbers.size
            if count > most or numbers.max(initial=0) > 0xFFFF:
                raise span.source.damaged(span.start, "more numbers, or larger, than there can be")
            found.append(numbers.astype("<u2"))
    return np.concatenate(found) if found else np.empty(0, "<u2")


def as_float32(stored: Array, dtype: str) -> Array:
    """Numbers of a type -> float32; bfloat16 is given as its 16 bits."""
    if dtype == "bfloat16":
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        return np.ascontiguousarray(stored, np.float32).reshape(stored.shape)
