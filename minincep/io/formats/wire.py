"""The wire format of Protocol Buffers: what ONNX and TensorFlow write their messages in.

A message is a sequence of fields.  Each begins with a varint (7 bits a byte, the lowest first; the
top bit says that more follow): the number of the field and how its value is stored.  What a number
means is not in the file; each reader knows those of its own messages, and skips the rest.

    wire type 0     varint
    wire type 1     8 bytes
    wire type 2     varint length, then so many bytes: text, a message, or a list of numbers
    wire type 5     4 bytes

Nothing here goes into a message of its own accord, so no nesting is too deep.

References
----------
Encoding, https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minincep.io.formats.source import Span

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT = 10  # bytes, for 64 bits


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Attributes
    ----------
    number
        Which field it is.
    kind
        Wire type.
    value
        A varint's, else 0.
    span
        Where the value is; of wire type 2, without the length.
    """

    number: int
    kind: int
    value: int
    span: Span

    def integer(self) -> int:
        """The value of a number, two's complement of 64 bits.

        Raises
        ------
        WeightError
            If it is no varint.
        """
        self._expect(VARINT, "a number")
        return self.value - (1 << 64) if self.value >> 63 else self.value

    def message(self) -> Span:
        """Where a message, text or list of numbers is.

        Raises
        ------
        WeightError
            If it is something else.
        """
        self._expect(BYTES, "a message or text")
        return self.span

    def text(self) -> str:
        """The value of a text.

        Raises
        ------
        WeightError
            If it is something else, or too long.
        """
        return self.message().text()

    def numbers(self, kind: int) -> Span:
        """Where one number of a wire type, or a list of them, is.

        Raises
        ------
        WeightError
            If it is something else.
        """
        if self.kind != BYTES:
            self._expect(kind, "numbers")
        return self.span

    def fixed32(self) -> int:
        """The value of a number that is always stored in 4 bytes.

        Raises
        ------
        WeightError
            If it is something else.
        """
        self._expect(FIXED32, "a number of 4 bytes")
        return int.from_bytes(self.span.content(4), "little")

    def _expect(self, kind: int, what: str) -> None:
        if self.kind != kind:
            raise self.span.source.damaged(
                self.span.start, f"field {self.number} of a message should be {what}"
            )


def varint(span: Span, at: int) -> tuple[int, int]:
    """The number that begins at a byte, and where it ends.

    Raises
    ------
    WeightError
        If it has no end, or more than 64 bits.
    """
    value = 0
    for count, byte in enumerate(span.source.read(at, min(LONGEST_VARINT, span.stop - at))):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80 and value < 1 << 64:
            return value, at + count + 1
    raise span.source.damaged(at, "a number without end")


def fields(message: Span) -> Iterator[Field]:
    """All fields of a message, in the order of the file.

    Raises
    ------
    WeightError
        If it is no message, or the file has more fields than any has.
    """
    source, at = message.source, message.start
    while at < message.stop:
        source.fields_left -= 1
        if source.fields_left < 0:
            raise source.damaged(at, "more fields than any model has")
        tag, start = varint(message, at)
        number, kind = tag >> 3, tag & 7
        value, length = 0, {FIXED64: 8, FIXED32: 4}.get(kind, 0)
        if kind == VARINT:
            value, stop = varint(message, start)
            length = stop - start
        elif kind == BYTES:
            length, start = varint(message, start)
        if kind not in (VARINT, FIXED64, BYTES, FIXED32) or not 0 < number < 1 << 29:
            raise source.damaged(at, "this is no field of a message")
        span = message.part(start, length)
        yield Field(number, kind, value, span)
        at = span.stop


def varints(packed: Span) -> Iterator[npt.NDArray[np.uint64]]:
    """A list of varints that follow each other, very many at a time.

    Raises
    ------
    WeightError
        If one of them has no end.
    """
    begun, damaged = b"", False
    for piece in packed.pieces(1 << 16):
        stored = np.frombuffer(begun + piece, np.uint8)
        ends = np.flatnonzero(stored < 0x80) + 1
        begun = stored[ends[-1] if ends.size else 0 :].tobytes()
        lengths = np.diff(ends, prepend=0)
        values = np.zeros(len(ends), np.uint64)
        damaged = max(lengths.max(initial=0), len(begun)) > LONGEST_VARINT
        if damaged:
            break
        for count in range(lengths.max(initial=0)):
            more = lengths > count
            byte = stored[(ends - lengths)[more] + count].astype(np.uint64) & np.uint64(0x7F)
            values[more] |= byte << np.uint64(7 * count)
        yield values
    if damaged or begun:
        raise packed.source.damaged(packed.start, "a list of numbers one of which has no end")
