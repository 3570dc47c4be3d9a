"""`compile` and `Plan`: what they answer, what they refuse, and that nothing changes the bits."""

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minincep as mi
from minincep.models.network import Network
from minincep.models.registry import list_models
from minincep_kernels import Array
from minincep_kernels.machine import num_threads
from tests.plan.graphs import network, normal, written

SIZE = (75, 88)
X = normal(5, *SIZE, 3)
ERROR = 1e-4  # of a plan beside the network itself, in standard deviations


@pytest.fixture(scope="module")
def net() -> Network:
    return small("inception_resnet_v2")


@pytest.fixture(scope="module")
def plan(net: Network) -> mi.Plan:
    return mi.compile(net, image_size=SIZE, batch_size=2)


def small(name: str) -> Network:
    return network(name, width=0.1, num_classes=4)


def by_the_network(net: Network, x: Array, endpoint: str = "") -> Array:
    with mi.no_grad():
        found = net(mi.Tensor(x)) if not endpoint else net.run_endpoints(mi.Tensor(x), [endpoint])
    return found.data if isinstance(found, mi.Tensor) else found[endpoint].data


def agree(found: Array, wanted: Array) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ERROR * float(wanted.std()))


# ------------------------------------------------------------------ answers


def test_more_and_fewer_pictures_than_a_batch(net: Network, plan: mi.Plan) -> None:
    wanted = by_the_network(net, X)
    for count in (1, 2, 3, 5):
        found = plan(X[:count])
        assert found.shape == (count, 4)
        agree(found, wanted[:count])
    assert plan(X[:0]).shape == (0, 4)
    assert np.unique(plan(X), axis=0).shape == (5, 4)  # each picture has an answer of its own


def test_arrays_of_any_layout(plan: mi.Plan) -> None:
    wanted = plan(X)
    np.testing.assert_array_equal(plan(np.repeat(X, 2, axis=0)[::2]), wanted)
    np.testing.assert_array_equal(plan(np.asfortranarray(X)), wanted)
    read_only = X.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(plan(read_only), wanted)


def test_answers_are_not_overwritten_by_later_ones(plan: mi.Plan) -> None:
    first = plan(X[:1])
    before = first.copy()
    plan(X[1:2])
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("name", list_models())
def test_end_points(name: str) -> None:
    net = small(name)
    ends = [end for end in net.endpoint_names() if end != "AuxLogits"]
    plan = mi.compile(net, image_size=SIZE, batch_size=2, endpoints=ends)
    assert list(plan.endpoints) == ends
    found = plan.run_endpoints(X)
    assert set(found) == {"", *ends}
    for end in ends:
        agree(found[end], by_the_network(net, X, end))
    np.testing.assert_array_equal(found[""], plan(X))


def test_the_size_by_default_is_that_of_the_preprocessing(net: Network) -> None:
    plan = mi.compile(net)
    assert plan.image_size == (net.preprocessing.height, net.preprocessing.width) == (299, 299)
    assert mi.compile(net, image_size=80).image_size == (80, 80)
    assert mi.compile(net, image_size=(80, 90), batch_size=7).batch_size == 7


