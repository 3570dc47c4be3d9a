"""The same tiles on all threads: each takes some rows and some panels of the result.

*What changes.*  The result is divided into chunks, blocks of rows by groups of panels, and the
threads share them.  b is packed once, by all of them together.  No two threads write to the same
number, and each number is the same chain of multiply-adds whoever works it out: the result is the
same to the last bit on any number of threads.

*Cost.*  2 M N K operations and the traffic of `register_tile`, divided by the threads; only that
what several chunks read comes into several level-2 caches.  Where there are rows enough, rows are
divided: each thread reads rows of its own, and all of b.  Where there are few, b is the larger
matrix, and each thread reads panels of its own, and all of a.  Numba deals chunks out beforehand,
as many to one thread as to the next: so they are of one size, and as many as threads, or twice, or
three times as many.

*Bound by* the multiply-adds of all cores; for few rows, by the memory that b comes from, which is
one for all cores.  Small products are bound by waking the threads up, some microseconds.

Smith, van de Geijn et al. 2014, "Anatomy of high-performance many-threaded matrix multiplication",
IPDPS, go through which of the loops to divide.

float64 is left to `packed`, on one thread.
"""

from typing import Any

import numpy as np
from numba import prange

from minincep_kernels import Array, machine
from minincep_kernels.buffers import empty
from minincep_kernels.gemm import packed
from minincep_kernels.gemm.register_tile import blocks_of, multiply, panels_of, part, takes, tiles
from minincep_kernels.jit import kernel
from minincep_kernels.microkernel import COLUMNS
from minincep_kernels.program.products import Pair
from minincep_kernels.registry import variant
from minincep_kernels.shapes import GemmShape

LEAST = 64  # rows of a chunk, where rows are divided: fewer are not worth the panels they read


def _grid(shape: GemmShape, threads: int) -> Pair:
    """How many chunks down and across."""
    blocks = blocks_of(shape)
    if shape.rows >= threads * LEAST:
        return -(-blocks // threads) * threads, 1
    return blocks, min(threads, -(-shape.columns // COLUMNS))


@kernel
def _multiply(a: Array, packed: Array, grid: Pair, out: Array) -> None:
    rows, _ = a.shape
    _, columns = out.shape
    down, across = grid
    panels = (columns + COLUMNS - 1) // COLUMNS
    routines = tiles()
    for number in prange(down * across):
        chunk: Any = np.int64(number)
        block, group = divmod(chunk, across)
        first, last = part(group, across, panels)
        these = part(block, down, rows)
        multiply(routines, a, packed, out, these, (first * COLUMNS, last * COLUMNS))


@variant("gemm", name="parallel", below="register_tile")
def forward(a: Array, b: Array, shape: GemmShape) -> Array:
    if not takes(a, shape):
        return packed.forward(a, b, shape)
    panels = panels_of(b, shape, packed.pack)
    out = empty((shape.rows, shape.columns), a.dtype)
    _multiply(a, panels, _grid(shape, machine.get_num_threads()), out)
    return out
