"""An ONNX file run by PyTorch: its nodes one after the other, for the operators that we meet.

So PyTorch gets the very weights of the other engines, batch norm folded into filters as for them,
and no model library is needed.
"""

from collections.abc import Callable
from importlib import import_module  # minincep itself must not need these
from pathlib import Path
from typing import Any

torch: Any = import_module("torch")
functional: Any = import_module("torch.nn.functional")
onnx: Any = import_module("onnx")
numpy_helper: Any = import_module("onnx.numpy_helper")

Attributes = dict[str, Any]


def convolution(a: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    return functional.conv2d(x, weight, bias, a["strides"], padding(a))


def max_pool(a: Attributes, x: Any) -> Any:
    return functional.max_pool2d(x, a["kernel_shape"], a["strides"], padding(a))


def average_pool(a: Attributes, x: Any) -> Any:
    whole = bool(a["count_include_pad"])
    window = (a["kernel_shape"], a["strides"], padding(a))
    return functional.avg_pool2d(x, *window, count_include_pad=whole)


def batch_norm(a: Attributes, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
    return functional.batch_norm(x, mean, variance, gamma, beta, eps=a["epsilon"])


def concatenate(a: Attributes, *parts: Any) -> Any:
    if isinstance(parts[0], list):
        return [length for part in parts for length in part]
    return torch.cat(parts, a["axis"])


def padding(a: Attributes) -> list[int]:
    """The same before and after, or it is an error."""
    top, left, bottom, right = a["pads"]
    if (top, left) != (bottom, right):
        raise ValueError(f"padding {a['pads']} is not the same on both sides")
    return [top, left]


OPERATORS: dict[str, Callable[..., Any]] = {
    "Conv": convolution,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Concat": concatenate,
    "Relu": lambda a, x: functional.relu(x),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Add": lambda a, x, y: x + y,
    "Max": lambda a, x, y: torch.maximum(x, y),
    "Mul": lambda a, x, y: x * y,
    "Div": lambda a, x, y: x / y,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "Flatten": lambda a, x: x.flatten(a["axis"]),
    "Gemm": lambda a, x, weight, bias: functional.linear(x, weight, bias),
    "MatMul": lambda a, x, weight: x @ weight,
    "ReduceL2": lambda a, x: x.norm(dim=a["axes"], keepdim=True),
    "Clip": lambda a, x, least: x.clamp(min=least),
    # Shapes are lists of int.
    "Shape": lambda a, x: list(x.shape),
    "Gather": lambda a, shape, index: shape[index],
    "Unsqueeze": lambda a, length, axes: [length],
    "Reshape": lambda a, x, shape: x.reshape(shape),
    "Expand": lambda a, x, shape: x.expand(shape),
}


class TorchGraph(torch.nn.Module):  # type: ignore[misc]  # it has no types here
    """The network of an ONNX file, weights with channels last: (N, 3, H, W) -> (N, K)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        graph = onnx.load(path).graph
        self._known: dict[str, Any] = {}
        for array in graph.initializer:
            weight = torch.from_numpy(numpy_helper.to_array(array).copy())
            if weight.ndim == 4:
                weight = weight.to(memory_format=torch.channels_last)
            self._known[array.name] = weight
        self._output = graph.output[0].name
        self._nodes = []
        for node in graph.node:
            a = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            (output,) = node.output
            if node.op_type == "Constant":  # a number or a shape
                self._known[output] = numpy_helper.to_array(a["value"]).tolist()
            else:
                names = [name for name in node.input if name]
                self._nodes.append((OPERATORS[node.op_type], a, names, output))
        last_use = {name: i for i, node in enumerate(self._nodes) for name in node[2]}
        self._done: list[list[str]] = [[] for _ in self._nodes]  # what a node is the last to read
        for name, i in last_use.items():
            self._done[i].append(name)

    def forward(self, x: Any) -> Any:
        known = self._known | {"input": x}
        for (operator, a, names, output), done in zip(self._nodes, self._done, strict=True):
            known[output] = operator(a, *(known[name] for name in names))
            for name in done:
                del known[name]
        return known[self._output]
