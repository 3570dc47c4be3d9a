"""Matrix products: every rung of the ladder, on sizes around its blocks and on awkward ones."""

import functools

import numpy as np
import pytest

import minincep_kernels.gemm  # noqa: F401  (registers the variants)
from minincep_kernels import Array, machine
from minincep_kernels.gemm import blocked, parallel, register_tile
from minincep_kernels.gemm.packed import pack
from minincep_kernels.microkernel import COLUMNS, ROWS
from minincep_kernels.registry import Variant, choose, ladder, use, variants
from minincep_kernels.shapes import GemmShape
from minincep_kernels.vectors import LANES
from tests import oracle

VARIANTS = list(variants("gemm").values())
SHAPES = [
    GemmShape(*sizes)  # rows, columns, depth
    for sizes in (
        *((1, 1, 1), (1, 40, 7), (40, 1, 7), (9, 33, 1), (1, 1, 513), (0, 3, 2), (3, 0, 2)),
        *((3, 2, 0), (0, 0, 0), (5, 7, 513), (2, 513, 3), (513, 2, 3)),
        *((ROWS, COLUMNS, 5), (ROWS - 1, COLUMNS - 1, 5), (ROWS + 1, COLUMNS + 1, 5)),
        *((3 * ROWS + 2, 2 * COLUMNS + LANES, 31), (2, LANES, 3), (2, LANES + 1, 3)),
        (3, blocked.COLUMNS, blocked.DEPTH),
        (3, blocked.COLUMNS + 1, blocked.DEPTH + 1),
        (3, 2 * blocked.COLUMNS - 1, 2 * blocked.DEPTH - 1),
        (2 * parallel.LEAST + 1, 3, 4),
    )
]
EACH_VARIANT = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
EACH_SHAPE = pytest.mark.parametrize(
    "shape", SHAPES, ids=lambda shape: f"{shape.rows}x{shape.depth}x{shape.columns}"
)
EACH_OF_OURS = pytest.mark.parametrize(  # BLAS sums in another order on other threads
    "variant", ladder("gemm"), ids=lambda variant: variant.name
)
EACH_DTYPE = pytest.mark.parametrize("dtype", ["float32", "float64"])


@functools.cache
def matrices(shape: GemmShape, dtype: str) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    a = random.standard_normal((shape.rows, shape.depth)).astype(dtype)
    b = random.standard_normal((shape.depth, shape.columns)).astype(dtype)
    for matrix in (a, b):
        matrix.flags.writeable = False
    return a, b


def check(c: Array, a: Array, b: Array, dtype: str, tolerance: float) -> None:
    """Like the sums of the products, worked out without a matrix product, in float64."""
    wanted = (a.astype(np.float64)[:, :, None] * b.astype(np.float64)).sum(axis=1)
    assert c.dtype == dtype
    assert c.shape == wanted.shape
    if dtype == "float64":
        oracle.assert_close(c, wanted)
    elif c.size:
        assert np.abs(c - wanted).max() <= tolerance * np.sqrt(np.square(wanted).mean())


@EACH_DTYPE
@EACH_SHAPE
@EACH_VARIANT
@pytest.mark.usefixtures("one_thread")
def test_like_the_definition(variant: Variant, shape: GemmShape, dtype: str) -> None:
    a, b = matrices(shape, dtype)
    check(variant.forward(a, b, shape), a, b, dtype, variant.tolerance)


@EACH_DTYPE
@EACH_VARIANT
@pytest.mark.usefixtures("one_thread")
def test_matrices_that_do_not_lie_in_one_run(variant: Variant, dtype: str) -> None:
    a, b = matrices(GemmShape(40, 33, 20), dtype)
    a, b = np.asfortranarray(a)[1::2], b[:, ::-3]
    shape = GemmShape(20, 11, 20)
    assert not a.flags.c_contiguous
    assert not b.flags.c_contiguous
    check(variant.forward(a, b, shape), a, b, dtype, variant.tolerance)


@EACH_DTYPE
@EACH_SHAPE
@EACH_OF_OURS
def test_same_bits_on_any_number_of_threads(variant: Variant, shape: GemmShape, dtype: str) -> None:
    found = []
    for threads in (1, 2):
        with machine.num_threads(threads):
            found.append(variant.forward(*matrices(shape, dtype), shape))
    np.testing.assert_array_equal(*found)


