"""The words in which networks are written: names, channels, and what runs when."""

from typing import Any

import numpy as np
import pytest

from minincep.autograd import Tensor, no_grad, ops
from minincep.nn import combinators
from minincep.nn.combinators import (
    Branch,
    Chain,
    Concat,
    Definition,
    Settings,
    avg_pool,
    bottleneck,
    concat,
    conv,
    dense,
    flatten,
    fork,
    global_avg_pool,
    max_pool,
    named,
    repeat,
    residual,
    side,
)
from minincep.nn.init import initialise
from minincep.nn.layers import BatchNorm, Conv2d
from minincep.nn.module import Module, endpoints
from minincep_kernels import Array
from minincep_kernels.errors import ShapeError

pytestmark = pytest.mark.usefixtures("one_thread")


def built(*parts: Definition, channels: int = 3, settings: Settings | None = None) -> Chain:
    """A chain with weights."""
    module = Chain(parts, channels, settings or Settings())
    initialise(module, 0)
    return module.place()


def weights(module: Module) -> list[str]:
    return [path for path in module.arrays() if path.endswith("/weight")]


def noise(*shape: int) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


# Names.


@pytest.mark.parametrize(
    ("label", "kernel_size"), [("0b_1x7", (1, 7)), ("1x1", (1, 1)), ("2a_5x5", (5, 5))]
)
def test_the_kernel_size_is_read_off_the_label(label: str, kernel_size: tuple[int, int]) -> None:
    module = built(conv(label, 8))
    assert weights(module) == [f"conv2d_{label}/weight"]
    assert module.arrays()[f"conv2d_{label}/weight"].shape == (*kernel_size, 3, 8)


def test_a_label_without_a_kernel_size_is_refused() -> None:
    with pytest.raises(ValueError, match="conv '2a': no kernel size in the label"):
        conv("2a", 8)
    module = built(conv("2a", 8, kernel_size=(5, 5)))
    assert module.arrays()["conv2d_2a/weight"].shape == (5, 5, 3, 8)


@pytest.mark.parametrize("second", [conv("1x1", 8), named("conv2d_1X1", conv("3x3", 8))])
def test_two_parts_of_one_name_are_refused(second: Definition) -> None:
    with pytest.raises(ValueError, match="two parts of a chain are called 'conv2d_1x1'"):
        built(conv("1x1", 4), second)


def test_two_arrays_of_one_name_are_refused() -> None:
    module = Chain([fork(conv("1x1", 4)), fork(conv("1x1", 4))], 3, Settings())
    with pytest.raises(ValueError, match="two arrays are called 'conv2d_1x1/weight'"):
        module.arrays()


def test_names_of_the_combinators() -> None:
    """Only branches and named parts add a level."""
    module = built(
        named("Mixed", concat([conv("a_1x1", 4)], [max_pool(1, stride=1), conv("b_1x1", 4)])),
        conv("c_1x1", 4),
        fork(conv("d_1x3", 4), conv("e_3x1", 4)),
        repeat("Repeat_1", named("block17", residual([conv("1x1", 4)], scale=0.1)), 2),
    )
    assert weights(module) == [
        "mixed/branch_0/conv2d_a_1x1/weight",
        "mixed/branch_1/conv2d_b_1x1/weight",
        "conv2d_c_1x1/weight",
        "conv2d_d_1x3/weight",
        "conv2d_e_3x1/weight",
        "repeat_1/block17_1/branch_0/conv2d_1x1/weight",
        "repeat_1/block17_1/conv2d_1x1/weight",
        "repeat_1/block17_2/branch_0/conv2d_1x1/weight",
        "repeat_1/block17_2/conv2d_1x1/weight",
    ]


# Channels.


