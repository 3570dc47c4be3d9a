"""The register tile of filter gradients: every height and width against loops, exactly.

The numbers are small and whole, so that no sum is ever rounded, and a result is right or wrong.
"""

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from numba.core.errors import TypingError

from minincep_kernels import Array
from minincep_kernels.jit import kernel
from minincep_kernels.microkernel import COLUMNS, ROWS
from minincep_kernels.outer import outer
from minincep_kernels.vectors import LANES, table_of
from tests.kernels.guarded import at_the_end, check_in_child, needs_fork

CANARY = np.float32(-7777)
WIDTHS = sorted({1, 3, LANES - 1, LANES, LANES + 1, COLUMNS - 1, COLUMNS})
HEIGHTS = pytest.mark.parametrize("rows", range(1, ROWS + 1))
Pair = tuple[int, int]

routines = table_of("outer")


@kernel
def multiply(
    numbers: tuple[int, ...],
    a: Array,
    a_steps: Pair,
    b: Array,
    b_steps: Pair,
    counts: Pair,
    out: Array,
) -> None:
    rows, a_offset, b_offset, out_offset, out_stride, columns, more = numbers
    outer(
        *(routines(), rows, a, a_offset, a_steps, b, b_offset, b_steps, counts),
        *(out, out_offset, out_stride, columns, more),
    )


def spread(numbers: Array, offset: int, steps: Pair) -> Array:
    """Numbers (lines, pixels, channels) as they lie in memory; it ends with the last of them."""
    lines, depth, channels = numbers.shape
    memory = np.full(
        offset + (lines - 1) * steps[0] + (depth - 1) * steps[1] + channels, np.nan, np.float32
    )
    for line, k in np.ndindex(lines, depth):
        place = offset + line * steps[0] + k * steps[1]
        memory[place : place + channels] = numbers[line, k]
    return memory


@dataclass(frozen=True)
class Product:
    """One tile, and the arrays that it works on; what lies between their numbers is not one."""

    rows: int
    columns: int
    lines: int = 1
    depth: int = 5
    more: bool = False
    whole: bool = True  # numbers
    gap: int = 3  # from pixel to pixel

    def numbers(self, *shape: int, seed: int) -> Array:
        random = np.random.default_rng(seed)
        if self.whole:
            return random.integers(-4, 5, shape).astype(np.float32)
        return random.standard_normal(shape).astype(np.float32)

    def a(self) -> Array:
        return self.numbers(self.lines, self.depth, ROWS, seed=0)[..., : self.rows]

    def b(self) -> Array:
        return self.numbers(self.lines, self.depth, COLUMNS, seed=1)[..., : self.columns]

    def earlier(self) -> Array:
        return self.numbers(ROWS, COLUMNS, seed=2)[: self.rows, : self.columns]

    def expected(self) -> Array:
        a, b = self.a().astype(np.float64), self.b()
        y = self.earlier() if self.more else np.zeros((self.rows, self.columns))
        for line, k, r in np.ndindex(self.lines, self.depth, self.rows):
            y[r] += a[line, k, r] * b[line, k]
        return y

    def run(
        self, a: Array | None = None, b: Array | None = None, *, guarded: bool = False
    ) -> Array:
        """The tile (rows, columns); nothing else may have been written.

        Parameters
        ----------
        guarded
            Whether all arrays end where memory ends.
        """
        keep = at_the_end if guarded else np.copy
        a_step, b_step = self.rows + self.gap, self.columns + 2 * self.gap
        a_steps = (self.depth * a_step + 2, a_step)
        b_steps = (self.depth * b_step + 1, b_step)
        stride = self.columns + self.gap
        earlier = self.earlier() if self.more else np.full((self.rows, self.columns), np.nan)
        before = spread(earlier[np.newaxis], 5, (0, stride))
        before[np.isnan(before)] = CANARY
        if not guarded:
            before = np.pad(before, (0, 2 * COLUMNS), constant_values=CANARY)
        out = keep(before)
        multiply.serial(
            (self.rows, 7, 4, 5, stride, self.columns, int(self.more)),
            keep(spread(self.a() if a is None else a, 7, a_steps)),
            a_steps,
            keep(spread(self.b() if b is None else b, 4, b_steps)),
            b_steps,
            (self.lines, self.depth),
            out,
        )
        y = np.empty((self.rows, self.columns), np.float32)
        for r in range(self.rows):
            here = slice(5 + r * stride, 5 + r * stride + self.columns)
            y[r] = out[here]
            before[here] = y[r]
        np.testing.assert_array_equal(out, before)
        return y


