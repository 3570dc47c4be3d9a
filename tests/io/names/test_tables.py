"""Each table names every array of its source once, and no other table takes its files."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from minincep.io.convert import TABLES
from minincep.io.names import (
    facenet,
    facenet_pytorch,
    kentsommer,
    keras_applications,
    keras_facenet,
    slim,
    timm,
    yuyang_huang,
)
from minincep.io.names.fit import Fit
from minincep.models.preprocessing import (
    CADENE,
    FACENET_2017,
    FACENET_2018,
    KENTSOMMER,
    KERAS,
    SLIM,
    TIMM_V2,
    TIMM_V4,
)
from minincep.models.registry import build_model
from tests.io.names.listings import SOURCES, Shapes, kentsommer_filters

OURS: dict[str, dict[str, Any]] = {  # listing -> the network that it is
    "timm_v4": {"name": "inception_v4", "batch_norm_gamma": True, "num_classes": 1000},
    "timm_v2": {"name": "inception_resnet_v2", "batch_norm_gamma": True, "num_classes": 1000},
    "cadene_v4": {"name": "inception_v4", "batch_norm_gamma": True, "num_classes": 1001},
    "cadene_v2": {"name": "inception_resnet_v2", "batch_norm_gamma": True, "num_classes": 1001},
    "facenet_pytorch": {
        "name": "inception_resnet_v1",
        "batch_norm_gamma": True,
        "embedding_size": 512,
        "num_classes": 8631,
    },
    "facenet_pytorch_alone": {
        "name": "inception_resnet_v1",
        "batch_norm_gamma": True,
        "embedding_size": 512,
        "num_classes": None,
    },
    "keras_v2": {"name": "inception_resnet_v2", "num_classes": 1000},
    "keras_facenet": {"name": "inception_resnet_v1", "embedding_size": 128, "num_classes": None},
    "yuyang_huang": {"name": "inception_resnet_v2", "num_classes": 1001},
    "kentsommer": {"name": "inception_v4", "num_classes": 1001},
    "slim_v4": {"name": "inception_v4", "num_classes": 1001},
    "slim_v2": {"name": "inception_resnet_v2", "num_classes": 1001},
    "slim_v4_aux": {"name": "inception_v4", "num_classes": 1001, "aux_logits": True},
    "slim_v2_aux": {"name": "inception_resnet_v2", "num_classes": 1001, "aux_logits": True},
    "facenet": {"name": "inception_resnet_v1", "embedding_size": 512, "num_classes": 10575},
    "facenet_alone": {"name": "inception_resnet_v1", "embedding_size": 512, "num_classes": None},
}
HOMES = {  # first part of a listing's name, or all of it -> table
    "timm": timm,
    "cadene": timm,
    "facenet_pytorch": facenet_pytorch,
    "facenet_pytorch_alone": facenet_pytorch,
    "keras_v2": keras_applications,
    "keras_facenet": keras_facenet,
    "yuyang_huang": yuyang_huang,
    "kentsommer": kentsommer,
    "slim": slim,
    "facenet": facenet,
    "facenet_alone": facenet,
}


def home(source: str) -> Any:
    return HOMES[source] if source in HOMES else HOMES[source.partition("_")[0]]


def fitted(source: str, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Fit:
    fit = home(source).fit(SOURCES[source]() if shapes is None else shapes)
    assert isinstance(fit, Fit)
    return fit


def without(shapes: Shapes, *starts: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not name.startswith(starts)}


def in_file(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """Our shape as a source of a layout stores it."""
    if layout == "torch" and len(shape) == 4:
        height, width, channels, filters = shape
        return filters, channels, height, width
    return shape[::-1] if layout == "torch" else shape


def test_every_table_has_a_listing() -> None:
    assert {home(source) for source in SOURCES} == set(TABLES)


@pytest.mark.parametrize("source", SOURCES)
def test_a_table_is_complete_and_injective(source: str) -> None:
    """Every array of the network has a name of its own, of an array of its shape, none is left."""
    shapes, fit = SOURCES[source](), fitted(source)
    config = dict(OURS[source])
    assert fit.architecture == config.pop("name")
    assert {key: value for key, value in fit.config.items() if value} == {
        key: value for key, value in config.items() if value
    }
    network = build_model(fit.architecture, **fit.config)
    wanted = {
        fit.names[path]: in_file(array.shape, fit.layout)
        for path, array in network.arrays().items()
    }
    assert len(wanted) == len(fit.names) == len(network.arrays())
    assert {name: s for name, s in shapes.items() if name not in fit.ignored} == wanted
    assert all(name.endswith("num_batches_tracked") for name in fit.ignored)
    assert not fit.averages
    assert fit.likeness == 1
    assert fit.classifier
    assert fit.background == (config.get("num_classes") == 1001)


@pytest.mark.parametrize("source", SOURCES)
def test_the_best_of_all_tables_is_the_source(source: str) -> None:
    shapes = SOURCES[source]()
    found = {table: fit for table in TABLES if (fit := table.fit(shapes)) is not None}
    others = [fit.likeness for table, fit in found.items() if table is not home(source)]
    assert found[home(source)].likeness == 1
    assert max(others, default=0) < 0.7


@pytest.mark.parametrize(
    ("names", "source"),
    [
        (timm.names, "timm_v4"),
        (timm.names, "timm_v2"),
        (facenet_pytorch.names, "facenet_pytorch"),
        (facenet_pytorch.names, "facenet_pytorch_alone"),
        (keras_applications.names, "keras_v2"),
        (keras_facenet.names, "keras_facenet"),
        (yuyang_huang.names, "yuyang_huang"),
        (lambda paths: slim.names(paths, "inception_v4"), "slim_v4_aux"),
        (lambda paths: slim.names(paths, "inception_resnet_v2"), "slim_v2_aux"),
        (facenet.names, "facenet"),
    ],
)
def test_names_of_a_networks_own_paths(names: Callable[[Any], dict[str, str]], source: str) -> None:
    """Who writes files asks for the names by our paths alone."""
    fit = fitted(source)
    assert names(build_model(fit.architecture, **fit.config).arrays()) == fit.names


@pytest.mark.parametrize(
    ("source", "pairs"),
    [
        (
            "timm_v4",
            {
                "mixed_7d/branch_2/conv2d_0e_3x1/batch_norm/running_var": (
                    "features.21.branch2_3b.bn.running_var"
                ),
                "mixed_5a/branch_0/conv2d_1a_3x3/weight": "features.5.conv.conv.weight",
            },
        ),
        (
            "timm_v2",
            {
                "repeat_1/block17_20/conv2d_1x1/bias": "repeat_1.19.conv2d.bias",
                "logits/weight": "classif.weight",
            },
        ),
        ("cadene_v2", {"logits/weight": "last_linear.weight"}),
        (
            "facenet_pytorch",
            {
                "repeat/block35_5/branch_2/conv2d_0c_3x3/batch_norm/beta": (
                    "repeat_1.4.branch2.2.bn.bias"
                ),
                "bottleneck/batch_norm/gamma": "last_bn.weight",
            },
        ),
        (
            "keras_v2",
            {
                "conv2d_1a_3x3/weight": "conv2d/kernel",
                "repeat/block35_2/branch_0/conv2d_1x1/weight": "conv2d_18/kernel",
                "block8/branch_1/conv2d_0c_3x1/batch_norm/beta": "batch_normalization_202/beta",
                "conv2d_7b_1x1/batch_norm/running_mean": "conv_7b_bn/moving_mean",
                "repeat_2/block8_9/conv2d_1x1/bias": "block8_9_conv/bias",
                "block8/conv2d_1x1/bias": "block8_10_conv/bias",
                "logits/bias": "predictions/bias",
            },
        ),
        (
            "yuyang_huang",
            {"block8/branch_0/conv2d_1x1/weight": "Block8_10_Branch_0_Conv2d_1x1/kernel"},
        ),
        ("kentsommer", {"mixed_3a/branch_1/conv2d_0a_3x3/weight": "conv2d_4/kernel"}),
        (
            "slim_v4_aux",
            {
                "aux_logits/aux_logits/weight": "InceptionV4/AuxLogits/Aux_logits/weights",
                "logits/bias": "InceptionV4/Logits/Logits/biases",
            },
        ),
        (
            "slim_v2_aux",
            {
                "repeat_2/block8_9/branch_1/conv2d_0b_1x3/batch_norm/running_var": (
                    "InceptionResnetV2/Repeat_2/block8_9/Branch_1/Conv2d_0b_1x3/BatchNorm/"
                    "moving_variance"
                ),
                "aux_logits/logits/weight": "InceptionResnetV2/AuxLogits/Logits/weights",
            },
        ),
        (
            "facenet",
            {
                "block8/conv2d_1x1/weight": "InceptionResnetV1/Block8/Conv2d_1x1/weights",
                "bottleneck/weight": "InceptionResnetV1/Bottleneck/weights",
                "logits/weight": "Logits/weights",
            },
        ),
    ],
)
def test_some_names_in_full(source: str, pairs: dict[str, str]) -> None:
    names = fitted(source).names
    assert {path: names[path] for path in pairs} == pairs


def test_what_each_source_evaluated_with() -> None:
    assert {source: fitted(source).preprocessing for source in SOURCES} == {
        "timm_v4": TIMM_V4,
        "timm_v2": TIMM_V2,
        "cadene_v4": CADENE,
        "cadene_v2": CADENE,
        "facenet_pytorch": FACENET_2018,
        "facenet_pytorch_alone": FACENET_2018,
        "keras_v2": KERAS,
        "keras_facenet": FACENET_2017,
        "yuyang_huang": SLIM,
        "kentsommer": KENTSOMMER,
        "slim_v4": SLIM,
        "slim_v2": SLIM,
        "slim_v4_aux": SLIM,
        "slim_v2_aux": SLIM,
        "facenet": FACENET_2018,
        "facenet_alone": FACENET_2018,
    }


@pytest.mark.parametrize("source", ["timm_v4", "timm_v2", "slim_v4", "keras_v2", "kentsommer"])
def test_without_a_classifier(source: str) -> None:
    last = ("last_linear.", "classif.", "predictions/", "dense_1/", "InceptionV4/Logits/")
    fit = fitted(source, without(SOURCES[source](), *last))
    assert not fit.classifier
    assert fit.likeness == 1
    assert not [path for path in fit.names if path.startswith("logits/")]


# --- numbers of Keras ------------------------------------------------------------------------


def renumbered(shapes: Shapes, convolutions: int, norms: int, norm: str = "") -> Shapes:
    """The numbered layers counted from elsewhere, and in another order in the file."""
    found = {}
    for name, shape in sorted(shapes.items()):
        layer, _, kind = name.partition("/")
        plain, _, number = layer.rpartition("_") if layer[-1].isdigit() else (layer, "", "0")
        if layer == "conv2d" or plain == "conv2d":
            shift, plain, number = convolutions, "conv2d", number if plain == "conv2d" else "0"
        elif plain == "batch_normalization":
            shift, plain = norms, norm or plain
        else:
            found[name] = shape
            continue
        total = int(number) + shift
        found[f"{plain}_{total}/{kind}" if total else f"{plain}/{kind}"] = shape
    return found


@pytest.mark.parametrize(("convolutions", "norms"), [(0, 0), (1, 1), (100, 7), (0, 900)])
def test_numbers_begin_anywhere(convolutions: int, norms: int) -> None:
    plain = fitted("keras_v2").names
    fit = fitted("keras_v2", renumbered(SOURCES["keras_v2"](), convolutions, norms))
    assert fit.likeness == 1
    for path in ("conv2d_1a_3x3", "mixed_6a/branch_1/conv2d_0b_3x3"):
        old = plain[f"{path}/weight"].partition("/")[0]
        number = int(old.removeprefix("conv2d").removeprefix("_") or 0) + convolutions
        assert (
            fit.names[f"{path}/weight"] == (f"conv2d_{number}" if number else "conv2d") + "/kernel"
        )


def test_batch_norm_of_tensorflow_1_13() -> None:
    fit = fitted("keras_v2", renumbered(SOURCES["keras_v2"](), 1, 0, "batch_normalization_v1"))
    assert fit.likeness == 1
    assert fit.names["conv2d_1a_3x3/batch_norm/beta"] == "batch_normalization_v1/beta"


def test_a_missing_number_is_not_closed_up() -> None:
    """The layers behind it keep their names, and the report can say which one is missing."""
    shapes = without(SOURCES["keras_v2"](), "conv2d_57/")
    fit = fitted("keras_v2", shapes)
    assert set(fit.names.values()) - set(shapes) == {"conv2d_57/kernel"}


def test_kentsommers_order() -> None:
    """The layers as he makes them, with the sizes of their filters, in the order of our paths."""
    fit = fitted("kentsommer")
    filters = [
        array.shape
        for path, array in build_model("inception_v4").arrays().items()
        if array.ndim == 4
    ]
    assert [(h, w, out) for h, w, _, out in filters] == kentsommer_filters()
    numbers = [name for path, name in fit.names.items() if name.startswith("conv2d_")]
    assert numbers == [f"conv2d_{n}/kernel" for n in range(1, 150)]


# --- training checkpoints --------------------------------------------------------------------


def slots(shapes: Shapes, *suffixes: str) -> Shapes:
    return {f"{name}/{suffix}": shape for name, shape in shapes.items() for suffix in suffixes}


@pytest.mark.parametrize("source", ["slim_v4_aux", "slim_v2", "facenet"])
def test_the_state_of_training_is_ignored(source: str) -> None:
    shapes = SOURCES[source]()
    state = slots(shapes, "RMSProp", "RMSProp_1", "Adam", "Momentum")
    state |= {"global_step": (), "beta1_power": (), "losses/total_loss/avg": (), "centers": (9, 2)}
    fit = fitted(source, shapes | state)
    assert fit.ignored == set(state)
    assert fit.names == fitted(source).names
    assert fit.likeness == 1


@pytest.mark.parametrize("source", ["slim_v4_aux", "slim_v2", "facenet"])
def test_moving_averages(source: str) -> None:
    shapes = SOURCES[source]()
    fit = fitted(source, shapes | slots(shapes, "ExponentialMovingAverage"))
    assert fit.averages == {p: f"{n}/ExponentialMovingAverage" for p, n in fit.names.items()}
    assert not fit.ignored
    alone = fitted(source, slots(shapes, "ExponentialMovingAverage"))
    assert alone.averages == fit.averages
    assert alone.config == fit.config


def test_constants_of_a_frozen_graph_are_ignored() -> None:
    constants = {
        "InceptionResnetV1/Repeat/block35_1/mul/x": (),
        "InceptionResnetV1/Conv2d_1a_3x3/BatchNorm/Const": (32,),
        "InceptionResnetV1/Logits/Flatten/flatten/Reshape/shape/1": (),
        "embeddings/y": (),
    }
    fit = fitted("facenet_alone", SOURCES["facenet_alone"]() | constants)
    assert fit.ignored == set(constants)
    assert fit.likeness == 1


def test_facenets_bottleneck_of_early_2017() -> None:
    shapes = {
        name.removeprefix("InceptionResnetV1/") if "Bottleneck" in name else name: shape
        for name, shape in SOURCES["facenet"]().items()
    }
    fit = fitted("facenet", shapes)
    assert set(fit.names.values()) == set(shapes)
    assert fit.names["bottleneck/batch_norm/beta"] == "Bottleneck/BatchNorm/beta"
    assert fit.config["embedding_size"] == 512


@pytest.mark.parametrize("source", ["timm_v4", "timm_v2", "facenet_pytorch"])
@pytest.mark.parametrize("prefix", ["module.", "state_dict.", "state_dict.module."])
def test_a_state_dict_inside_a_checkpoint(source: str, prefix: str) -> None:
    shapes = {prefix + name: shape for name, shape in SOURCES[source]().items()}
    state = {"optimizer.state.0.exp_avg": (32, 3, 3, 3), "epoch": ()}
    fit = fitted(source, shapes | state)
    assert fit.likeness == 1
    assert set(state) <= fit.ignored
    assert set(fit.names.values()) == set(shapes) - fit.ignored


@pytest.mark.parametrize(("plain", "averaged"), [("state_dict.", "state_dict_ema."), ("", "ema.")])
def test_averages_of_pytorch(plain: str, averaged: str) -> None:
    shapes = SOURCES["timm_v2"]()
    both = {prefix + name: s for prefix in (averaged, plain) for name, s in shapes.items()}
    fit = fitted("timm_v2", both)
    assert fit.names["logits/bias"] == f"{plain}classif.bias"
    assert fit.averages["logits/bias"] == f"{averaged}classif.bias"
    assert fit.averages.keys() == fit.names.keys()
    assert fit.likeness == 1


def test_a_prefix_cannot_take_over_a_terminal() -> None:
    assert timm.fit({f"\x1b[31m.{name}": s for name, s in SOURCES["timm_v4"]().items()}) is None


def test_a_name_of_dots_takes_no_time() -> None:
    shapes = SOURCES["timm_v4"]() | {"." * 2_000_000: (1,)}
    assert fitted("timm_v4", shapes).likeness > 0.99