@EACH_VARIANT
@pytest.mark.usefixtures("one_thread")
def test_nan_reaches_its_row_or_its_column(variant: Variant) -> None:
    shape = GemmShape(ROWS + 3, COLUMNS + 3, 5)
    a, b = (matrix.copy() for matrix in matrices(shape, "float32"))
    a[1, 2] = b[3, 4] = np.nan
    wrong = np.isnan(variant.forward(a, b, shape))
    assert wrong[1].all()
    assert wrong[:, 4].all()
    assert wrong.sum() == shape.rows + shape.columns - 1


def test_the_ladder() -> None:
    rungs = ["naive", "reordered", "blocked", "packed", "register_tile", "parallel"]
    assert [rung.name for rung in ladder("gemm")] == rungs
    assert set(variants("gemm")) - set(rungs) == {"blas"}


@EACH_VARIANT
def test_a_rung_says_what_it_does(variant: Variant) -> None:
    told = ("*Cost.*", "*Bound by*", *(["*What changes.*"] if variant.below else []))
    assert [word for word in told if word not in variant.description] == []


@EACH_VARIANT
def test_the_highest_rung_is_preferred(variant: Variant) -> None:
    assert choose("gemm", SHAPES[0]).name == "parallel"
    with use(gemm=variant.name):
        assert choose("gemm", SHAPES[0]) is variant


@pytest.mark.parametrize("columns", [1, 4, 6, 8, 11])
def test_pack(columns: int) -> None:
    """Panels of 4 columns, 3 rows deep; up to 12 columns, zeros for those that are missing."""
    b = np.arange(1, 3 * columns + 1, dtype=np.float32).reshape(3, columns)
    room = -(-columns // 2) * 2
    wide = np.hstack([b, np.zeros((3, room - columns), np.float32)])
    wanted = [wide[:, left : left + 4].ravel() for left in range(0, room, 4)]
    for threads in (1, 2):
        packed = np.full(3 * room, np.nan, np.float32)
        with machine.num_threads(threads):
            pack(b, 4, room, packed)
        np.testing.assert_array_equal(packed, np.concatenate(wanted))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.flops], ids=str)
def test_chunks_are_the_whole_result_once(shape: GemmShape, threads: int) -> None:
    down, across = parallel._grid(shape, threads)
    panels = -(-shape.columns // COLUMNS)
    for parts, count in ((down, shape.rows), (across, panels)):
        ends = [register_tile.part(index, parts, count) for index in range(parts)]
        assert [number for pair in ends for number in range(*pair)] == list(range(count))
        assert all(first < last for first, last in ends)


def test_rows_are_divided_or_panels() -> None:
    many, few = GemmShape(1225, 1536, 384), GemmShape(64, 1536, 384)
    assert register_tile.blocks_of(many) == 3
    assert [parallel._grid(many, threads) for threads in (1, 2, 5)] == [(3, 1), (4, 1), (5, 1)]
    assert [parallel._grid(few, threads) for threads in (1, 2, 5)] == [(1, 1), (1, 2), (1, 5)]
    assert parallel._grid(GemmShape(3, COLUMNS + 1, 5), 8) == (1, 2)


@pytest.mark.parametrize("name", ["register_tile", "parallel"])
def test_a_row_that_is_larger_than_the_cache(name: str) -> None:
    shape = GemmShape(2, 3, 2 * register_tile.BLOCK)
    assert register_tile.blocks_of(shape) == 2
    a, b = matrices(shape, "float32")
    for threads in (1, 2):
        with machine.num_threads(threads):
            c = variants("gemm")[name].forward(a, b, shape)
        check(c, a, b, "float32", variants("gemm")[name].tolerance)


def test_rows_of_a_block_stay_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """And blocks of rows change nothing but the order."""
    shape = GemmShape(3 * ROWS + 2, COLUMNS + 1, 31)
    a, b = matrices(shape, "float32")
    whole = variants("gemm")["register_tile"].forward(a, b, shape)
    assert register_tile.blocks_of(shape) == 1
    monkeypatch.setattr(register_tile, "BLOCK", 10 * 31)
    assert register_tile.blocks_of(shape) > 3
    for name in ("register_tile", "parallel"):
        np.testing.assert_array_equal(variants("gemm")[name].forward(a, b, shape), whole)
