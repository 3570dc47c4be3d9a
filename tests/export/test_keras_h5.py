"""Keras files: the layers in the order in which Keras takes them, and no gamma."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from minincep.autograd import Tensor, no_grad
from minincep.export import export
from minincep.export.keras_h5 import in_keras_order
from minincep.io.convert import convert
from minincep.models.network import Network
from minincep.models.registry import build_model
from minincep.plan.trace import trace
from minincep_kernels import Array
from tests.export.test_safetensors import RELEASED, released
from tests.plan.graphs import normal

ORDER = Path(__file__).parents[1] / "data/sources/keras_layers.txt"
LAYERS = {"inception_v4": 299, "inception_resnet_v1": 245, "inception_resnet_v2": 449}

EACH_NETWORK = pytest.mark.parametrize("name", RELEASED)


def exported(net: Network, folder: Path) -> dict[str, Array]:
    """Arrays by name, in the order of the file."""
    export(net, folder / "net.h5", "keras")
    found = {}
    with h5py.File(folder / "net.h5") as file:
        assert file.attrs["backend"] == "tensorflow"
        assert file.attrs["keras_version"].startswith("2.")
        for layer in file.attrs["layer_names"]:
            group = file[layer.decode()]
            for name in group.attrs["weight_names"]:
                assert name.startswith(layer + b"/")
                found[name.decode()] = group[name.decode()][()]
        assert len(file) == len(file.attrs["layer_names"])
    return found


def layers(stored: dict[str, Array]) -> list[str]:
    return list(dict.fromkeys(name.partition("/")[0] for name in stored))


def numbered_from(names: list[str], first: int) -> list[str]:
    """Keras's numbers of layers, counted from another first one: `conv2d` is number 0."""
    found = []
    for name in names:
        match = re.fullmatch(r"(conv2d|batch_normalization)(?:_(\d+))?", name)
        found.append(f"{match[1]}_{int(match[2] or 0) - first}" if match else name)
    return found


def test_order_is_that_of_keras(tmp_path: Path) -> None:
    ours = layers(exported(released("inception_resnet_v2"), tmp_path))
    keras = ORDER.read_text().split()
    assert len(keras) == LAYERS["inception_resnet_v2"]
    assert numbered_from(ours, "conv2d" not in ours) == numbered_from(keras, 0)


def test_order_within_a_fork() -> None:
    """Inception-C blocks, by hand: the two ends of a fork stand side by side."""
    graph = trace(build_model("inception_v4", width=0.05), (75, 75))
    order = [node.path for node in in_keras_order(graph) if node.op == "conv2d"]
    block = [path.removeprefix("mixed_7d/") for path in order if path.startswith("mixed_7d/")]
    assert block == [
        "branch_2/conv2d_0a_1x1",
        "branch_2/conv2d_0b_3x1",
        "branch_1/conv2d_0a_1x1",
        "branch_2/conv2d_0c_1x3",
        "branch_1/conv2d_0b_1x3",
        "branch_1/conv2d_0c_3x1",
        "branch_2/conv2d_0d_1x3",
        "branch_2/conv2d_0e_3x1",
        "branch_0/conv2d_0a_1x1",
        "branch_3/conv2d_0b_1x1",
    ]


@EACH_NETWORK
def test_every_array_is_there(name: str, tmp_path: Path) -> None:
    net = released(name)
    stored = exported(net, tmp_path)
    assert len(layers(stored)) == LAYERS[name]
    assert len(stored) == len(net.arrays())
    mine = sorted(float(array.sum()) for array in net.arrays().values())
    assert sorted(float(array.sum()) for array in stored.values()) == mine
    assert {array.dtype for array in stored.values()} == {np.dtype(np.float32)}


def test_arrays_of_a_layer_are_in_the_order_of_keras(tmp_path: Path) -> None:
    names = list(exported(released("inception_resnet_v1"), tmp_path))
    norm, project = "Conv2d_1a_3x3_BatchNorm", "Block8_6_Conv2d_1x1"
    assert [name for name in names if name.startswith(f"{norm}/")] == [
        f"{norm}/beta:0",
        f"{norm}/moving_mean:0",
        f"{norm}/moving_variance:0",
    ]
    assert [name for name in names if name.startswith(f"{project}/")] == [
        f"{project}/kernel:0",
        f"{project}/bias:0",
    ]


def answer(net: Network, x: Array) -> Array:
    with no_grad():
        return net(Tensor(x)).data


@EACH_NETWORK
def test_gamma_goes_into_filters_and_means(name: str, tmp_path: Path) -> None:
    net = released(name, batch_norm_gamma=True)
    gammas = {path: array for path, array in net.arrays().items() if path.endswith("/gamma")}
    net.assign_all({path: np.where(array < 0.7, -array, array) for path, array in gammas.items()})
    stored = exported(net, tmp_path)
    assert not any("gamma" in key for key in stored)
    plain = released(name)
    put(plain, stored)
    x = normal(1, 75, 75, 3)
    y = answer(net, x)
    np.testing.assert_allclose(answer(plain, x), y, rtol=0, atol=2e-4 * y.std())


def put(net: Network, stored: dict[str, Array]) -> None:
    """Give a network the arrays of a file as Keras does: layer after layer, without the names."""
    nodes = in_keras_order(trace(net, (75, 75)))
    owners = [node.path for node in nodes if node.op in ("conv2d", "batch_norm", "matmul")]
    assert len(owners) == len(layers(stored))
    leaves: dict[str, Any] = {
        "kernel": "weight",
        "bias": "bias",
        "beta": "beta",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    places = dict(zip(layers(stored), owners, strict=True))
    arrays = {}
    for name, array in stored.items():
        layer, _, kind = name.removesuffix(":0").partition("/")
        arrays[f"{places[layer]}/{leaves[kind]}"] = array
    assert arrays.keys() == net.arrays().keys()
    assert all(array.shape == arrays[path].shape for path, array in net.arrays().items())
    net.assign_all(arrays)


def test_identities_have_no_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored = exported(released("inception_resnet_v1", num_classes=5), tmp_path)
    assert len(layers(stored)) == LAYERS["inception_resnet_v1"]
    assert "left out, for there is no place for it: logits" in caplog.text


def test_there_and_back(tmp_path: Path) -> None:
    net = released("inception_resnet_v1", width=1.0)
    export(net, tmp_path / "net.h5", "keras")
    again = convert(tmp_path / "net.h5").arrays()
    assert again.keys() == net.arrays().keys()
    for path, array in net.arrays().items():
        np.testing.assert_array_equal(again[path], array)
