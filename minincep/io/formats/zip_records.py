"""The records of a zip file, found but never extracted: a name leads nowhere.

Python's library reads the list of records at the end of the file.  It is given the file through
`_Limited`, for that list may claim any length.
"""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field

from minincep.io.errors import WeightError
from minincep.io.formats.source import Source, Span

LONGEST_LIST = 1 << 22  # bytes; a record takes about a hundred
KNOWN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, length of name, length of extra field
HARMLESS = 0x080E  # flags: names in UTF-8, sizes after the content, how hard it was compressed


@dataclass
class Record:
    """A record of a zip file.

    Attributes
    ----------
    name
        As it is in the file.
    span
        Where its content is.
    size
        Bytes of the content when it is inflated.
    deflated
        Whether it has to be.
    """

    name: str
    span: Span
    size: int
    deflated: bool
    _crc: int
    _checked: bool = field(default=False, init=False)

    def check(self) -> None:
        """Compare the content, if it is not deflated, with its checksum, once.

        Raises
        ------
        WeightError
            If it is damaged.
        """
        if self._checked or not self._crc:  # PyTorch can be told to write 0
            return
        found = 0
        for piece in self.span.pieces():
            found = zlib.crc32(piece, found)
        self.compare(found)

    def compare(self, found: int) -> None:
        """Compare the CRC-32 of the inflated content with the one in the file.

        Raises
        ------
        WeightError
            If it is another one.
        """
        if self._crc != found:
            raise self.span.source.damaged(
                self.span.start, f"the checksum of {self.name!r:.200} is another one"
            )
        self._checked = True


class _Limited:
    """A file of which no large part is read at once."""

    def __init__(self, source: Source) -> None:
        self._source, self._at = source, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise OSError("before the file")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Some bytes from there."""
        size = self._source.size if size < 0 else size
        wanted = min(size, max(self._source.size - self._at, 0))
        if wanted > LONGEST_LIST:
            raise OSError(f"a list of records of {wanted:,} bytes")
        content = self._source.read(self._at, wanted)
        self._at += len(content)
        return content


def records(source: Source) -> dict[str, Record]:
    """All records by name, none of them read.

    Raises
    ------
    WeightError
        If it is no zip file, damaged or encrypted, or two records have one name.
    """
    path = source.path
    try:
        with zipfile.ZipFile(_Limited(source)) as archive:
            entries = archive.infolist()
    except WeightError:
        raise
    except Exception as error:  # for damaged files the library raises nearly anything
        raise WeightError(f"{path}: a zip file that cannot be read ({error!s:.200})") from None
    found: dict[str, Record] = {}
    for entry in entries:
        name = entry.filename
        if name in found:
            raise WeightError(f"{path}: two records are called {name!r:.200}")
        if entry.flag_bits & ~HARMLESS or entry.compress_type not in KNOWN:
            raise WeightError(
                f"{path}: {name!r:.200} is encrypted, or compressed in a way that is not known"
            )
        found[name] = _record(source, entry)
    return found


def _record(source: Source, entry: zipfile.ZipInfo) -> Record:
    """The record that an entry of the list tells of."""
    header = source.whole().part(entry.header_offset, LOCAL_HEADER.size)
    signature, name, extra = LOCAL_HEADER.unpack(header.content(LOCAL_HEADER.size))
    deflated = entry.compress_type != zipfile.ZIP_STORED
    if signature != b"PK\3\4" or (not deflated and entry.file_size != entry.compress_size):
        raise source.damaged(entry.header_offset, "a record should begin here")
    span = source.whole().part(header.stop + name + extra, entry.compress_size)
    return Record(entry.filename, span, entry.file_size, deflated, entry.CRC)
