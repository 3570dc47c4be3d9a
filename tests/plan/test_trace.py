"""The trace: the same network, op by op, and what it does not take."""

from typing import Any

import numpy as np
import pytest

from minincep.autograd import Op, Tensor, no_grad, ops
from minincep.models.network import Network
from minincep.models.registry import build_model, list_models
from minincep.plan.graph import run
from minincep.plan.trace import PER_IMAGE, trace
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError, PlanError, ShapeError
from tests.plan.graphs import Function, check, kinds, made_by, network, normal, written

pytestmark = pytest.mark.usefixtures("one_thread")


def forward(net: Network, x: Array, endpoints: list[str]) -> dict[str, Array]:
    """The network's own outputs, named as those of a graph."""
    with no_grad():
        result = {"": net(Tensor(x)).data}
        found = net.run_endpoints(Tensor(x), endpoints)
    return result | {name: y.data for name, y in found.items()}


def assert_equal(net: Network, size: tuple[int, int], endpoints: list[str], batch: int = 1) -> None:
    graph = trace(net, size, endpoints)
    check(graph)
    x = normal(batch, *size, 3)
    found, wanted = run(graph, x), forward(net, x, endpoints)
    assert list(found) == ["", *endpoints]
    for name, y in wanted.items():
        assert graph.outputs[name].shape == y.shape[1:]
        np.testing.assert_array_equal(found[name], y, err_msg=name)


@pytest.mark.parametrize("name", list_models())
def test_a_traced_graph_gives_what_the_network_gives(name: str) -> None:
    assert_equal(network(name), (75, 75), [])


@pytest.mark.parametrize("name", list_models())
def test_all_end_points_of_an_image_that_is_not_square(name: str) -> None:
    net = network(name, batch_norm_gamma=True, num_classes=5)
    assert_equal(net, (81, 122), [n for n in net.endpoint_names() if n != "AuxLogits"])


@pytest.mark.parametrize("name", ["inception_v4", "inception_resnet_v2"])
def test_auxiliary_head(name: str) -> None:
    net = network(name, aux_logits=True, width=0.05, num_classes=5)
    assert_equal(net, (299, 320), ["AuxLogits", "Logits"])
    assert len(trace(net, (299, 320)).nodes) < len(trace(net, (299, 320), ["AuxLogits"]).nodes)


def test_a_trace_holds_for_any_batch() -> None:
    assert_equal(network("inception_resnet_v1"), (97, 80), ["PreLogitsFlatten"], batch=3)


def test_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: Any, **static: Any) -> Any:
        raise AssertionError("an op has been computed")

    net = build_model("inception_resnet_v1", num_classes=5, width=0.05)
    for op in vars(ops).values():
        if isinstance(op, Op):
            monkeypatch.setattr(op, "_forward", forward)
    graph = trace(net, (299, 299), net.endpoint_names())
    assert graph.outputs["Mixed_6a"].shape == (17, 17, net.mixed_6a.channels)  # type: ignore[attr-defined]


def test_what_a_node_holds() -> None:
    net = network("inception_resnet_v1")
    graph = trace(net, (160, 161))
    nodes = {(node.path, node.op): node for node in graph.nodes}
    arrays = net.arrays()
    path = "repeat_1/block17_1/branch_1/conv2d_0b_1x7"
    conv = nodes[path, "conv2d"]
    assert conv.static == {"stride": (1, 1), "padding": (0, 0, 3, 3), "relu": False}
    assert conv.arrays == {"filters": arrays[f"{path}/weight"]}
    norm = nodes[f"{path}/batch_norm", "batch_norm"]
    assert norm.inputs == [conv.output]
    assert norm.static == {"eps": 1e-3, "of_batch": False}
    statistics = {"mean": "running_mean", "variance": "running_var", "beta": "beta"}
    assert {name: id(array) for name, array in norm.arrays.items()} == {
        name: id(arrays[f"{path}/batch_norm/{own}"]) for name, own in statistics.items()
    }
    (pool,) = (node for node in graph.nodes if node.path == "maxpool_3a_3x3")
    assert pool.static == {"kernel_size": (3, 3), "stride": (2, 2), "padding": (0, 0, 0, 0)}
    assert nodes["repeat_1/block17_1/conv2d_1x1", "scale"].static == {"factor": 0.10}
    assert nodes["bottleneck", "matmul"].arrays == {"b": arrays["bottleneck/weight"]}
    assert [node.path for node in graph.nodes if node.op == "l2_normalize"] == ["embeddings"]


