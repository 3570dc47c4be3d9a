"""All ops.  One file a family; a forward and its rule stand together."""

from minincep.autograd.ops.activation import relu as relu
from minincep.autograd.ops.arithmetic import add as add
from minincep.autograd.ops.arithmetic import add_bias as add_bias
from minincep.autograd.ops.arithmetic import matmul as matmul
from minincep.autograd.ops.arithmetic import multiply as multiply
from minincep.autograd.ops.arithmetic import scale as scale
from minincep.autograd.ops.convolution import conv2d as conv2d
from minincep.autograd.ops.convolution import residual_conv2d as residual_conv2d
from minincep.autograd.ops.embedding import centre_loss as centre_loss
from minincep.autograd.ops.embedding import triplet_loss as triplet_loss
from minincep.autograd.ops.loss import log_softmax as log_softmax
from minincep.autograd.ops.loss import softmax as softmax
from minincep.autograd.ops.loss import softmax_cross_entropy as softmax_cross_entropy
from minincep.autograd.ops.normalization import batch_norm as batch_norm
from minincep.autograd.ops.normalization import batch_norm_relu as batch_norm_relu
from minincep.autograd.ops.normalization import l2_normalize as l2_normalize
from minincep.autograd.ops.pooling import avg_pool2d as avg_pool2d
from minincep.autograd.ops.pooling import global_avg_pool2d as global_avg_pool2d
from minincep.autograd.ops.pooling import max_pool2d as max_pool2d
from minincep.autograd.ops.regularization import dropout as dropout
from minincep.autograd.ops.shape import channels as channels
from minincep.autograd.ops.shape import concat as concat
from minincep.autograd.ops.shape import mean as mean
from minincep.autograd.ops.shape import reshape as reshape
