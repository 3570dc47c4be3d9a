"""What there is to measure: the shapes of all layers of the three networks, at their full size.

They are found by tracing the networks, so a new layer is measured without a change here.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from minincep_kernels.errors import ConfigError
from minincep_kernels.shapes import Conv2dShape, GemmShape, Pool2dShape

# Pixels of a side, as in the papers and releases.
SIZES = {"inception_v4": 299, "inception_resnet_v1": 160, "inception_resnet_v2": 299}
SHORT = {"v4": "inception_v4", "v1": "inception_resnet_v1", "v2": "inception_resnet_v2"}


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


def chosen(op: str, names: Sequence[str], batch: int = 1) -> list[Workload]:
    """The workloads that a user names: by network (v4, v1, v2 or in full), or by label; or all.

    Raises
    ------
    ConfigError
        If there is no network and no shape of a name.
    """
    wanted = [SHORT.get(name, name) for name in names] or list(SIZES)
    found = shapes(op, [name for name in SIZES if name in wanted], batch)
    labels = [name for name in wanted if name not in SIZES]
    if labels:
        known = {workload.label: workload for workload in shapes(op, batch=batch)}
        for name in labels:
            if name not in known:
                raise ConfigError(
                    f"no layer has the {op} shape {name!r}: give v4, v1 or v2, or a shape of "
                    f"'minincep bench {op} --list', such as {next(iter(known))!r}"
                )
        found += [known[name] for name in labels if known[name] not in found]
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
    """Of each kind of window, or of other shapes altogether, the one with the least work."""
    least: dict[Any, Workload] = {}
    for workload in sorted(workloads, key=lambda one: int(one.shape.flops)):
        shape = workload.shape
        kind = (shape.kernel, shape.stride) if isinstance(shape, Pool2dShape) else None
        least.setdefault(kind, workload)
    return list(least.values())


def label(shape: Any) -> str:
    """A short name of a shape: what goes in, the window, the channels that come out."""
    if isinstance(shape, GemmShape):
        return f"{shape.rows}x{shape.depth} @ {shape.depth}x{shape.columns}"
    if not isinstance(shape, Pool2dShape):
        return f"{shape.rows}x{shape.channels}"
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
    if op == "gemm":
        products = (_product(shape) for shape in _shapes_of("conv2d", network, batch))
        yield from products
        return
    for kind, pixels, channels, kernel, stride, padding, out_channels in _layers(network):
        if kind != op:
            continue
        height, width = pixels
        if op == "conv2d":
            yield Conv2dShape(batch, height, width, channels, kernel, stride, padding, out_channels)
        elif op == "max_pool2d":
            yield Pool2dShape(batch, height, width, channels, kernel, stride, padding)


def _product(shape: Conv2dShape) -> GemmShape:
    return GemmShape(shape.pixels, shape.out_channels, shape.taps)


@functools.cache
def _layers(network: str) -> tuple[tuple[Any, ...], ...]:
    """Kind, (height, width), channels, kernel, stride, padding and channels out of each layer."""
    from minincep.models.registry import build_model
    from minincep.plan.trace import trace

    found = []
    graph = trace(build_model(network).eval(), (SIZES[network],) * 2)
    for node in graph.nodes:
        height, width, channels = (1, 1, *node.inputs[0].shape)[-3:]
        kernel, filters = node.static.get("kernel_size", (1, 1)), node.arrays.get("filters")
        if filters is not None:
            kernel = filters.shape[:2]
        stride, padding = node.static.get("stride"), node.static.get("padding")
        layer = (node.op, (height, width), channels, kernel, stride, padding)
        found.append((*layer, node.output.shape[-1]))
    return tuple(found)
