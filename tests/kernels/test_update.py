"""Updates by address: how arrays are cut up, and that nothing beside them is touched.

What the updates work out is tested in `tests/train/test_optim.py`.
"""

import numpy as np
import pytest

from minincep_kernels import update

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = (3, 0, 40_000, 1, update.PIECE, update.PIECE + 1)


def test_pieces_cover_each_array_once() -> None:
    seen = [np.zeros(size, int) for size in SIZES]
    for array, first, count, _ in update.pieces(SIZES):
        assert 0 < count <= update.PIECE
        seen[array][first : first + count] += 1
    assert all((array == 1).all() for array in seen)


def test_places_in_a_flat_array_do_not_overlap() -> None:
    starts, total = update.places(SIZES)
    seen = np.zeros(total, int)
    for start, size in zip(starts, SIZES, strict=True):
        assert start % update.ALIGN == 0
        seen[start : start + size] += 1
    assert seen.max() == 1
    for array, first, _, place in update.pieces(SIZES):
        assert place == starts[array] + first


def test_nothing_beside_the_arrays_is_touched() -> None:
    around = np.zeros(50)
    arrays = [around[3:10], around[20:20], around[30:31]]
    for array in arrays:
        array[...] = 5
    pieces = update.pieces(tuple(array.size for array in arrays))
    update.multiply(pieces, update.addresses(arrays), 2.0, np.float64)
    wanted = np.zeros(50)
    wanted[3:10] = wanted[30:31] = 10
    np.testing.assert_array_equal(around, wanted)


def test_arrays_that_have_no_one_address_for_all_numbers() -> None:
    for array in (np.zeros((4, 4))[:, :2], np.zeros((2, 3)).T, np.zeros(9, "u1")[1:].view("f8")):
        with pytest.raises(ValueError, match="only C-contiguous, aligned arrays"):
            update.addresses([array])


def test_no_arrays() -> None:
    assert update.norm(update.pieces(()), update.addresses([]), np.float32) == 0
    assert update.pieces(()).shape == (0, 4)
