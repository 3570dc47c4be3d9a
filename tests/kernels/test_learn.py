"""Packed filters and filter gradients: where they lie, and that no blocking changes a bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minincep_kernels import Array, machine
from minincep_kernels.conv2d import gradients
from minincep_kernels.microkernel import COLUMNS, ROWS
from minincep_kernels.microkernel import pack as pack_in_python
from minincep_kernels.program import learn
from minincep_kernels.program.layout import IMPLICIT, Method
from minincep_kernels.program.runner import Room
from minincep_kernels.program.step import Kind
from minincep_kernels.program.task import Task
from minincep_kernels.shapes import Conv2dShape, conv2d_shape
from minincep_kernels.vectors import LANES
from minincep_kernels.winograd import TILES
from tests import oracle
from tests.kernels import scripts
from tests.kernels.guarded import at_the_end, check_in_child, needs_fork
from tests.kernels.test_vectors import X86

WIDTHS = [1, LANES - 1, LANES, LANES + 1, COLUMNS, COLUMNS + 1, 2 * COLUMNS + LANES + 3]
SHAPES = [
    conv2d_shape((3, 9, 10, 20), (3, 3, 20, 19), (1, 1), "same"),
    conv2d_shape((2, 9, 10, 150), (3, 3, 150, 70), (1, 1), "same"),  # pixels far apart
    conv2d_shape((2, 21, 20, 2 * ROWS + 3), (1, 1, 2 * ROWS + 3, 65), (1, 1), "valid"),
    conv2d_shape((1, 11, 12, 70), (3, 2, 70, 33), (2, 2), "valid"),  # far apart by the stride
]
EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))


@pytest.fixture(autouse=True)
def fresh(one_thread: None) -> Iterator[None]:
    """No schedule from before, or from a test that has changed what schedules follow from."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    gradients._filter_gradient.cache_clear()
    gradients._winograd_filter_gradient.cache_clear()
    gradients._packing.cache_clear()


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def turn(filters: Array) -> Array:
    """Those of the input gradient."""
    return np.ascontiguousarray(filters[::-1, ::-1].swapaxes(2, 3))


# ------------------------------------------------------------------ filters


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (7, 1)], ids=str)
def test_packed_as_in_python(kernel: tuple[int, int], turned: bool, threads: int) -> None:
    for rows in (1, LANES + 1, 2 * LANES + 5):
        for columns in WIDTHS:
            filters = numbers(*kernel, *((columns, rows) if turned else (rows, columns)))
            with machine.num_threads(threads):
                found = gradients.pack(IMPLICIT, filters, turned=turned)
            front = gradients.zeros_for(columns)
            assert not found[:front].any()
            wanted = pack_in_python(turn(filters) if turned else filters, columns)
            np.testing.assert_array_equal(found[front:], wanted)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("tile", range(len(TILES)))
def test_transformed_as_in_python(tile: int, turned: bool) -> None:
    """There in float64, here in float32."""
    kernel = TILES[tile].down.taps, TILES[tile].across.taps
    method = Method(Kind.WINOGRAD, tile)
    for rows, columns in [(1, 1), (learn.DEPTHS + 1, LANES + 1), (5, 2 * COLUMNS + 3)]:
        filters = numbers(*kernel, *((columns, rows) if turned else (rows, columns)))
        found = gradients.pack(method, filters, turned=turned)[gradients.zeros_for(columns) :]
        wanted = method.pack(turn(filters) if turned else filters)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-6 * np.abs(wanted).max()
        np.testing.assert_array_equal(found[wanted == 0], 0)


@pytest.mark.parametrize("method", [IMPLICIT, Method(Kind.WINOGRAD, 0)], ids=["pack", "transform"])
def test_filters_have_the_same_bits_on_any_number_of_threads(method: Method) -> None:
    filters = numbers(3, 3, 70, 101)
    found = []
    for threads in (1, 2, 3):
        with machine.num_threads(threads):
            found.append(gradients.pack(method, filters))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


