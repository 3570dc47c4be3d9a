"""What tests of graphs share: small networks, functions as networks, graphs in float64."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from minincep.autograd import Tensor
from minincep.models.network import Network
from minincep.models.preprocessing import Preprocessing
from minincep.models.registry import create_model
from minincep.nn.combinators import Definition, Settings
from minincep.nn.module import Module
from minincep.plan.graph import Graph, Node, Value
from minincep_kernels import Array

Function = Callable[[Tensor], Tensor]


def network(name: str, **config: Any) -> Network:
    """A small network in which every weight shows: none is left at 0 or 1."""
    small: dict[str, Any] = {"width": 0.2, "blocks": (1, 1, 1)}
    net = create_model(name, **small | config)
    random = np.random.default_rng(0)
    drawn = {}
    for path, array in net.arrays().items():
        kind = path.rpartition("/")[2]
        if kind in ("running_var", "gamma", "beta"):
            drawn[path] = random.uniform(0.5, 1.5, array.shape).astype(np.float32)
        elif kind in ("running_mean", "bias"):
            drawn[path] = random.normal(0, 0.3, array.shape).astype(np.float32)
    net.assign_all(drawn)
    return net


class Written(Module):
    """A layer that is a function."""

    def __init__(self, channels: int, function: Function) -> None:
        self.channels = channels
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def written(function: Function) -> Network:
    """A network of one layer, which is a function."""
    layer = Definition("Own", lambda channels, _: Written(channels, function))
    return Network("written", {}, [layer], Settings(), Preprocessing(75, 75))


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def doubled(graph: Graph) -> Graph:
    """The graph with its constants in float64; changes it in place."""
    for node in graph.nodes:
        node.arrays = {name: array.astype(np.float64) for name, array in node.arrays.items()}
    return graph


def kinds(graph: Graph) -> Counter[str]:
    """How many nodes there are of each op."""
    return Counter(node.op for node in graph.nodes)


def made_by(graph: Graph, op: str) -> Node:
    """The only node of an op."""
    (node,) = (node for node in graph.nodes if node.op == op)
    return node


def assert_same(found: dict[str, Array], wanted: dict[str, Array]) -> None:
    """Equal but for the rounding of float64, seen from the largest number of each output."""
    assert list(found) == list(wanted)
    for name, y in wanted.items():
        assert found[name].shape == y.shape
        assert found[name].dtype == y.dtype == np.float64
        assert 0 < np.abs(y).max() < 1e6, name
        assert y.std() > 0, name
        np.testing.assert_allclose(
            found[name], y, rtol=0, atol=1e-12 * np.abs(y).max(), err_msg=name
        )


def check(graph: Graph) -> None:
    """A graph must make sense: each node reads what is there, and every channel has one writer."""
    written = [graph.input]
    for node in graph.nodes:
        for value in node.inputs:
            assert _channels(value, written) == set(range(value.shape[-1])), node
        assert node.output not in written, node
        assert not _channels(node.output, written), node
        written.append(node.output)
    for value in graph.outputs.values():
        assert _channels(value, written) == set(range(value.shape[-1]))


def _channels(value: Value, written: list[Value]) -> set[int]:
    """Channels of a value that are written."""
    outermost, first = _where(value)
    found: set[int] = set()
    for other in written:
        outer, start = _where(other)
        if outer is outermost:
            found.update(range(start - first, start - first + other.shape[-1]))
    return found & set(range(value.shape[-1]))


def _where(value: Value) -> tuple[Value, int]:
    """The outermost value that a value lies in, and the channel where it begins."""
    first = 0
    while value.inside:
        outer, offset = value.inside
        assert value.shape[:-1] == outer.shape[:-1]
        assert offset + value.shape[-1] <= outer.shape[-1]
        value, first = outer, first + offset
    return value, first
