"""Winograd's convolution backwards: three transforms against the matrices, and as transposes."""

import math

import numpy as np
import pytest

from minincep_kernels import Array
from minincep_kernels.intrinsics import address_of
from minincep_kernels.jit import kernel
from minincep_kernels.vectors import LANES, padded, table_of
from minincep_kernels.winograd import TILES
from minincep_kernels.winograd_gradient import (
    transform_filter_gradient,
    transform_filters,
    transform_output_gradient,
)
from tests.kernels.guarded import at_the_end, check_in_child, needs_fork
from tests.kernels.transforms import CANARY, assert_rounded, both, run_input, run_output

EACH_TILE = pytest.mark.parametrize("number", range(len(TILES)))
CHANNELS = [1, LANES - 1, LANES, LANES + 1, 3 * LANES + 2]
OUTPUT_GRADIENT, FILTERS, FILTER_GRADIENT = range(3)

routines = table_of("gradient")


@kernel
def transform(
    which: int,
    number: int,
    x: Array,
    counts: tuple[int, int],
    strides: tuple[int, int],
    channels: int,
    out: Array,
    out_places: Array,
) -> None:
    """From rows a stride apart, from 1 on, to rows another stride apart."""
    table = routines()
    if which == FILTER_GRADIENT:
        for i in range(counts[1]):
            out_places[i] = address_of(out, 1 + i * strides[1])
        transform_filter_gradient(table, number, out_places, x, 1, strides[0], channels)
        return
    for i in range(counts[0]):
        out_places[i] = address_of(x, 1 + i * strides[0])
    if which == OUTPUT_GRADIENT:
        transform_output_gradient(table, number, out_places, out, 1, strides[1], channels)
    else:
        transform_filters(table, number, out_places, out, 1, strides[1], channels)


def run(which: int, number: int, values: Array, *, guarded: bool = False) -> Array:
    """(rows, C) -> (rows, C): nothing else may have been written, nor read if it is guarded."""
    tile = TILES[number]
    taps = tile.down.taps * tile.across.taps
    count = taps if which == FILTER_GRADIENT else tile.products
    channels = values.shape[1]
    # Products are written up to a whole vector, gradients are not.
    width = channels if which == FILTER_GRADIENT else padded(channels)
    strides = (channels + 3, width + 2)
    x = np.full(1 + (len(values) - 1) * strides[0] + channels, np.nan, np.float32)
    for row, numbers in enumerate(values):
        x[1 + row * strides[0] :][:channels] = numbers
    out = np.full(1 + (count - 1) * strides[1] + width, CANARY)
    if guarded:
        x, out = at_the_end(x), at_the_end(out)
    else:
        out = np.pad(out, (0, LANES), constant_values=CANARY)
    places = np.zeros(max(count, len(values)), np.int64)
    transform.serial(which, number, x, (len(values), count), strides, channels, out, places)
    found = np.empty((count, channels), np.float32)
    for row in range(count):
        here = out[1 + row * strides[1] :][:width]
        found[row] = here[:channels]
        here[:] = CANARY
    np.testing.assert_array_equal(out, CANARY)
    return found


def matrix(which: int, number: int) -> Array:
    tile = TILES[number]
    if which == OUTPUT_GRADIENT:
        return both(tile, "A").T
    return both(tile, "G") if which == FILTERS else both(tile, "G").T


EACH = pytest.mark.parametrize(
    "which",
    [OUTPUT_GRADIENT, FILTERS, FILTER_GRADIENT],
    ids=["output_gradient", "filters", "filter_gradient"],
)


@EACH
@EACH_TILE
def test_like_the_matrix(which: int, number: int) -> None:
    """Channel c has a one at row c, and so shows column c of the matrix."""
    wanted = matrix(which, number)
    found = run(which, number, np.eye(wanted.shape[1], dtype=np.float32))
    assert_rounded(found, wanted, 4)
    np.testing.assert_array_equal(found == 0, wanted == 0)


