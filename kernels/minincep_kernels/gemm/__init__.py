"""The matrix product: a ladder of variants, one idea a file.  Importing this registers all of them.

    c (M, N) = a (M, K) @ b (K, N)        c[i, j] = sum over k of a[i, k] * b[k, j]

To be read in this order: `naive`, `reordered`, `blocked`, `packed`, `register_tile`, `parallel`.
All of them multiply and add M N K times; what changes is how often a number comes from which cache,
and how many multiply-adds are under way at a time.  All but the last run on one thread.  Beside the
ladder stands `blas`, which is what NumPy does.

A variant takes any sizes, 0 among them, in float32 and float64; arrays that are not C-contiguous
are copied.  No result depends on the number of threads, but for that of `blas`.
"""

import importlib
import pkgutil
from typing import Any

from minincep_kernels.registry import Part, prefer

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def _preferred(shape: Any, part: Part) -> str:
    return "parallel"


prefer("gemm", _preferred)
