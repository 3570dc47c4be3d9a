"""Convolution: a ladder of variants, one idea a file.  Importing this registers all of them.

y[n, i, j, o] = sum over u, v, c of x[n, i SH + u - PT, j SW + v - PL, c] * filters[u, v, c, o]

with x taken as 0 outside the image (a cross-correlation, as all frameworks call convolution).
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
