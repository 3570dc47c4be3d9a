"""Pooling: the largest value or the mean of each window, channel by channel.

Forwards there are two ladders, "max_pool2d" and "avg_pool2d".  Backwards, each input pixel asks the
few windows that cover it for its share.  Asking, instead of windows handing out, means that no two
threads ever write to one place.
"""

from minincep_kernels.pool.average_pool import average_backward as average_backward
from minincep_kernels.pool.average_pool import global_average_backward as global_average_backward
from minincep_kernels.pool.average_pool import global_average_forward as global_average_forward
from minincep_kernels.pool.max_pool import max_backward as max_backward
