"""Each network has exactly the arrays of the released weights: their names, shapes and order.

The golden lists in tests/data/names were made from timm's and facenet-pytorch's networks.
"""

import math
from pathlib import Path
from typing import Any

import pytest

from minincep.io.verify import read_cases
from minincep.models import list_models
from minincep.models.registry import build_model
from minincep.nn.module import Module

DATA = Path(__file__).parents[1] / "data"
COUNTS = {"inception_v4": 598, "inception_resnet_v2": 898, "inception_resnet_v1": 490}
WITH_AUXILIARY_HEAD = ["inception_v4", "inception_resnet_v2"]

Shapes = list[tuple[str, tuple[int, ...]]]


def golden(name: str) -> Shapes:
    """(path, shape) of each array."""
    lines = (DATA / "names" / f"{name}.txt").read_text().splitlines()
    rows = [line.split(" ") for line in lines]
    return [(path, tuple(int(n) for n in shape.split("x"))) for path, shape in rows]


def shapes(module: Module) -> Shapes:
    return [(path, array.shape) for path, array in module.arrays().items()]


def trainable(name: str, **config: Any) -> int:
    parameters = build_model(name, **config).parameters().values()
    return sum(math.prod(parameter.shape) for parameter in parameters)


@pytest.mark.parametrize("name", COUNTS)
def test_names_shapes_and_order(name: str) -> None:
    found = shapes(build_model(name))
    assert found == golden(name)
    assert len(found) == COUNTS[name]


@pytest.mark.parametrize("name", WITH_AUXILIARY_HEAD)
def test_the_auxiliary_head_adds_its_own_arrays_and_changes_no_other(name: str) -> None:
    found = shapes(build_model(name, aux_logits=True))
    assert [row for row in found if row[0].startswith("aux_logits/")] == golden(f"{name}_aux")
    assert [row for row in found if not row[0].startswith("aux_logits/")] == golden(name)


@pytest.mark.parametrize("name", COUNTS)
def test_gamma_is_all_that_its_option_adds(name: str) -> None:
    found = shapes(build_model(name, batch_norm_gamma=True))
    assert [row for row in found if not row[0].endswith("/gamma")] == golden(name)
    betas = [(path, shape) for path, shape in golden(name) if path.endswith("/beta")]
    gammas = [(path.replace("/gamma", "/beta"), s) for path, s in found if path.endswith("/gamma")]
    assert gammas == betas


@pytest.mark.parametrize(
    ("name", "config", "count"),
    [
        ("inception_v4", {}, 42_648_232),
        ("inception_v4", {"batch_norm_gamma": True}, 42_679_816),
        ("inception_v4", {"num_classes": 1001, "aux_logits": True}, 46_009_106),
        ("inception_resnet_v2", {}, 55_813_192),
        ("inception_resnet_v2", {"batch_norm_gamma": True}, 55_843_464),
        ("inception_resnet_v2", {"num_classes": 1001, "aux_logits": True}, 59_182_258),
        ("inception_resnet_v1", {}, 23_467_824),
        ("inception_resnet_v1", {"batch_norm_gamma": True}, 23_482_624),
        ("inception_resnet_v1", {"num_classes": 8631}, 27_895_527),
        ("inception_resnet_v1", {"num_classes": 10575}, 28_892_799),
    ],
)
def test_number_of_trained_values(name: str, config: dict[str, Any], count: int) -> None:
    assert trainable(name, **config) == count


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("inception_v4", 42_711_400),
        ("inception_resnet_v2", 55_873_736),
        ("inception_resnet_v1", 23_497_424),
    ],
)
def test_number_of_all_values(name: str, count: int) -> None:
    assert sum(math.prod(shape) for _, shape in shapes(build_model(name))) == count


def test_the_papers_inception_resnet_v2_has_32_million_weights() -> None:
    assert round(trainable("inception_resnet_v2_paper") / 1e6, 1) == 32.4


def test_the_papers_inception_resnet_v1_lacks_what_facenet_added() -> None:
    added = ("block8/", "bottleneck/")
    released = [row for row in golden("inception_resnet_v1") if not row[0].startswith(added)]
    logits = [("logits/weight", (1792, 1000)), ("logits/bias", (1000,))]
    assert shapes(build_model("inception_resnet_v1_paper")) == released + logits


@pytest.mark.parametrize(
    ("name", "case", "config"),
    [
        ("inception_v4", "timm_299x299", {"aux_logits": True}),
        ("inception_resnet_v2", "timm_299x299", {"aux_logits": True}),
        ("inception_resnet_v1", "facenet_pytorch_160x160", {}),
    ],
)
def test_end_points_are_those_of_the_reference(
    name: str, case: str, config: dict[str, Any]
) -> None:
    """All of them, the auxiliary head included, in the order of the network."""
    cases = {case.name: case for case in read_cases(DATA / f"reference_{name}.h5")}
    found = build_model(name, **config).endpoint_names()
    assert found == [sample.endpoint for sample in cases[case].samples]


RELEASED = {  # the keys of `end_points` in TF-slim and facenet
    "inception_v4": (
        "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Mixed_3a Mixed_4a Mixed_5a Mixed_5b Mixed_5c "
        "Mixed_5d Mixed_5e Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e Mixed_6f Mixed_6g "
        "Mixed_6h AuxLogits Mixed_7a Mixed_7b Mixed_7c Mixed_7d global_pool PreLogitsFlatten "
        "Logits Predictions"
    ),
    "inception_resnet_v2": (
        "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 MaxPool_3a_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3 "
        "MaxPool_5a_3x3 Mixed_5b Mixed_6a PreAuxLogits AuxLogits Mixed_7a Conv2d_7b_1x1 "
        "global_pool PreLogitsFlatten Logits Predictions"
    ),
    "inception_resnet_v1": (
        "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 MaxPool_3a_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3 "
        "Conv2d_4b_3x3 Mixed_5a Mixed_6a Mixed_6b Mixed_7a Mixed_8a Mixed_8b PreLogitsFlatten"
    ),
}


@pytest.mark.parametrize("name", RELEASED)
def test_all_released_end_points_are_there(name: str) -> None:
    config = {"aux_logits": True} if name in WITH_AUXILIARY_HEAD else {}
    released = RELEASED[name].split()
    found = build_model(name, **config).endpoint_names()
    assert [endpoint for endpoint in found if endpoint in released] == released


@pytest.mark.parametrize("name", list_models())
def test_no_end_point_is_named_twice(name: str) -> None:
    names = build_model(name).endpoint_names()
    assert len(set(names)) == len(names)
