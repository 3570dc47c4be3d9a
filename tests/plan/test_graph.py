"""The graph: who reads what, and what it means."""

import numpy as np
import pytest

from minincep.autograd import ops
from minincep.plan.graph import Graph, Node, Value, run
from minincep_kernels import Array
from minincep_kernels.errors import ShapeError
from tests.plan.graphs import normal

pytestmark = pytest.mark.usefixtures("one_thread")

X = normal(2, 4, 5, 3)
FILTERS, BIAS = normal(1, 1, 3, 6, seed=1), normal(6, seed=2)
PLAIN = {"stride": (1, 1), "padding": (0, 0, 0, 0)}


def chain(*names: str) -> Graph:
    """Ops one after the other, the result of the last wanted."""
    value = Value((4, 5, 3))
    graph = Graph(value, [], {})
    for name in names:
        graph.nodes.append(Node(name, [value], value := Value((4, 5, 3))))
    graph.outputs[""] = value
    return graph


def result(node: Node) -> Array:
    """What a graph of one node gives for X."""
    return run(Graph(node.inputs[0], [node], {"": node.output}), X)[""]


def test_readers() -> None:
    graph = chain("relu", "relu")
    first, second = graph.nodes
    twice = Node("add", [first.output, first.output], Value((4, 5, 3)))
    graph.nodes.append(twice)
    assert graph.readers(first.output) == [second, twice, twice]
    assert graph.readers(second.output) == []


def test_only_reader() -> None:
    graph = chain("relu", "relu", "relu")
    first, second, third = graph.nodes
    assert graph.only_reader(first) is second
    assert graph.only_reader(third) is None  # a caller wants it
    graph.outputs["Mixed"] = second.output
    assert graph.only_reader(second) is None
    first.output.inside = (Value((4, 5, 6)), 0)  # who reads that reads this
    assert graph.only_reader(first) is None


def test_a_value_that_is_read_twice_has_no_only_reader() -> None:
    graph = chain("relu")
    first = graph.nodes[0]
    graph.nodes.append(Node("add", [first.output, first.output], out := Value((4, 5, 3))))
    graph.outputs = {"": out}
    assert graph.only_reader(first) is None


def test_merge() -> None:
    graph = chain("relu", "scale", "relu")
    first, second, third = graph.nodes
    graph.merge(first, second)
    assert graph.nodes == [first, third]
    assert first.output is third.inputs[0]


def test_prune() -> None:
    graph = chain("relu", "relu", "relu", "relu")
    first, second, _, _ = graph.nodes
    graph.outputs = {"Mixed": second.output}
    graph.prune()
    assert graph.nodes == [first, second]


def test_prune_keeps_the_parts_of_what_is_read() -> None:
    graph = chain("relu", "relu", "relu")
    inner, outer = Value((4, 5, 6)), Value((4, 5, 9))
    inner.inside = (outer, 3)
    for node, place in zip(graph.nodes, [(outer, 0), (inner, 0), (inner, 3)], strict=True):
        node.output.inside = place
        node.inputs = [graph.input]
    _, second, third = every = list(graph.nodes)
    graph.outputs = {"": outer}
    graph.prune()
    assert graph.nodes == every
    graph.outputs = {"": inner}
    graph.prune()
    assert graph.nodes == [second, third]


def test_run_puts_parts_in_their_places() -> None:
    x, inner, outer = Value((4, 5, 3)), Value((4, 5, 5)), Value((4, 5, 9))
    inner.inside = (outer, 3)
    nodes = [
        Node("scale", [x], Value((4, 5, 3), (outer, 0)), {"factor": 2.0}),
        Node("copy", [x], Value((4, 5, 3), (inner, 1)), {}),
    ]
    found = run(Graph(x, nodes, {"inner": inner, "outer": outer, "part": nodes[1].output}), X)
    np.testing.assert_array_equal(found["part"], X)
    np.testing.assert_array_equal(found["inner"][..., 1:4], X)
    np.testing.assert_array_equal(found["outer"][..., :3], 2 * X)
    np.testing.assert_array_equal(found["outer"][..., 4:7], X)
    assert np.isnan(found["outer"][..., [3, 7, 8]]).all()  # where nobody writes
    assert np.isnan(found["inner"][..., [0, 4]]).all()


@pytest.mark.parametrize("relu", [False, True])
def test_run_convolution_with_residual(relu: bool) -> None:
    x, y, out = Value((4, 5, 3)), Value((4, 5, 6)), Value((4, 5, 6))
    shared, static = {"filters": FILTERS, "bias": BIAS}, PLAIN | {"relu": relu}
    nodes = [
        Node("conv2d", [x], y, PLAIN | {"relu": False}, {"filters": FILTERS}),
        Node("conv2d", [x, y], out, static, shared),
    ]
    found = run(Graph(x, nodes, {"": out}), X)[""]
    wanted = 2 * (X @ FILTERS[0, 0]) + BIAS
    assert (wanted < 0).any()
    np.testing.assert_allclose(found, np.maximum(wanted, 0) if relu else wanted, atol=1e-5)


@pytest.mark.parametrize("relu", [False, True])
def test_run_pooling_with_bias(relu: bool) -> None:
    static = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1, 1, 1), "relu": relu}
    out = Value((4, 5, 3))
    found = result(Node("avg_pool2d", [Value((4, 5, 3))], out, static, {"bias": BIAS[:3]}))
    wanted = ops.avg_pool2d(X, kernel_size=(3, 3), stride=(1, 1), padding="same").data + BIAS[:3]
    assert (wanted < 0).any()
    np.testing.assert_array_equal(found, np.maximum(wanted, 0) if relu else wanted)


def test_run_convolution_of_a_row() -> None:
    x, row = Value((4, 5, 3)), Value((3,))
    nodes = [
        Node("global_avg_pool2d", [x], row),
        Node("conv2d", [row], Value((6,)), PLAIN, {"filters": FILTERS, "bias": BIAS}),
    ]
    found = run(Graph(x, nodes, {"": nodes[1].output}), X)[""]
    np.testing.assert_allclose(found, X.mean(axis=(1, 2)) @ FILTERS[0, 0] + BIAS, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_run_in_either_type(dtype: type) -> None:
    graph = chain("relu", "relu")
    found = run(graph, X.astype(dtype))[""]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.maximum(X, 0))


def test_run_on_other_images() -> None:
    with pytest.raises(ShapeError, match=r"takes \(N, 4, 5, 3\), got \(2, 5, 4, 3\)"):
        run(chain("relu"), X.transpose(0, 2, 1, 3))
    with pytest.raises(ShapeError, match=r"takes \(N, 4, 5, 3\), got \(4, 5, 3\)"):
        run(chain("relu"), X[0])