@pytest.mark.parametrize(
    ("parts", "shape"),
    [
        ([conv("3x3", 8, stride=2, padding="valid")], (2, 3, 4, 8)),
        ([concat([conv("1x1", 4)], [max_pool(1, stride=1)], [conv("3x3", 8)])], (2, 7, 9, 15)),
        ([conv("1x1", 4), fork(conv("1x3", 8), conv("3x1", 12))], (2, 7, 9, 20)),
        ([avg_pool(3)], (2, 7, 9, 3)),
        ([avg_pool(3, stride=2, padding="valid")], (2, 3, 4, 3)),
        ([residual([conv("1x1", 4)], [conv("3x3", 8)], scale=0.1)], (2, 7, 9, 3)),
        ([global_avg_pool(), flatten(), dense("Logits", 7)], (2, 7)),
        ([global_avg_pool(), flatten(), bottleneck("Bottleneck", 7)], (2, 7)),
        ([side("Aux", conv("1x1", 8)), conv("3x3", 4)], (2, 7, 9, 4)),
    ],
)
def test_channels_are_inferred(parts: Branch, shape: tuple[int, ...]) -> None:
    module = built(*parts)
    assert module(noise(2, 7, 9, 3)).shape == shape
    assert module.channels == shape[-1]


@pytest.mark.parametrize(
    ("width", "channels"), [(1.0, 96), (0.5, 48), (0.07, 8), (0.01, 4), (1.3, 124)]
)
def test_width_gives_multiples_of_four(width: float, channels: int) -> None:
    assert Settings(width=width).scaled(96) == channels
    module = built(conv("1x1", 96), settings=Settings(width=width))
    assert module.channels == channels


def test_width_leaves_classes_and_embeddings_alone() -> None:
    for layer in (dense("Logits", 7), bottleneck("Bottleneck", 7)):
        assert built(layer, settings=Settings(width=0.5)).channels == 7


def test_settings_reach_every_batch_norm() -> None:
    settings = Settings(gamma=True, decay=0.5)
    module = built(conv("1x1", 8), bottleneck("Bottleneck", 7), settings=settings)
    gammas = [path for path in module.arrays() if path.endswith("gamma")]
    assert gammas == ["conv2d_1x1/batch_norm/gamma", "bottleneck/batch_norm/gamma"]
    part = module.parts[0]
    assert isinstance(part, Conv2d)
    assert part.batch_norm is not None
    assert part.batch_norm.decay == 0.5


# What is computed.


def test_branches_are_joined_in_order() -> None:
    module = built(concat([conv("a_1x1", 4)], [max_pool(1, stride=1)], [conv("b_3x3", 8)]))
    concatenation = module.parts[0]
    assert isinstance(concatenation, Concat)
    x = noise(1, 5, 5, 3)
    joined = np.concatenate([branch(x).data for branch in concatenation.branches], axis=-1)
    np.testing.assert_array_equal(module(x).data, joined)
    np.testing.assert_array_equal(joined[..., 4:7], x.data)


def residual_by_hand(module: Module, x: Array, scale: float) -> Array:
    """One branch, a 1 x 1 convolution, in inference with first statistics; without the ReLU."""
    arrays = module.arrays()
    branch = np.maximum(x @ arrays["branch_0/conv2d_1x1/weight"][0, 0] / np.sqrt(1.001), 0)
    y: Array = x + scale * (branch @ arrays["conv2d_1x1/weight"][0, 0] + arrays["conv2d_1x1/bias"])
    return y


@pytest.mark.parametrize("relu", [True, False])
def test_residual(relu: bool) -> None:
    module = built(residual([conv("1x1", 4)], scale=0.17, relu=relu))
    module.assign_all({"conv2d_1x1/bias": np.array([1, -2, 3], np.float32)})
    x = noise(2, 5, 6, 3)
    expected = residual_by_hand(module, x.data, 0.17)
    assert expected.min() < 0
    if relu:
        expected = np.maximum(expected, 0)
    np.testing.assert_allclose(module(x).data, expected, rtol=1e-4, atol=1e-6)


