"""The words in which the networks are written: `conv`, `concat`, `residual`, ...

Each gives a `Definition`: a layer that is not built yet.  Given the number of incoming channels, a
definition builds its layer; the layer says how many channels come out, and that number goes to the
next definition.  So a network is written like a figure of the paper, with no number twice:

    concat(                                                        # the figure's four columns
        [conv("1x1", 96)],
        [conv("0a_1x1", 64), conv("0b_3x3", 96)],
        [conv("0a_1x1", 64), conv("0b_3x3", 96), conv("0c_3x3", 96)],
        [avg_pool(3), conv("0b_1x1", 96)],
    )

Names are the released ones: `conv("0b_3x3", 96)` is `Conv2d_0b_3x3` in TF-slim and the attribute
`conv2d_0b_3x3` here, and its kernel size is read off the name.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from minincep.autograd import ops
from minincep.autograd.op import is_recording, layer
from minincep.autograd.recompute import recompute
from minincep.autograd.tensor import Tensor
from minincep.nn.layers import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    L2Normalize,
    MaxPool2d,
    Softmax,
)
from minincep.nn.module import Module, endpoints, report, wanted
from minincep_kernels.shapes import Padding


@dataclass(frozen=True)
class Settings:
    """What holds for a whole network.

    Attributes
    ----------
    width
        Factor of the channels of every convolution, for people who train on a laptop.
    gamma
        Whether batch norm has a gamma.
    decay
        Decay of the running statistics of batch norm.
    """

    width: float = 1.0
    gamma: bool = False
    decay: float = 0.99

    def scaled(self, channels: int) -> int:
        """Channels times the width, to the nearest multiple of 4, and at least 4."""
        return max(4, 4 * round(channels * self.width / 4))

    def batch_norm(self, channels: int) -> BatchNorm:
        return BatchNorm(channels, gamma=self.gamma, decay=self.decay)


@dataclass(frozen=True)
class Definition:
    """A layer that is not built yet.

    Attributes
    ----------
    name
        Its released name, ``""`` if it has none.
    build
        (incoming channels, settings) -> the layer.
    """

    name: str
    build: Callable[[int, Settings], Module]


Branch = Sequence[Definition]


def named(name: str, definition: Definition) -> Definition:
    """The same definition under another name."""
    return replace(definition, name=name)


def conv(
    label: str,
    channels: int,
    *,
    stride: int = 1,
    padding: Padding = "same",
    kernel_size: tuple[int, int] | None = None,
) -> Definition:
    """Convolution without bias, batch norm, ReLU; "1x7" in the label is height 1, width 7."""
    if kernel_size is None:
        sizes = re.search(r"(\d)x(\d)$", label)
        if sizes is None:
            raise ValueError(f"conv {label!r}: no kernel size in the label, so give kernel_size")
        kernel_size = (int(sizes[1]), int(sizes[2]))

    def build(channels_in: int, settings: Settings) -> Module:
        width = settings.scaled(channels)
        return Conv2d(
            channels_in,
            width,
            kernel_size,
            stride=stride,
            padding=padding,
            batch_norm=settings.batch_norm(width),
        )

    return Definition(f"Conv2d_{label}", build)


def max_pool(size: int, *, stride: int, name: str = "") -> Definition:
    """Largest value of each window, no padding."""
    return Definition(
        name, lambda channels, _: MaxPool2d(channels, size, stride=stride, padding="valid")
    )


def avg_pool(size: int, *, stride: int = 1, padding: Padding = "same") -> Definition:
    """Mean of each window, padding not counted."""
    return Definition(
        "", lambda channels, _: AvgPool2d(channels, size, stride=stride, padding=padding)
    )


def global_avg_pool() -> Definition:
    """Mean of all pixels."""
    return Definition("global_pool", lambda channels, _: GlobalAvgPool2d(channels))


def flatten(name: str = "") -> Definition:
    """One pixel becomes a row."""
    return Definition(name, lambda channels, _: Flatten(channels))


def dropout(rate: float) -> Definition:
    """Zeros for a share `rate` of the values, in training."""
    return Definition("", lambda channels, _: Dropout(channels, rate))


def dense(name: str, units: int) -> Definition:
    """Fully connected, with a bias.  The width of the settings does not apply."""
    return Definition(name, lambda channels, _: Dense(channels, units))


def bottleneck(name: str, units: int) -> Definition:
    """Fully connected, with batch norm and without ReLU.  The settings' width does not apply."""
    return Definition(
        name,
        lambda channels, settings: Dense(channels, units, batch_norm=settings.batch_norm(units)),
    )


