"""Implicit im2col: patches are copied a few rows at a time, just before they are multiplied.

*What changes.*  The columns are never there as a whole.  A thread copies the patches behind some
hundred output pixels into scratch memory of its own, multiplies them by all panels of the filters
(`gemm.register_tile`), and uses the same scratch memory for the next.

*Cost.*  2 N OH OW KH KW C OC operations.  As many copies as in `im2col`, but they stay in the
level-2 cache: memory sees the input, the filters and the result, once each, and each number of the
input is used for all its KH KW taps while it is near.

*Bound by* the multiply-adds.  Copying takes KH KW C loads and stores a pixel, beside KH KW C OC
multiply-adds, so that it shows where there are few output channels.

Chetlur et al. 2014, "cuDNN: efficient primitives for deep learning", arXiv:1410.0759.
`program.products` has the code, which plans run as well.
"""

from minincep_kernels.conv2d.tiled import rung
from minincep_kernels.program.layout import IMPLICIT

rung("tile_implicit", IMPLICIT, below="im2col_gemm", about=__doc__)
