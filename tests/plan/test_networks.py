"""The passes on whole networks: the outputs stay what they are, and little is left to do."""

from collections.abc import Callable

import numpy as np
import pytest

from minincep.autograd import Tensor
from minincep.models.network import Network
from minincep.models.registry import list_models
from minincep.nn.layers import Conv2d, Dense
from minincep.plan.graph import Graph, run
from minincep.plan.passes import PASSES, apply_all
from minincep.plan.trace import trace
from tests.plan.graphs import assert_same, check, doubled, kinds, network, normal

pytestmark = pytest.mark.usefixtures("one_thread")

Pass = Callable[[Graph], Graph]

EACH_NETWORK = pytest.mark.parametrize("name", list_models())
EACH_PASS = pytest.mark.parametrize(
    "apply", PASSES, ids=[apply.__module__.rpartition(".")[2] for apply in PASSES]
)
DONE = {
    "conv2d",
    "max_pool2d",
    "avg_pool2d",
    "global_avg_pool2d",
    "l2_normalize",
    "softmax",
    "copy",
}


def endpoints(net: Network) -> list[str]:
    """All that images of any size have."""
    return [name for name in net.endpoint_names() if name != "AuxLogits"]


@EACH_PASS
@EACH_NETWORK
def test_a_pass_alone(name: str, apply: Pass) -> None:
    net = network(name)
    graph = doubled(trace(net, (80, 97)))
    x = normal(2, 80, 97, 3).astype(np.float64)
    wanted = run(graph, x)
    graph = apply(graph)
    check(graph)
    assert_same(run(graph, x), wanted)


@pytest.mark.parametrize("gamma", [False, True])
@EACH_NETWORK
def test_all_passes(name: str, gamma: bool) -> None:
    """Against the network itself, at all its end points."""
    net = network(name, batch_norm_gamma=gamma, num_classes=5)
    graph = apply_all(doubled(trace(net, (75, 98), endpoints(net))))
    check(graph)
    x = normal(2, 75, 98, 3).astype(np.float64)
    wanted = net.astype(np.float64).run_endpoints(Tensor(x), endpoints(net))
    found = run(graph, x)
    np.testing.assert_array_equal(found.pop(""), found["Logits"])
    assert_same({key: found[key] for key in wanted}, {key: y.data for key, y in wanted.items()})
    assert set(found) == set(wanted)


def test_all_passes_on_an_auxiliary_head() -> None:
    net = network("inception_v4", aux_logits=True, width=0.05, num_classes=5)
    graph = apply_all(doubled(trace(net, (299, 299), ["AuxLogits"])))
    check(graph)
    x = normal(1, 299, 299, 3).astype(np.float64)
    wanted = net.astype(np.float64).run_endpoints(Tensor(x), ["AuxLogits"])["AuxLogits"].data
    assert_same({"": run(graph, x)["AuxLogits"]}, {"": wanted})
    assert graph.outputs["AuxLogits"].shape == (5,)


def test_all_passes_in_float32() -> None:
    net = network("inception_resnet_v2", num_classes=5)
    graph = trace(net, (75, 75))
    x = normal(1, 75, 75, 3)
    wanted = run(graph, x)[""]
    found = run(apply_all(graph), x)[""]
    assert found.dtype == np.float32
    assert {array.dtype for node in graph.nodes for array in node.arrays.values()} == {
        np.dtype(np.float32)
    }
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * wanted.std())


@EACH_NETWORK
def test_a_network_is_left_alone(name: str) -> None:
    net = network(name)
    before = {path: array.copy() for path, array in net.arrays().items()}
    apply_all(trace(net, (75, 75)))
    for path, array in net.arrays().items():
        np.testing.assert_array_equal(array, before[path])


@pytest.mark.parametrize("every", [False, True], ids=["result", "end points"])
@EACH_NETWORK
def test_what_is_left(name: str, every: bool) -> None:
    """Of the networks as released, narrow, for images of their size."""
    net = network(name, blocks={"inception_v4": (4, 7, 3)}.get(name, (5, 10, 5)), num_classes=5)
    graph = apply_all(trace(net, (299, 299), endpoints(net) if every else []))
    check(graph)
    left = kinds(graph)
    products = sum(isinstance(module, Conv2d | Dense) for _, module in net.modules())
    convolutions = [node for node in graph.nodes if node.op == "conv2d"]
    joined = {node: node.path.count(" + ") for node in convolutions}
    assert left["conv2d"] + sum(joined.values()) == products
    assert sum(joined.values()) >= 15
    assert set(left) <= DONE
    assert left["copy"] == every  # the last map is wanted as a map and as a row
    assert left["softmax"] == every
    # Only the projections of residual blocks read a residual.
    residual = [node.path for node in graph.nodes if len(node.inputs) == 2]
    assert all(path.endswith("conv2d_1x1") for path in residual)
    blocks = {"inception_v4": 0, "inception_resnet_v1": 21, "inception_resnet_v2": 21}
    assert len(residual) == blocks.get(name, 20)
    relu = sum(node.static["relu"] * (1 + joined[node]) for node in convolutions)
    relu += sum(node.static.get("relu", False) for node in graph.nodes if node not in joined)
    plain = sum(isinstance(module, Dense) for _, module in net.modules())
    assert relu == products - plain - (name in ("inception_resnet_v1", "inception_resnet_v2"))
    for node in graph.nodes:
        if node.op == "avg_pool2d":
            assert set(node.arrays) == {"bias"}
            assert node.static["relu"]
