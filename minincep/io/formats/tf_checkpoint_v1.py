"""TensorFlow checkpoints, version 1: one file, as the slim networks of 2016 were released.

It is a sorted table of messages.  The first, whose key is empty, describes all variables; each
other one holds a variable, or a part of one.

    SavedTensorSlices       meta 1, data 2
    SavedTensorSliceMeta    tensor 1
    SavedSliceMeta          name 1, shape 2, type 3, slice 4
    SavedSlice              name 1, slice 2, data 3 (TensorProto)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minincep.io.errors import WeightError
from minincep.io.formats.source import Span, opened
from minincep.io.formats.stored import Stored, check_size
from minincep.io.formats.tf_table import entries
from minincep.io.formats.tf_tensor import dtype_of, is_whole, refuse_parts, shape_of, tensor
from minincep.io.formats.wire import fields

META, DATA = 1, 2


@contextmanager
def arrays(path: Path) -> Iterator[dict[str, Stored]]:
    """Arrays by the names of the variables.

    Raises
    ------
    WeightError
        If the file is missing, damaged or of another kind.
    """
    with opened(path) as source:
        variables: dict[str, _Variable] = {}
        found: dict[str, Stored] = {}
        for key, value in entries(source):
            for field in fields(value):
                if not key and field.number == META:
                    variables.update(_variables(field.message()))
                elif key and field.number == DATA:
                    name, data = _part(field.message())
                    if name not in variables:
                        raise source.damaged(value.start, f"{name!r:.200} is not described")
                    found[name] = variables[name].stored(data)
        if missing := [name for name in variables if name not in found]:
            raise WeightError(f"{path}: {missing[0]!r:.200} is described, but not there")
        check_size(path, found.values())
        yield found


@dataclass(frozen=True)
class _Variable:
    """What the first message says of a variable."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    whole: bool

    def stored(self, data: Span) -> Stored:
        if self.whole:
            return tensor(data, self.name, self.dtype, self.shape)
        refuse = partial(refuse_parts, data.source.path, self.name)
        return Stored(self.shape, self.dtype, 0, refuse)


def _variables(meta: Span) -> Iterator[tuple[str, _Variable]]:
    for field in fields(meta):
        if field.number == 1:
            variable = _variable(field.message())
            yield variable.name, variable


def _variable(message: Span) -> _Variable:
    name, dtype, shape, slices = "", "", None, []
    for field in fields(message):
        match field.number:
            case 1:
                name = field.text()
            case 2:
                shape = field.message()
            case 3:
                dtype = dtype_of(field.integer())
            case 4:
                slices.append(field.message())
    lengths = () if shape is None else shape_of(shape, name)
    return _Variable(name, dtype, lengths, is_whole(slices))


def _part(message: Span) -> tuple[str, Span]:
    """Name of a variable, and the numbers of a part of it."""
    name, data = "", None
    for field in fields(message):
        if field.number == 1:
            name = field.text()
        elif field.number == 3:
            data = field.message()
    if data is None:
        raise message.source.damaged(message.start, f"{name!r:.200} has no numbers")
    return name, data