def test_same_padding_becomes_pixels_that_may_differ() -> None:
    def shrink(x: Tensor) -> Tensor:
        return ops.avg_pool2d(x, kernel_size=(3, 4), stride=(2, 2), padding="same")

    pool = made_by(trace(written(shrink), (75, 78)), "avg_pool2d")
    assert pool.static["padding"] == (1, 1, 1, 1)
    pool = made_by(trace(written(shrink), (76, 79)), "avg_pool2d")
    assert pool.static["padding"] == (0, 1, 1, 2)
    assert pool.output.shape == (38, 40, 3)


def test_dropout_leaves_no_node() -> None:
    graph = trace(network("inception_v4", dropout_rate=0.5), (75, 75))
    assert set(kinds(graph)) < set(PER_IMAGE)


# Mistakes.


@pytest.mark.parametrize("part", ["", "mixed_6a/branch_0"])
def test_training_mode(part: str) -> None:
    net = network("inception_v4")
    dict(net.modules())[part].train()
    where = r" \(layer mixed_6a/branch_0\)" if part else ""
    with pytest.raises(PlanError, match=rf"is in training mode{where}: call network.eval\(\)"):
        trace(net, (75, 75))
    trace(net.eval(), (75, 75))


def test_float64() -> None:
    net = network("inception_v4").astype(np.float64)
    with pytest.raises(PlanError, match=r"but conv2d_1a_3x3/weight is float64: convert .*float32"):
        trace(net, (75, 75))


@pytest.mark.parametrize("size", [75, (75,), (75, 75, 3), (75, 75.0), (75, 0), (True, 75), "ab"])
def test_image_size_that_is_none(size: Any) -> None:
    with pytest.raises(
        PlanError, match=r"^image_size must be \(height, width\), two whole numbers"
    ):
        trace(network("inception_v4"), size)


def test_unknown_end_point() -> None:
    with pytest.raises(ConfigError, match="no end point 'Mixed_6z'; the nearest is 'Mixed_6"):
        trace(network("inception_v4"), (75, 75), ["Mixed_6z"])


def test_small_image() -> None:
    with pytest.raises(ShapeError, match=r"at least 75 x 75 pixels, got \(1, 74, 75, 3\)"):
        trace(network("inception_v4"), (74, 75))


def test_errors_are_those_of_a_real_run() -> None:
    net = network("inception_v4", aux_logits=True)
    with pytest.raises(ShapeError) as wanted:
        net.run_endpoints(Tensor(normal(1, 200, 203, 3)), ["AuxLogits"])
    with pytest.raises(ShapeError) as found:
        trace(net, (200, 203), ["AuxLogits"])
    assert str(found.value) == str(wanted.value)
    assert found.value.__notes__ == wanted.value.__notes__ == ["in layer aux_logits/conv2d_2a"]
    assert net(Tensor(normal(1, 75, 75, 3))).data.any()  # the trace is over


ONES = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (ops.mean, "^mean: a plan takes only ops that treat each image for itself: add, "),
        (
            lambda x: ops.batch_norm(x, None, ONES, ONES, ONES, eps=1e-3, of_batch=True),
            "^batch_norm with statistics of the batch: a plan takes only",
        ),
        (lambda x: ops.reshape(x, shape=(1, 75 * 76 * 3)), r"^reshape to \(1, 17100\): .* be -1"),
        (lambda x: ops.reshape(x, shape=(-1, 3)), r"^reshape to \(-1, 3\): .* be -1"),
        (
            lambda x: ops.add(x, ops.global_avg_pool2d(x)),
            r"one shape, got \(75, 76, 3\) and \(1, 1, 3\)",
        ),
        (lambda x: ops.add(x, x.data.copy()), "^add: reads an array that no op has made"),
        (lambda x: ops.relu(Tensor(2 * x.data)), "^relu: reads an array that no op has made"),
        (lambda x: Tensor(2 * x.data), "^written: reads an array that no op has made"),
        (lambda x: ops.conv2d(x, ops.reshape(x, shape=(-1, 1, 3, 5700))), "^conv2d: filters must"),
    ],
)
def test_what_a_plan_cannot_do(function: Function, message: str) -> None:
    with pytest.raises(PlanError, match=message) as raised:
        trace(written(function), (75, 76))
    assert "written" in str(raised.value) or raised.value.__notes__ == ["in layer own"]
