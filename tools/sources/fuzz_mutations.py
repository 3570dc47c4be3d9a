"""Ways to spoil a file: bits, lengths, ends, pieces of other files, pieces twice."""

import random
from collections.abc import Sequence

EXTREMES = [
    *(0, 1, 2, 3, 7, 16, 127, 128, 255, 256, 4096, 65535, 65536, 10**6),
    *((1 << bits) + add for bits in (24, 31, 32, 40, 48, 63, 64) for add in (-1, 0)),
]
HOSTILE = [
    b"cos\nsystem\n(S'touch escaped'\ntR",
    b'c__builtin__\neval\n(S\'open("escaped", "w")\'\ntR',
    b"cbuiltins\nexec\n(X\x01\x00\x00\x00xtR",
    b"ccopyreg\n_reconstructor\n",
    b"../../../../../etc/passwd",
    b"/etc/passwd",
    b"/dev/zero",
    b"\xff" * 10,
    b"\x80" * 9 + b"\x01",
    b"[" * 3000,
    b"9" * 5000,
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"\x1b[31m\x07",
    "\u202e\U0001f4a5".encode(),
]


class Mutator:
    """Spoils bytes by a seed.

    Attributes
    ----------
    random
        Draws what is done, and where.
    """

    def __init__(self, seed: str, donors: Sequence[bytes]) -> None:
        self.random = random.Random(seed)
        self._donors = donors

    def choose(self, count: int) -> int:
        """One of so many numbers, from 0 on."""
        return self.random.randrange(count)

    def mutate(self, content: bytes, numbers: Sequence[tuple[int, int]] = ()) -> bytes:
        """Content with one to four changes.

        Parameters
        ----------
        numbers
            Where the values of arrays are: half of the changes are elsewhere, the rest anywhere.
        """
        spoiled = bytearray(content)
        same_length = True  # so that `numbers` still says what is where
        for _ in range(self.random.choice([1, 1, 2, 4])):
            if not spoiled:
                break
            at = self._place(spoiled, numbers if same_length else ())
            before = len(spoiled)
            self.random.choice(OPERATIONS)(self, spoiled, at)
            same_length = same_length and len(spoiled) == before
        return bytes(spoiled)

    def _place(self, content: bytearray, numbers: Sequence[tuple[int, int]]) -> int:
        anywhere = self.random.randrange(len(content))
        if not numbers or self.random.random() < 0.5:
            return anywhere
        starts = [0, *(stop for _, stop in numbers)]
        gaps = [
            (start, min([first for first, _ in numbers if first >= start], default=len(content)))
            for start in starts
        ]
        gaps = [(start, stop) for start, stop in gaps if start < stop]
        if not gaps:
            return anywhere
        weights = [stop - start for start, stop in gaps]
        start, stop = self.random.choices(gaps, weights)[0]
        return self.random.randrange(start, stop)

    def _flip(self, content: bytearray, at: int) -> None:
        for _ in range(self.random.choice([1, 1, 1, 8])):
            near = min(at + self.random.randrange(8), len(content) - 1)
            content[near] ^= 1 << self.random.randrange(8)

    def _byte(self, content: bytearray, at: int) -> None:
        content[at] = self.random.choice([0, 0xFF, 0x80, 0x7F, self.random.randrange(256)])

    def _length(self, content: bytearray, at: int) -> None:
        """An extreme number, as they are stored: fixed, as a varint, or as text."""
        number = self.random.choice(EXTREMES)
        size = self.random.choice([1, 2, 4, 4, 8, 8])
        order = self.random.choice(["little", "little", "little", "big"])
        fixed = (number % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]
        varint = bytes(number >> 7 * i & 0x7F | 0x80 for i in range(9)) + b"\x01"
        written = self.random.choice([fixed, fixed, fixed, varint, str(number).encode()])
        self._put(content, at, written, over=self.random.random() < 0.8)

    def _truncate(self, content: bytearray, at: int) -> None:
        del content[at:]

    def _delete(self, content: bytearray, at: int) -> None:
        del content[at : at + self.random.choice([1, 2, 4, 8, 64])]

    def _splice(self, content: bytearray, at: int) -> None:
        donor = self.random.choice(self._donors)
        start = self.random.randrange(max(len(donor), 1))
        piece = donor[start : start + self.random.choice([4, 16, 64, 1024])]
        self._put(content, at, piece, over=self.random.random() < 0.5)

    def _twice(self, content: bytearray, at: int) -> None:
        piece = bytes(content[at : at + self.random.choice([4, 16, 64, 512, 4096])])
        there = self.random.choice([at, self.random.randrange(len(content))])
        self._put(content, there, piece, over=self.random.random() < 0.3)

    def _hostile(self, content: bytearray, at: int) -> None:
        piece = self.random.choice(HOSTILE)
        self._put(content, at, piece, over=self.random.random() < 0.5)

    def _put(self, content: bytearray, at: int, piece: bytes, *, over: bool) -> None:
        content[at : at + len(piece) if over else at] = piece


OPERATIONS = [
    *(Mutator._flip, Mutator._flip, Mutator._byte, Mutator._length, Mutator._length),
    *(Mutator._truncate, Mutator._delete, Mutator._splice, Mutator._twice, Mutator._hostile),
]
