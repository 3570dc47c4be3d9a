"""The register tile: every height and width against loops in float64, exactly.

The numbers are small and whole, so that no sum is ever rounded, and a result is right or wrong.
"""

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from minincep_kernels import Array
from minincep_kernels.jit import kernel
from minincep_kernels.microkernel import COLUMNS, ROWS, height_of, pack, tile
from minincep_kernels.vectors import LANES, all_routines, padded

CANARY = np.float32(-7777)
WIDTHS = sorted({1, 3, LANES - 1, LANES, LANES + 1, COLUMNS - 1, COLUMNS})
TAPS = [(1, 1), (3, 1), (1, 3), (3, 3)]
NONE = -np.inf  # a floor that is no floor
HEIGHTS = pytest.mark.parametrize("rows", range(1, ROWS + 1))
EACH_TAPS = pytest.mark.parametrize("taps", TAPS, ids=str)


@kernel
def multiply(
    numbers: tuple[int, ...],
    taps: tuple[int, int],
    steps: tuple[int, int],
    a: Array,
    b: Array,
    floor: float,
    out: Array,
) -> None:
    rows, depth, columns, a_offset, a_stride, b_offset = numbers[:6]
    bias_offset, out_offset, out_stride, residual_offset, residual_stride = numbers[6:]
    tile(
        *(all_routines(), rows, a, a_offset, a_stride, taps, steps, depth),
        *(b, b_offset, bias_offset, out, out_offset, out_stride),
        *(residual_offset, residual_stride, columns, np.float32(floor), b_offset, LANES),
    )


@dataclass(frozen=True)
class Product:
    """One tile, and the arrays that it works on: rows of pixels lie STRIDE pixels apart."""

    rows: int
    columns: int
    taps: tuple[int, int] = (1, 1)
    depth: int = 5
    residual: bool = False
    floor: float = NONE
    whole: bool = True  # numbers
    stride = 2
    width = 64  # pixels of a line of the picture

    def numbers(self, *shape: int, seed: int) -> Array:
        random = np.random.default_rng(seed)
        if self.whole:
            return random.integers(-4, 5, shape).astype(np.float32)
        return random.standard_normal(shape).astype(np.float32)

    def picture(self) -> Array:
        return self.numbers(self.taps[0], self.width, self.depth, seed=0)

    def filters(self) -> Array:
        return self.numbers(*self.taps, self.depth, self.columns, seed=1)

    def bias(self) -> Array:
        return self.numbers(self.columns, seed=2)

    def added(self) -> Array:
        """The residual."""
        return self.numbers(self.rows, self.columns, seed=3)

    def expected(self) -> Array:
        picture, filters = self.picture().astype(np.float64), self.filters()
        y = np.zeros((self.rows, self.columns)) + self.bias()
        for r, u, v in itertools.product(range(self.rows), *map(range, self.taps)):
            for k in range(self.depth):
                y[r] += picture[u, r * self.stride + v, k] * filters[u, v, k]
        if self.residual:
            y += self.added()
        return np.maximum(y, self.floor)

    def run(self, picture: Array | None = None, bias: Array | None = None) -> Array:
        """The tile (rows, columns); nothing else may have been written."""
        a = np.concatenate([[np.nan], (self.picture() if picture is None else picture).ravel()])
        packed = pack(self.filters(), self.columns)
        bias = self.bias() if bias is None else bias
        room = np.full(2 * COLUMNS, np.nan)
        b = np.concatenate([[np.nan], packed, bias, room])
        out_stride, residual_stride = self.columns + 3, self.columns + 1
        lines = np.full((self.rows, out_stride), CANARY)
        more = np.full((self.rows, residual_stride), CANARY)
        more[:, : self.columns] = self.added()
        out = np.concatenate([[CANARY], lines.ravel(), more.ravel(), room]).astype(np.float32)
        before = out.copy()
        multiply.serial(
            (
                *(self.rows, self.depth, self.columns, 1, self.stride * self.depth, 1),
                *(1 + packed.size, 1, out_stride),
                *(1 + lines.size if self.residual else -1, residual_stride),
            ),
            self.taps,
            (self.width * self.depth, self.depth),
            a.astype(np.float32),
            b.astype(np.float32),
            self.floor,
            out,
        )
        y = out[1 : 1 + lines.size].reshape(lines.shape)[:, : self.columns].copy()
        before[1 : 1 + lines.size].reshape(lines.shape)[:, : self.columns] = y
        np.testing.assert_array_equal(out, before)
        return y


