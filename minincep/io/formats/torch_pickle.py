"""The part of pickle that tensors and plain containers need, interpreted here.

A pickle is a program for a small machine with a stack, and Python's own machine calls whatever the
program names.  This one calls nothing and imports nothing.  It knows a few names, each of which
stands for a tuple, a dict, a type of numbers or a tensor without its numbers; a program with any
other name, or with an operation that these do not need, is refused.

A pickle of 20 bytes can stand for a structure of 2^20 parts, by naming a part twice, again and
again.  So what is built here must be walked through with a limit (`torch_state`).

References
----------
`pickletools` in Python's library, which says what each operation does; torch/_utils.py.
"""

import pickletools
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from minincep.io.errors import WeightError
from minincep.io.formats.numbers import MOST_AXES
from minincep.io.text import printable

LONGEST = 1 << 24  # bytes of all pickles of a file; an array takes about 160
MOST_STEPS = 1_000_000  # an array takes 40; with the state of an optimiser, three times as many
LONGEST_INTEGER = 16  # bytes
MOST_ARGUMENTS = 7
NEWEST = 5  # protocol

DTYPES = {
    "torch.FloatStorage": "float32",
    "torch.DoubleStorage": "float64",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}
CALLS = (
    "collections.OrderedDict",
    "torch.Size",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
)

OPERATIONS = {entry.code.encode("latin-1"): entry.name for entry in pickletools.opcodes}

KEYS = 1 << 31  # larger integers as keys could be chosen so that a dict becomes slow

Kind = TypeVar("Kind")

_NO_CONSTANT = object()


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file, or a part of it.

    Attributes
    ----------
    key
        Its name.
    dtype
        In NumPy's words, or "bfloat16".
    whole
        How many numbers are stored under this name.
    first, count
        Which of them are meant.
    """

    key: str
    dtype: str
    whole: int
    first: int
    count: int


@dataclass(frozen=True)
class Tensor:
    """An array: the numbers of a storage from `offset` on, in these strides."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def span(self) -> int:
        """How many numbers lie from its first to its last in the storage."""
        if 0 in self.shape:
            return 0
        lengths = zip(self.shape, self.strides, strict=True)
        return 1 + sum((length - 1) * stride for length, stride in lengths)


@dataclass(frozen=True)
class _Name:
    """A name from the list of those that are known."""

    name: str


