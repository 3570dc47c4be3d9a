"""1 x 1 convolutions that read the same map become one.

The branches of a block begin with a 1 x 1 convolution each, all of the same pixels.  One after the
other they would fetch the map as often from memory; some of them have so few channels that this
costs more than the arithmetic.  Side by side their filters are one matrix, and the map is read
once.

The result lies in one array, channels after channels, so each part must be free to lie there.  One
of them may be the first part of a concatenation already: the others then lie before it,

    | others          | first part | second part | ...     one array
    |<------- one convolution ---->|
                      |<------- concatenation --->

and the concatenation is in some channels of a wider array, as parts always are.
"""

import numpy as np

from minincep.plan.graph import Graph, Node, Value


def apply(graph: Graph) -> Graph:
    for node in list(graph.nodes):
        if node in graph.nodes and _is_projection(node):
            group = [other for other in graph.readers(node.inputs[0]) if _fits(graph, node, other)]
            firsts = [other for other in group if other.output.inside is not None]
            free = [other for other in group if other.output.inside is None]
            if len(free) + bool(firsts) > 1:
                _join(graph, [*free, *firsts[:1]])
    return graph


def _is_projection(node: Node) -> bool:
    """Whether it is a 1 x 1 convolution of a map that adds nothing else."""
    return (
        node.op == "conv2d"
        and node.static["stride"] == (1, 1)
        and node.static["padding"] == (0, 0, 0, 0)
        and len(node.inputs) == 1
        and len(node.output.shape) == 3
        and node.arrays["filters"].shape[:2] == (1, 1)
    )


def _fits(graph: Graph, node: Node, other: Node) -> bool:
    """Whether another node can be one with this: the same but for its filters, and movable."""
    place = other.output.inside
    if place is not None:
        outer, first = place
        if first != 0 or outer.inside is not None:
            return False
    return (
        _is_projection(other)
        and other.static["relu"] == node.static["relu"]
        and ("bias" in other.arrays) == ("bias" in node.arrays)
        and not any(n.output is other.output for n in graph.nodes if n is not other)
    )


def _join(graph: Graph, group: list[Node]) -> None:
    """Put one node in the place of the first; the last may be part of a concatenation."""
    height, width, _ = group[0].output.shape
    channels = [node.output.shape[2] for node in group]
    joined = Value((height, width, sum(channels)))
    starts = np.cumsum([0, *channels]).tolist()
    concat = group[-1].output.inside
    if concat is not None:
        before = starts[len(group) - 1]
        wide = Value((height, width, before + concat[0].shape[2]))
        joined.inside = (wide, 0)
        concat[0].inside = (wide, before)
    for node, start in zip(group, starts, strict=False):
        if node.output.inside is None:
            node.output.inside = (joined, start)
    names = group[0].arrays
    first = Node(
        "conv2d",
        group[0].inputs,
        joined,
        group[0].static,
        {name: np.concatenate([node.arrays[name] for node in group], axis=-1) for name in names},
        " + ".join(node.path for node in group),
    )
    graph.nodes[min(graph.nodes.index(node) for node in group)] = first
    graph.nodes = [node for node in graph.nodes if node not in group]
