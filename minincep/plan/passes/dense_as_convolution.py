"""A fully connected layer is a 1 x 1 convolution of a map of one pixel.

Both multiply a vector of channels with a matrix, so filters (1, 1, C, OC) hold the weight (C, OC)
as it is.  What comes after knows one kind of product then: batch norm folds into it in one way, and
it gets one kernel.

The flattening before it, (1, 1, C) -> (C,), moves no number, so it needs no node: the node before
it makes (C,) at once.  Where the map itself is wanted too, the row is a copy.
"""

from minincep.plan.graph import Graph, Node


def apply(graph: Graph) -> Graph:
    for node in list(graph.nodes):
        if node.op == "matmul":
            _convolve(graph, node)
        elif node.op == "reshape":
            _flatten(graph, node)
    return graph


def _convolve(graph: Graph, node: Node) -> None:
    node.op = "conv2d"
    node.static = {"stride": (1, 1), "padding": (0, 0, 0, 0), "relu": False}
    node.arrays = {"filters": node.arrays["b"][None, None]}
    reader = graph.only_reader(node)
    if reader is not None and reader.op == "add_bias":
        node.arrays["bias"] = reader.arrays["bias"]
        graph.merge(node, reader)


def _flatten(graph: Graph, node: Node) -> None:
    source = node.inputs[0]
    if source.shape != (1, 1, *node.output.shape):
        return
    for maker in graph.nodes:
        # The parts of a concat are (1, 1, C), and cannot lie inside of (C,).
        if maker.output is source and maker.op != "concat" and graph.only_reader(maker) is node:
            graph.merge(maker, node)
            return
    node.op, node.static = "copy", {}
