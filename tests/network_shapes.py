"""The windows of the three networks: what slides over what, shrunk so that a test is quick.

Kernel, stride and padding are those of the real layers, read off the built networks, so that a
new layer is tested without a change here.  Channels and images are small but awkward: odd and even
sizes, higher than wide and wider than high, channels below and above a vector of 16.
"""

from collections.abc import Iterator
from typing import Any

from minincep.models.registry import build_model
from minincep.nn.layers import Conv2d, MaxPool2d
from minincep.nn.module import Module
from minincep_kernels.shapes import Conv2dShape, Padding, Pool2dShape, conv2d_shape, pool2d_shape

NETWORKS: dict[str, dict[str, Any]] = {
    "inception_v4": {"aux_logits": True},
    "inception_resnet_v1": {},
    "inception_resnet_v1_paper": {},
    "inception_resnet_v2": {"aux_logits": True},
    "inception_resnet_v2_paper": {},
}
SIZES = [(7, 9), (10, 8)]
CHANNELS = [(3, 5), (19, 35)]

Window = tuple[tuple[int, int], tuple[int, int], Padding]


def layers() -> Iterator[Module]:
    for name, config in NETWORKS.items():
        for _, module in build_model(name, width=0.01, **config).modules():
            yield module


def conv2d_windows() -> list[Window]:
    """Distinct (kernel, stride, padding) of all convolutions."""
    found = {
        ((layer.weight.shape[0], layer.weight.shape[1]), layer.stride, layer.padding)
        for layer in layers()
        if isinstance(layer, Conv2d)
    }
    return sorted(found, key=str)


def pool2d_windows() -> list[Window]:
    """Distinct (kernel, stride, padding) of all poolings, of the largest or the mean."""
    found = {
        (layer.size, layer.stride, layer.padding)
        for layer in layers()
        if isinstance(layer, MaxPool2d)
    }
    return sorted(found, key=str)


def conv2d_shapes() -> list[Conv2dShape]:
    shapes = [
        conv2d_shape((2, *size, channels), (*kernel, channels, out_channels), stride, padding)
        for kernel, stride, padding in conv2d_windows()
        for size, (channels, out_channels) in zip(SIZES, CHANNELS, strict=True)
    ]
    return list(dict.fromkeys(shapes))  # a 1x1 window is the same, padded or not


def pool2d_shapes() -> list[Pool2dShape]:
    return [
        pool2d_shape((2, *size, 5), kernel, stride, padding)
        for kernel, stride, padding in pool2d_windows()
        for size in SIZES
    ]


def label(shape: Pool2dShape) -> str:
    """A short name for a test."""
    kernel, stride = ("x".join(map(str, pair)) for pair in (shape.kernel, shape.stride))
    padding = ",".join(map(str, shape.padding))
    return f"{shape.height}x{shape.width}-kernel{kernel}-stride{stride}-pad{padding}"
