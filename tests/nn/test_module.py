"""Walking modules by name, and everything that the walk serves."""

import numpy as np
import pytest

from minincep.autograd import Node, Tensor, ops
from minincep.nn.module import Module, Parameter, endpoints, report, wanted
from minincep_kernels.errors import ShapeError


class Scale(Module):
    """x times a parameter; counts its calls."""

    factor: Parameter
    calls: np.ndarray[tuple[int], np.dtype[np.float32]]

    def __init__(self, factor: float) -> None:
        self.channels = 1
        self.factor = Parameter(np.array([factor], np.float32))
        self.calls = np.zeros(1, np.float32)
        self.rate = 0.5  # neither a weight nor a module

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return ops.multiply(x, self.factor)


class Nest(Module):
    """Named and unnamed modules within modules, in an order that is not that of the alphabet."""

    def __init__(self) -> None:
        self.channels = 1
        self.second = Scale(2)
        self._unnamed = Wrapper(Scale(3))
        self.first = Scale(5)
        self.bias = Parameter(np.array([7], np.float32))

    def forward(self, x: Tensor) -> Tensor:
        for part in (self.second, self._unnamed, self.first):
            x = part(x)
        return ops.add(x, self.bias)


class Wrapper(Module):
    def __init__(self, inner: Module) -> None:
        self.channels = 1
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Twins(Module):
    """Two parts of one name, because neither adds a level."""

    def __init__(self) -> None:
        self._left = Scale(1)
        self._right = Scale(1)


def one() -> Tensor:
    return Tensor(np.array([1], np.float32))


def test_paths_are_attribute_paths_in_the_order_of_definition() -> None:
    nest = Nest()
    assert [path for path, _ in nest.modules()] == ["", "second", "", "inner", "first"]
    paths = "bias second/factor second/calls inner/factor inner/calls first/factor first/calls"
    assert list(nest.arrays()) == paths.split()


def test_parameters_are_what_is_trained() -> None:
    nest = Nest()
    assert list(nest.parameters()) == ["bias", "second/factor", "inner/factor", "first/factor"]
    assert nest.parameters()["second/factor"] is nest.second.factor
    assert all(parameter.requires_grad for parameter in nest.parameters().values())


def test_two_arrays_of_one_path_are_refused() -> None:
    with pytest.raises(ValueError, match="two arrays are called 'factor'"):
        Twins().arrays()


def test_arrays_are_those_in_use() -> None:
    nest = Nest()
    nest.arrays()["first/factor"][0] = 10
    assert nest(one()).data == 2 * 3 * 10 + 7
    assert nest.arrays()["first/calls"] == 1


@pytest.mark.parametrize("path", ["inner/factor", "inner/calls"])
def test_assign(path: str) -> None:
    nest = Nest()
    before = nest.arrays()
    new = np.array([11], np.float32)
    nest.assign_all({path: new})
    after = nest.arrays()
    assert after[path] is new
    assert list(after) == list(before)
    assert all(after[other] is before[other] for other in before if other != path)


def test_astype_converts_everything() -> None:
    nest = Nest().astype(np.float64)
    assert {array.dtype for array in nest.arrays().values()} == {np.dtype(np.float64)}
    assert nest(Tensor(np.ones(1))).dtype == np.float64


def test_training_and_inference_mode_reach_all() -> None:
    nest = Nest()
    modules = [module for _, module in nest.modules()]
    assert not any(module.training for module in modules)
    assert nest.train() is nest
    assert all(module.training for module in modules)
    nest.eval()
    assert not any(module.training for module in modules)


def test_zero_grad() -> None:
    nest = Nest()
    nest(one()).backward()
    assert all(parameter.grad is not None for parameter in nest.parameters().values())
    nest.zero_grad()
    assert all(parameter.grad is None for parameter in nest.parameters().values())


def test_nodes_know_their_layer() -> None:
    nest = Nest().place()
    y = nest(one())
    assert y.node is not None
    assert y.node.path == ""
    inside = y.node.inputs[0]
    assert isinstance(inside, Node)
    assert inside.path == "first"


class FailingOp(Module):
    def forward(self, x: Tensor) -> Tensor:
        return ops.reshape(x, shape=(5,))


class FailingLayer(Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ShapeError("no")


@pytest.mark.parametrize("kind", [FailingOp, FailingLayer])
def test_errors_name_the_innermost_layer_once(kind: type[Module]) -> None:
    outer = Wrapper(Wrapper(Wrapper(kind()))).place()
    with pytest.raises(ShapeError) as caught:
        outer(one())
    assert caught.value.__notes__ == ["in layer inner/inner/inner"]


def test_end_points_are_collected_when_wanted() -> None:
    nest = Nest()
    nest.second.endpoint, nest.first.endpoint = "Second", "First"
    with endpoints(["First", "Elsewhere"]) as found:
        nest(one())
    assert list(found) == ["First"]
    assert found["First"].data == 30
    nest(one())  # afterwards nobody is waiting
    assert list(found) == ["First"]


def test_end_points_within_end_points() -> None:
    with endpoints(["A"]) as outer:
        with endpoints(["B"]) as inner:
            assert wanted("B")
            assert not wanted("A")
            report("A", one())
            report("B", one())
        assert wanted("A")
        report("A", one())
    assert not wanted("A")
    assert (list(outer), list(inner)) == (["A"], ["B"])
