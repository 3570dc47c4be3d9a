"""Winograd's method along one axis, for the filters of 1 x 3, 1 x 7 and their turned ones.

*What changes.*  Half of the transforms of `winograd_2d` is left out, and what is left is done along
rows or along columns: F(4, 3) takes 6 multiplications for 12, F(4, 7) takes 10 for 28, and F(6, 7),
a rung above it, 12 for 42.  The filters of 1 x 7 and 7 x 1 are a large part of Inception-v4.

*Cost.*  2 C OC operations for each product of each tile; `work` counts those, not the transforms.
Filters take 6 / 3, 10 / 7 or 12 / 7 times the memory.

*Bound by* the multiply-adds of the products; by tiles that hang over the edge: of 17 pixels, 3
tiles of 6 leave one pixel over, 5 of 4 leave three.  And by digits: F(6, 7) loses the most.

Winograd 1980, "Arithmetic complexity of computations"; Barabasz et al. 2018, "Error analysis and
improving the accuracy of Winograd convolution for deep neural networks", arXiv:1803.10986, on where
the digits go.  `program.tiles` has the code.
"""

from minincep_kernels.conv2d.winograd_2d import is_flat, winograd
from minincep_kernels.winograd import TILES

for _tile in TILES:
    if is_flat(_tile):
        winograd(_tile, __doc__)
