"""TensorFlow checkpoints, version 2: `PREFIX.index` and `PREFIX.data-00000-of-00001`.

The index is a sorted table.  Its first entry, whose key is empty, says how many data files there
are; each other one where an array is: in which of them, from which byte on.

    BundleHeaderProto   num_shards 1, endianness 2 (0 is little)
    BundleEntryProto    dtype 1, shape 2, shard_id 3, offset 4, size 5, crc32c 6, slices 7
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from minincep.io.errors import WeightError
from minincep.io.formats.numbers import NUMBER_BYTES, floats
from minincep.io.formats.source import LONGEST_TEXT, Span, opened, reading
from minincep.io.formats.stored import Stored
from minincep.io.formats.tf_table import entries
from minincep.io.formats.tf_tensor import dtype_of, refuse_parts, shape_of
from minincep.io.formats.wire import fields
from minincep_kernels import Array

INDEX, GRAPH = ".index", ".meta"
SHARD = re.compile(r"\.data-\d{5}-of-\d{5}$")
LATEST = re.compile(r'^model_checkpoint_path: "([^"]*)"', re.MULTILINE)
MOST_SHARDS = 99_999  # five digits in their names
PARTS = b"\0"  # what the keys of parts of variables begin with


@contextmanager
def arrays(path: Path) -> Iterator[dict[str, Stored]]:
    """Arrays by the names of the variables.

    Parameters
    ----------
    path
        The index, a data file, what their names begin with, or the folder.

    Raises
    ------
    WeightError
        If a file is missing, damaged or of another kind.
    """
    first = prefix(path)
    with opened(first.with_name(first.name + INDEX)) as index:
        found: dict[str, Stored] = {}
        sizes: dict[Path, int] = {}
        shards = 0
        for key, value in entries(index):
            if not key:
                shards = _shards(value)
            elif not key.startswith(PARTS):
                name = _name(value, key)
                found[name] = _stored(value, name, first, shards, sizes)
        claimed = sum(array.size for array in found.values())
        if claimed > sum(sizes.values()):
            raise WeightError(
                f"{index.path}: claims {claimed:,} bytes of weights, more than its data files have"
            )
        yield found


def prefix(path: Path) -> Path:
    """What the names of all files of a checkpoint begin with.

    Raises
    ------
    WeightError
        If there is no checkpoint, or more than one that may be meant.
    """
    with reading(path):  # a name may be too long to look for
        if path.is_dir():
            return _latest(path)
        name = SHARD.sub("", path.name.removesuffix(INDEX).removesuffix(GRAPH))
        first = path.with_name(name) if name else path
        if first.with_name(first.name + INDEX).is_file():
            return first
    raise WeightError(f"{path}: {first.name}{INDEX}, the index of the checkpoint, is missing")


def _latest(folder: Path) -> Path:
    """The checkpoint that a folder's file `checkpoint` names, or the only one."""
    note = folder / "checkpoint"
    if not note.is_file():
        there = sorted(folder.glob(f"*{INDEX}"))
        if len(there) != 1:
            raise WeightError(
                f"{folder}: {len(there)} checkpoints ({INDEX}) in this folder; name one of them"
            )
        return prefix(there[0])
    with opened(note) as source:
        text = source.read(0, LONGEST_TEXT).decode(errors="replace")
    named = LATEST.search(text)
    if named is None:
        raise WeightError(f"{note}: names no checkpoint; give the {INDEX} file itself")
    latest = PurePosixPath(named[1])
    if "\\" in named[1] or latest.name in ("", "..") or folder / latest != folder / latest.name:
        raise WeightError(
            f"{note}: names a checkpoint in another place, {named[1]!r:.200}, which is refused; "
            f"give the {INDEX} file itself"
        )
    return prefix(folder / latest.name)


def _shards(header: Span) -> int:
    """How many data files there are."""
    shards, little = 0, True
    for field in fields(header):
        if field.number == 1:
            shards = field.integer()
        elif field.number == 2:
            little = field.integer() == 0
    if not 0 < shards <= MOST_SHARDS or not little:
        raise WeightError(
            f"{header.source.path}: {shards} data files, "
            f"{'little' if little else 'big'}-endian; only 1 to {MOST_SHARDS} little-endian ones "
            "can be read: save it again"
        )
    return shards


def _name(value: Span, key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise value.source.damaged(value.start, "the name of a variable is no text") from None


def _stored(entry: Span, name: str, first: Path, shards: int, sizes: dict[Path, int]) -> Stored:
    """The array of an entry of the index; the size of the file that has it is noted."""
    path = entry.source.path
    numbers = {1: 0, 3: 0, 4: 0, 5: 0}
    shape: tuple[int, ...] = ()
    checksum, parts = 0, False
    for field in fields(entry):
        match field.number:
            case 1 | 3 | 4 | 5:
                numbers[field.number] = field.integer()
            case 2:
                shape = shape_of(field.message(), name)
            case 6:
                checksum = field.fixed32()
            case 7:
                parts = True
    dtype, (_, shard, offset, size) = dtype_of(numbers[1]), numbers.values()
    if parts:
        return Stored(shape, dtype, 0, partial(refuse_parts, path, name))
    if not 0 <= shard < shards:
        raise WeightError(f"{path}: {name!r:.200} is in data file {shard} of {shards}")
    file = first.with_name(f"{first.name}.data-{shard:05}-of-{shards:05}")
    if file not in sizes:
        with opened(file) as source:
            sizes[file] = source.size
    needed = NUMBER_BYTES.get(dtype, 0) * math.prod(shape)
    if dtype in NUMBER_BYTES and size != needed:
        raise WeightError(
            f"{path}: {name!r:.200} has {size:,} bytes, its shape {shape} needs {needed:,}"
        )
    if not 0 <= offset <= offset + size <= sizes[file]:
        raise WeightError(
            f"{path}: {name!r:.200} is at bytes {offset:,} to {offset + size:,} of {file.name}, "
            f"which has {sizes[file]:,}: get both again"
        )
    return Stored(
        shape, dtype, size, partial(_read, file, name, dtype, shape, offset, size, checksum)
    )


def _read(
    file: Path, name: str, dtype: str, shape: tuple[int, ...], offset: int, size: int, checksum: int
) -> Array:
    with opened(file) as source:
        span = source.whole().part(offset, size)
        return floats(span, name, dtype, shape, [span], checksum)
