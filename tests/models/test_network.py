"""Networks as a user meets them: options, sizes of pictures, end points, and errors in words."""

import re
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Tensor, ops
from minincep.models import create_model, list_models
from minincep.models.registry import ARCHITECTURES, build_model
from minincep.nn.module import endpoints
from minincep_kernels.errors import ConfigError, ShapeError

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: dict[str, Any] = {"width": 0.02, "blocks": (1, 1, 1)}


def pictures(*shape: int) -> Tensor:
    random = np.random.default_rng(0)
    return Tensor(random.uniform(-1, 1, shape).astype(np.float32))


# Sizes.


@pytest.mark.parametrize("size", [(75, 75), (75, 331), (203, 76)])
@pytest.mark.parametrize("name", list_models())
def test_any_picture_of_at_least_75_pixels_fits(name: str, size: tuple[int, int]) -> None:
    network = create_model(name, **SMALL)
    y = network(pictures(2, *size, 3))
    assert y.shape == (2, network.channels)
    assert np.isfinite(y.data).all()


@pytest.mark.parametrize("name", list_models())
def test_75_pixels_leave_one(name: str) -> None:
    """So 75 is the least: the last map has one pixel, and a smaller picture would leave none."""
    network = create_model(name, **SMALL)
    last = network.endpoint_names()[network.endpoint_names().index("global_pool") - 1]
    found = network.run_endpoints(pictures(1, 75, 139, 3), [last])
    assert found[last].shape[1:3] == (1, 3)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 74, 99, 3), "at least 75 x 75 pixels, got (1, 74, 99, 3)"),
        ((1, 99, 74, 3), "at least 75 x 75 pixels, got (1, 99, 74, 3)"),
        ((1, 99, 99, 1), "takes pictures (N, H, W, 3)"),
        ((99, 99, 3), "add the batch axis, x[None]"),
        ((1, 3, 99, 99), "channels first, transpose it with (0, 2, 3, 1)"),
        ((0, 99, 99, 3), "got (0, 99, 99, 3)"),
    ],
)
def test_what_is_no_batch_of_pictures_is_refused(shape: tuple[int, ...], message: str) -> None:
    network = create_model("inception_resnet_v1", **SMALL)
    with pytest.raises(ShapeError, match=re.escape(message)):
        network(pictures(*shape))


# Options.


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("classes", [1, 7])
def test_any_number_of_classes(name: str, classes: int) -> None:
    network = create_model(name, num_classes=classes, **SMALL)
    assert network(pictures(2, 75, 75, 3)).shape == (2, classes)


def test_inception_resnet_v1_embeds_or_classifies() -> None:
    x = pictures(3, 75, 75, 3)
    embedding = create_model("inception_resnet_v1", embedding_size=6, **SMALL)(x)
    np.testing.assert_allclose(np.linalg.norm(embedding.data, axis=1), 1, rtol=1e-6)
    # The same weights in the same place: its classifier comes after all that embeds.
    network = create_model("inception_resnet_v1", embedding_size=6, num_classes=4, **SMALL)
    found = network.run_endpoints(x, ["Bottleneck", "Embeddings", "Logits"])
    np.testing.assert_array_equal(found["Embeddings"].data, embedding.data)
    weights = network.arrays()
    logits = found["Bottleneck"].data @ weights["logits/weight"] + weights["logits/bias"]
    np.testing.assert_allclose(found["Logits"].data, logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "scopes"),
    [
        ("inception_v4", ["mixed_5", "mixed_6", "mixed_7"]),
        ("inception_resnet_v1", ["repeat/", "repeat_1/", "repeat_2/"]),
        ("inception_resnet_v2", ["repeat/", "repeat_1/", "repeat_2/"]),
    ],
)
def test_numbers_of_blocks(name: str, scopes: list[str]) -> None:
    def count(scope: str, blocks: tuple[int, int, int]) -> int:
        paths = build_model(name, width=0.02, blocks=blocks).arrays()
        found = {path.partition("/branch_0/")[0] for path in paths if "/branch_0/" in path}
        return sum(path.startswith(scope) for path in found)

    first, more = [count(s, (1, 1, 1)) for s in scopes], [count(s, (3, 4, 5)) for s in scopes]
    assert [b - a for a, b in zip(first, more, strict=True)] == [2, 3, 4]


def test_width_scales_all_channels_but_those_of_picture_and_classes() -> None:
    whole = build_model("inception_v4").arrays()
    half = build_model("inception_v4", width=0.5).arrays()
    assert list(half) == list(whole)
    assert half["conv2d_1a_3x3/weight"].shape == (3, 3, 3, 16)
    assert half["mixed_6b/branch_1/conv2d_0b_1x7/weight"].shape == (1, 7, 96, 112)
    assert half["logits/weight"].shape == (768, 1000)


def test_the_configuration_is_whole() -> None:
    """So a file that carries it says everything."""
    assert build_model("inception_v4", num_classes=3).config == {
        "num_classes": 3,
        "aux_logits": False,
        "dropout_rate": 0.2,
        "blocks": (4, 7, 3),
        "width": 1.0,
        "batch_norm_gamma": False,
        "batch_norm_decay": 0.99,
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_clases": 3}, "no option 'num_clases', only: num_classes, aux_logits"),
        ({"embedding_size": 3}, "no option 'embedding_size'"),
        ({"num_classes": 0}, "num_classes must be a whole number from 1"),
        ({"num_classes": 2.0}, "got 2.0"),
        ({"num_classes": True}, "got True"),
        ({"num_classes": None}, "got None"),
        ({"num_classes": 10**9}, "num_classes must be a whole number from 1 to 1000000"),
        ({"blocks": (1, 1)}, "blocks must be three whole numbers from 1 to 25, got (1, 1)"),
        ({"blocks": (1, 0, 1)}, "got (1, 0, 1)"),
        ({"blocks": 3}, "got 3"),
        ({"dropout_rate": 1.0}, "dropout_rate must be a number from 0.0 to 0.999, got 1.0"),
        ({"width": 0}, "width must be a number from 0.01 to 8.0, got 0"),
        ({"width": "1"}, "got '1'"),
        ({"width": float("nan")}, "got nan"),
        ({"batch_norm_decay": 2}, "batch_norm_decay must be a number from 0.0 to 1.0"),
        ({"batch_norm_gamma": 1}, "batch_norm_gamma must be True or False, got 1"),
        ({"aux_logits": "no"}, "aux_logits must be True or False, got 'no'"),
    ],
)
def test_wrong_options_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        build_model("inception_v4", **config)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="no model 'inception_v5', only: inception_v4, "):
        create_model("inception_v5")


