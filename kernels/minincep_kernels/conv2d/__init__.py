"""Convolution: a ladder of variants, one idea a file.  Importing this registers all of them.

y[n, i, j, o] = sum over u, v, c of x[n, i SH + u - PT, j SW + v - PL, c] * filters[u, v, c, o]

with x taken as 0 outside the image (a cross-correlation, as all frameworks call convolution).

To be read in this order: `naive`, `im2col`, `im2col_gemm`, `tile_implicit`; from there the ladder
branches, for filters that allow more: `tile_direct` (no padding) and, above it, `tile_pointwise`
(1 x 1); `winograd_2d` (3 x 3) and `winograd_1d` (1 x 3, 1 x 7 and turned).  Beside the ladder is
`pointwise`, which is BLAS; `tiled` and `gradients` are what the rungs share.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
