"""What there is to measure: the shapes of all layers of the three networks, at their full size.

They are found by tracing the networks, so a new layer is measured without a change here.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from minincep_kernels.errors import ConfigError
from minincep_kernels.shapes import (
    Conv2dShape,
    GemmShape,
    MomentsShape,
    NormalizeShape,
    Pool2dShape,
)

# Pixels of a side, as in the papers and releases.
SIZES = {"inception_v4": 299, "inception_resnet_v2": 299, "inception_resnet_v1": 160}
SHORT = {"v4": "inception_v4", "v2": "inception_resnet_v2", "v1": "inception_resnet_v1"}


@dataclass(frozen=True)
class Workload:
    """A shape that layers have.

    Attributes
    ----------
    label
        A short name, such as ``35x35x384 1x1 -> 96``; no two shapes of an operation share it.
    networks
        How many layers of each network have it, as pairs.
    """

    op: str
    shape: Any
    label: str
    networks: tuple[tuple[str, int], ...]


def shapes(op: str, networks: Iterable[str] = tuple(SIZES), batch: int = 1) -> list[Workload]:
    """All distinct shapes of an operation, in the order in which the networks have them."""
    counts: dict[Any, Counter[str]] = {}
    for network in networks:
        for shape in _shapes_of(op, network, batch):
            counts.setdefault(shape, Counter())[network] += 1
    return [
        Workload(op, shape, label(shape), tuple(counted.items()))
        for shape, counted in counts.items()
    ]


def chosen(ops: Sequence[str], names: Sequence[str], batch: int = 1) -> dict[str, list[Workload]]:
    """The workloads of operations that a user names: by network, or by label; or all.

    Raises
    ------
    ConfigError
        If there is no network and no shape of a name.
    """
    wanted = [SHORT.get(name, name) for name in names] or list(SIZES)
    known = {one.label: one for op in ops for one in shapes(op, batch=batch)}
    for name in wanted:
        if name not in SIZES and name not in known:
            raise ConfigError(
                f"no layer has the shape {name!r}: give v4, v1 or v2, or one of --list, such as "
                f"{next(iter(known))!r}"
            )
    found = {}
    for op in ops:
        some = shapes(op, [name for name in SIZES if name in wanted], batch)
        more = [one for one in shapes(op, batch=batch) if one.label in wanted]
        found[op] = list({one.shape: one for one in [*more, *some]}.values())
    return found


def networks(names: Sequence[str]) -> list[str]:
    """The networks that a user names: v4, v1, v2 or in full; or all.

    Raises
    ------
    ConfigError
        If there is none of a name.
    """
    wanted = [SHORT.get(name, name) for name in names] or list(SIZES)
    for name in wanted:
        if name not in SIZES:
            raise ConfigError(f"no network {name!r}, only: {', '.join([*SHORT, *SIZES])}")
    return wanted


def smallest(workloads: Iterable[Workload]) -> list[Workload]:
    """Of each kind of window, else of each power of ten of work, the one with the least work."""
    least: dict[Any, Workload] = {}
    for workload in sorted(workloads, key=lambda one: int(one.shape.flops)):
        shape = workload.shape
        kind: Any = len(str(int(shape.flops)))
        if isinstance(shape, Pool2dShape):
            kind = (shape.kernel, shape.stride)
        least.setdefault(kind, workload)
    return list(least.values())


def label(shape: Any) -> str:
    """A short name of a shape: what goes in, the window, the channels that come out."""
    if isinstance(shape, GemmShape):
        return f"{shape.rows}x{shape.depth} @ {shape.depth}x{shape.columns}"
    if isinstance(shape, MomentsShape):
        relu = " relu" if isinstance(shape, NormalizeShape) and shape.relu else ""
        return f"{shape.rows}x{shape.channels}{relu}"
    pictures = f"{shape.batch}x" if shape.batch > 1 else ""
    stride = f"/{shape.stride[0]}" if shape.stride != (1, 1) else ""
    same = shape.kernel != (1, 1) and any(shape.padding)
    return (
        f"{pictures}{shape.height}x{shape.width}x{shape.channels} "
        f"{shape.kernel[0]}x{shape.kernel[1]}{stride}{' padded' if same else ''}"
        + (f" -> {shape.out_channels}" if isinstance(shape, Conv2dShape) else "")
    )


def _shapes_of(op: str, network: str, batch: int) -> Iterator[Any]:
    """One for each layer."""
    for layer in _layers(network):
        window = (batch, *layer.input, layer.kernel, layer.stride, layer.padding)
        rows = batch * layer.input[0] * layer.input[1]
        match op, layer.kind:
            case "conv2d", "conv2d":
                yield Conv2dShape(*window, layer.out_channels)
            case "gemm", "conv2d":
                yield _product(Conv2dShape(*window, layer.out_channels))
            case ("max_pool2d", "max_pool2d") | ("avg_pool2d", "avg_pool2d"):
                yield Pool2dShape(*window)
            case "moments", "batch_norm":
                yield MomentsShape(rows, layer.input[2])
            case "normalize", "batch_norm":
                yield NormalizeShape(rows, layer.input[2], layer.relu)


def _product(shape: Conv2dShape) -> GemmShape:
    return GemmShape(shape.pixels, shape.out_channels, shape.taps)


@dataclass(frozen=True)
class Layer:
    """An op of a network, on one picture."""

    kind: str
    input: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    out_channels: int
    relu: bool  # follows


@functools.cache
def _layers(network: str) -> list[Layer]:
    from minincep.models.registry import build_model
    from minincep.plan.trace import trace

    found = []
    graph = trace(build_model(network).eval(), (SIZES[network],) * 2)
    relus = {node.inputs[0] for node in graph.nodes if node.op == "relu"}
    for node in graph.nodes:
        height, width, channels = (1, 1, *node.inputs[0].shape)[-3:]
        kernel = node.static.get("kernel_size", (1, 1))
        if "filters" in node.arrays:
            kernel = node.arrays["filters"].shape[:2]
        found.append(
            Layer(
                node.op,
                (height, width, channels),
                kernel,
                node.static.get("stride", (1, 1)),
                node.static.get("padding", (0, 0, 0, 0)),
                node.output.shape[-1],
                node.output in relus,
            )
        )
    return found