def test_each_repeated_block_is_an_end_point() -> None:
    block = named("block8", residual([conv("1x1", 4)], scale=0.2))
    module = built(repeat("Repeat_2", block, 3))
    names = [f"Repeat_2/block8_{number}" for number in (1, 2, 3)]
    with endpoints(names) as found:
        y = module(noise(1, 5, 5, 3))
    assert list(found) == names
    assert found["Repeat_2/block8_3"] is y
    assert len({found[name].data.tobytes() for name in names}) == 3


# Ways off the main road.


def head(*parts: Definition) -> Chain:
    return built(
        side("AuxLogits", *parts, scope="aux"), global_avg_pool(), flatten(), dense("Logits", 2)
    )


def test_a_side_way_runs_only_when_wanted() -> None:
    """This one cannot run: a filter of 9 x 9 does not fit a map of 5 x 5."""
    module = head(conv("9x9", 4, padding="valid"))
    x = noise(1, 5, 5, 3)
    assert module(x).shape == (1, 2)
    with endpoints(["Logits"]):
        assert module(x).shape == (1, 2)
    with endpoints(["AuxLogits"]), pytest.raises(ShapeError) as caught:
        module(x)
    assert caught.value.__notes__ == ["in layer aux/conv2d_9x9"]


def test_a_side_way_changes_nothing_on_the_main_road() -> None:
    module = head(conv("5x5", 4, padding="valid"))
    x = noise(1, 5, 5, 3)
    alone = module(x)
    with endpoints(["AuxLogits"]) as found:
        beside = module(x)
    np.testing.assert_array_equal(alone.data, beside.data)
    assert found["AuxLogits"].shape == (1, 1, 1, 4)


def test_a_side_way_without_parts_names_what_passes() -> None:
    module = built(conv("1x1", 4), side("PreAuxLogits"))
    with endpoints(["PreAuxLogits"]) as found:
        y = module(noise(1, 5, 5, 3))
    assert found["PreAuxLogits"] is y


def _step(net: Module, x: Array) -> dict[str, Array]:
    """What comes out of a training step: the map, and the gradients."""
    for parameter in net.parameters().values():
        parameter.grad = None
    image = Tensor(x, requires_grad=True)
    y = net(image)
    y.backward(np.cos(np.arange(y.data.size)).reshape(y.shape).astype(y.dtype))
    found = {"y": y.data, **net.arrays()}
    for path, leaf in [*net.parameters().items(), ("x", image)]:
        assert leaf.grad is not None
        found[f"gradient of {path}"] = leaf.grad
    return found


@pytest.mark.parametrize("frozen", [False, True])
def test_projections_of_one_input_are_one_convolution_in_training(
    frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same map and the same gradients; without a tape, layer by layer."""
    definition = concat(
        [conv("1x1", 8)],
        [max_pool(1, stride=1), conv("0b_1x1", 4)],
        [conv("0a_1x1", 12), conv("0b_3x3", 4)],
        [conv("0a_3x3", 4)],
        [conv("0a_1x1", 4)],
    )
    seen: list[tuple[int, ...]] = []
    conv2d = ops.conv2d

    def spy(x: Tensor, filters: Tensor, *others: Any, **static: Any) -> Tensor:
        seen.append(filters.shape)
        return conv2d(x, filters, *others, **static)

    monkeypatch.setattr(ops, "conv2d", spy)
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 16))
    found = []
    for joined in (True, False):
        net = built(definition, channels=16).astype(np.float64).train()
        for _, module in net.modules():
            if isinstance(module, BatchNorm):
                module.frozen = frozen
        if not joined:
            monkeypatch.setattr(combinators, "_projections", lambda branches: [])
        found.append(_step(net, x))
        assert ((1, 1, 16, 24) in seen) == joined
        assert len(seen) == (4 if joined else 6)
        seen.clear()
    assert list(found[0]) == list(found[1])
    for key, array in found[1].items():
        np.testing.assert_allclose(found[0][key], array, rtol=1e-10, atol=1e-12, err_msg=key)
    with no_grad():
        net(Tensor(x))
    assert len(seen) == 6
