"""The sorted string table of LevelDB, in which TensorFlow keeps the names of a checkpoint.

    data block ...      entries in the order of their keys, then where every 16th begins
    index block         an entry for each data block: where it is
    footer              48 bytes: where the index block is, and a magic number

An entry has the length of what its key has in common with the one before, the length of the rest,
the length of the value, the rest, the value.  After each block, one byte says whether it is
compressed, four are a checksum of all that.

References
----------
https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

import io
from collections.abc import Iterator

from minincep.io.errors import WeightError
from minincep.io.formats.crc32c import crc32c, masked
from minincep.io.formats.snappy import decompress
from minincep.io.formats.source import Source, Span
from minincep.io.formats.wire import varint

MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
FOOTER = 48  # bytes
TRAILER = 5
PLAIN, SNAPPY = 0, 1
LONGEST_KEY = 1024
MOST_ENTRIES = 100_000
LARGEST_INDEX = 1 << 24  # bytes of blocks that are decompressed in memory, all together


def is_table(source: Source) -> bool:
    """Whether a file is such a table, by its last bytes."""
    return source.size >= FOOTER and source.read(source.size - 8, 8) == MAGIC


def entries(source: Source) -> Iterator[tuple[bytes, Span]]:
    """All keys and where their values are, in order.

    Raises
    ------
    WeightError
        If it is no table, or damaged.
    """
    if not is_table(source):
        raise WeightError(f"{source.path}: no checkpoint of TensorFlow: its last bytes are others")
    footer = source.whole().part(source.size - FOOTER, FOOTER - len(MAGIC))
    _, _, at = _handle(footer, footer.start)  # of the metaindex block, which holds nothing
    start, length, _ = _handle(footer, at)
    index = _block(source, start, length, LARGEST_INDEX)
    last_key, last_stop, count, memory = None, 0, 0, LARGEST_INDEX
    for _, value in _entries(index):
        start, length, _ = _handle(value, value.start)
        if start < last_stop:
            raise source.damaged(start, "blocks that lie over each other")
        block = _block(source, start, length, memory)
        last_stop = start + length
        if block.source is not source:
            memory -= len(block)
        count += 1
        for key, value in _entries(block):
            count += 1
            if (last_key is not None and key <= last_key) or count > MOST_ENTRIES:
                raise source.damaged(start, "entries that are too many, or not in order")
            last_key = key
            yield key, value


def _handle(span: Span, at: int) -> tuple[int, int, int]:
    """Where a block is, how long it is, and where that is said no more."""
    start, at = varint(span, at)
    length, at = varint(span, at)
    return start, length, at


def _block(source: Source, start: int, length: int, limit: int) -> Span:
    """A block, checked, and decompressed if it must be."""
    blocks = Span(source, 0, source.size - FOOTER)
    block = blocks.part(start, length)
    trailer = blocks.part(block.stop, TRAILER).content(TRAILER)
    found = 0
    for piece in blocks.part(start, length + 1).pieces():
        found = crc32c(piece, found)
    if masked(found) != int.from_bytes(trailer[1:], "little"):
        raise source.damaged(start, "the checksum of a block is another one")
    if trailer[0] == PLAIN:
        return block
    if trailer[0] != SNAPPY:
        raise source.damaged(block.stop, f"a block is compressed in an unknown way ({trailer[0]})")
    return Source(source.path, io.BytesIO(decompress(block, limit))).whole()


def _entries(block: Span) -> Iterator[tuple[bytes, Span]]:
    restarts = block.part(block.stop - 4, 4).content(4)
    length = len(block) - 4 * int.from_bytes(restarts, "little") - 4
    body = block.part(block.start, length)
    at, key = body.start, b""
    while at < body.stop:
        shared, at = varint(body, at)
        rest, at = varint(body, at)
        size, at = varint(body, at)
        if shared > len(key) or shared + rest > LONGEST_KEY:
            raise block.source.damaged(at, f"a key of {shared:,} and {rest:,} bytes")
        key = key[:shared] + body.part(at, rest).content(LONGEST_KEY)
        value = body.part(at + rest, size)
        yield key, value
        at = value.stop
