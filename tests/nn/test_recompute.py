"""Networks that run their blocks again: the same step, and end points that are still found."""

from collections.abc import Sequence

import numpy as np
import pytest

from minincep.autograd import Node, Tensor, ops
from minincep.models.network import Network
from minincep.models.registry import create_model
from minincep.nn.combinators import Chain, Concat, Repeat
from minincep.nn.layers import BatchNorm
from minincep_kernels import Array

pytestmark = pytest.mark.usefixtures("one_thread")

MODELS = ["inception_v4", "inception_resnet_v1", "inception_resnet_v2"]


def network(name: str, *, recompute: bool, frozen: bool = False) -> Network:
    net = create_model(name, num_classes=3, seed=0, width=0.05, dropout_rate=0.5).train()
    for _, module in net.modules():
        if isinstance(module, BatchNorm):
            module.frozen = frozen
    return net.recompute_blocks(recompute)


def step(net: Network, names: Sequence[str]) -> dict[str, Array]:
    """All that a training step leaves: end points, gradients, running statistics."""
    x = np.random.default_rng(0).standard_normal((2, 75, 75, 3)).astype(np.float32)
    out = net.run_endpoints(Tensor(x), names)
    losses = [ops.mean(ops.multiply(y, y)) for y in out.values()]
    total = losses[0]
    for loss in losses[1:]:
        total = ops.add(total, loss)
    total.backward()
    left = {name: y.data for name, y in out.items()} | dict(net.arrays())
    for path, parameter in net.parameters().items():
        if parameter.grad is not None:
            left[f"gradient of {path}"] = parameter.grad
    return left


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_same_step_to_the_last_bit(name: str, frozen: bool) -> None:
    plain = network(name, recompute=False, frozen=frozen)
    names = [plain.endpoint_names()[0], plain.endpoint_names()[-2], plain.endpoint_names()[-1]]
    wanted = step(plain, names)
    found = step(network(name, recompute=True, frozen=frozen), names)
    assert list(found) == list(wanted)
    assert any("gradient" in key for key in found)
    for key, array in wanted.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)


def test_every_end_point_is_found_with_its_tape() -> None:
    """Those of blocks, and those inside of a part that is run again."""
    nets = [network("inception_resnet_v2", recompute=mode) for mode in (False, True)]
    names = nets[0].endpoint_names()
    for net in nets:
        branch = net.mixed_5b.branches[1]  # type: ignore[attr-defined]
        branch.endpoint = "inside"
    wanted, found = (step(net, ["inside", *names]) for net in nets)
    for key in wanted:
        if "gradient" not in key:  # these are added up in another order
            np.testing.assert_array_equal(found[key], wanted[key], err_msg=key)
        else:
            scale = np.abs(wanted[key]).max()
            np.testing.assert_allclose(found[key], wanted[key], atol=1e-4 * scale, err_msg=key)


def test_the_switch_reaches_what_is_repeated_and_can_be_taken_back() -> None:
    net = network("inception_resnet_v2", recompute=True)
    on = {path for path, module in net.modules() if isinstance(module, Chain) and module.recompute}
    assert on >= {"", "repeat", "repeat_1", "repeat_2"}
    assert not any("branch" in path for path in on)
    net.recompute_blocks(False)
    assert not any(m.recompute for _, m in net.modules() if isinstance(m, Chain))


def test_a_block_leaves_one_node() -> None:
    net = network("inception_resnet_v2", recompute=True)
    repeat = net.repeat  # type: ignore[attr-defined]
    assert isinstance(repeat, Repeat)
    assert isinstance(repeat.parts[0], Concat)
    y = repeat(Tensor(np.zeros((2, 5, 5, repeat.channels), np.float32)))
    assert y.node is not None
    (before,) = y.node.inputs
    assert isinstance(before, Node)
    assert [y.node.op.name, before.op.name] == ["recompute"] * 2
