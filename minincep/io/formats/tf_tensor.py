"""TensorFlow's messages about arrays: types, shapes, and the arrays themselves.

TensorShapeProto    dim 2 (size 1), unknown_rank 3
TensorSliceProto    extent 1 (start 1, length 2)
TensorProto         dtype 1, tensor_shape 2, tensor_content 4, float_val 5, double_val 6,
                    half_val 13
"""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from minincep.io.errors import WeightError
from minincep.io.formats.numbers import NUMBER_BYTES, as_float32, bits16, check_shape, floats
from minincep.io.formats.source import Span
from minincep.io.formats.stored import Stored
from minincep.io.formats.wire import FIXED32, FIXED64, VARINT, fields
from minincep_kernels import Array

IN_ORDER = (  # by number
    "invalid float32 float64 int32 uint8 int16 int8 text complex64 int64 bool qint8 quint8 qint32 "
    "bfloat16 qint16 quint16 uint16 complex128 float16 resource variant uint32 uint64"
)
DTYPES = IN_ORDER.split()
FLOAT_VAL, DOUBLE_VAL, HALF_VAL = 5, 6, 13
VALUES = {"float32": FLOAT_VAL, "float64": DOUBLE_VAL, "float16": HALF_VAL, "bfloat16": HALF_VAL}
WIRE_TYPES = {FLOAT_VAL: FIXED32, DOUBLE_VAL: FIXED64, HALF_VAL: VARINT}


def dtype_of(number: int) -> str:
    """NumPy's word for one of TensorFlow's types."""
    return DTYPES[number] if 0 <= number < len(DTYPES) else f"numbers of type {number}"


def shape_of(message: Span, name: str) -> tuple[int, ...]:
    """The shape in a TensorShapeProto.

    Raises
    ------
    WeightError
        If it is not known, or impossible.
    """
    shape = []
    for field in fields(message):
        if field.number == 2:
            sizes = [entry.integer() for entry in fields(field.message()) if entry.number == 1]
            shape.append(sizes[-1] if sizes else 0)
        elif field.number == 3 and field.integer():
            raise WeightError(f"{message.source.path}: the shape of {name!r:.200} is not known")
    return check_shape(message.source.path, name, shape)


def is_whole(slices: Sequence[Span]) -> bool:
    """Whether a variable is stored in one part: in one slice, which has no lengths."""
    return len(slices) == 1 and not any(
        entry.number == 2
        for extent in fields(slices[0])
        if extent.number == 1
        for entry in fields(extent.message())
    )


def refuse_parts(path: Path, name: str) -> Array:
    """Say that a variable is stored in parts."""
    raise WeightError(
        f"{path}: {name!r:.200} is a partitioned variable, whose parts are not put together here: "
        "save it in TensorFlow without a partitioner"
    )


def tensor(
    message: Span, name: str, dtype: str = "", shape: tuple[int, ...] | None = None
) -> Stored:
    """The array of a TensorProto, its numbers not read yet.

    Parameters
    ----------
    name
        For messages.
    dtype, shape
        If it is known from elsewhere; the message's own are passed over then.

    Raises
    ------
    WeightError
        If it is damaged, or there can be no such array.
    """
    content: Span | None = None
    values: dict[int, list[Span]] = {}
    own_dtype = DTYPES[0]
    own_shape: tuple[int, ...] = ()
    for field in fields(message):
        match field.number:
            case 1:
                own_dtype = dtype_of(field.integer())
            case 2:
                own_shape = shape_of(field.message(), name)
            case 4:
                content = field.message()
            case 5 | 6 | 13:
                spans = values.setdefault(field.number, [])
                spans.append(field.numbers(WIRE_TYPES[field.number]))
    dtype, shape = dtype or own_dtype, own_shape if shape is None else shape
    size = NUMBER_BYTES.get(dtype, 0) * math.prod(shape)
    if content is not None and len(content) > 0:
        return Stored(shape, dtype, size, partial(floats, message, name, dtype, shape, [content]))
    spans = values.get(VALUES.get(dtype, 0), [])
    return Stored(shape, dtype, size, partial(_repeated, message, name, dtype, shape, spans))


def _repeated(
    message: Span, name: str, dtype: str, shape: tuple[int, ...], spans: Sequence[Span]
) -> Array:
    """An array from a list of values, the last of which stands for all that are not there."""
    if VALUES.get(dtype) == HALF_VAL:
        bits = bits16(spans, math.prod(shape))
        values = as_float32(bits.view("<f2") if dtype == "float16" else bits, dtype)
    else:
        count = sum(map(len, spans)) // NUMBER_BYTES.get(dtype, 1)
        values = floats(message, name, dtype, (count,), spans)
    if values.size == math.prod(shape):
        return values.reshape(shape)
    if values.size > math.prod(shape):
        raise message.source.damaged(message.start, f"{name!r:.200} has more numbers than places")
    filled = np.full(math.prod(shape), values[-1] if values.size else 0, np.float32)
    filled[: values.size] = values
    return filled.reshape(shape)
