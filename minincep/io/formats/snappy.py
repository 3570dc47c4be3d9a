"""Snappy, which TensorFlow 1.1 compressed the index of a checkpoint with.

A length, then pieces: bytes as they are, or a stretch of what was written before.

References
----------
https://github.com/google/snappy/blob/main/format_description.txt
"""

from minincep.io.formats.source import Span
from minincep.io.formats.wire import varint


def decompress(block: Span, limit: int) -> bytes:
    """What a block held before it was compressed.

    Raises
    ------
    WeightError
        If it is damaged, or claims to be larger than it may be.
    """
    source = block.source
    length, at = varint(block, block.start)
    if length > limit:
        raise source.damaged(at, f"claims {length:,} bytes, where at most {limit:,} make sense")
    packed, at = block.content(limit), at - block.start
    result = bytearray()
    while at < len(packed):
        tag, at = packed[at], at + 1
        kind = tag & 3
        # how many bytes, beside the tag, say how far back, or how many follow
        width = (max(tag >> 2, 59) - 59, 1, 2, 4)[kind]
        number = int.from_bytes(packed[at : at + width], "little")
        at += width
        if kind == 0:
            count = 1 + (number if width else tag >> 2)
            result += packed[at : at + count]
            at += count
        else:
            back = number | tag >> 5 << 8 if kind == 1 else number
            count = 4 + (tag >> 2 & 7) if kind == 1 else 1 + (tag >> 2)
            if not 0 < back <= len(result):
                break
            # a stretch may reach into what it writes: then it repeats
            first = len(result) - back
            stretch = result[first : first + count]
            result += (stretch * (count // len(stretch) + 1))[:count]
        if len(result) > length:
            break
    if len(result) != length or at != len(packed):
        raise source.damaged(block.start, "a block that cannot be decompressed")
    return bytes(result)
