"""Batch norm after a convolution becomes part of its filters and bias.

In inference it is one multiplication and one addition a channel, with s = gamma / sqrt(variance +
eps):

    s (x * f + b - mean) + beta  =  x * (s f) + (s (b - mean) + beta)

Convolution is linear, so s can be multiplied into the filters once, and reading and writing the
whole map a second time is saved.  It is worked out in float64 and rounded once.

Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-
only inference", arXiv:1712.05877, section 3.2.
"""

import numpy as np

from minincep.plan.graph import Graph, Node


def apply(graph: Graph) -> Graph:
    for node in list(graph.nodes):
        if node.op != "conv2d" or node.static["relu"] or len(node.inputs) == 2:
            continue
        reader = graph.only_reader(node)
        if reader is not None and reader.op == "batch_norm":
            _fold(node, reader)
            graph.merge(node, reader)
    return graph


def _fold(conv: Node, norm: Node) -> None:
    exact = {name: array.astype(np.float64) for name, array in norm.arrays.items()}
    scale = exact.get("gamma", 1.0) / np.sqrt(exact["variance"] + norm.static["eps"])
    filters = conv.arrays["filters"]
    bias = conv.arrays.get("bias", np.zeros(())).astype(np.float64)
    conv.arrays = {
        "filters": (filters * scale).astype(filters.dtype),
        "bias": ((bias - exact["mean"]) * scale + exact["beta"]).astype(filters.dtype),
    }
