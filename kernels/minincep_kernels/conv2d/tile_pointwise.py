"""Of a filter of 1 x 1, a patch is a pixel: the picture is the matrix as it lies.

*What changes.*  All pixels of a batch follow each other at the same distance, from line to line and
from picture to picture.  So tiles go over the ends of lines, where those of `tile_direct` stop, and
all but the last are full: it is `gemm.parallel`, with filters that a plan has packed before.

*Cost.*  2 N H W C OC operations; memory sees pixels, filters and result once each.

*Bound by* the multiply-adds; for small pictures, by the memory that the filters come from.
"""

from minincep_kernels.conv2d.tiled import rung
from minincep_kernels.program.layout import POINTWISE

rung("tile", POINTWISE, below="tile_direct", about=__doc__)
