"""The whole network as an ONNX file: the ops of its trace, one node each.

    input    (N, H, W, 3), the pictures as minincep itself takes them: the first node makes them
             channels first, as all others want them
    logits   (N, classes), without softmax; of Inception-ResNet-v1 `embeddings` (N, D), of length 1

N, H and W are free.  Nothing is folded or fused, which engines do for themselves: so every weight
is there under its path in minincep, filters as (OC, C, KH, KW).  A gamma that a network does not
have is written as ones, for ONNX's batch norm must have one.  Auxiliary heads are left out.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from minincep.export.parts import numbers, write_parts
from minincep.export.protobuf import Message, message, number, real, text
from minincep.export.weights import description
from minincep.models.network import Network
from minincep.plan.graph import Graph, Node, Value
from minincep.plan.trace import trace
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError

IR_VERSION, OPSET = 8, 17
FLOAT32 = 1  # TensorProto.DataType
FLOAT, INT, INTS = 1, 2, 7  # AttributeProto.AttributeType

Attribute = float | int | tuple[int, ...]


def write(network: Network, path: Path) -> None:
    """Write the network, to be run without minincep.

    Raises
    ------
    PlanError
        If the network is in training mode, not in float32, or does what a trace cannot follow.
    ConfigError
        If it does what no node is known for here.
    OSError
        If the file cannot be written.
    """
    side = ["Embeddings"] if "Embeddings" in network.endpoint_names() else []
    size = (network.preprocessing.height, network.preprocessing.width)
    graph = trace(network, size, side)
    results = {"embeddings": graph.outputs["Embeddings"]} if side else {}
    if graph.outputs[""] not in results.values():
        results = {"logits": graph.outputs[""]} | results
    write_parts(path, _model(network, _Nodes(network, graph, results).parts))


def _model(network: Network, graph: Message) -> Message:
    """ModelProto: the graph, and how to use it."""
    parts = [*number(1, IR_VERSION), *text(2, "minincep"), *message(7, graph)]
    parts += message(8, number(2, OPSET))
    for key, value in description(network).items():
        parts += message(14, [*text(1, key), *text(2, value)])
    return parts


class _Nodes:
    """GraphProto, node by node.

    Attributes
    ----------
    parts
        The fields of the message.
    """

    def __init__(self, network: Network, graph: Graph, results: dict[str, Value]) -> None:
        self.parts: Message = text(2, network.architecture)
        self._paths = {id(array): path for path, array in network.arrays().items()}
        self._results = {value: name for name, value in results.items()}
        self._names: dict[Value, str] = {}
        self._arrays: set[str] = set()
        self._taken = {"input", "channels_first", *results}
        height, width, channels = graph.input.shape
        free = all(map(_any_size, graph.nodes))
        size: tuple[int | str, ...] = ("H", "W") if free else (height, width)
        self._surface(11, "input", ("N", *size, channels))
        first = self._node("Transpose", ["input"], "channels_first", perm=(0, 3, 1, 2))
        self._names[graph.input] = first
        for node in graph.nodes:
            self._add(node)
        for name, value in results.items():
            self._surface(12, name, ("N", *value.shape))

    def _surface(self, field: int, name: str, shape: tuple[int | str, ...]) -> None:
        """ValueInfoProto: an input or output of the graph."""
        lengths: Message = []
        for n in shape:
            lengths += message(1, number(1, n) if isinstance(n, int) else text(2, n))
        tensor = message(1, [*number(1, FLOAT32), *message(2, lengths)])
        self.parts += message(field, [*text(1, name), *message(2, tensor)])

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Attribute) -> str:
        """NodeProto; the name of a node is that of its output."""
        fields: Message = []
        for name in inputs:
            fields += text(1, name)
        fields += [*text(2, output), *text(3, output), *text(4, kind)]
        for key, value in attributes.items():
            fields += message(5, [*text(1, key), *_attribute(value)])
        self.parts += message(1, fields)
        return output

    def _array(self, name: str, array: Array, axes: tuple[int, ...] | None = None) -> str:
        """TensorProto: a constant, its axes in another order; once, however many nodes read it."""
        if name not in self._arrays:
            self._arrays.add(name)
            view = array.transpose(axes) if axes else array
            fields: Message = []
            for n in view.shape:
                fields += number(1, n)
            fields += [*number(2, FLOAT32), *text(8, name)]
            fields += message(9, [numbers(view)])
            self.parts += message(5, fields)
        return name

    def _weight(self, node: Node, kind: str, axes: tuple[int, ...] | None = None) -> str:
        """A constant of a node, called by its path in the network."""
        array = node.arrays[kind]
        return self._array(self._paths.get(id(array), f"{node.path}/{kind}"), array, axes)

    def _add(self, node: Node) -> None:
        """The nodes that do what one op does."""
        inputs = [self._names[value] for value in node.inputs]
        output = self._results.get(node.output) or self._unused(f"{node.path}/{node.op}")
        self._names[node.output] = output
        static = node.static
        match node.op:
            case "conv2d":
                inputs.append(self._weight(node, "filters", (3, 2, 0, 1)))
                if "bias" in node.arrays:
                    inputs.append(self._weight(node, "bias"))
                self._node("Conv", inputs, output, **_window(static))
            case "max_pool2d":
                self._node("MaxPool", inputs, output, **_window(static))
            case "avg_pool2d":  # the mean of what is there: padding is not counted
                self._node("AveragePool", inputs, output, **_window(static), count_include_pad=0)
            case "batch_norm":
                if "gamma" not in node.arrays:
                    ones = np.ones(node.output.shape[-1:], np.float32)
                    inputs.append(self._array(f"{node.path}/gamma", ones))
                else:
                    inputs.append(self._weight(node, "gamma"))
                inputs += [self._weight(node, kind) for kind in ("beta", "mean", "variance")]
                self._node("BatchNormalization", inputs, output, epsilon=float(static["eps"]))
            case "matmul":
                self._node("MatMul", [*inputs, self._weight(node, "b")], output)
            case "add_bias" if len(node.output.shape) == 1:
                self._node("Add", [*inputs, self._weight(node, "bias")], output)
            case "scale":
                factor = self._array(f"{output}/factor", np.array([static["factor"]], np.float32))
                self._node("Mul", [*inputs, factor], output)
            case "l2_normalize":
                least = self._array(f"{output}/least", np.array([static["eps"] ** 0.5], np.float32))
                length = self._node("ReduceL2", inputs, f"{output}/length", axes=(1,), keepdims=1)
                divisor = self._node("Max", [length, least], f"{output}/divisor")
                self._node("Div", [*inputs, divisor], output)
            case "concat" | "softmax":
                self._node(node.op.capitalize(), inputs, output, axis=1)
            case "reshape" if node.inputs[0].shape == (1, 1, *node.output.shape):
                self._node("Flatten", inputs, output, axis=1)
            case "add" | "relu":
                self._node(node.op.capitalize(), inputs, output)
            case "global_avg_pool2d":
                self._node("GlobalAveragePool", inputs, output)
            case _:
                raise ConfigError(
                    f"layer {node.path or '/'}: {node.op} of {node.inputs[0].shape} cannot be "
                    "written as ONNX"
                )

    def _unused(self, name: str) -> str:
        """A name for a value, numbered if there is one of that name."""
        numbers = itertools.count(2)
        unused = name
        while unused in self._taken:
            unused = f"{name}_{next(numbers)}"
        self._taken.add(unused)
        return unused


def _any_size(node: Node) -> bool:
    """Whether an op does the same to pictures of any size: the padding of strides depends on it."""
    return node.static.get("stride") in (None, (1, 1)) or not any(node.static["padding"])


def _window(static: dict[str, Any]) -> dict[str, Attribute]:
    """Attributes of what slides; ONNX wants the padding at the top, left, bottom, right."""
    top, bottom, left, right = static["padding"]
    kernel = {"kernel_shape": static["kernel_size"]} if "kernel_size" in static else {}
    return {**kernel, "strides": static["stride"], "pads": (top, left, bottom, right)}


def _attribute(value: Attribute) -> Message:
    """AttributeProto without its name: the type, and the value in the field of that type."""
    match value:
        case float():
            return [*real(2, value), *number(20, FLOAT)]
        case int():
            return [*number(3, value), *number(20, INT)]
        case _:
            items: Message = []
            for n in value:
                items += number(8, n)
            return [*items, *number(20, INTS)]
