"""The register tile reads the picture where it lies: no patch is copied at all.

*What changes.*  All that a tile asks of its rows is that they are evenly spaced.  So are the pixels
along a line of the picture, at each tap of the filter: a tap (u, v) is a shift by u lines and v
pixels.  The tile goes through the taps itself, and its sums stay in registers meanwhile.

*Cost.*  2 N OH OW KH KW C OC operations, and no copy.  A pixel is read for each of its taps, from
the level-1 or level-2 cache.

*Bound by* the multiply-adds, and by how well lines fill tiles: a tile does not reach over the end
of a line, and 17 pixels make tiles of 9 and 8 rows where 14 would fit.

It takes no padding: beyond the edge there are no pixels to read.

Georganas et al. 2018, "Anatomy of high-performance deep learning convolutions on SIMD
architectures", arXiv:1808.05567; Zhang, Franchetti and Low 2018, "High performance zero-memory
overhead direct convolutions", arXiv:1809.10170.  `program.products` has the code.
"""

from minincep_kernels.conv2d.tiled import rung
from minincep_kernels.program.layout import DIRECT

rung("tile_direct", DIRECT, below="tile_implicit", about=__doc__)