class Machine:
    """Runs the pickles that stand one after the other in some bytes.

    Attributes
    ----------
    position
        Of the byte after the last pickle.
    storages
        All that the pickles refer to, by key.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self.position = 0
        self.storages: dict[str, Storage] = {}
        self._path, self._content = path, content
        self._steps = 0
        self._stack: list[object] = []
        self._below: list[list[object]] = []  # stacks that were begun before the last mark
        self._memo: dict[int, object] = {}

    def run(self) -> object:
        """The next pickle: containers, numbers, text, and tensors without their numbers.

        Raises
        ------
        WeightError
            If it is damaged, or names or does what no tensor needs.
        """
        self._stack, self._below, self._memo = [], [], {}
        try:
            while (code := self._bytes(1)) != b".":
                self._spend(1)
                self._step(code)
            return self._stack.pop()
        except (ValueError, LookupError, TypeError, struct.error) as error:
            if isinstance(error, WeightError):
                raise
            raise WeightError(
                f"{self._path}: damaged at byte {self.position:,} of its pickle "
                f"({error!s:.200}); get the file again"
            ) from None

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise WeightError(
                f"{self._path}: holds far more than the arrays of a network; save those alone, "
                "torch.save(model.state_dict(), ...)"
            )

    def _bytes(self, count: int) -> bytes:
        start = self.position
        if count > len(self._content) - start:
            raise ValueError("it ends too early")
        self.position += count
        return self._content[start : self.position]

    def _line(self) -> str:
        end = self._content.index(b"\n", self.position, self.position + 1024)
        line = self._content[self.position : end].decode()
        self.position = end + 1
        return line

    def _number(self, layout: str) -> int:
        number: int = struct.unpack(layout, self._bytes(struct.calcsize(layout)))[0]
        return number

    def _since_mark(self) -> list[object]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _step(self, code: bytes) -> None:
        """One operation."""
        if (value := self._constant(code)) is not _NO_CONSTANT:
            self._stack.append(value)
            return
        stack = self._stack
        match code:
            case b"\x80":  # PROTO
                if (protocol := self._number("<B")) > NEWEST:
                    raise ValueError(f"protocol {protocol} is not known")
            case b"\x95":  # FRAME
                self._bytes(8)
            case b"(":
                self._below.append(stack)
                self._stack = []
            case b"t" | b"\x85" | b"\x86" | b"\x87":  # TUPLE, TUPLE1 to TUPLE3
                count = code[0] - 0x84
                items = self._since_mark() if code == b"t" else _last(stack, count)
                self._stack.append(tuple(items))
            case b"a" | b"e":  # APPEND, APPENDS
                items = self._since_mark() if code == b"e" else _last(stack, 1)
                _expect(list, self._stack[-1]).extend(items)
            case b"s" | b"u":  # SETITEM, SETITEMS
                items = self._since_mark() if code == b"u" else _last(stack, 2)
                self._update(
                    _expect(dict, self._stack[-1]), zip(items[::2], items[1::2], strict=True)
                )
            case b"q" | b"r":  # BINPUT, LONG_BINPUT
                self._memo[self._number("<B" if code == b"q" else "<I")] = stack[-1]
            case b"\x94":  # MEMOIZE
                self._memo[len(self._memo)] = stack[-1]
            case b"h" | b"j":  # BINGET, LONG_BINGET
                stack.append(self._memo[self._number("<B" if code == b"h" else "<I")])
            case b"c" | b"i":  # GLOBAL, and INST, which calls it
                stack.append(self._name(self._line(), self._line()))
                if code == b"i":
                    self._refuse("the operation INST")
            case b"\x93":  # STACK_GLOBAL
                module, name = _last(stack, 2)
                stack.append(self._name(_expect(str, module), _expect(str, name)))
            case b"R":  # REDUCE: what a name says, of these arguments
                called, arguments = _last(stack, 2)
                stack.append(self._call(_expect(_Name, called).name, _expect(tuple, arguments)))
            case b"b":  # BUILD: attributes of an OrderedDict, such as the versions of its modules
                state = stack.pop()
                _expect(dict, stack[-1])
                _expect(dict, state)
            case b"Q":  # BINPERSID
                storage = _storage(_expect(tuple, stack.pop()))
                known = self.storages.setdefault(storage.key, storage)
                if (known.dtype, known.whole) != (storage.dtype, storage.whole):
                    raise ValueError("one storage with two types or lengths")
                stack.append(storage)
            case _:
                if code not in OPERATIONS:
                    raise ValueError(f"an operation {code!r}")
                self._refuse(f"the operation {OPERATIONS[code]}")

    def _constant(self, code: bytes) -> object:
        """What an operation puts on the stack, if that is all that it does."""
        match code:
            case b"N":
                return None
            case b"\x88" | b"\x89":
                return code == b"\x88"
            case b"K":
                return self._number("<B")
            case b"M":
                return self._number("<H")
            case b"J":
                return self._number("<i")
            case b"\x8a":  # LONG1
                if (length := self._number("<B")) > LONGEST_INTEGER:
                    raise ValueError(f"an integer of {length} bytes")
                return int.from_bytes(self._bytes(length), "little", signed=True)
            case b"G":
                value: float = struct.unpack(">d", self._bytes(8))[0]
                return value
            case b"X" | b"T":  # BINUNICODE, BINSTRING, which Python 2 wrote
                return self._bytes(self._number("<I")).decode()
            case b"\x8c" | b"U":  # SHORT_BINUNICODE, SHORT_BINSTRING
                return self._bytes(self._number("<B")).decode()
            case b"]":
                return []
            case b"}":
                return {}
            case b")":
                return ()
        return _NO_CONSTANT

    def _name(self, module: str, name: str) -> _Name:
        full = f"{module}.{name}"
        if full not in DTYPES and full not in CALLS:
            self._refuse(full)
        return _Name(full)

    def _call(self, name: str, arguments: tuple[object, ...]) -> object:
        if name not in CALLS:
            self._refuse(f"a call of {name}")
        if len(arguments) > MOST_ARGUMENTS:
            raise ValueError(f"a call with {len(arguments):,} arguments")
        if name == "collections.OrderedDict":
            ordered: dict[object, object] = {}
            for given in arguments:  # Python 2 gives the content here, Python 3 sets it after
                pairs = _expect(list, given)
                self._spend(len(pairs))  # a long list could be given again and again
                self._update(ordered, [_expect(list, pair) for pair in pairs])
            return ordered
        if name == "torch.Size":
            return _expect(tuple, *arguments)
        if name == "torch._utils._rebuild_parameter":
            return _expect(Tensor, arguments[0])
        if any(arguments[6:]):
            self._refuse("a tensor that stands for its negative or conjugate")
        return _tensor(*arguments[:4])

    def _update(self, target: dict[object, object], pairs: Iterable[Iterable[object]]) -> None:
        for key, value in pairs:
            if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < KEYS):
                self._refuse(f"a dict with a key that is no text, but {type(key).__name__}")
            target[key] = value

    def _refuse(self, what: str) -> NoReturn:
        raise WeightError(
            f"{self._path}: holds {printable(what):.200}, which no array needs; nothing of it was "
            "run: save the arrays alone, torch.save(model.state_dict(), ...)"
        )


def _expect(kind: type[Kind], value: object) -> Kind:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} where {kind.__name__} should be")
    return value


def _last(stack: list[object], count: int) -> list[object]:
    """Take the last entries off a stack."""
    if len(stack) < count:
        raise IndexError("too little on the stack")
    items = stack[-count:]
    del stack[-count:]
    return items


def _count(value: object) -> int:
    """A whole number that can be one of numbers in a file."""
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise ValueError("a count or a stride that cannot be")
    return value


def _storage(entry: tuple[object, ...]) -> Storage:
    """What stands for the numbers: ("storage", type, key, device, count), then perhaps a part."""
    if entry[0] != "storage" or len(entry) not in (5, 6):
        raise ValueError("it refers to something that is no storage")
    dtype = DTYPES[_expect(_Name, entry[1]).name]
    key, whole = _expect(str, entry[2]), _count(entry[4])
    if len(entry) == 5 or entry[5] is None:
        return Storage(key, dtype, whole, 0, whole)
    _, first, count = _expect(tuple, entry[5])
    first, count = _count(first), _count(count)
    if first + count > whole:
        raise ValueError("a part of a storage that ends after it")
    return Storage(key, dtype, whole, first, count)


def _tensor(storage: object, offset: object, shape: object, strides: object) -> Tensor:
    lengths, steps = _expect(tuple, shape), _expect(tuple, strides)
    if len(lengths) != len(steps) or len(lengths) > MOST_AXES:
        raise ValueError("a shape and strides that are not of one array")
    return Tensor(
        _expect(Storage, storage),
        _count(offset),
        tuple(map(_count, lengths)),
        tuple(map(_count, steps)),
    )
