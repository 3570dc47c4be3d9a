"""From a graph to a program: an order, an address for everything, packed filters."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from minincep.plan.graph import Graph, Node, Value
from minincep.plan.memory import Life, place
from minincep.plan.program import Place, Program
from minincep_kernels import Array, machine
from minincep_kernels.errors import PlanError
from minincep_kernels.program.layout import Method, choose
from minincep_kernels.program.run import scratch_of
from minincep_kernels.program.step import STEP, ZEROS, Kind
from minincep_kernels.shapes import Conv2dShape
from minincep_kernels.vectors import COLUMNS_SLACK, padded

PAGE = 1024  # floats: rows that are a multiple of this apart all fall into one set of the L1 cache

KINDS = {
    "max_pool2d": Kind.MAX_POOL,
    "avg_pool2d": Kind.AVERAGE_POOL,
    "global_avg_pool2d": Kind.GLOBAL_AVERAGE,
    "copy": Kind.COPY,
    "reshape": Kind.COPY,
    "l2_normalize": Kind.L2_NORMALIZE,
    "softmax": Kind.SOFTMAX,
}


def lower(graph: Graph, batch: int, allocate: Callable[[int], Array]) -> Program:
    """The program of a graph.  The constants of the nodes are let go of, one layer after the other.

    Parameters
    ----------
    batch
        Pictures to make room for.
    allocate
        Gives memory for so many floats of packed filters.
    """
    nodes = in_order(graph)
    waits = _waits(nodes)
    places, memory = _places(graph, nodes, waits, batch)
    steps = np.zeros(len(nodes), STEP)
    methods: list[Method | None] = []
    for step, node, wait in zip(steps, nodes, waits, strict=True):
        methods.append(_fill(step, node, places, batch))
        step["wait"] = wait
    weights = _pack(nodes, steps, methods, allocate)
    return Program(
        steps,
        weights,
        memory + 2 * COLUMNS_SLACK,
        max(scratch_of(step) for step in steps),
        batch,
        tuple(node.path for node in nodes),
        places[graph.input],
        {name: (places[value], value.shape) for name, value in graph.outputs.items()},
    )


def in_order(graph: Graph) -> list[Node]:
    """The nodes by their distance from the input, so that branches run side by side."""
    writers = _writers(graph.nodes)
    distance: dict[Node, int] = {}
    for node in graph.nodes:
        before = [w for value in node.inputs for w in writers[value]]
        distance[node] = 1 + max((distance[graph.nodes[w]] for w in before), default=0)
    return sorted(graph.nodes, key=lambda node: distance[node])


def _around(value: Value) -> list[Value]:
    """A value and those that it lies in, itself first."""
    chain = [value]
    while chain[-1].inside is not None:
        chain.append(chain[-1].inside[0])
    return chain


def _channels(value: Value) -> tuple[Value, int, int]:
    """The outermost value that it lies in, its first channel there, and the one after its last."""
    around = _around(value)
    first = sum(inner.inside[1] for inner in around if inner.inside is not None)
    return around[-1], first, first + value.shape[-1]


def _writers(nodes: list[Node]) -> dict[Value, list[int]]:
    """Which steps write a value or some of its channels, for all that there are."""
    written: dict[Value, list[tuple[int, int, int]]] = {}
    for index, node in enumerate(nodes):
        outer, first, last = _channels(node.output)
        written.setdefault(outer, []).append((first, last, index))
    writers = {}
    for value in {v for node in nodes for x in (*node.inputs, node.output) for v in _around(x)}:
        outer, first, last = _channels(value)
        writers[value] = [
            index for low, high, index in written.get(outer, []) if low < last and first < high
        ]
    return writers


def _waits(nodes: list[Node]) -> list[int]:
    """How many steps must be complete before each begins: all up to the last that it reads from."""
    writers = _writers(nodes)
    return [max((w + 1 for x in node.inputs for w in writers[x]), default=0) for node in nodes]


def _places(
    graph: Graph, nodes: list[Node], waits: list[int], batch: int
) -> tuple[dict[Value, Place], int]:
    """Give each value a place: those that lie in no other get memory, the others a part of it."""
    writers = _writers(nodes)
    values = [graph.input, *(node.output for node in nodes)]
    outermost = list(dict.fromkeys(_around(value)[-1] for value in values))
    last = {value: max(writers.get(value, ()), default=0) for value in outermost}
    for index, node in enumerate(nodes):
        for value in node.inputs:
            outer = _around(value)[-1]
            last[outer] = max(last[outer], index)
    for value in graph.outputs.values():
        last[_around(value)[-1]] = len(nodes)
    pitches = {}
    lives = []
    for value in outermost:
        height, width, channels = _map(value)
        pitches[value] = channels + (COLUMNS_SLACK if channels % PAGE == 0 else 0)
        ready = min((waits[w] for w in writers.get(value, ())), default=-1)
        if value is graph.input:
            ready = -1
        lives.append(Life(batch * height * width * pitches[value], ready, last[value]))
    offsets, memory = place(lives)
    start = dict(zip(outermost, offsets, strict=True))
    places = {}
    read = [value for node in nodes for value in node.inputs]
    for value in {*values, *read, *graph.outputs.values()}:
        outer, first, _ = _channels(value)
        height, width, channels = _map(value)
        places[value] = Place(start[outer] + first, pitches[outer], height, width, channels)
    return places, memory


def _map(value: Value) -> tuple[int, int, int]:
    """Height, width and channels; a row of numbers is a map of one pixel."""
    if len(value.shape) == 1:
        return (1, 1, value.shape[0])
    height, width, channels = value.shape
    return (height, width, channels)


def _fill(step: Any, node: Node, places: dict[Value, Place], batch: int) -> Method | None:
    """Write what a step does, and where, into its row; -> how it convolves, if it does."""
    x, y = places[node.inputs[0]], places[node.output]
    step["in_offset"], step["in_pitch"] = x.offset, x.pitch
    step["height"], step["width"], step["channels"] = x.height, x.width, x.channels
    step["out_offset"], step["out_pitch"] = y.offset, y.pitch
    step["out_height"], step["out_width"], step["out_channels"] = y.height, y.width, y.channels
    step["relu"] = node.static.get("relu", False)
    step["residual_offset"] = step["bias"] = -1
    if len(node.inputs) == 2:
        more = places[node.inputs[1]]
        step["residual_offset"], step["residual_pitch"] = more.offset, more.pitch
    kernel, stride, padding = _window(node)
    step["kernel_height"], step["kernel_width"] = kernel
    step["stride_height"], step["stride_width"] = stride
    step["top"], step["left"] = padding[0], padding[2]
    if node.op == "conv2d":
        shape = Conv2dShape(1, x.height, x.width, x.channels, kernel, stride, padding, y.channels)
        method = choose(shape, residual=len(node.inputs) == 2)
        for name, number in method.fields(shape, machine.get_num_threads()).items():
            step[name] = number
        return method
    moves_pixels = node.op == "reshape" and (x.height, x.width) != (y.height, y.width)
    if node.op not in KINDS or moves_pixels:
        raise PlanError(f"a plan cannot run {node.op} of layer {node.path}")
    step["kind"] = KINDS[node.op]
    step["columns"] = y.channels
    lines = y.height if node.op in ("max_pool2d", "avg_pool2d") else y.height * y.width
    step["rows"] = 1 if node.op == "global_avg_pool2d" else -(-lines // 8)
    return None


def _window(
    node: Node,
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
    kernel = node.static.get("kernel_size", (1, 1))
    if node.op == "conv2d":
        kernel = node.arrays["filters"].shape[:2]
    return (
        kernel,
        node.static.get("stride", (1, 1)),
        node.static.get("padding", (0, 0, 0, 0)),
    )


def _pack(
    nodes: list[Node],
    steps: npt.NDArray[Any],
    methods: list[Method | None],
    allocate: Callable[[int], Array],
) -> Array:
    """Zeros, then filters and bias of one layer after the other."""
    size = ZEROS
    for step, node, method in zip(steps, nodes, methods, strict=True):
        if method is not None:
            filters = node.arrays["filters"]
            step["filters"] = size
            products = method.packed_floats(filters.shape)
            size += products
        if method is not None or "bias" in node.arrays:
            step["bias"] = size
            size += padded(int(step["out_channels"])) + COLUMNS_SLACK
    weights = allocate(size)
    weights[:ZEROS] = 0
    for step, node, method in zip(steps, nodes, methods, strict=True):
        if method is not None:
            packed = method.pack(node.arrays["filters"])
            weights[step["filters"] : step["filters"] + packed.size] = packed
        if step["bias"] >= 0:
            room = weights[step["bias"] :][: padded(int(step["out_channels"])) + COLUMNS_SLACK]
            room[:] = 0
            if "bias" in node.arrays:
                room[: step["out_channels"]] = node.arrays["bias"]
        node.arrays = {}
    return weights
