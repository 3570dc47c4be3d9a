"""What torch.save wrote before PyTorch 1.6: pickles one after the other, then all numbers.

pickle      a magic number
pickle      version of the protocol, 1001
pickle      about the machine that wrote it; the numbers are little-endian on all of them
pickle      what was saved, in which keys stand for the numbers of tensors
pickle      the keys, in the order in which the numbers follow
numbers     for each key their count, 8 bytes, then so many numbers
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from minincep.io.errors import WeightError
from minincep.io.formats.numbers import NUMBER_BYTES
from minincep.io.formats.source import Source, Span, opened
from minincep.io.formats.stored import Stored
from minincep.io.formats.torch_pickle import LONGEST, Machine, Storage
from minincep.io.formats.torch_state import stored, tensors

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


@contextmanager
def arrays(path: Path) -> Iterator[dict[str, Stored]]:
    """Tensors by name; none of them read, and nothing of the file executed.

    Raises
    ------
    WeightError
        If the file is missing or damaged, or holds anything but tensors, plain containers, numbers
        and text.
    """
    with opened(path) as source:
        machine = Machine(path, source.read(0, LONGEST))
        if machine.run() != MAGIC or machine.run() != PROTOCOL:
            raise WeightError(f"{path}: not a file of PyTorch, or of one before 0.1.10")
        machine.run()
        found = tensors(path, machine.run())
        keys = machine.run()
        yield stored(path, found, _spans(source, machine.position, keys, machine.storages))


def _spans(
    source: Source, at: int, keys: object, storages: Mapping[str, Storage]
) -> dict[str, Span]:
    """Where the numbers of each storage are, by key."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise source.damaged(at, "before this, the keys of the numbers should be")
    spans: dict[str, Span] = {}
    for key in keys:
        if key in spans or key not in storages:
            raise source.damaged(at, f"numbers {key!r:.200} are there twice, or unknown")
        header = source.whole().part(at, 8)
        size = NUMBER_BYTES[storages[key].dtype]
        count = int.from_bytes(header.content(8), "little")
        spans[key] = source.whole().part(header.stop, count * size)
        at = spans[key].stop
    return spans