@HEIGHTS
def test_like_loops(rows: int) -> None:
    for columns, lines, more in itertools.product(WIDTHS, [1, 3], [False, True]):
        product = Product(rows, columns, lines, more=more)
        np.testing.assert_array_equal(product.run(), product.expected(), err_msg=str(product))


@pytest.mark.parametrize("columns", [1, COLUMNS])
@pytest.mark.parametrize("gap", [0, 1, 1000])
@pytest.mark.parametrize(("lines", "depth"), [(1, 1), (1, 400), (400, 1), (7, 64)])
def test_any_lines_and_steps(lines: int, depth: int, gap: int, columns: int) -> None:
    product = Product(ROWS, columns, lines, depth, gap=gap)
    np.testing.assert_array_equal(product.run(), product.expected())


@needs_fork
@HEIGHTS
def test_nothing_is_read_or_written_beyond_the_last_column_or_row(rows: int) -> None:
    def work() -> None:
        for columns, more in itertools.product(range(1, COLUMNS + 1), [False, True]):
            product = Product(rows, columns, lines=2, depth=2, more=more)
            np.testing.assert_array_equal(product.run(guarded=True), product.expected())

    Product(rows, 1).run()  # compiles it, if nothing has
    check_in_child(work)


@pytest.mark.parametrize("more", [False, True])
def test_an_element_is_the_same_to_the_last_bit_in_every_tile(more: bool) -> None:
    most = Product(ROWS, COLUMNS, lines=3, depth=50, more=more, whole=False)
    wanted = most.run()
    assert np.abs(wanted - most.expected()).max() < 1e-4
    for rows, columns in itertools.product(range(1, ROWS + 1), WIDTHS):
        y = dataclasses.replace(most, rows=rows, columns=columns).run()
        np.testing.assert_array_equal(y, wanted[:rows, :columns])


@pytest.mark.parametrize("columns", WIDTHS)
@HEIGHTS
def test_not_a_number_stays_so_in_its_row_or_column(rows: int, columns: int) -> None:
    product = Product(rows, columns, lines=2)
    a, b = product.a(), product.b()
    a[0, 1, rows - 1] = np.nan
    wanted = product.expected()
    wanted[rows - 1] = np.nan
    np.testing.assert_array_equal(product.run(a=a), wanted)
    b[1, 0, columns - 1] = np.nan
    wanted = product.expected()
    wanted[:, columns - 1] = np.nan
    np.testing.assert_array_equal(product.run(b=b), wanted)


@pytest.mark.parametrize("columns", [1, COLUMNS])
def test_what_was_there_counts_only_if_there_is_to_be_more(columns: int) -> None:
    a, b = np.ones((2, 1), np.float32), np.ones((2, columns), np.float32)
    for more, wanted in [(0, 2), (1, np.nan)]:
        out = np.full(columns, np.nan, np.float32)
        numbers = (1, 0, 0, 0, 0, columns, more)
        multiply.serial(numbers, a.ravel(), (0, 1), b.ravel(), (0, columns), (1, 2), out)
        np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("which", range(3))
def test_only_flat_float32(which: int) -> None:
    """Another array would be read as if it were one."""
    arrays = [np.zeros(COLUMNS, np.float64 if i == which else np.float32) for i in range(3)]
    a, b, out = arrays
    with pytest.raises(TypingError):
        multiply.serial((1, 0, 0, 0, 0, 1, 0), a, (0, 1), b, (0, 1), (1, 1), out)
