"""ONNX as its specification says, and no more of it than these tests need: reading and running.

Nothing is shared with the writer.  Field numbers are those of onnx.proto (version 1.16), the
meaning of ops is that of opset 17.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minincep_kernels import Array

Fields = dict[int, list[Any]]


def fields(content: bytes) -> Fields:
    """A message: field number -> its values in order, numbers or bytes."""
    found: Fields = {}
    place = 0

    def varint() -> int:
        nonlocal place
        n = shift = 0
        while True:
            byte = content[place]
            n, shift, place = n | (byte & 0x7F) << shift, shift + 7, place + 1
            if byte < 0x80:
                return n

    while place < len(content):
        field, kind = divmod(varint(), 8)
        value: Any
        if kind == 0:
            value = varint()
        elif kind == 2:
            size = varint()
            value, place = content[place : place + size], place + size
            assert len(value) == size
        else:
            assert kind == 5
            (value,) = struct.unpack_from("<f", content, place)
            place += 4
        found.setdefault(field, []).append(value)
    return found


@dataclass
class Node:
    inputs: list[str]
    output: str
    kind: str
    attributes: dict[str, Any]


@dataclass
class Model:
    ir_version: int
    opset: int
    nodes: list[Node]
    arrays: dict[str, Array]
    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    metadata: dict[str, str]


def read(content: bytes) -> Model:
    """A file; its nodes must be in order, and its names must be used once."""
    model = fields(content)
    (graph,) = map(fields, model[7])
    (opset,) = map(fields, model[8])
    arrays = dict(map(_tensor, graph.get(5, [])))
    inputs, outputs = dict(map(_surface, graph[11])), dict(map(_surface, graph[12]))
    nodes = [_node(fields(node)) for node in graph[1]]
    assert len(arrays) == len(graph.get(5, []))
    known = {*arrays, *inputs}
    for node in nodes:
        assert known.issuperset(node.inputs)
        assert node.output not in known
        known.add(node.output)
    assert known.issuperset(outputs)
    assert len(set(graph[2])) == 1  # a graph must have a name
    metadata = dict(_strings(entry) for entry in model[14])
    return Model(model[1][0], opset[2][0], nodes, arrays, inputs, outputs, metadata)


def _strings(entry: bytes) -> tuple[str, str]:
    found = fields(entry)
    return found[1][0].decode(), found[2][0].decode()


def _tensor(content: bytes) -> tuple[str, Array]:
    found = fields(content)
    assert found[2] == [1]  # FLOAT
    return found[8][0].decode(), np.frombuffer(found[9][0], "<f4").reshape(found.get(1, []))


def _surface(content: bytes) -> tuple[str, list[int | str]]:
    found = fields(content)
    tensor = fields(fields(found[2][0])[1][0])
    assert tensor[1] == [1]
    lengths = [fields(dim) for dim in fields(tensor[2][0])[1]]
    return found[1][0].decode(), [d[1][0] if 1 in d else d[2][0].decode() for d in lengths]


def _node(found: Fields) -> Node:
    attributes = {}
    for attribute in map(fields, found.get(5, [])):
        field = {1: 2, 2: 3, 7: 8}[attribute[20][0]]  # FLOAT f, INT i, INTS ints
        value = attribute[field]
        attributes[attribute[1][0].decode()] = value if field == 8 else value[0]
    (output,) = found[2]
    inputs = [name.decode() for name in found[1]]
    return Node(inputs, output.decode(), found[4][0].decode(), attributes)


def run(model: Model, x: Array) -> dict[str, Array]:
    """Outputs by name, in float64."""
    (name,) = model.inputs
    values = {name: x.astype(np.float64)}
    values |= {name: array.astype(np.float64) for name, array in model.arrays.items()}
    for node in model.nodes:
        values[node.output] = _run(node, [values[name] for name in node.inputs])
    return {name: values[name] for name in model.outputs}


def _run(node: Node, inputs: list[Array]) -> Any:
    x, *others = inputs
    match node.kind, dict(node.attributes):
        case "Transpose", {"perm": perm}:
            return x.transpose(perm)
        case "Conv", {"strides": strides, "pads": pads}:
            filters, *bias = others
            seen = windows(x, filters.shape[2:], strides, pads, 0.0)
            y = np.einsum("nchwij,ocij->nohw", seen, filters, optimize=True)
            return y + bias[0][:, None, None] if bias else y
        case "MaxPool", {"kernel_shape": size, "strides": strides, "pads": pads}:
            return windows(x, size, strides, pads, -np.inf).max(axis=(4, 5))
        case "AveragePool", {"count_include_pad": 0} as given:
            window = given["kernel_shape"], given["strides"], given["pads"]
            inside = windows(np.ones_like(x), *window, 0.0).sum(axis=(4, 5))
            return windows(x, *window, 0.0).sum(axis=(4, 5)) / inside
        case "BatchNormalization", {"epsilon": epsilon}:
            rows = (-1, *[1] * (x.ndim - 2))
            gamma, beta, mean, variance = (array.reshape(rows) for array in others)
            return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta
        case "ReduceL2", {"axes": axes, "keepdims": 1}:
            return np.sqrt((x * x).sum(axis=tuple(axes), keepdims=True))
        case "Concat", {"axis": axis}:
            return np.concatenate(inputs, axis)
        case "Softmax", {"axis": 1}:
            shares = np.exp(x)
            return shares / shares.sum(axis=1, keepdims=True)
        case "Flatten", {"axis": 1}:
            return x.reshape(len(x), -1)
        case "GlobalAveragePool", {}:
            return x.mean(axis=(2, 3), keepdims=True)
        case "Relu", {}:
            return np.maximum(x, 0)
        case "Add" | "Mul" | "Div" | "Max" | "MatMul" as kind, {}:
            called = {"Add": "add", "Mul": "multiply", "Div": "divide", "Max": "maximum"}
            return getattr(np, called.get(kind, "matmul"))(x, others[0])
    raise AssertionError(f"no {node.kind} here")


def windows(x: Array, size: Any, strides: Any, pads: Any, value: float) -> Array:
    """(N, C, H, W) -> (N, C, OH, OW, KH, KW); pads are top, left, bottom, right."""
    top, left, bottom, right = pads
    sides = ((0, 0), (0, 0), (top, bottom), (left, right))
    image = np.pad(x, sides, constant_values=value)
    every: Array = sliding_window_view(image, tuple(size), axis=(2, 3))
    return every[:, :, :: strides[0], :: strides[1]]