@EACH
@EACH_TILE
def test_any_number_of_channels(which: int, number: int) -> None:
    wanted = matrix(which, number)
    for channels in CHANNELS:
        random = np.random.default_rng(channels)
        values = random.standard_normal((wanted.shape[1], channels)).astype(np.float32)
        # No row adds up more than the sum of its absolute terms.
        most = np.abs(wanted) @ np.abs(values)
        error = np.abs(run(which, number, values) - wanted @ values)
        assert (error <= 50 * np.finfo(np.float32).eps * most.max()).all()


@needs_fork
@EACH
@EACH_TILE
def test_nothing_is_read_or_written_beyond_the_last_channel(which: int, number: int) -> None:
    count = matrix(which, number).shape[1]

    def work() -> None:
        for channels in range(1, 2 * LANES + 1):
            values = np.ones((count, channels), np.float32)
            run(which, number, values, guarded=True)

    run(which, number, np.ones((count, 1), np.float32))  # compiles it, if nothing has
    check_in_child(work)


@EACH
@EACH_TILE
def test_not_a_number_stays_in_its_channel(which: int, number: int) -> None:
    wanted = matrix(which, number)
    values = np.ones((wanted.shape[1], LANES + 1), np.float32)
    values[0, LANES] = np.nan
    found = run(which, number, values)
    assert not np.isnan(found[:, :LANES]).any()
    assert np.isnan(found[wanted[:, 0] != 0, LANES]).all()


@EACH_TILE
def test_gradients_are_the_transposes(number: int) -> None:
    """<A^T m, gy> = <m, A gy> and <G g, p> = <g, G^T p>, channel by channel."""
    tile, random = TILES[number], np.random.default_rng(0)
    outputs, taps = math.prod(tile.outputs), tile.down.taps * tile.across.taps
    channels = 2 * LANES + 1
    m, p = random.standard_normal((2, tile.products, channels)).astype(np.float32)
    gy = random.standard_normal((outputs, channels)).astype(np.float32)
    filters = random.standard_normal((taps, channels)).astype(np.float32)

    forward = run_output(number, m, np.zeros(channels)).astype(np.float64)
    backward = run(OUTPUT_GRADIENT, number, gy).astype(np.float64)
    size = np.linalg.norm(m, axis=0) * np.linalg.norm(backward, axis=0)
    assert (np.abs((forward * gy).sum(0) - (m * backward).sum(0)) <= 1e-5 * size).all()

    forward = run(FILTERS, number, filters).astype(np.float64)
    backward = run(FILTER_GRADIENT, number, p).astype(np.float64)
    size = np.linalg.norm(p, axis=0) * np.linalg.norm(forward, axis=0)
    assert (np.abs((forward * p).sum(0) - (filters * backward).sum(0)) <= 1e-5 * size).all()


@EACH_TILE
def test_one_tile_gives_the_filter_gradient(number: int) -> None:
    """Against the definition, a channel each: gg[u, v] is the sum of gy[i, j] d[i + u, j + v]."""
    tile, random = TILES[number], np.random.default_rng(0)
    (height, width), taps = tile.inputs, (tile.down.taps, tile.across.taps)
    channels = 5 * LANES + 1
    d = random.standard_normal((height, width, channels)).astype(np.float32)
    gy = random.standard_normal((*tile.outputs, channels)).astype(np.float32)
    products = run_input(number, d.reshape(-1, channels))
    products *= run(OUTPUT_GRADIENT, number, gy.reshape(-1, channels))
    found = run(FILTER_GRADIENT, number, products).reshape(*taps, channels)
    wanted = np.zeros(found.shape)
    for u, v in np.ndindex(*taps):
        window = d[u : u + tile.outputs[0], v : v + tile.outputs[1]].astype(np.float64)
        wanted[u, v] = (window * gy).sum((0, 1))
    assert np.abs(found - wanted).max() < 1e-3 * wanted.std()