@EACH_TAPS
@HEIGHTS
def test_like_loops(rows: int, taps: tuple[int, int]) -> None:
    for columns, residual, floor in itertools.product(WIDTHS, [False, True], [NONE, 0.0]):
        product = Product(rows, columns, taps, residual=residual, floor=floor)
        y = product.run()
        np.testing.assert_array_equal(y, product.expected(), err_msg=str(product))


@pytest.mark.parametrize("depth", [1, 2, 7, 255, 256, 257, 1000])
@pytest.mark.parametrize("columns", [1, COLUMNS])
def test_any_depth(depth: int, columns: int) -> None:
    product = Product(ROWS, columns, depth=depth)
    np.testing.assert_array_equal(product.run(), product.expected())


@pytest.mark.parametrize("depth", [37, 264, 520])
@EACH_TAPS
def test_a_row_is_the_same_to_the_last_bit_in_every_tile(taps: tuple[int, int], depth: int) -> None:
    for columns in WIDTHS:
        most = Product(ROWS, columns, taps, depth, whole=False)
        wanted = most.run()
        assert np.abs(wanted - most.expected()).max() < 1e-3
        for rows in range(1, ROWS):
            y = dataclasses.replace(most, rows=rows).run()
            np.testing.assert_array_equal(y, wanted[:rows])


@pytest.mark.parametrize("depth", [37, 264, 520])
def test_a_column_is_the_same_to_the_last_bit_in_a_narrow_panel_and_a_wide_one(depth: int) -> None:
    wide = Product(ROWS, COLUMNS, depth=depth, whole=False)
    filters = wide.filters()

    class Narrow(Product):
        def filters(self) -> Array:
            return filters[..., :LANES]

    narrow = Narrow(ROWS, LANES, depth=depth, whole=False)
    bias = wide.bias()
    y = narrow.run(bias=bias[:LANES])
    np.testing.assert_array_equal(y, wide.run(bias=bias)[:, :LANES])


@pytest.mark.parametrize("floor", [NONE, 0.0])
@HEIGHTS
def test_not_a_number_stays_so_in_its_row(rows: int, floor: float) -> None:
    product = Product(rows, COLUMNS, floor=floor)
    picture = product.picture()
    picture[0, product.stride * (rows - 1), -1] = np.nan
    y = product.run(picture)
    wanted = product.expected()
    wanted[-1] = np.nan
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("floor", [NONE, 0.0])
def test_not_a_number_as_bias_stays_so_in_its_column(floor: float) -> None:
    product = Product(ROWS, COLUMNS - 1, floor=floor)
    bias = product.bias()
    bias[-1] = np.nan
    wanted = product.expected()
    wanted[:, -1] = np.nan
    np.testing.assert_array_equal(product.run(bias=bias), wanted)


def test_a_sum_may_go_on_in_place() -> None:
    """The residual is what the tile writes over, as where a depth is taken piece by piece."""
    out = np.arange(2.0 * COLUMNS, dtype=np.float32)
    wanted = out + 1
    a, b = np.ones(2, np.float32), np.ones(COLUMNS, np.float32)
    b = np.concatenate([b, np.zeros(COLUMNS, np.float32)])
    numbers = (2, 1, COLUMNS, 0, 1, 0, COLUMNS, 0, COLUMNS, 0, COLUMNS)
    multiply.serial(numbers, (1, 1), (0, 0), a, b, NONE, out)
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("rows", [1, 2, ROWS - 1, ROWS, ROWS + 1, 64, 1225])
def test_heights_share_rows_out_evenly(rows: int) -> None:
    for tiles in {-(-rows // ROWS), min(rows, 7), rows}:
        heights = [height_of(index, tiles, rows) for index in range(tiles)]
        assert sum(heights) == rows
        assert 1 <= min(heights) <= max(heights) <= min(heights) + 1


@pytest.mark.parametrize("channels", [*WIDTHS, COLUMNS + 1, COLUMNS + LANES, 2 * COLUMNS + 3])
def test_pack(channels: int) -> None:
    filters = 1 + np.arange(2 * 3 * 4 * channels, dtype=np.float32).reshape(2, 3, 4, channels)
    packed = pack(filters, channels)
    assert packed.shape == (24 * padded(channels),)
    assert packed.dtype == np.float32
    place = 0
    for first in range(0, channels, COLUMNS):
        wide = channels - first > LANES
        for u, v, k in np.ndindex(2, 3, 4):
            for column in range(first, first + (COLUMNS if wide else LANES)):
                wanted = filters[u, v, k, column] if column < channels else 0
                assert packed[place] == wanted, (place, u, v, k, column)
                place += 1
    assert place == packed.size
