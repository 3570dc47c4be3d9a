"""What is done to each number that a convolution makes, it does itself before it writes it down.

- scale: a constant factor goes into filters and bias, for convolution is linear.
- add: the other summand becomes a second input of the convolution, the residual,
  y = convolution + bias + residual.  It must be there before the convolution runs.
- ReLU: ends the list, as nothing can be added or scaled after it.

Each of them alone would read and write a whole map for one operation a number.  After this a
residual block ends in one node: projection, scale, sum and ReLU.
"""

import numpy as np

from minincep.plan.graph import Graph, Node, Value


def apply(graph: Graph) -> Graph:
    for node in list(graph.nodes):
        if node.op == "conv2d":
            while (reader := graph.only_reader(node)) and _take_over(graph, node, reader):
                graph.merge(node, reader)
    return graph


def _take_over(graph: Graph, conv: Node, reader: Node) -> bool:
    """Let a convolution do what its reader does; False if it cannot."""
    if conv.static["relu"]:
        return False
    match reader.op:
        case "scale" if len(conv.inputs) == 1:
            factor = np.float64(reader.static["factor"])
            conv.arrays = {
                name: (array * factor).astype(array.dtype) for name, array in conv.arrays.items()
            }
        case "add" if len(conv.inputs) == 1:
            (other,) = (value for value in reader.inputs if value is not conv.output)
            if not _is_before(graph, other, conv):
                return False
            conv.inputs.append(other)
        case "relu":
            conv.static["relu"] = True
        case _:
            return False
    return True


def _is_before(graph: Graph, value: Value, conv: Node) -> bool:
    """Whether a value is complete when a convolution starts."""
    before = graph.nodes[: graph.nodes.index(conv)]
    return value is graph.input or any(node.output is value for node in before)
