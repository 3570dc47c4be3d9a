"""Heaps of an HDF5 file, checked before the library sees them.

A text of any length, such as an attribute, is in a global heap:

    GCOL, version 1, 3 bytes, length of the heap        16 bytes
    number, 6 bytes, length                             16 bytes before each object
    the object, up to the next multiple of 8 bytes

An object with the number 0 is what is left, and its length counts its own header.  A wrong length
can keep the library busy for ever, so that one flipped bit makes a file that is never opened.

References
----------
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, section III.E
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO

from minincep.io.errors import WeightError

SIGNATURE = b"GCOL\x01"
HEADER = struct.Struct("<4sB3xQ")
OBJECT = struct.Struct("<H6xQ")
PIECE = 1 << 20  # bytes
MOST_OBJECTS = 1_000_000  # a text takes one


def check_heaps(path: Path, file: BinaryIO) -> None:
    """Refuse a file with a heap that is damaged.

    Parameters
    ----------
    path
        For messages.

    Raises
    ------
    WeightError
        If objects do not lie one after the other in their heap, or are too many.
    """
    end = file.seek(0, os.SEEK_END)
    left = MOST_OBJECTS
    for at in _signatures(file):
        file.seek(at)
        _, _, length = HEADER.unpack(file.read(HEADER.size).ljust(HEADER.size, b"\0"))
        if not HEADER.size <= length <= end - at:
            raise _damaged(path, at)
        heap, place = file.read(length - HEADER.size), 0
        while len(heap) - place >= OBJECT.size:
            number, size = OBJECT.unpack_from(heap, place)
            taken = OBJECT.size + -(-size // 8) * 8 if number else size
            left -= 1
            if not OBJECT.size <= taken <= len(heap) - place or not left:
                raise _damaged(path, at)
            place += taken


def _signatures(file: BinaryIO) -> list[int]:
    """Where heaps may begin, and so, with a chance of one in 2^40 a byte, something else."""
    found, start, rest = [], 0, b""
    file.seek(0)
    while piece := file.read(PIECE):
        piece = rest + piece
        at = piece.find(SIGNATURE)
        while at >= 0:
            found.append(start + at)
            at = piece.find(SIGNATURE, at + 1)
        rest = piece[1 - len(SIGNATURE) :]
        start += len(piece) - len(rest)
    return found


def _damaged(path: Path, at: int) -> WeightError:
    return WeightError(f"{path}: a damaged HDF5 file, its heap at byte {at:,}; get the file again")
