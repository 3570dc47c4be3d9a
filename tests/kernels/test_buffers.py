"""Arrays that begin with a cache line and may be read over the end."""

import numpy as np
import pytest

from minincep_kernels import buffers


@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (1 << 10, 1 << 9), (1 << 20, 3, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_an_array_like_any_other(shape: tuple[int, ...], dtype: str) -> None:
    arrays = [buffers.empty(shape, dtype) for _ in range(5)]
    for x in arrays:
        assert (x.shape, str(x.dtype)) == (shape, dtype)
        assert x.flags.c_contiguous
        assert x.flags.aligned
        assert x.ctypes.data % 64 == 0 or not x.size
        assert x.base is not None
        end = x.base.ctypes.data + x.base.nbytes
        assert end >= x.ctypes.data + x.nbytes + buffers.SLACK
        x.flags.writeable = False
        x.flags.writeable = True
        x[...] = 1
    assert all(np.all(x == 1) for x in arrays)
