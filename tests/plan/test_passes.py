"""The passes one by one: what each does, and where it keeps its hands off."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Tensor, ops
from minincep.plan.graph import Graph, run
from minincep.plan.passes import (
    apply_all,
    concat_in_place,
    dense_as_convolution,
    fold_batch_norm,
    fuse_epilogue,
    join_projections,
    project_before_pooling,
)
from minincep.plan.trace import trace
from tests.plan.graphs import (
    Function,
    assert_same,
    check,
    doubled,
    kinds,
    made_by,
    normal,
    written,
)

pytestmark = pytest.mark.usefixtures("one_thread")

Pass = Callable[[Graph], Graph]


def rewritten(function: Function, apply: Pass, *wanted: str) -> Graph:
    """A function after a pass, checked to give what it gave before.

    The results of the ops in `wanted`, by name, are wanted beside its own.
    """
    graph = doubled(trace(written(function), (75, 76)))
    for op in wanted:
        graph.outputs[op] = made_by(graph, op).output
    x = normal(2, 75, 76, 3).astype(np.float64)
    before = run(graph, x)
    graph = apply(graph)
    check(graph)
    assert_same(run(graph, x), before)
    return graph


def conv(x: Tensor, channels: int, size: int = 1, seed: int = 1, **static: Any) -> Tensor:
    """A convolution with a bias."""
    filters = normal(size, size, x.shape[-1], channels, seed=seed)
    return ops.conv2d(x, filters, normal(channels, seed=seed + 1), padding="same", **static)


def batch_norm(x: Tensor, *, gamma: bool = True) -> Tensor:
    channels = x.shape[-1]
    beta, mean, shape = (normal(channels, seed=seed) for seed in (3, 4, 5))
    return ops.batch_norm(
        x, shape if gamma else None, beta, mean, np.exp(shape), eps=0.1, of_batch=False
    )


def pool(x: Tensor, stride: int = 1) -> Tensor:
    return ops.avg_pool2d(x, kernel_size=(3, 5), stride=(stride, stride), padding="same")


def dense(x: Tensor, units: int, *, bias: bool = True) -> Tensor:
    y = ops.matmul(x, normal(x.shape[-1], units, seed=6))
    return ops.add_bias(y, normal(units, seed=7)) if bias else y


def row(x: Tensor) -> Tensor:
    return ops.reshape(ops.global_avg_pool2d(x), shape=(-1, x.shape[-1]))


# Dense layers.


def test_a_dense_layer_is_one_convolution() -> None:
    graph = rewritten(lambda x: dense(row(conv(x, 8)), 5), dense_as_convolution.apply)
    assert [node.op for node in graph.nodes] == ["conv2d", "global_avg_pool2d", "conv2d"]
    last = graph.nodes[-1]
    assert (last.inputs[0].shape, last.output.shape) == ((8,), (5,))
    assert last.static == {"stride": (1, 1), "padding": (0, 0, 0, 0), "relu": False}
    assert {k: a.shape for k, a in last.arrays.items()} == {"filters": (1, 1, 8, 5), "bias": (5,)}


def test_a_product_that_is_wanted_keeps_its_bias_apart() -> None:
    graph = rewritten(lambda x: dense(row(x), 5), dense_as_convolution.apply, "matmul")
    assert [node.op for node in graph.nodes] == ["global_avg_pool2d", "conv2d", "add_bias"]


def test_a_map_and_its_row_are_both_wanted() -> None:
    graph = rewritten(row, dense_as_convolution.apply, "global_avg_pool2d")
    assert [node.op for node in graph.nodes] == ["global_avg_pool2d", "copy"]
    assert [value.shape for value in graph.outputs.values()] == [(3,), (1, 1, 3)]


def test_a_row_of_a_concatenation_is_a_copy() -> None:
    def function(x: Tensor) -> Tensor:
        pixel = ops.global_avg_pool2d(x)
        return ops.reshape(ops.concat(ops.relu(pixel), pixel), shape=(-1, 6))

    graph = rewritten(
        function, lambda graph: concat_in_place.apply(dense_as_convolution.apply(graph))
    )
    assert kinds(graph) == {"global_avg_pool2d": 1, "relu": 1, "copy": 1}


def test_other_shapes_are_left() -> None:
    def function(x: Tensor) -> Tensor:
        return ops.reshape(x, shape=(-1, 75 * 76 * 3))

    assert kinds(rewritten(function, dense_as_convolution.apply)) == {"reshape": 1}


# Batch norm.


@pytest.mark.parametrize("gamma", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_batch_norm_is_folded(bias: bool, gamma: bool) -> None:
    def function(x: Tensor) -> Tensor:
        y = conv(x, 8) if bias else ops.conv2d(x, normal(3, 3, 3, 8), stride=(2, 2))
        return batch_norm(y, gamma=gamma)

    graph = rewritten(function, fold_batch_norm.apply)
    assert kinds(graph) == {"conv2d": 1}
    assert set(graph.nodes[0].arrays) == {"filters", "bias"}


def test_batch_norm_is_folded_once_for_each_convolution() -> None:
    graph = rewritten(lambda x: batch_norm(batch_norm(conv(x, 8))), fold_batch_norm.apply)
    assert kinds(graph) == {"conv2d": 1, "batch_norm": 1}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: batch_norm(ops.relu(conv(x, 8))),
        lambda x: batch_norm(x),
        lambda x: ops.add(y := conv(x, 8), batch_norm(y)),
        lambda x: batch_norm(row(x)),
    ],
)
def test_batch_norm_that_follows_no_convolution_alone(function: Function) -> None:
    assert kinds(rewritten(function, fold_batch_norm.apply))["batch_norm"] == 1


def test_batch_norm_of_what_is_wanted() -> None:
    graph = rewritten(lambda x: batch_norm(conv(x, 8)), fold_batch_norm.apply, "conv2d")
    assert kinds(graph)["batch_norm"] == 1


def test_batch_norm_after_fused_ops_is_left() -> None:
    for function in [
        lambda x: batch_norm(ops.relu(conv(x, 8))),
        lambda x: batch_norm(ops.add(x, conv(x, 3))),
    ]:
        graph = rewritten(function, lambda graph: fold_batch_norm.apply(fuse_epilogue.apply(graph)))
        assert kinds(graph) == {"conv2d": 1, "batch_norm": 1}


# What follows a convolution.


@pytest.mark.parametrize("first", [True, False], ids=["x + y", "y + x"])
def test_a_residual_block_ends_in_one_node(first: bool) -> None:
    def function(x: Tensor) -> Tensor:
        before = ops.max_pool2d(x, kernel_size=(3, 3), stride=(1, 1), padding="same")
        y = ops.scale(conv(conv(before, 8), 3), factor=0.17)
        return ops.relu(ops.add(before, y) if first else ops.add(y, before))

    graph = rewritten(function, fuse_epilogue.apply)
    assert [node.op for node in graph.nodes] == ["max_pool2d", "conv2d", "conv2d"]
    pooled, inner, last = graph.nodes
    assert last.inputs == [inner.output, pooled.output]
    assert (inner.static["relu"], last.static["relu"]) == (False, True)
    assert last.output is graph.outputs[""]


def test_the_image_may_be_the_residual() -> None:
    graph = rewritten(lambda x: ops.add(x, conv(x, 3)), fuse_epilogue.apply)
    assert graph.nodes[0].inputs == [graph.input, graph.input]
    assert kinds(graph) == {"conv2d": 1}


def test_of_two_convolutions_the_later_adds() -> None:
    def function(x: Tensor) -> Tensor:
        return ops.relu(ops.add(conv(x, 4), conv(x, 4, 3, seed=9)))

    graph = rewritten(function, fuse_epilogue.apply)
    first, second = graph.nodes
    assert (len(first.inputs), second.inputs[1]) == (1, first.output)


def test_two_scales() -> None:
    def function(x: Tensor) -> Tensor:
        return ops.scale(ops.scale(conv(x, 4), factor=-2.0), factor=0.3)

    assert kinds(rewritten(function, fuse_epilogue.apply)) == {"conv2d": 1}


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x: ops.scale(ops.relu(conv(x, 4)), factor=-1.0), "scale"),
        (lambda x: ops.scale(ops.add(x, conv(x, 3)), factor=-1.0), "scale"),
        (lambda x: ops.add(x, ops.relu(conv(x, 3))), "add"),
        (lambda x: ops.add(x, ops.add(x, conv(x, 3))), "add"),
        (lambda x: ops.add(y := conv(x, 3), y), "add"),
        (lambda x: ops.add(conv(x, 3), ops.relu(x)), "add"),  # which comes after the convolution
        (lambda x: ops.relu(x), "relu"),
    ],
)
def test_what_cannot_be_fused(function: Function, left: str) -> None:
    assert kinds(rewritten(function, fuse_epilogue.apply))[left] == 1


@pytest.mark.parametrize("op", ["conv2d", "scale", "add"])
def test_what_is_wanted_is_not_fused_away(op: str) -> None:
    def function(x: Tensor) -> Tensor:
        return ops.relu(ops.add(x, ops.scale(conv(x, 3), factor=2.0)))

    graph = rewritten(function, fuse_epilogue.apply, op)
    names = ["conv2d", "scale", "add", "relu"]
    assert kinds(graph) == dict.fromkeys(["conv2d", *names[names.index(op) + 1 :]], 1)


# Pooling and projection.


@pytest.mark.parametrize("relu", [False, True])
def test_the_projection_goes_first(relu: bool) -> None:
    def function(x: Tensor) -> Tensor:
        y = conv(pool(ops.relu(conv(x, 8))), 4, seed=9)
        return ops.relu(y) if relu else y

    graph = rewritten(
        function, lambda graph: project_before_pooling.apply(fuse_epilogue.apply(graph))
    )
    _, projection, mean = graph.nodes
    assert (projection.op, mean.op) == ("conv2d", "avg_pool2d")
    assert (set(projection.arrays), projection.static["relu"]) == ({"filters"}, False)
    assert (set(mean.arrays), mean.static["relu"]) == ({"bias"}, relu)
    assert mean.inputs[0].shape == (75, 76, 4)


def test_a_projection_without_bias() -> None:
    graph = rewritten(
        lambda x: ops.conv2d(pool(x), normal(1, 1, 3, 2)), project_before_pooling.apply
    )
    assert [node.op for node in graph.nodes] == ["conv2d", "avg_pool2d"]
    assert graph.nodes[1].arrays == {}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: conv(pool(x), 3),  # no fewer channels
        lambda x: conv(pool(x), 2, 3),
        lambda x: ops.conv2d(pool(x), normal(3, 3, 3, 2)),
        lambda x: conv(pool(x), 2, stride=(2, 2)),
        lambda x: conv(pool(x, stride=2), 2),
        lambda x: ops.concat(y := pool(x), conv(y, 2)),
        lambda x: conv(ops.relu(pool(x)), 2),
        lambda x: conv(ops.max_pool2d(x, kernel_size=(3, 3), stride=(1, 1), padding="same"), 2),
        lambda x: ops.conv2d(pool(x), normal(1, 1, 3, 2), padding=(1, 1, 1, 1)),
        lambda x: conv(ops.avg_pool2d(x, kernel_size=(3, 3), stride=(1, 1)), 2),
    ],
)
def test_pooling_that_stays_first(function: Function) -> None:
    assert rewritten(function, project_before_pooling.apply).nodes[0].op != "conv2d"


def test_pooling_before_a_residual_stays_first() -> None:
    def function(x: Tensor) -> Tensor:
        y = ops.relu(conv(x, 2))
        return ops.add(y, conv(pool(x), 2, seed=9))

    graph = rewritten(
        function, lambda graph: project_before_pooling.apply(fuse_epilogue.apply(graph))
    )
    assert [node.op for node in graph.nodes] == ["conv2d", "avg_pool2d", "conv2d"]


@pytest.mark.parametrize("relu", [False, True])
def test_a_pooling_with_bias_or_relu_stays_first(relu: bool) -> None:
    def function(x: Tensor) -> Tensor:
        y = conv(pool(x), 2) if not relu else ops.relu(ops.conv2d(pool(x), normal(1, 1, 3, 2)))
        return conv(y, 1, seed=9)

    def apply(graph: Graph) -> Graph:
        graph = project_before_pooling.apply(fuse_epilogue.apply(graph))
        return project_before_pooling.apply(graph)

    graph = rewritten(function, apply)
    assert [node.op for node in graph.nodes] == ["conv2d", "avg_pool2d", "conv2d"]


def test_pooling_of_a_pixel_that_becomes_a_row_stays_first() -> None:
    def function(x: Tensor) -> Tensor:
        return ops.reshape(conv(pool(ops.global_avg_pool2d(x)), 2), shape=(-1, 2))

    graph = rewritten(
        function, lambda graph: project_before_pooling.apply(dense_as_convolution.apply(graph))
    )
    assert [node.op for node in graph.nodes] == ["global_avg_pool2d", "avg_pool2d", "conv2d"]


def test_pooling_that_is_wanted_stays_first() -> None:
    graph = rewritten(lambda x: conv(pool(x), 2), project_before_pooling.apply, "avg_pool2d")
    assert [node.op for node in graph.nodes] == ["avg_pool2d", "conv2d"]


# Concatenation.


def test_parts_lie_in_the_whole() -> None:
    def function(x: Tensor) -> Tensor:
        return ops.concat(conv(x, 4), pool(ops.relu(x)), conv(x, 5, 3))

    graph = rewritten(function, concat_in_place.apply)
    assert kinds(graph) == {"conv2d": 2, "avg_pool2d": 1, "relu": 1}
    whole = graph.outputs[""]
    places = [node.output.inside for node in graph.nodes]
    assert places == [(whole, 0), None, (whole, 4), (whole, 7)]
    assert (whole.shape, whole.inside) == ((75, 76, 12), None)


def test_concatenations_in_concatenations() -> None:
    def function(x: Tensor) -> Tensor:
        inner = ops.concat(conv(x, 4), conv(x, 2, seed=9))
        return ops.relu(ops.concat(ops.relu(inner), conv(x, 5), inner))

    graph = rewritten(function, concat_in_place.apply)
    assert kinds(graph) == {"conv2d": 3, "relu": 2}
    inner = graph.nodes[2].inputs[0]
    assert inner.inside is not None
    whole, first = inner.inside
    assert (whole, first) == (graph.nodes[-1].inputs[0], 11)
    assert [node.output.inside for node in graph.nodes[:2]] == [(inner, 0), (inner, 4)]


@pytest.mark.parametrize(
    ("function", "copies"),
    [
        (lambda x: ops.concat(x, conv(x, 4)), 1),
        (lambda x: ops.concat(y := conv(x, 4), y, y), 2),
        (lambda x: ops.concat(ops.concat(y := conv(x, 4), x), ops.relu(x), y), 2),
        (lambda x: ops.concat(ops.concat(y := ops.concat(ops.relu(x)), y), y), 2),
        (lambda x: ops.concat(ops.reshape(x, shape=(-1, 76, 75, 3))), 1),
    ],
)
def test_parts_that_are_copied(function: Function, copies: int) -> None:
    graph = rewritten(function, concat_in_place.apply)
    assert kinds(graph)["copy"] == copies
    assert "concat" not in kinds(graph)


def test_parts_of_two_wholes() -> None:
    def function(x: Tensor) -> Tensor:
        y, z = conv(x, 4), conv(x, 4, seed=9)
        return ops.add(ops.concat(y, z), ops.concat(z, y))

    graph = rewritten(function, concat_in_place.apply)
    assert kinds(graph) == {"conv2d": 2, "copy": 2, "add": 1}


def test_a_part_may_be_wanted() -> None:
    graph = rewritten(
        lambda x: ops.concat(ops.relu(x), conv(x, 4)), concat_in_place.apply, "conv2d", "relu"
    )
    assert graph.outputs["conv2d"].inside == (graph.outputs[""], 3)
    assert kinds(graph) == {"conv2d": 1, "relu": 1}


def test_concatenated_rows() -> None:
    def function(x: Tensor) -> Tensor:
        pixel = row(x)
        return ops.softmax(ops.concat(dense(pixel, 4), ops.relu(pixel)))

    graph = rewritten(function, apply_all)
    assert kinds(graph) == {"global_avg_pool2d": 1, "conv2d": 1, "relu": 1, "softmax": 1}


# Projections of the same map.


def joined(graph: Graph) -> Graph:
    for apply in (fuse_epilogue.apply, concat_in_place.apply, join_projections.apply):
        graph = apply(graph)
    return graph


def test_projections_of_one_map_are_joined() -> None:
    def function(x: Tensor) -> Tensor:
        a, b, c = (ops.relu(conv(x, n, seed=n)) for n in (4, 5, 6))
        return ops.concat(a, ops.relu(conv(b, 7, 3)), ops.relu(conv(c, 3, 3)))

    graph = rewritten(function, joined)
    assert [node.output.shape[2] for node in graph.nodes] == [15, 7, 3]
    whole = graph.outputs[""]
    assert whole.inside is not None
    wide, first = whole.inside
    assert (wide.shape, first) == ((75, 76, 25), 11)  # b, c, then the concatenation
    assert graph.nodes[0].output.inside == (wide, 0)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.concat(ops.relu(conv(x, 4)), conv(x, 4, seed=9)),  # one has a ReLU
        lambda x: ops.concat(conv(x, 4, 3), conv(x, 4)),  # not both 1 x 1
        lambda x: ops.concat(ops.relu(x), conv(x, 4), conv(x, 5)),  # neither comes first
        lambda x: ops.concat(conv(x, 4), conv(ops.relu(x), 5)),  # of two maps
        lambda x: ops.concat(conv(x, 4, stride=(2, 2)), conv(x, 4, stride=(2, 2), seed=9)),
    ],
)
def test_projections_that_are_left(function: Function) -> None:
    graph = rewritten(function, joined)
    assert kinds(graph)["conv2d"] == sum(
        node.op == "conv2d" for node in trace(written(function), (75, 76)).nodes
    )


def test_a_joined_projection_may_be_wanted() -> None:
    def function(x: Tensor) -> Tensor:
        return ops.concat(conv(x, 4), conv(conv(x, 5, seed=9), 3, 3))

    graph = doubled(trace(written(function), (75, 76)))
    second = graph.nodes[1]
    graph.outputs["second"] = second.output
    x = normal(2, 75, 76, 3).astype(np.float64)
    before = run(graph, x)
    assert before["second"].shape[-1] == 5
    check(joined(graph))
    assert kinds(graph) == {"conv2d": 2}
    assert_same(run(graph, x), before)