def softmax(name: str) -> Definition:
    return Definition(name, lambda channels, _: Softmax(channels))


def l2_normalize(name: str) -> Definition:
    return Definition(name, lambda channels, _: L2Normalize(channels))


class Chain(Module):
    """One after the other.  A part with a name becomes an attribute of that name in lower case.

    Attributes
    ----------
    recompute
        Whether parts with weights keep only their input for the backward pass, and run again
        there: less memory for more time.  `recompute_blocks` sets it.
    """

    recompute: bool = False

    def __init__(self, parts: Branch, channels: int, settings: Settings) -> None:
        self.parts: tuple[Module, ...] = ()
        for part in parts:
            module = part.build(channels, settings)
            name = part.name.lower() or f"_{len(self.parts)}"
            if hasattr(self, name):
                raise ValueError(f"two parts of a chain are called {name!r}")
            setattr(self, name, module)
            self.parts += (module,)
            channels = module.channels
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return self._run(self.parts, x)

    def after_projection(self, y: Tensor) -> Tensor:
        """What comes out, given the convolution of the first part, without its batch norm."""
        first, *rest = self.parts
        assert isinstance(first, Conv2d)
        return self._run(rest, first.normalised(y))

    def _run(self, parts: Sequence[Module], x: Tensor) -> Tensor:
        for part in parts:
            again = self.recompute and isinstance(part, Conv2d | Concat) and not _asked_inside(part)
            x = _recomputed(part, x) if again else part(x)
        return x

    def recompute_blocks(self, mode: bool = True) -> Self:
        """Set `recompute` for this chain and the chains in it, not for what is inside a block.

        In a network, each block and each convolution of the stem then keeps its input only.
        """
        self.recompute = mode
        for part in self.parts:
            if isinstance(part, Chain):
                part.recompute_blocks(mode)
        return self


def _recomputed(part: Module, x: Tensor) -> Tensor:
    """What a part gives; see `autograd.recompute`."""

    def run(x: Tensor) -> Tensor:
        with endpoints(()):  # the end point of the part is y below, with all of its tape
            return part(x)

    y = recompute(run, x, part.parameters().values())
    if part.endpoint:
        report(part.endpoint, y)
    return y


def _asked_inside(part: Module) -> bool:
    """Whether somebody waits for an end point inside of a part, which must be on the tape then."""
    inside = [module for _, module in part.modules() if module is not part]
    return any(wanted(m.name if isinstance(m, Side) else m.endpoint) for m in inside)


class Concat(Module):
    """Side by side: every branch gets the same input, their channels are joined in order."""

    def __init__(
        self, branches: Sequence[Branch], channels: int, settings: Settings, *, flat: bool = False
    ) -> None:
        self.branches: tuple[Chain, ...] = ()
        for index, parts in enumerate(branches):
            module = Chain(parts, channels, settings)
            setattr(self, f"_{index}" if flat else f"branch_{index}", module)
            self.branches += (module,)
        self.channels = sum(branch.channels for branch in self.branches)

    def forward(self, x: Tensor) -> Tensor:
        projections = _projections(self.branches) if is_recording() else []
        if len(projections) < 2:
            return ops.concat(*[branch(x) for branch in self.branches])
        # One convolution reads the input once, where each would read it all, and adds up the
        # gradients of x that each would write.  Where no tape is kept, plans do the same.
        joined = ops.conv2d(x, ops.concat(*[conv.weight for conv in projections]))
        found, first = [], 0
        for branch in self.branches:
            if branch.parts[0] in projections:
                last = first + branch.parts[0].channels
                part = ops.channels(joined, first=first, last=last)
                found.append(branch.after_projection(part))
                first = last
            else:
                found.append(branch(x))
        return ops.concat(*found)


