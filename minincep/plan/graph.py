"""The graph of a network: the ops of one forward pass in order, and what flows between them.

A trace makes it, passes rewrite it, a plan is made of it.  All shapes are those of one image: the
batch has no place here, since each image goes its way for itself.

`run` interprets a graph with the ops that the network itself is made of.  It is slow, and says what
a graph means: a pass is right if `run` gives the same before and after it.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minincep.autograd import ops
from minincep_kernels import Array
from minincep_kernels.errors import ShapeError


@dataclass(eq=False)
class Value:
    """An array that flows.  Two values are the same only if they are one object.

    Attributes
    ----------
    shape
        That of one image: (H, W, C), or (C,), which means the same memory as (1, 1, C).
    inside
        Another value and a number: these are channels of that value, from that channel on.
    """

    shape: tuple[int, ...]
    inside: tuple["Value", int] | None = None


@dataclass(eq=False)
class Node:
    """One op.

    Attributes
    ----------
    op
        Name of the op, or "copy".
    inputs
        The activations that it reads.
    static
        Everything else that is fixed; padding is always four numbers of pixels.
    arrays
        Its constants, by the names that the op gives them.  A trace takes the arrays that the
        network uses, so nobody may write into them: a pass makes new ones.
    path
        Path of the layer.

    Notes
    -----
    Passes give two ops more than they have in a network.  A "conv2d" may read a second value, the
    residual, and relu may be True:  y = relu(convolution + bias + residual).  An "avg_pool2d" may
    have a bias, and relu may be True:  y = relu(mean + bias).
    """

    op: str
    inputs: list[Value]
    output: Value
    static: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    path: str = ""


@dataclass
class Graph:
    """The ops of one forward pass.

    Attributes
    ----------
    nodes
        Each after those that it reads.
    outputs
        What is wanted: end points by name, and the result of the network under "".
    """

    input: Value
    nodes: list[Node]
    outputs: dict[str, Value]

    def readers(self, value: Value) -> list[Node]:
        """The nodes that read a value; one that reads it twice is here twice."""
        return [node for node in self.nodes for x in node.inputs if x is value]

    def only_reader(self, node: Node) -> Node | None:
        """The node that reads what `node` makes, if nothing and nobody else does."""
        if node.output.inside or node.output in self.outputs.values():
            return None
        readers = self.readers(node.output)
        return readers[0] if len(readers) == 1 else None

    def merge(self, node: Node, reader: Node) -> None:
        """Take `reader` out: from now on, `node` makes what `reader` made."""
        node.output = reader.output
        self.nodes.remove(reader)

    def prune(self) -> None:
        """Take out the nodes that no output needs."""
        needed = set(self.outputs.values())
        kept = []
        for node in reversed(self.nodes):
            place = node.output
            while place not in needed and place.inside:
                place = place.inside[0]
            if place in needed:
                needed.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]


def run(graph: Graph, x: Array) -> dict[str, Array]:
    """Interpret a graph: images (N, H, W, C) -> its outputs by name, each (N, ...).

    Raises
    ------
    ShapeError
        If the images are not those that the graph was traced with.
    """
    if x.shape[1:] != graph.input.shape:
        height, width, channels = graph.input.shape
        raise ShapeError(f"the graph takes (N, {height}, {width}, {channels}), got {x.shape}")
    found = {graph.input: x}

    def place(value: Value) -> Array:
        if value not in found:
            if value.inside is None:  # not a number where no node writes, so that it is seen
                found[value] = np.full((len(x), *value.shape), np.nan, x.dtype)
            else:
                outer, first = value.inside
                found[value] = place(outer)[..., first : first + value.shape[-1]]
        return found[value]

    for node in graph.nodes:
        y = _evaluate(node, [place(value) for value in node.inputs])
        if node.output.inside is None:
            found[node.output] = y
        else:
            place(node.output)[...] = y
    return {name: place(value) for name, value in graph.outputs.items()}


def _evaluate(node: Node, inputs: list[Array]) -> Array:
    x, arrays = inputs[0], node.arrays
    static = dict(node.static)
    relu = static.pop("relu", False)
    match node.op:
        case "conv2d":
            maps = x if x.ndim == 4 else x[:, None, None, :]
            y = ops.conv2d(maps, arrays["filters"], arrays.get("bias"), **static).data
        case "avg_pool2d":
            y = ops.avg_pool2d(x, **static).data
            if "bias" in arrays:
                y = ops.add_bias(y, arrays["bias"]).data
        case "batch_norm":
            y = ops.batch_norm(x, **({"gamma": None} | arrays), **static).data
        case "copy" | "reshape":
            y = x
        case _:
            y = getattr(ops, node.op)(*inputs, **arrays, **static).data
    y = y.reshape(len(x), *node.output.shape)
    if node.op == "conv2d" and len(inputs) == 2:
        y = ops.add(y, inputs[1]).data
    return ops.relu(y).data if relu else y
