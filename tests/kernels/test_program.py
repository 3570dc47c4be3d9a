"""Programs of one step: each kind against its oracle, and the same bits however it is run."""

import dataclasses

import numpy as np
import pytest

from minincep_kernels import Array
from minincep_kernels.conv2d.tiled import name_of
from minincep_kernels.microkernel import COLUMNS
from minincep_kernels.program.step import Kind
from minincep_kernels.registry import DIRECT_TOLERANCE, variants
from minincep_kernels.shapes import Conv2dShape, conv2d_shape
from minincep_kernels.vectors import LANES
from minincep_kernels.winograd import TILES
from tests import oracle
from tests.kernels.programs import PRODUCTS, Case, execute, rows_in

Sides = tuple[int, int, int, int]

BATCH = 3
NO_SIDES = (0, 0, 0, 0)
FEW, MANY = (3, 5), (LANES + 3, COLUMNS + 5)  # channels in and out


def shape(
    size: tuple[int, int],
    channels: tuple[int, int],
    kernel: tuple[int, int] = (1, 1),
    stride: tuple[int, int] = (1, 1),
    sides: Sides = NO_SIDES,
) -> Conv2dShape:
    return conv2d_shape((BATCH, *size, channels[0]), (*kernel, *channels), stride, sides)


def same(kernel: tuple[int, int]) -> Sides:
    down, across = kernel[0] // 2, kernel[1] // 2
    return (down, down, across, across)


def direct_cases() -> list[Case]:
    cases = []
    for channels in (FEW, MANY):
        for size in ((1, 1), (5, 7), (3, 33)):
            cases += [Case(Kind.POINTWISE, shape(size, channels))]
        for size, kernel, stride in (
            ((3, 3), (3, 3), (1, 1)),  # one pixel comes out
            ((9, 11), (3, 3), (2, 2)),
            ((4, 40), (1, 7), (1, 1)),
            ((11, 5), (5, 2), (3, 1)),
            ((7, 9), (1, 1), (2, 3)),
        ):
            cases.append(Case(Kind.DIRECT, shape(size, channels, kernel, stride)))
        for size, kernel, stride, sides in (
            ((1, 1), (3, 3), (1, 1), (1, 1, 1, 1)),  # more padding than image
            ((9, 11), (3, 5), (2, 1), (1, 2, 0, 3)),
            ((4, 5), (3, 2), (1, 1), (4, 5, 3, 6)),  # windows of padding alone
            ((6, 7), (1, 1), (1, 1), NO_SIDES),
        ):
            cases.append(Case(Kind.IMPLICIT, shape(size, channels, kernel, stride, sides)))
    return cases


def winograd_cases() -> list[Case]:
    cases = []
    for number, tile in enumerate(TILES):
        kernel = (tile.down.taps, tile.across.taps)
        least = tile.outputs
        larger = (2 * least[0] + 1 + kernel[0], 3 * least[1] - 1 + kernel[1])
        for channels in (FEW, MANY):
            cases += [
                Case(Kind.WINOGRAD, shape(kernel, channels, kernel), number),  # one pixel
                Case(Kind.WINOGRAD, shape((1, 2), channels, kernel, sides=same(kernel)), number),
                Case(Kind.WINOGRAD, shape(larger, channels, kernel), number),
                Case(Kind.WINOGRAD, shape(larger, channels, kernel, sides=same(kernel)), number),
                Case(Kind.WINOGRAD, shape(larger, channels, kernel, sides=(2, 0, 0, 1)), number),
            ]
    return cases


def window_cases() -> list[Case]:
    cases = []
    for size, kernel, stride, sides in (
        ((1, 1), (3, 3), (1, 1), (1, 1, 1, 1)),
        ((7, 9), (3, 3), (1, 1), (1, 1, 1, 1)),
        ((7, 10), (3, 3), (2, 2), NO_SIDES),
        ((5, 6), (2, 4), (3, 1), (1, 0, 2, 1)),
    ):
        for channels in (5, COLUMNS + 1):
            window = shape(size, (channels, channels), kernel, stride, sides)
            cases.append(Case(Kind.MAX_POOL, window, bias=False))
            cases.append(Case(Kind.AVERAGE_POOL, window, bias=channels == 5))
            cases.append(Case(Kind.AVERAGE_POOL, window, bias=channels != 5, relu=True))
    for channels in (3, COLUMNS + 5):
        whole = shape((5, 7), (channels, channels), (5, 7))
        cases.append(Case(Kind.GLOBAL_AVERAGE, whole, bias=False))
        one = shape((1, 1), (channels, channels))
        cases.append(Case(Kind.L2_NORMALIZE, one, bias=False))
        cases.append(Case(Kind.SOFTMAX, one, bias=False))
        cases.append(Case(Kind.COPY, shape((4, 5), (channels, channels)), bias=False))
    return cases


def with_gaps(cases: list[Case]) -> list[Case]:
    """Each case once as it is, once as a part of wider arrays and with all that may follow."""
    found = []
    for case in cases:
        wide = dataclasses.replace(case, gap=3)
        if case.convolves:
            wide = dataclasses.replace(wide, relu=True, residual=case.kind != Kind.WINOGRAD)
        found += [case, wide]
    return found


CASES = with_gaps([*direct_cases(), *winograd_cases(), *window_cases()])
EACH = pytest.mark.parametrize("case", CASES, ids=str)


def tolerance(case: Case) -> float:
    """In standard deviations of the result."""
    if case.kind == Kind.WINOGRAD:
        return variants("conv2d")[name_of(TILES[case.tile])].tolerance
    return DIRECT_TOLERANCE