def _projections(branches: Sequence[Chain]) -> list[Conv2d]:
    """Those 1 x 1 convolutions with batch norm that branches begin with."""
    first = [branch.parts[0] for branch in branches if branch.parts]
    return [
        part
        for part in first
        if isinstance(part, Conv2d)
        and part.batch_norm is not None
        and part.weight.shape[:2] == part.stride == (1, 1)
    ]


def concat(*branches: Branch) -> Definition:
    """Side by side; the weights of the branches are under `branch_0`, `branch_1`, ..."""
    return Definition("", lambda channels, settings: Concat(branches, channels, settings))


def fork(*parts: Definition) -> Definition:
    """Side by side within a branch, without a level of names of its own."""
    return Definition(
        "",
        lambda channels, settings: Concat(
            [[part] for part in parts], channels, settings, flat=True
        ),
    )


class Residual(Concat):
    """x + scale * projection(branches side by side), then ReLU.

    The projection is a 1 x 1 convolution with a bias, without batch norm or ReLU, back to the
    channels of x.  Scaling it down keeps deep residual networks from dying early in training
    (Szegedy et al. 2016, arXiv:1602.07261, section 3.3).
    """

    conv2d_1x1: Conv2d
    scale: float
    relu: bool

    def __init__(
        self,
        branches: Sequence[Branch],
        channels: int,
        settings: Settings,
        *,
        scale: float,
        relu: bool,
    ) -> None:
        super().__init__(branches, channels, settings)
        self.conv2d_1x1 = Conv2d(self.channels, channels, (1, 1))
        self.channels = channels
        self.scale = scale
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        branches, projection = super().forward(x), self.conv2d_1x1
        with layer(projection.path):
            return ops.residual_conv2d(
                *(x, branches, projection.weight, projection.bias),
                factor=self.scale,
                with_relu=self.relu,
            )


def residual(*branches: Branch, scale: float, relu: bool = True) -> Definition:
    """x + scale * projection(branches side by side), then ReLU."""
    return Definition(
        "",
        lambda channels, settings: Residual(branches, channels, settings, scale=scale, relu=relu),
    )


class Repeat(Chain):
    """The same definition again and again, numbered from 1; each block is an end point."""

    def __init__(
        self, scope: str, block: Definition, count: int, channels: int, settings: Settings
    ) -> None:
        names = [f"{block.name}_{number}" for number in range(1, count + 1)]
        super().__init__([Definition(name, block.build) for name in names], channels, settings)
        for name, part in zip(names, self.parts, strict=True):
            part.endpoint = f"{scope}/{name}"


def repeat(scope: str, block: Definition, count: int) -> Definition:
    """A named block `count` times."""
    return Definition(
        scope, lambda channels, settings: Repeat(scope, block, count, channels, settings)
    )


class Side(Chain):
    """A way off the main road: runs only when its end point is wanted, and passes its input on.

    Without parts it just gives another name to what passes.
    """

    def __init__(self, name: str, parts: Branch, channels: int, settings: Settings) -> None:
        super().__init__(parts, channels, settings)
        self.name = name
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        if wanted(self.name):
            report(self.name, super().forward(x))
        return x


def side(name: str, *parts: Definition, scope: str = "") -> Definition:
    """Parts that run only when the end point `name` is wanted; the main road goes on unchanged."""
    return Definition(scope, lambda channels, settings: Side(name, parts, channels, settings))
