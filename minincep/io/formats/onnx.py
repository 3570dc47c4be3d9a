"""ONNX: the initialisers of a model, which are its weights, by name.

Only they are looked at, in the main graph; no node is.  Large ones may be in another file, which
must be in the same folder.

    ModelProto      graph 7
    GraphProto      initializer 5, sparse_initializer 15
    TensorProto     dims 1, data_type 2, float_data 4, int32_data 5, name 8, raw_data 9,
                    double_data 10, external_data 13 (key 1, value 2), data_location 14

References
----------
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from minincep.io.errors import WeightError
from minincep.io.formats.numbers import NUMBER_BYTES, as_float32, bits16, check_shape, floats
from minincep.io.formats.source import Span, opened
from minincep.io.formats.stored import COMPRESSION, Stored
from minincep.io.formats.wire import BYTES, FIXED32, FIXED64, VARINT, fields, varints
from minincep_kernels import Array

IN_ORDER = (  # by number
    "undefined float32 uint8 int8 uint16 int16 int32 int64 text bool float16 float64 uint32 uint64 "
    "complex64 complex128 bfloat16"
)
DTYPES = IN_ORDER.split()
FLOAT_DATA, INT32_DATA, RAW_DATA, DOUBLE_DATA = 4, 5, 9, 10
WIRE_TYPES = {FLOAT_DATA: FIXED32, INT32_DATA: VARINT, RAW_DATA: BYTES, DOUBLE_DATA: FIXED64}
LISTS = {
    "float32": FLOAT_DATA,
    "float64": DOUBLE_DATA,
    "float16": INT32_DATA,
    "bfloat16": INT32_DATA,
}
EXTERNAL = 1
MOST_DIGITS = 18


@contextmanager
def arrays(path: Path) -> Iterator[dict[str, Stored]]:
    """Arrays by the names of the initialisers.

    Raises
    ------
    WeightError
        If the file is missing, damaged, of another kind, or has weights in another folder.
    """
    with opened(path) as source:
        found: dict[str, Stored] = {}
        sizes: dict[Path, int] = {path: source.size}
        for graph in fields(source.whole()):
            if graph.number == 7:
                for entry in fields(graph.message()):
                    if entry.number == 15:
                        raise WeightError(f"{path}: has sparse weights, which are not read here")
                    if entry.number == 5:
                        initialiser = _initialiser(entry.message())
                        if initialiser.name in found:
                            raise WeightError(
                                f"{path}: two arrays are called {initialiser.name!r:.200}"
                            )
                        found[initialiser.name] = initialiser.stored(sizes)
        claimed = sum(array.size for array in found.values())
        if claimed > COMPRESSION * sum(sizes.values()):
            raise WeightError(
                f"{path}: claims {claimed:,} bytes of weights, far more than it can hold"
            )
        yield found


@dataclass
class _Initialiser:
    """A TensorProto, its numbers not read."""

    where: Span
    name: str = ""
    dtype: str = ""
    shape: tuple[int, ...] = ()
    parts: dict[int, list[Span]] = field(default_factory=dict)
    external: dict[str, str] = field(default_factory=dict)
    location: int = 0

    def stored(self, sizes: dict[Path, int]) -> Stored:
        """As an array to be read later; the size of the file that has it is noted."""
        size = NUMBER_BYTES.get(self.dtype, 0) * math.prod(self.shape)
        about = self.name, self.dtype, self.shape
        if self.location == EXTERNAL:
            file, offset = _place(self.where.source.path, self.name, size, self.external, sizes)
            read = partial(_read_beside, file, offset, size, *about)
        elif RAW_DATA in self.parts:
            read = partial(floats, self.where, *about, self.parts[RAW_DATA])
        elif LISTS.get(self.dtype) == INT32_DATA:
            read = partial(_read_bits, self.where, *about, self.parts.get(INT32_DATA, []))
        else:
            spans = self.parts.get(LISTS.get(self.dtype, 0), [])
            read = partial(floats, self.where, *about, spans)
        return Stored(self.shape, self.dtype, size, read)


def _initialiser(message: Span) -> _Initialiser:
    found, dims = _Initialiser(message), list[int]()
    for entry in fields(message):
        match entry.number:
            case 1 if entry.kind == BYTES:
                for numbers in varints(entry.span):
                    dims.extend(numbers.tolist())
            case 1:
                dims.append(entry.integer())
            case 2:
                number = entry.integer()
                known = 0 <= number < len(DTYPES)
                found.dtype = DTYPES[number] if known else f"numbers of type {number}"
            case 4 | 5 | 9 | 10:
                span = entry.numbers(WIRE_TYPES[entry.number])
                found.parts.setdefault(entry.number, []).append(span)
            case 8:
                found.name = entry.text()
            case 13:
                pair = {part.number: part.text() for part in fields(entry.message())}
                found.external[pair.get(1, "")] = pair.get(2, "")
            case 14:
                found.location = entry.integer()
    found.shape = check_shape(message.source.path, found.name, dims)
    return found


def _place(
    path: Path, name: str, size: int, external: Mapping[str, str], sizes: dict[Path, int]
) -> tuple[Path, int]:
    """File with the numbers of an array, and where they begin in it."""
    location = external.get("location", "")
    if location in (".", "..", "") or set(location) & set("/\\:") or not location.isprintable():
        raise WeightError(
            f"{path}: {name!r:.200} is said to be in {location!r:.200}; only a file in the same "
            "folder is read"
        )
    file = path.with_name(location)
    if file not in sizes:
        with opened(file) as source:
            sizes[file] = source.size
    offset, length = external.get("offset", "0"), external.get("length", str(size))
    if not all(
        text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS for text in (offset, length)
    ):
        raise WeightError(
            f"{path}: {name!r:.200} has no place in {location}: {dict(external)!s:.200}"
        )
    if int(length) != size or int(offset) + size > sizes[file]:
        raise WeightError(
            f"{path}: {name!r:.200} is at byte {offset} of {file.name}, {length} bytes; its shape "
            f"needs {size:,}, the file has {sizes[file]:,}: get both again"
        )
    return file, int(offset)


def _read_beside(
    file: Path, offset: int, size: int, name: str, dtype: str, shape: tuple[int, ...]
) -> Array:
    with opened(file) as source:
        span = source.whole().part(offset, size)
        return floats(span, name, dtype, shape, [span])


def _read_bits(
    where: Span, name: str, dtype: str, shape: tuple[int, ...], spans: Sequence[Span]
) -> Array:
    bits = bits16(spans, math.prod(shape))
    if bits.size != math.prod(shape):
        raise where.source.damaged(
            where.start, f"{name!r:.200} has {bits.size:,} numbers, not as many as its shape"
        )
    return as_float32(bits.view("<f2") if dtype == "float16" else bits, dtype).reshape(shape)
