"""From what PyTorch saved to arrays by name.

The names of nested containers are joined with dots: `{"state_dict": {"conv.weight": ...}}` holds
`state_dict.conv.weight`.  A network that was wrapped has `module.` before all its names.  Both is
left to the tables of names.  What is no tensor is passed over.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minincep.io.errors import WeightError
from minincep.io.formats.numbers import NUMBER_BYTES, STORED_AS, as_float32, check_shape
from minincep.io.formats.source import Span
from minincep.io.formats.stored import Stored
from minincep.io.formats.torch_pickle import Tensor
from minincep_kernels import Array

DEEPEST = 16  # containers in containers
LONGEST_NAME = 512
MOST_ARRAYS = 100_000
MOST_PARTS = 1_000_000  # of containers; one that is there twice counts twice

Order = Literal["<", ">"]


def tensors(path: Path, saved: object) -> dict[str, Tensor]:
    """All tensors of nested containers by name.

    Raises
    ------
    WeightError
        If there are none, two have one name, or the containers are without end.
    """
    found: dict[str, Tensor] = {}
    waiting: list[tuple[str, int, object]] = [("", 0, saved)]
    parts = 0
    while waiting:
        name, depth, value = waiting.pop()
        if isinstance(value, Tensor):
            if name in found:
                raise WeightError(f"{path}: two arrays are called {name!r:.200}")
            found[name] = value
        elif isinstance(value, dict | list | tuple):
            parts += len(value)
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            inside = [pair for pair in pairs if isinstance(pair[1], Tensor | dict | list | tuple)]
            beyond = depth == DEEPEST or parts > MOST_PARTS
            if beyond or len(found) + len(waiting) + len(inside) > MOST_ARRAYS:
                raise WeightError(f"{path}: holds far more containers or arrays than a network")
            for key, part in reversed(inside):
                longer = f"{name}.{key}" if depth else f"{key}"
                if len(longer) > LONGEST_NAME:
                    raise WeightError(f"{path}: {longer!r:.200} is too long a name")
                waiting.append((longer, depth + 1, part))
    if not found:
        raise WeightError(f"{path}: holds no tensors; save model.state_dict() with torch.save")
    return found


def stored(
    path: Path,
    found: Mapping[str, Tensor],
    spans: Mapping[str, Span],
    check: Callable[[str], None] = lambda key: None,
    order: Order = "<",
) -> dict[str, Stored]:
    """Arrays that are read from where their storages are.

    Parameters
    ----------
    spans
        Where the numbers of the storages are, by key.
    check
        Called with the key of a storage before it is read.

    Raises
    ------
    WeightError
        If a storage is not there or too short, or a tensor reaches out of it or repeats it.
    """
    arrays = {}
    for name, tensor in found.items():
        storage, count = tensor.storage, math.prod(check_shape(path, name, tensor.shape))
        span, size = spans.get(storage.key), NUMBER_BYTES[storage.dtype]
        if span is None or len(span) < storage.whole * size:
            is_there = "missing" if span is None else f"only {len(span):,} bytes"
            raise WeightError(
                f"{path}: the numbers of {name!r:.200} should be {storage.whole * size:,} bytes, "
                f"and are {is_there}; get the file again"
            )
        if tensor.offset + tensor.span > storage.count:
            raise WeightError(f"{path}: {name!r:.200} ends after its numbers; get the file again")
        if count > storage.count:
            raise WeightError(
                f"{path}: {name!r:.200} has {count:,} numbers, of which only {storage.count:,} are "
                "stored; save tensor.contiguous()"
            )
        read = partial(_read, path, name, tensor, span, check, order)
        arrays[name] = Stored(tensor.shape, storage.dtype, size * count, read)
    return arrays


def _read(
    path: Path,
    name: str,
    tensor: Tensor,
    span: Span,
    check: Callable[[str], None],
    order: Order,
) -> Array:
    """An array -> float32, whatever its strides in the file."""
    storage = tensor.storage
    if storage.dtype not in STORED_AS:
        raise WeightError(
            f"{path}: {name!r:.200} holds {storage.dtype}, not floating-point numbers"
        )
    check(storage.key)
    size = NUMBER_BYTES[storage.dtype]
    start = span.start + (storage.first + tensor.offset) * size
    content = np.empty(tensor.span * size, np.uint8)
    filled = 0
    for piece in span.part(start, content.size).pieces():
        content[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    numbers = content.view(np.dtype(STORED_AS[storage.dtype]).newbyteorder(order))
    flat = as_float32(numbers, storage.dtype)
    strides = [step * flat.itemsize for step in tensor.strides]
    return np.ascontiguousarray(as_strided(flat, tensor.shape, strides)).reshape(tensor.shape)
