"""A concatenation disappears: the branches write side by side into one array from the start.

Channels are the last axis, so each part is a slice of every pixel, and a node can write its rows
there as well as anywhere.  Copying all parts once more is saved.  A part that is a concatenation
itself takes its own parts along.

A value can lie in one place only.  A part that has one already (it comes twice, or belongs to two
concatenations), or none of ours to choose (the image), is copied.
"""

from minincep.plan.graph import Graph, Node, Value


def apply(graph: Graph) -> Graph:
    for concat in [node for node in graph.nodes if node.op == "concat"]:
        at = graph.nodes.index(concat)
        graph.nodes[at : at + 1] = _place(graph, concat)
    return graph


def _place(graph: Graph, concat: Node) -> list[Node]:
    """Put the parts in their places; the copies that this takes."""
    copies = []
    first = 0
    for part in concat.inputs:
        place = (concat.output, first)
        if part.inside is None and _is_ours(graph, part):
            part.inside = place
        else:
            copy = Value(part.shape, place)
            copies.append(Node("copy", [part], copy, path=concat.path))
        first += part.shape[-1]
    return copies


def _is_ours(graph: Graph, value: Value) -> bool:
    """Whether we choose where a value lies; a reshaped one may lie where the original does."""
    return value is not graph.input and not any(
        node.output is value and node.op == "reshape" for node in graph.nodes
    )
