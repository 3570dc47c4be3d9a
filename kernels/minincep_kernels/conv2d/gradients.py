"""Convolutions of a training step, as programs: their filters packed anew, and their gradients.

*Forward* is the step of a plan (`program.products`, `program.tiles`) after one that packs.

*Input gradient*, stride 1: again a convolution, of the output gradient with the turned filters,
rotated by 180 degrees and with input and output channels exchanged.  With a stride s, pixel h of
the input meets only the taps u with h + PT - u a multiple of s.  So the pixels of one remainder
see a smaller filter, without a stride: s x s such *phases*, each a convolution of gy, put together
give the whole, and no zero is ever multiplied.

*Filter gradient*: sums of outer products over all pixels (`outer`), for some shapes after
Winograd's transforms (`winograd_gradient`).

All of it in float32 only; `im2col` does float64.
"""

import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import prange

from minincep_kernels import Array, machine
from minincep_kernels.buffers import empty
from minincep_kernels.jit import kernel
from minincep_kernels.microkernel import COLUMNS, ROWS
from minincep_kernels.program import crew, learn
from minincep_kernels.program.layout import Method, choose
from minincep_kernels.program.run import scratch_of
from minincep_kernels.program.runner import Room, Runner
from minincep_kernels.program.step import STEP, ZEROS, Kind
from minincep_kernels.program.task import OFFSETS, TASK, Task, offsets_of
from minincep_kernels.program.tiles import SIZES
from minincep_kernels.shapes import Conv2dShape
from minincep_kernels.vectors import COLUMNS_SLACK, LANES, padded
from minincep_kernels.winograd import TILES

TRANSFORMED = 6 << 20  # floats of transformed tiles, of both sides, at a time
TILES_A_CHUNK = 16
HIGHEST = 18 * ROWS  # rows of a chunk, of which a copy stays in the level-2 cache
ALIGNED = 16  # floats in a cache line
NOTHING = np.zeros(ZEROS, np.float32)


class _Kept(threading.local):
    """What each Python thread keeps from call to call.

    Who uses a thing takes it out meanwhile: a signal handler that comes in between finds none, and
    makes its own.
    """

    def __init__(self) -> None:
        self.room = Room()
        self._things: dict[object, Any] = {}

    def take(self, key: object, make: Callable[[], Any]) -> Any:
        """A thing that was put back, or a new one."""
        return self._things.pop(key, None) or make()

    def put_back(self, key: object, thing: Any) -> None:
        self._things[key] = thing

    def take_memory(self, floats: int) -> Array:
        """At least so many floats, which may be in the caches still."""
        memory: Array = self._things.pop("memory", NOTHING)
        return memory if memory.size >= floats else empty((floats,), np.float32)


_kept = _Kept()