def test_as_many_at_once_as_the_caches_hold(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = mi.compile(net, image_size=SIZE, batch_size=5)
    one = plan.program.memory * 4 // 5
    x = np.repeat(X, 4, axis=0)[:7]
    with mi.num_threads(1):
        wanted = plan(x)
        for cached, at_once in ((0, 1), (one, 1), (2 * one, 2), (3 * one, 3), (100 * one, 5)):
            monkeypatch.setattr("minincep.plan.plan.CACHED", cached)
            assert plan.at_once == at_once
            np.testing.assert_array_equal(plan(x), wanted)
    with mi.num_threads(2):
        monkeypatch.setattr("minincep.plan.plan.CACHED", 2 * one)
        assert plan.at_once == 4
        np.testing.assert_array_equal(plan(x), wanted)
    assert plan(x[:0]).shape == (0, *wanted.shape[1:])


def test_training_on_leaves_a_plan_alone() -> None:
    net = small("inception_resnet_v1")
    plan = mi.compile(net, image_size=SIZE)
    before = plan(X)
    for array in net.arrays().values():
        array *= 1.1
    np.testing.assert_array_equal(plan(X), before)
    assert not np.array_equal(mi.compile(net, image_size=SIZE)(X), before)


# ------------------------------------------------------------------ the same bits


@pytest.mark.parametrize("name", ["inception_v4", "inception_resnet_v1", "inception_resnet_v2"])
@pytest.mark.parametrize("size", [(75, 88), (131, 120)])
def test_nothing_changes_the_bits(name: str, size: tuple[int, int]) -> None:
    """Alone or in a batch, at any place in it, on any threads, in any plan of the network."""
    net = network(name, width=0.25, num_classes=4)
    x = normal(4, *size, 3)
    ends = ["PreLogitsFlatten"]
    plan = mi.compile(net, image_size=size, batch_size=4, endpoints=ends)
    wanted = plan.run_endpoints(x)
    assert wanted[""].std() > 0

    def same(found: dict[str, Array], order: Any = slice(None)) -> None:
        for key, y in wanted.items():
            np.testing.assert_array_equal(found[key], y[order])

    same(plan.run_endpoints(x))
    same(plan.run_endpoints(x[::-1]), slice(None, None, -1))
    same(plan.run_endpoints(x[2:3]), slice(2, 3))
    same(plan.run_endpoints(np.concatenate([x, x, x])[3:7]), [3, 0, 1, 2])
    for threads in (1, 2, 3):
        with num_threads(threads):
            same(plan.run_endpoints(x))
    for batch in (1, 3):
        same(mi.compile(net, image_size=size, batch_size=batch, endpoints=ends).run_endpoints(x))
    same(mi.compile(net, image_size=size, batch_size=2, endpoints=ends, tune=True).run_endpoints(x))


# ------------------------------------------------------------------ threads and forks


def side_by_side(*calls: Callable[[], Array]) -> list[Array]:
    """The results of calls on Python threads that begin together."""
    found: list[Any] = [None] * len(calls)
    begin = threading.Barrier(len(calls))

    def work(index: int) -> None:
        begin.wait()
        found[index] = calls[index]()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_threads_share_a_plan_and_two_plans_run_at_once(net: Network, plan: mi.Plan) -> None:
    other = mi.compile(small("inception_v4"), image_size=SIZE)
    wanted, of_other = plan(X), other(X)
    for threads in (1, 2):
        with num_threads(threads):
            for _ in range(5):
                a, b, c, d = side_by_side(
                    lambda: plan(X), lambda: plan(X[::-1]), lambda: other(X), lambda: plan(X[1:])
                )
                np.testing.assert_array_equal(a, wanted)
                np.testing.assert_array_equal(b, wanted[::-1])
                np.testing.assert_array_equal(c, of_other)
                np.testing.assert_array_equal(d, wanted[1:])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_answers(plan: mi.Plan) -> None:
    with num_threads(2):
        wanted = plan(X)
        child = os.fork()
        if child == 0:
            good = False
            try:
                good = np.array_equal(plan(X), wanted)
            finally:
                os._exit(0 if good else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        np.testing.assert_array_equal(plan(X), wanted)


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (X.astype(np.float64), mi.DTypeError, "float32, got float64"),
        ((X * 100).astype(np.uint8), mi.DTypeError, "float32, got uint8"),
        (X.tolist(), mi.DTypeError, "float32, got list"),
        (X[0], mi.ShapeError, "add the batch axis"),
        (X.transpose(0, 3, 1, 2), mi.ShapeError, "channels first, transpose it"),
        (X[:, :-1], mi.ShapeError, r"\(N, 75, 88, 3\), got \(5, 74, 88, 3\); for another size"),
        (X[..., :1], mi.ShapeError, "takes pictures"),
    ],
)
def test_pictures_that_do_not_fit(
    plan: mi.Plan, x: Any, error: type[Exception], message: str
) -> None:
    for call in (plan, plan.run_endpoints):
        with pytest.raises(error, match=message):
            call(x)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, mi.PlanError, "batch_size must be"),
        ({"batch_size": 1.0}, mi.PlanError, "batch_size must be"),
        ({"batch_size": True}, mi.PlanError, "batch_size must be"),
        ({"image_size": 74}, mi.ShapeError, "at least 75 x 75"),
        ({"image_size": 0}, mi.PlanError, "image_size must be"),
        ({"image_size": (80,)}, mi.PlanError, "image_size must be"),
        ({"image_size": (80, 80, 3)}, mi.PlanError, "image_size must be"),
        ({"image_size": (80.0, 80)}, mi.PlanError, "image_size must be"),
        ({"image_size": "80x80"}, mi.PlanError, "image_size must be"),
        ({"endpoints": ["Mixed_6z"]}, mi.ConfigError, "no end point 'Mixed_6z'; the nearest is"),
    ],
)
def test_wishes_that_cannot_be(
    net: Network, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        mi.compile(net, **arguments)


def test_networks_that_cannot_be_planned() -> None:
    with pytest.raises(mi.PlanError, match="float64: convert the network"):
        mi.compile(small("inception_v4").astype(np.float64), image_size=SIZE)
    training = small("inception_v4")
    training.train()
    with pytest.raises(mi.PlanError, match=r"training mode.*network\.eval\(\)"):
        mi.compile(training, image_size=SIZE)
    with pytest.raises(mi.PlanError, match="with ops only"):
        mi.compile(written(lambda x: mi.Tensor(x.data * 2)), image_size=SIZE)