# ------------------------------------------------------------------ filter gradients


def gradient(shape: Conv2dShape, tile: int | None = None, threads: int = 1) -> Array:
    _forget()
    x, gy = numbers(*shape.input), numbers(*shape.output, seed=1)
    with machine.num_threads(threads):
        return gradients.filter_gradient(x, gy, shape, tile)


def tiles_for(shape: Conv2dShape) -> list[int | None]:
    fitting = (n for n in range(len(TILES)) if Method(Kind.WINOGRAD, n).supports(shape))
    return [None, *fitting]


@EACH_SHAPE
def test_same_bits_on_any_number_of_threads(shape: Conv2dShape) -> None:
    for tile in tiles_for(shape):
        wanted = gradient(shape, tile)
        for threads in (2, 3, 5):
            np.testing.assert_array_equal(gradient(shape, tile, threads), wanted)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 1), (1, 2), (100, 100)])
@EACH_SHAPE
def test_same_bits_in_any_chunks(
    shape: Conv2dShape, rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of so many tiles down and across."""
    tiles = tiles_for(shape)
    wanted = [gradient(shape, tile) for tile in tiles]

    def chunks(height: int, width: int, matrices: int, threads: int) -> dict[str, int]:
        down, across = -(-height // (rows * ROWS)), -(-width // (columns * COLUMNS))
        return {
            "rows": height,
            "columns": width,
            "chunk_rows": rows * ROWS,
            "chunk_columns": columns * COLUMNS,
            "matrices": matrices,
            "chunks": matrices * down * across,
        }

    monkeypatch.setattr(gradients, "_chunks", chunks)
    monkeypatch.setattr(gradients, "TILES_A_CHUNK", rows)
    for tile, before in zip(tiles, wanted, strict=True):
        np.testing.assert_array_equal(gradient(shape, tile), before)


@EACH_SHAPE
def test_same_bits_whatever_the_highest(
    shape: Conv2dShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles = tiles_for(shape)
    wanted = [gradient(shape, tile) for tile in tiles]
    for highest in (ROWS, 3 * ROWS, 1000 * ROWS):
        monkeypatch.setattr(gradients, "HIGHEST", highest)
        for tile, before in zip(tiles, wanted, strict=True):
            np.testing.assert_array_equal(gradient(shape, tile), before)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("columns", [1, COLUMNS, 5 * COLUMNS + 1])
@pytest.mark.parametrize("rows", [1, ROWS, ROWS + 1, 2000])
def test_chunks_cover_the_matrices(rows: int, columns: int, threads: int) -> None:
    for matrices in (1, 36):
        found = gradients._chunks(rows, columns, matrices, threads)
        assert found["chunk_columns"] % COLUMNS == 0
        assert found["chunk_rows"] <= max(gradients.HIGHEST, ROWS)
        parts = -(-rows // found["chunk_rows"]) * -(-columns // found["chunk_columns"])
        assert found["chunks"] == matrices * parts


def test_no_thread_is_left_with_less_to_do() -> None:
    """The filter gradients of Inception-ResNet-v2's largest blocks, and one of ten panels."""
    for rows, columns in [(128, 10 * COLUMNS), (384, 34 * COLUMNS), (1088, 10 * COLUMNS)]:
        found = gradients._chunks(rows, columns, 1, 2)
        busy = -(-found["chunks"] // 2) * found["chunk_rows"] * found["chunk_columns"]
        assert busy <= 1.15 * rows * columns / 2


def test_pictures_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks begin elsewhere then, so the last bits may differ, and no more."""
    shape = conv2d_shape((5, 9, 10, 20), (3, 3, 20, 19), (1, 1), "same")
    wanted = oracle.convolve_filter_gradient(
        numbers(*shape.input), numbers(*shape.output, seed=1), shape
    )
    for floats in (1, 60_000, 1 << 30):
        monkeypatch.setattr(gradients, "TRANSFORMED", floats)
        assert np.abs(gradient(shape, 0) - wanted).max() < 1e-4 * wanted.std()


# ------------------------------------------------------------------ pixels far apart


def far_apart(shape: Conv2dShape, pitch: int, *, guarded: bool = False) -> Array:
    """The filter gradient of images whose pixels lie a pitch apart, with nan in between."""
    keep = at_the_end if guarded else np.copy
    wide = np.full((*shape.input[:3], pitch), np.nan, np.float32)
    wide[..., : shape.channels] = numbers(*shape.input)
    x = keep(wide.ravel()[: wide.size - (pitch - shape.channels)])
    gy = keep(numbers(*shape.output, seed=1))
    product = gradients._is_product(shape)
    kind = Task.PRODUCTS if product else Task.TAPS
    out = keep(np.full(shape.filters, np.nan if product else 0, np.float32))
    task: dict[str, Any] = gradients._images(shape) | {"in_pitch": pitch, "kind": kind}
    task |= gradients._chunks(shape.channels, shape.out_channels, 1, 1)
    gradients._schedule([task | {"depth": shape.pixels, "out_offset": (2, 0)}])(x, gy, out)
    return out


NEAR = [
    conv2d_shape((2, 9, 10, 3 * ROWS + 1), (1, 1, 3 * ROWS + 1, 19), (1, 1), "valid"),
    conv2d_shape((2, 9, 10, ROWS + 1), (3, 3, ROWS + 1, 19), (1, 1), "same"),
    conv2d_shape((1, 2, 401, 5), (1, 3, 5, 3), (1, 1), "same"),  # lines longer than a block
]


@pytest.mark.parametrize("shape", NEAR, ids=range(len(NEAR)))
def test_a_copy_of_pixels_changes_no_bit(shape: Conv2dShape) -> None:
    wanted = gradient(shape)
    for pitch in (shape.channels, learn.FAR_APART, learn.FAR_APART + 1, 300):
        np.testing.assert_array_equal(far_apart(shape, pitch), wanted)


@needs_fork
@pytest.mark.parametrize("shape", NEAR, ids=range(len(NEAR)))
def test_nothing_is_read_beyond_the_last_channel(
    shape: Conv2dShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is more scratch memory used than is said."""

    class Tight(Room):
        def grow(self, threads: int, floats: int) -> list[tuple[int, int]]:
            self.scratch = at_the_end(np.full(max(floats, 1), np.nan, np.float32))
            self.places = np.zeros(64, np.int64)
            return [(self.scratch.ctypes.data, self.places.ctypes.data)]

    wanted = gradient(shape)
    monkeypatch.setattr(gradients, "_kept", gradients._Kept())
    monkeypatch.setattr(gradients._kept, "room", Tight())

    def work() -> None:
        for pitch in (shape.channels, 300):
            np.testing.assert_array_equal(far_apart(shape, pitch, guarded=True), wanted)

    check_in_child(work)


SHORT_VECTORS = """
import json
import numpy as np
from minincep_kernels import machine, vectors
from minincep_kernels.conv2d import gradients
from minincep_kernels.microkernel import ROWS
from minincep_kernels.shapes import conv2d_shape

machine.set_num_threads(1)
shape = conv2d_shape((1, 6, 5, 150), (1, 1, 150, 7), (1, 1), "valid")
random = np.random.default_rng(0)
x = random.standard_normal(shape.input).astype(np.float32)
gy = random.standard_normal(shape.output).astype(np.float32)
found = gradients.filter_gradient(x, gy, shape, None)[0, 0]
assert np.abs(found - x.reshape(-1, 150).T @ gy.reshape(-1, 7)).max() < 1e-4
print(json.dumps([vectors.LANES, ROWS]))
"""


@X86
def test_tiles_higher_than_a_vector_is_long(tmp_path: Path) -> None:
    """As they are with the vectors of 4 numbers that any CPU of today has."""
    if LANES == 4:
        pytest.skip("all tests here are of such tiles")
    assert scripts.run(tmp_path, SHORT_VECTORS, NUMBA_CPU_NAME="nehalem").values == [4, 6]