def test_the_seed_decides_the_weights() -> None:
    first, again, other = (
        create_model("inception_v4", seed=seed, num_classes=2, **SMALL).arrays()
        for seed in (0, 0, 1)
    )
    for path, array in first.items():
        np.testing.assert_array_equal(array, again[path])
    assert not np.array_equal(first["logits/weight"], other["logits/weight"])


def test_the_seed_decides_what_is_dropped() -> None:
    """In training on one picture again and again, with weights that are the same."""

    def embedding(seed: int) -> list[float]:
        network = create_model("inception_v4", seed=seed, num_classes=2, **SMALL)
        network.assign_all(create_model("inception_v4", num_classes=2, **SMALL).arrays())
        out = network.train().run_endpoints(pictures(2, 75, 75, 3), ["PreLogitsFlatten"])
        kept: list[float] = (out["PreLogitsFlatten"].data != 0).ravel().tolist()
        return kept

    assert embedding(1) == embedding(1) != embedding(2)


# End points.


def test_the_end_points_of_a_run() -> None:
    network = create_model("inception_resnet_v2", num_classes=4, **SMALL)
    x = pictures(2, 75, 75, 3)
    found = network.run_endpoints(x, network.endpoint_names())
    assert list(found) == network.endpoint_names()
    np.testing.assert_array_equal(found["Logits"].data, network(x).data)
    np.testing.assert_allclose(found["Predictions"].data.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(found["PreAuxLogits"].data, found["Repeat_1/block17_1"].data)


def test_only_what_was_asked_for_is_given() -> None:
    network = create_model("inception_resnet_v1", **SMALL)
    assert list(network.run_endpoints(pictures(1, 75, 75, 3), ["Mixed_6a"])) == ["Mixed_6a"]


@pytest.mark.parametrize("name", list_models())
def test_the_embedding_is_an_end_point(name: str) -> None:
    assert ARCHITECTURES[name].embedding in build_model(name).endpoint_names()


def test_an_unknown_end_point_is_refused_and_the_nearest_named() -> None:
    network = create_model("inception_v4", **SMALL)
    with pytest.raises(ConfigError) as caught:
        network.run_endpoints(pictures(1, 75, 75, 3), ["Mixed_3a", "mixed_7b"])
    assert "no end point 'mixed_7b'; the nearest is 'Mixed_7b', all are: Conv2d_1a_3x3, " in str(
        caught.value
    )


# The auxiliary head.

WITH_AUXILIARY_HEAD = ["inception_v4", "inception_resnet_v2"]


@pytest.mark.parametrize("size", [(299, 299), (346, 299)])
@pytest.mark.parametrize("name", WITH_AUXILIARY_HEAD)
def test_auxiliary_logits(name: str, size: tuple[int, int]) -> None:
    network = create_model(name, num_classes=4, aux_logits=True, **SMALL)
    with endpoints(["AuxLogits"]) as found:
        y = network(pictures(1, *size, 3))
    assert y.shape == found["AuxLogits"].shape == (1, 4)
    assert not np.array_equal(y.data, found["AuxLogits"].data)


@pytest.mark.parametrize("name", WITH_AUXILIARY_HEAD)
def test_the_auxiliary_head_does_not_run_unasked(name: str) -> None:
    """A picture that it does not fit is no trouble then, in training neither."""
    network = create_model(name, num_classes=4, aux_logits=True, **SMALL)
    assert network.train()(pictures(2, 107, 139, 3)).shape == (2, 4)


@pytest.mark.parametrize("name", WITH_AUXILIARY_HEAD)
def test_the_auxiliary_head_is_trained_as_its_docstring_says(name: str) -> None:
    network = create_model(name, num_classes=4, aux_logits=True, **SMALL).train()
    x, labels, ce = pictures(2, 299, 299, 3), np.array([0, 3]), ops.softmax_cross_entropy
    out = network.run_endpoints(x, ["Logits", "AuxLogits"])
    loss = ops.add(ce(out["Logits"], labels), ops.scale(ce(out["AuxLogits"], labels), factor=0.4))
    loss.backward()
    for parameter in network.parameters().values():
        assert parameter.grad is not None


@pytest.mark.parametrize(
    ("size", "layer"),
    [((139, 139), "aux_logits/conv2d_"), ((347, 347), "aux_logits"), ((75, 331), "aux_logits")],
)
@pytest.mark.parametrize("name", WITH_AUXILIARY_HEAD)
def test_a_map_that_the_auxiliary_head_does_not_fit(
    name: str, size: tuple[int, int], layer: str
) -> None:
    network = create_model(name, num_classes=4, aux_logits=True, **SMALL)
    with pytest.raises(ShapeError) as caught:
        network.run_endpoints(pictures(1, *size, 3), ["AuxLogits"])
    assert caught.value.__notes__[0].startswith(f"in layer {layer}")
