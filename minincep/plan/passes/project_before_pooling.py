"""A mean over windows and a 1 x 1 convolution change places, to take means of fewer channels.

The mean adds up pixels of one channel, the convolution channels of one pixel; both are linear, so
the order does not matter:

    sum_c f[c] mean_p x[p, c]  =  mean_p sum_c f[c] x[p, c]

In the Inception blocks the convolution after the pooling leaves fewer channels than come in, and
pooling is bound by the memory that it reads and writes, so it comes second.  It must keep the size
of the map: else the convolution would work on pixels that are pooled away.  Bias and ReLU, which is
not linear, move to the pooling.
"""

from minincep.plan.graph import Graph, Node, Value


def apply(graph: Graph) -> Graph:
    for pool in list(graph.nodes):
        if pool.op != "avg_pool2d" or not _is_plain(pool):
            continue
        conv = graph.only_reader(pool)
        if conv is not None and _is_projection(conv):
            _swap(graph, pool, conv)
    return graph


def _is_plain(pool: Node) -> bool:
    """Whether it keeps the size, and nothing has moved into it yet."""
    return (
        pool.inputs[0].shape == pool.output.shape
        and not pool.static["relu"]
        and "bias" not in pool.arrays
    )


def _is_projection(conv: Node) -> bool:
    """Whether it is a 1 x 1 convolution, pixel by pixel, to fewer channels."""
    return (
        conv.op == "conv2d"
        and conv.static["stride"] == (1, 1)
        and conv.static["padding"] == (0, 0, 0, 0)
        and len(conv.inputs) == 1
        and len(conv.output.shape) == 3
        and conv.arrays["filters"].shape[:2] == (1, 1)
        and conv.arrays["filters"].shape[3] < conv.arrays["filters"].shape[2]
    )


def _swap(graph: Graph, pool: Node, conv: Node) -> None:
    between = Value(conv.output.shape)
    pool.output, conv.output = conv.output, between
    pool.inputs, conv.inputs = [between], pool.inputs
    pool.static["relu"], conv.static["relu"] = conv.static["relu"], False
    if "bias" in conv.arrays:
        pool.arrays["bias"] = conv.arrays.pop("bias")
    graph.nodes.remove(pool)
    graph.nodes.insert(graph.nodes.index(conv) + 1, pool)
