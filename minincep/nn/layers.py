"""The layers that the networks are built of.

Each is a module: fields first, then `__init__`, then `forward`.  The weights are left without
values; `init.initialise` draws them, or a file brings them.
"""

import math

import numpy as np

from minincep.autograd import ops
from minincep.autograd.recompute import once
from minincep.autograd.tensor import Tensor
from minincep.nn.module import Module, Parameter
from minincep_kernels import Array
from minincep_kernels.errors import ShapeError
from minincep_kernels.registry import choose
from minincep_kernels.shapes import Padding, moments_shape

EPS = 1e-3  # of all released weights; PyTorch's default of 1e-5 is wrong for them


class BatchNorm(Module):
    """Batch normalisation over all axes but the last, and perhaps a ReLU: (..., C) -> (..., C).

    Attributes
    ----------
    relu
        Whether a ReLU follows; `Conv2d` sets it.
    gamma
        None in the released weights: before a ReLU and another layer, it adds nothing.
    decay
        How much of the running statistics stays at each training step.
    frozen
        Use the running statistics in training too, and leave them alone: for fine-tuning.

    Raises
    ------
    ShapeError
        When training with batch statistics on one value a channel.
    """

    beta: Parameter
    gamma: Parameter | None
    running_mean: Array
    running_var: Array
    eps: float
    decay: float
    frozen: bool
    relu: bool

    def __init__(
        self, channels: int, *, gamma: bool = False, eps: float = EPS, decay: float = 0.99
    ) -> None:
        self.channels = channels
        self.beta = _weight(channels)
        self.gamma = _weight(channels) if gamma else None
        self.running_mean = np.empty(channels, np.float32)
        self.running_var = np.empty(channels, np.float32)
        self.eps = eps
        self.decay = decay
        self.frozen = False
        self.relu = False

    def forward(self, x: Tensor) -> Tensor:
        mean, variance, of_batch = once(lambda: self._statistics(x))
        op = ops.batch_norm_relu if self.relu else ops.batch_norm
        return op(x, self.gamma, self.beta, mean, variance, eps=self.eps, of_batch=of_batch)

    def _statistics(self, x: Tensor) -> tuple[Array, Array, bool]:
        """Mean and variance to normalise with, and whether they are those of the batch."""
        if self.frozen or not self.training:
            return self.running_mean, self.running_var, False
        shape = moments_shape(x.shape)
        if shape.rows < 2:
            raise ShapeError(
                f"batch statistics of {x.shape} are those of {shape.rows} value a channel, which "
                "leave nothing to train: use a larger batch, or frozen batch norm"
            )
        mean, variance = choose("moments", shape).forward(x.data.reshape(shape.input), shape)
        self._follow(mean, variance, shape.rows)
        return mean, variance, True

    def _follow(self, mean: Array, variance: Array, rows: int) -> None:
        """Move the running statistics; the variance is kept unbiased, as PyTorch and TF do."""
        unbiased = variance * (rows / (rows - 1))
        keep = self.running_mean.dtype.type(self.decay)
        self.running_mean = keep * self.running_mean + (1 - keep) * mean
        self.running_var = keep * self.running_var + (1 - keep) * unbiased


class Conv2d(Module):
    """Convolution, then either batch norm and ReLU, or a bias: (N, H, W, C) -> (N, OH, OW, OC).

    The first form is used everywhere in the three networks, the second for the projection at the
    end of each residual block.
    """

    weight: Parameter
    bias: Parameter | None
    batch_norm: BatchNorm | None
    stride: tuple[int, int]
    padding: Padding

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel_size: tuple[int, int],
        *,
        stride: int = 1,
        padding: Padding = "same",
        batch_norm: BatchNorm | None = None,
    ) -> None:
        self.channels = channels
        self.weight = _weight(*kernel_size, channels_in, channels)
        self.bias = None if batch_norm else _weight(channels)
        self.batch_norm = batch_norm
        if batch_norm is not None:
            batch_norm.relu = True
        self.stride = (stride, stride)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        y = ops.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)
        return self.normalised(y)

    def normalised(self, y: Tensor) -> Tensor:
        """What comes out, given the convolution."""
        return y if self.batch_norm is None else self.batch_norm(y)


class Dense(Module):
    """Fully connected layer, with a bias or batch norm: (N, C) -> (N, units)."""

    weight: Parameter
    bias: Parameter | None
    batch_norm: BatchNorm | None

    def __init__(
        self, channels_in: int, units: int, *, batch_norm: BatchNorm | None = None
    ) -> None:
        self.channels = units
        self.weight = _weight(channels_in, units)
        self.bias = None if batch_norm else _weight(units)
        self.batch_norm = batch_norm

    def forward(self, x: Tensor) -> Tensor:
        y = ops.matmul(x, self.weight)
        if self.bias is not None:
            y = ops.add_bias(y, self.bias)
        return y if self.batch_norm is None else self.batch_norm(y)


class MaxPool2d(Module):
    """Largest value of each window: (N, H, W, C) -> (N, OH, OW, C)."""

    def __init__(self, channels: int, size: int, *, stride: int, padding: Padding) -> None:
        self.channels = channels
        self.size = (size, size)
        self.stride = (stride, stride)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return ops.max_pool2d(x, kernel_size=self.size, stride=self.stride, padding=self.padding)


class AvgPool2d(MaxPool2d):
    """Mean of each window, padding not counted: (N, H, W, C) -> (N, OH, OW, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.avg_pool2d(x, kernel_size=self.size, stride=self.stride, padding=self.padding)


class GlobalAvgPool2d(Module):
    """Mean of all pixels: (N, H, W, C) -> (N, 1, 1, C)."""

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return ops.global_avg_pool2d(x)


class Flatten(Module):
    """A map of one pixel becomes a row: (N, 1, 1, C) -> (N, C).

    Raises
    ------
    ShapeError
        If the map is larger.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        if math.prod(x.shape[1:]) != self.channels:
            raise ShapeError(f"flatten takes (N, 1, 1, {self.channels}), got {x.shape}")
        return ops.reshape(x, shape=(-1, self.channels))


class Dropout(Module):
    """In training, sets a share `rate` of the values to zero; else nothing.  Any shape.

    Attributes
    ----------
    generator
        Draws the mask; seeded by `init.initialise`.  Set it to `numpy.random.default_rng(seed)` to
        repeat a run.
    """

    rate: float
    generator: np.random.Generator

    def __init__(self, channels: int, rate: float) -> None:
        self.channels = channels
        self.rate = rate
        self.generator = np.random.default_rng(0)

    def forward(self, x: Tensor) -> Tensor:
        keep = once(lambda: self._mask(x))
        return x if keep is None else ops.dropout(x, keep, rate=self.rate)

    def _mask(self, x: Tensor) -> Array | None:
        if not self.training or self.rate == 0:
            return None
        mask: Array = self.generator.random(x.shape) >= self.rate
        return mask


class Softmax(Module):
    """Logits to probabilities: (N, classes) -> (N, classes)."""

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return ops.softmax(x)


class L2Normalize(Module):
    """Each row divided by its length: (N, C) -> (N, C)."""

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return ops.l2_normalize(x)


def _weight(*shape: int) -> Parameter:
    return Parameter(np.empty(shape, np.float32))