@dataclass(frozen=True, eq=False)
class _Schedule:
    """Tasks that are worked out once for a shape, and done again and again on other arrays.

    Attributes
    ----------
    table
        Array of `TASK`, with offsets from the beginning of an array.
    arrays
        For each task, which arrays its offsets are in: (tasks, 3).
    scratch
        Floats of scratch memory that a thread needs.
    """

    table: Any
    arrays: Array
    scratch: int

    def __call__(self, *arrays: Array) -> None:
        """Do the tasks, in order."""
        self.before((), *arrays)

    def before(self, others: Sequence[crew.Job], *arrays: Array) -> None:
        """The same, and then other jobs."""
        runner, offsets = _kept.take(self, self._begin)
        places = np.array([array.ctypes.data // 4 for array in arrays])
        np.add(places[self.arrays], offsets_of(self.table), out=offsets)
        crew.run(runner.job(0, len(self.table), 1, NOTHING, 0, 0), *others)
        _kept.put_back(self, (runner, offsets))

    def _begin(self) -> tuple[Runner, Any]:
        table = self.table.copy()
        return Runner(table, self.scratch, "learn", _kept.room), offsets_of(table)


def _schedule(tasks: list[dict[str, Any]]) -> _Schedule:
    """Tasks by the names of their fields; an offset is (which array, how many floats in it)."""
    table = np.zeros(len(tasks), TASK)
    arrays = np.zeros((len(tasks), len(OFFSETS)), np.int64)
    for index, task in enumerate(tasks):
        for name, value in ({"wait": index} | task).items():
            if name in OFFSETS:
                arrays[index, OFFSETS.index(name)], table[name][index] = value
            else:
                table[name][index] = value
    return _Schedule(table, arrays, max(learn.scratch_of(task) for task in table))


def pack(method: Method, filters: Array, *, turned: bool = False) -> Array:
    """Filters (KH, KW, C, OC) as steps read them, behind zeros; the turned ones if so wanted."""
    schedule, front, floats, before = _packing(method, filters.shape, turned)
    memory = empty((front + floats + before,), np.float32)
    memory[:front] = 0
    schedule(np.ascontiguousarray(filters), memory[front:], memory[front + floats :])
    return memory[: front + floats]


@functools.cache
def _packing(
    method: Method, filters: tuple[int, ...], turned: bool
) -> tuple[_Schedule, int, int, int]:
    """Of filters, to what is packed; and floats of zeros, of that, and for the way there."""
    height, width, *channels = filters
    rows, columns = reversed(channels) if turned else channels
    winograd = method.kind == Kind.WINOGRAD
    panels = -(-columns // COLUMNS)
    both = {"kernel_height": height, "kernel_width": width, "rows": rows, "columns": columns}
    packing = {
        "kind": Task.PACK,
        "chunks": panels * height * width,
        "in_offset": (0, 0),
        "out_offset": (2 if winograd else 1, 0),
        "turned": turned,
    }
    transform = {
        "kind": Task.TRANSFORM_FILTERS,
        "chunks": panels * -(-rows // learn.DEPTHS),
        "in_offset": (2, 0),
        "out_offset": (1, 0),
        "tile": method.tile,
    }
    tasks = [packing, transform] if winograd else [packing]
    return (
        _schedule([both | task for task in tasks]),
        zeros_for(columns),
        method.packed_floats((height, width, rows, columns)),
        height * width * rows * padded(columns) if winograd else 0,
    )


def zeros_for(out_channels: int) -> int:
    """How many zeros stand before packed filters: what lies around an image, and the bias."""
    return max(ZEROS, padded(out_channels))


@functools.cache
def _step(method: Method, shape: Conv2dShape, threads: int) -> tuple[Any, int]:
    """The step of a convolution, and the scratch memory that it needs."""
    step = np.zeros(1, STEP)
    for name, number in (fields(shape) | method.fields(shape, threads)).items():
        step[name] = number
    return step, scratch_of(step[0])


def readable(x: Array) -> Array:
    """The same array, or a copy with room behind it, if vectors of channels reach over its end."""
    x = np.ascontiguousarray(x)
    if x.shape[-1] % LANES == 0:
        return x
    room = empty((x.size + COLUMNS_SLACK,), np.float32)
    room[: x.size] = x.reshape(-1)
    room[x.size :] = 0
    return room[: x.size].reshape(x.shape)


def fields(shape: Conv2dShape) -> dict[str, int]:
    """What the step says of its shape; images and results lie in their arrays from the start on."""
    return {
        "in_pitch": shape.channels,
        "height": shape.height,
        "width": shape.width,
        "channels": shape.channels,
        "out_pitch": shape.out_channels,
        "out_height": shape.out_height,
        "out_width": shape.out_width,
        "out_channels": shape.out_channels,
        "kernel_height": shape.kernel[0],
        "kernel_width": shape.kernel[1],
        "stride_height": shape.stride[0],
        "stride_width": shape.stride[1],
        "top": shape.padding[0],
        "left": shape.padding[2],
        "residual_offset": -1,
        "filters": zeros_for(shape.out_channels),
    }


def forward(
    method: Method, x: Array, filters: Array, shape: Conv2dShape, *, turned: bool = False
) -> Array:
    """Pack, the turned filters if so wanted, and convolve: -> (N, OH, OW, OC)."""
    schedule, front, floats, before = _packing(method, filters.shape, turned)
    step = method, shape, machine.get_num_threads()
    runner = _kept.take(step, lambda: Runner(*_step(*step), room=_kept.room))
    memory = _kept.take_memory(front + floats + before)
    memory[:front] = 0
    x, filters, out = readable(x), np.ascontiguousarray(filters), empty(shape.output, np.float32)
    convolve = runner.job(0, 1, shape.batch, memory, x, out)
    schedule.before([convolve], filters, memory[front:], memory[front + floats :])
    _kept.put_back(step, runner)
    _kept.put_back("memory", memory)
    return out


def input_gradient(method: Method, gy: Array, filters: Array, shape: Conv2dShape) -> Array:
    """(N, OH, OW, OC), (KH, KW, C, OC) -> (N, H, W, C), if there are phases.

    Parameters
    ----------
    method
        For a stride of 1, the method, where it can do it.
    """
    if shape.stride == (1, 1):
        method, mirror = _mirrored(method, shape)
        return forward(method, gy, filters, mirror, turned=True)
    gx = empty(shape.input, np.float32)
    for pixels, taps, phase in _phases(shape):
        if phase is None:
            gx[pixels] = 0
            continue
        part = np.ascontiguousarray(filters[taps])
        _, h, w = pixels
        found = forward(choose(phase), gy, part, phase, turned=True)
        _interleave(found, (h.start, w.start), shape.stride, gx)
    return gx


@functools.cache
def _mirrored(method: Method, shape: Conv2dShape) -> tuple[Method, Conv2dShape]:
    """The one phase of a convolution with stride 1, and the method for it."""
    [(_, _, mirror)] = _phases(shape)
    assert mirror is not None
    return method if method.supports(mirror) else choose(mirror), mirror


@kernel
def _interleave(part: Array, first: tuple[int, int], stride: tuple[int, int], out: Array) -> None:
    """Put the pixels of a phase where they belong: some of (N, H, W, C)."""
    batch, height, width, _ = part.shape
    for line in prange(batch * height):
        n, i = divmod(np.int64(line), height)
        for j in range(width):
            out[n, first[0] + i * stride[0], first[1] + j * stride[1], :] = part[n, i, j, :]


def phases(shape: Conv2dShape) -> list[Conv2dShape]:
    """The convolutions of gy that give the input gradient; with a stride of 1 there is one."""
    return [phase for _, _, phase in _phases(shape) if phase is not None]


def has_phases(shape: Conv2dShape) -> bool:
    """Whether the phases are convolutions: no padding is wider than the filter."""
    return all(min(phase.padding) >= 0 for phase in phases(shape))


@functools.cache
def _phases(shape: Conv2dShape) -> list[tuple[Any, Any, Conv2dShape | None]]:
    """Which pixels of x, which taps they meet, and the convolution of gy that does it.

    None stands for pixels that meet no tap.
    """
    top, _, left, _ = shape.padding
    found = []
    lines = list(_axis(shape.height, shape.out_height, shape.kernel[0], shape.stride[0], top))
    columns = list(_axis(shape.width, shape.out_width, shape.kernel[1], shape.stride[1], left))
    for h, u, (before, after, height) in lines:
        for w, v, (ahead, behind, width) in columns:
            phase = None
            if height and width:
                phase = Conv2dShape(
                    *(shape.batch, shape.out_height, shape.out_width, shape.out_channels),
                    *((height, width), (1, 1), (before, after, ahead, behind), shape.channels),
                )
            found.append(((slice(None), h, w), (u, v), phase))
    return found


def _axis(
    length: int, outputs: int, taps: int, stride: int, padding: int
) -> Iterator[tuple[slice, slice, tuple[int, int, int]]]:
    """For each phase along an axis: pixels, taps, (padding before, behind, number of taps)."""
    for first in range(min(stride, length)):
        start = (first + padding) % stride
        count = len(range(start, taps, stride))
        before = count - 1 - (first + padding - start) // stride
        pixels = len(range(first, length, stride))
        behind = pixels - outputs + count - 1 - before
        yield slice(first, None, stride), slice(start, None, stride), (before, behind, count)


def _chunks(rows: int, columns: int, matrices: int, threads: int) -> dict[str, int]:
    """Even parts of matrices for so many threads: those with the least to read.

    First of all, no thread may be left with less to do than another.
    """
    wanted = -(-2 * threads // matrices) if threads > 1 else 1
    panels = -(-columns // COLUMNS)
    best = None
    for across in range(1, min(panels, wanted) + 1):
        down = max(-(-wanted // across), -(-rows // HIGHEST))
        if matrices * across * down % threads:
            down = -(-down // threads) * threads
        chunk_rows = -(-rows // (down * ROWS)) * ROWS
        chunk_columns = -(-panels // across) * COLUMNS
        parts = -(-rows // chunk_rows), -(-columns // chunk_columns)
        rounds = -(-matrices * parts[0] * parts[1] // threads)
        busy = rounds * chunk_rows * chunk_columns
        found = busy, parts[0] * columns + parts[1] * rows, chunk_rows, chunk_columns, parts
        best = min(best, found) if best else found
    assert best is not None
    _, _, chunk_rows, chunk_columns, parts = best
    return {
        "rows": rows,
        "columns": columns,
        "chunk_rows": chunk_rows,
        "chunk_columns": chunk_columns,
        "matrices": matrices,
        "chunks": matrices * parts[0] * parts[1],
    }


def filter_gradient(x: Array, gy: Array, shape: Conv2dShape, tile: int | None) -> Array:
    """(N, H, W, C), (N, OH, OW, OC) -> (KH, KW, C, OC).

    Parameters
    ----------
    tile
        Which of `winograd.TILES`, or None for no transform.
    """
    if not shape.pixels:
        return np.zeros(shape.filters, np.float32)
    x, gy = np.ascontiguousarray(x), np.ascontiguousarray(gy)
    threads = machine.get_num_threads()
    if tile is not None:
        schedule, ends = _winograd_filter_gradient(shape, tile, threads)
        out = empty(shape.filters, np.float32)
        memory = _kept.take_memory(ends[-1])
        schedule(readable(x), gy, out, memory, *(memory[end:] for end in ends[:-1]))
        _kept.put_back("memory", memory)
        return out
    schedule = _filter_gradient(shape, threads)
    out = (empty if _is_product(shape) else np.zeros)(shape.filters, np.float32)
    schedule(x, gy, out)
    return out


def _is_product(shape: Conv2dShape) -> bool:
    """Whether the images and the output gradient are the two matrices of a product."""
    return shape.kernel == shape.stride == (1, 1) and not any(shape.padding)


def _images(shape: Conv2dShape) -> dict[str, Any]:
    """What tasks say of their shape."""
    named: dict[str, Any] = {**fields(shape)}
    del named["residual_offset"], named["filters"], named["out_pitch"]
    return named | {
        "batch": shape.batch,
        "in_offset": (0, 0),
        "gy_offset": (1, 0),
        "gy_pitch": shape.out_channels,
    }


@functools.cache
def _filter_gradient(shape: Conv2dShape, threads: int) -> _Schedule:
    """Of images and output gradients, to filter gradients: zeros, if it is not a product."""
    task = _images(shape) | _chunks(shape.channels, shape.out_channels, 1, threads)
    kind = Task.PRODUCTS if _is_product(shape) else Task.TAPS
    return _schedule([task | {"kind": kind, "depth": shape.pixels, "out_offset": (2, 0)}])


@functools.cache
def _winograd_filter_gradient(
    shape: Conv2dShape, tile: int, threads: int
) -> tuple[_Schedule, tuple[int, int, int]]:
    """Of images and output gradients, to filter gradients, by way of three more arrays.

    They are the transforms of both, of some pictures at a time, and the products; they lie one
    behind the other, and where each ends, in floats, is said.
    """
    products = TILES[tile].products
    down, across, _, _ = SIZES[tile]
    tiles = -(-shape.out_height // down) * -(-shape.out_width // across)  # of one picture
    pitches = padded(shape.channels), padded(shape.out_channels)
    pictures = max(1, TRANSFORMED // (tiles * products * sum(pitches)))
    pictures = -(-shape.batch // -(-shape.batch // pictures))  # as many each time
    size = products * tiles * pictures
    named = _images(shape) | {"tile": tile}
    parts = _chunks(shape.channels, shape.out_channels, products, threads)
    tasks: list[dict[str, Any]] = []
    for first in range(0, shape.batch, pictures):
        depth = tiles * min(pictures, shape.batch - first)
        part = named | {
            "depth": depth,
            "chunks": -(-depth // TILES_A_CHUNK),
            "in_offset": (0, first * math.prod(shape.input[1:])),
            "gy_offset": (1, first * math.prod(shape.output[1:])),
        }
        product = {
            "kind": Task.PRODUCTS,
            "depth": depth,
            "in_offset": (3, 0),
            "in_pitch": pitches[0],
            "gy_offset": (4, 0),
            "gy_pitch": pitches[1],
            "out_offset": (5, 0),
            "more": first > 0,
        }
        tasks += [
            part | {"kind": Task.TRANSFORM_INPUT, "out_offset": (3, 0)},
            part | {"kind": Task.TRANSFORM_OUTPUT_GRADIENT, "out_offset": (4, 0)},
            parts | product,
        ]
        tasks[-2]["wait"] = len(tasks) - 3  # beside the transform of the inputs
    back = {
        "kind": Task.TRANSFORM_FILTER_GRADIENT,
        "chunks": min(shape.channels, 8 * threads),
        "in_offset": (5, 0),
        "out_offset": (2, 0),
        "rows": shape.channels,
        "columns": shape.out_channels,
    }
    sizes = (size * pitches[0], size * pitches[1], products * shape.channels * shape.out_channels)
    first, second, third = itertools.accumulate(-(-size // ALIGNED) * ALIGNED for size in sizes)
    return _schedule([*tasks, named | back]), (first, second, third)
