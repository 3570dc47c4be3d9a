"""Batch normalisation, alone or with a ReLU after it: y = (x - mean) scale + shift.

Ioffe and Szegedy 2015, "Batch normalization", algorithm 1, with scale = gamma / sqrt(variance +
eps) and shift = beta.  The last axis is the channel, all others together are the rows.

All of it is bound by memory: an operation or four for each number that is fetched.  So what counts
is how often the arrays are read and written.  Forwards there are two ladders:

    moments      mean and variance of each channel, in training
    normalize    the rest, which is all in inference

The tops read x once each; backwards there is one pass for the sums and one for the gradient.
"""

from minincep_kernels.norm.gradients import backward as backward
from minincep_kernels.norm.gradients import relu_gradient_sums as relu_gradient_sums
from minincep_kernels.norm.moments import naive as _moments  # noqa: F401  (registers the variants)
from minincep_kernels.norm.normalize import channel_table as channel_table
from minincep_kernels.norm.sums import channel_sums as channel_sums
