"""A square turned over its diagonal: every number at its place, and nothing else touched."""

import numpy as np
import pytest

from minincep_kernels import Array
from minincep_kernels.jit import kernel
from minincep_kernels.transpose import transpose
from minincep_kernels.vectors import LANES, table_of

_routines = table_of("transpose")


@kernel
def turn(
    x: Array, x_offset: int, x_stride: int, out: Array, out_offset: int, out_stride: int
) -> None:
    transpose(_routines(), x, x_offset, x_stride, out, out_offset, out_stride)


@pytest.mark.parametrize(("offset", "gap"), [(0, 0), (3, 0), (1, 5), (7, 16)])
def test_rows_become_columns(offset: int, gap: int) -> None:
    stride = LANES + gap
    x = np.arange(offset + LANES * stride, dtype=np.float32)
    square = x[offset:].reshape(LANES, stride)[:, :LANES]
    out = np.full(2 + LANES * (LANES + 1), -1, np.float32)
    turn.serial(x, offset, stride, out, 1, LANES + 1)
    assert out[0] == out[-1] == -1
    rows = out[1:-1].reshape(LANES, LANES + 1)
    np.testing.assert_array_equal(rows[:, :LANES], square.T)
    np.testing.assert_array_equal(rows[:, LANES], -1)