def chunks(case: Case) -> list[tuple[int, int | None]]:
    """Rows and columns of chunks: the smallest, odd ones, and nearly everything."""
    rows = sorted({1, 2, 5, max(1, rows_in(case.step(None, None)[0], BATCH) - 1)})
    columns = [COLUMNS, None] if case.convolves else [None]
    return [(r, c) for r in rows for c in columns]


def test_every_kind_is_here() -> None:
    assert {case.kind for case in CASES} == set(Kind)
    assert {case.tile for case in CASES if case.kind == Kind.WINOGRAD} == set(range(len(TILES)))


@EACH
def test_like_the_oracle(case: Case) -> None:
    y = execute(case)
    wanted = case.expected()
    assert y.shape == wanted.shape
    scale = max(float(wanted.std()), float(np.abs(wanted).max()) / 10)
    assert np.abs(y - wanted).max() <= tolerance(case) * scale


@EACH
def test_chunks_change_no_bit(case: Case) -> None:
    wanted = execute(case)
    for rows, columns in chunks(case):
        np.testing.assert_array_equal(execute(case, rows=rows, columns=columns), wanted)


@pytest.mark.parametrize("threads", [2, 4])
@EACH
def test_threads_change_no_bit(case: Case, threads: int) -> None:
    wanted = execute(case)
    np.testing.assert_array_equal(execute(case, rows=1, threads=threads), wanted)


@EACH
def test_an_image_is_the_same_alone_and_anywhere_in_a_batch(case: Case) -> None:
    y = execute(case, rows=3)
    for image in range(BATCH):
        np.testing.assert_array_equal(execute(case.only(image)), y[image : image + 1])
    if not case.residual:
        others = [2, 0, 1]
        moved = execute(case, rows=3, images=case.images()[others])
        np.testing.assert_array_equal(moved, y[others])


EXAMPLES = [
    Case(Kind.POINTWISE, shape((5, 7), MANY), residual=True, gap=1),
    Case(Kind.DIRECT, shape((9, 11), MANY, (3, 3), (2, 2))),
    Case(Kind.IMPLICIT, shape((9, 11), MANY, (3, 3), (2, 2), (1, 1, 1, 1))),
    *[case for case in winograd_cases() if case.shape.channels == MANY[0]][3::5],
    Case(Kind.MAX_POOL, shape((9, 11), (5, 5), (3, 3)), bias=False),
]


@pytest.mark.parametrize("late", [{1: 0.05}, {0: 0.05}, {0: 0.02, 2: 0.05}], ids=str)
@pytest.mark.parametrize("case", EXAMPLES, ids=str)
def test_a_thread_that_comes_late_changes_nothing(case: Case, late: dict[int, float]) -> None:
    y = execute(case, rows=2, columns=COLUMNS, threads=3, late=late)
    np.testing.assert_array_equal(y, execute(case))


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("case", EXAMPLES, ids=str)
def test_small_batches(case: Case, batch: int) -> None:
    small = dataclasses.replace(case, shape=dataclasses.replace(case.shape, batch=batch))
    y = execute(small, threads=2)
    assert y.shape == small.shape.output
    if batch:
        scale = float(small.expected().std())
        assert np.abs(y - small.expected()).max() <= tolerance(case) * scale


@pytest.mark.parametrize("case", [case for case in EXAMPLES if case.kind in PRODUCTS], ids=str)
@pytest.mark.parametrize("relu", [False, True])
def test_not_a_number_spoils_its_own_image_alone(case: Case, relu: bool) -> None:
    case = dataclasses.replace(case, relu=relu, residual=False)
    images = case.images()
    images[1, -1, -1, 0] = np.nan
    y = execute(case, images=images)
    wanted = execute(case)
    np.testing.assert_array_equal(y[[0, 2]], wanted[[0, 2]])
    assert np.isnan(y[1]).any()


def test_max_pool_passes_not_a_number_on() -> None:
    case = Case(Kind.MAX_POOL, shape((3, 4), (2, 2), (2, 2)), bias=False)
    images = case.images()
    images[0, 1, 1, 0] = np.nan
    y = execute(case, images=images)
    wanted = np.zeros(case.shape.output, bool)
    wanted[0, 0:2, 0:2, 0] = True
    np.testing.assert_array_equal(np.isnan(y), wanted)


def test_softmax_of_large_numbers() -> None:
    case = Case(Kind.SOFTMAX, shape((1, 1), (3, 3)), bias=False)
    images: Array = np.array([[1e4, 1e4, -1e4], [0, 0, 0], [-1e4, 0, 0]], np.float32)
    y = execute(case, images=images.reshape(case.shape.input)).reshape(3, 3)
    third = np.float32(1) / np.float32(3)
    wanted = np.array([[0.5, 0.5, 0], [third] * 3, [0, 0.5, 0.5]], np.float32)
    np.testing.assert_allclose(y, wanted, rtol=1e-6)


def test_the_length_of_nothing() -> None:
    case = Case(Kind.L2_NORMALIZE, shape((1, 1), (3, 3)), bias=False)
    images = np.zeros(case.shape.input, np.float32)
    images[1] = 1e-6  # shorter than the least length that counts
    y = execute(case, images=images)
    np.testing.assert_allclose(y, images * 1e5, rtol=1e-6)


def test_oracle_of_small_windows() -> None:
    """The oracle takes the mean over pixels inside the image only, as the step should."""
    case = Case(Kind.AVERAGE_POOL, shape((1, 1), (5, 5), (3, 3), sides=(1, 1, 1, 1)), bias=False)
    np.testing.assert_array_equal(oracle.average_pool(case.images(), case.shape), case.images())
