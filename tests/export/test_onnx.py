"""ONNX files: valid, complete, and the same network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Tensor, no_grad, ops
from minincep.export import export
from minincep.models.network import Network
from minincep.models.preprocessing import Preprocessing
from minincep.models.registry import list_models
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError
from tests.export.onnx_spec import Model, read, run
from tests.plan.graphs import Function, network, normal, written

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: dict[str, Any] = {"width": 0.1}
VARIANTS = [
    *[(name, SMALL) for name in list_models()],
    ("inception_v4", {**SMALL, "aux_logits": True, "batch_norm_gamma": True}),
    ("inception_resnet_v1", {**SMALL, "num_classes": 5, "batch_norm_gamma": True}),
]
EACH_VARIANT = pytest.mark.parametrize(
    ("name", "config"), VARIANTS, ids=[f"{name}-{len(config)}" for name, config in VARIANTS]
)


def exported(net: Network, folder: Path) -> Model:
    export(net, folder / "net.onnx", "onnx")
    return read((folder / "net.onnx").read_bytes())


def answer(net: Network, x: Array) -> Array:
    with no_grad():
        return net(Tensor(x)).data


@EACH_VARIANT
def test_does_what_the_network_does(name: str, config: Any, tmp_path: Path) -> None:
    net = network(name, **config)
    model = exported(net, tmp_path)
    result = "logits" if "logits/weight" in net.arrays() else "embeddings"
    for x in (normal(1, 75, 75, 3), normal(2, 80, 93, 3)):
        y = answer(net, x)
        np.testing.assert_allclose(run(model, x)[result], y, rtol=0, atol=1e-4 * y.std())


@EACH_VARIANT
def test_every_weight_is_there_by_its_path(name: str, config: Any, tmp_path: Path) -> None:
    net = network(name, **config)
    model = exported(net, tmp_path)
    for path, array in net.arrays().items():
        if path.startswith("aux_logits/"):
            assert path not in model.arrays
            continue
        stored = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        np.testing.assert_array_equal(model.arrays[path], stored)
        if path.endswith("/beta") and not config.get("batch_norm_gamma"):
            gamma = model.arrays[path.replace("/beta", "/gamma")]
            np.testing.assert_array_equal(gamma, np.ones_like(array))
    others = {path.rpartition("/")[2] for path in model.arrays if path not in net.arrays()}
    assert others <= {"gamma", "factor", "least"}


def test_what_users_see(tmp_path: Path) -> None:
    net = network("inception_resnet_v2", num_classes=3)
    net.labels = ["hen's egg", "duck's egg", "Straußenei"]
    net.preprocessing = Preprocessing(80, 96, scaling="fixed")
    net.source = "a \ud800 test"  # from a file name that is no text
    model = exported(net, tmp_path)
    assert (model.ir_version, model.opset) == (8, 17)
    assert model.inputs == {"input": ["N", "H", "W", 3]}
    assert model.outputs == {"logits": ["N", 3]}
    assert model.metadata["architecture"] == "inception_resnet_v2"
    assert model.metadata["source"] == "a ? test"
    assert json.loads(model.metadata["config"])["num_classes"] == 3
    assert json.loads(model.metadata["preprocessing"])["scaling"] == "fixed"
    assert json.loads(model.metadata["labels"]) == net.labels


def test_classifier_and_embeddings(tmp_path: Path) -> None:
    net = network("inception_resnet_v1", num_classes=5, embedding_size=7)
    model = exported(net, tmp_path)
    assert model.outputs == {"logits": ["N", 5], "embeddings": ["N", 7]}
    x = normal(1, 80, 80, 3)
    with no_grad():
        vectors = net.run_endpoints(Tensor(x), ["Embeddings"])["Embeddings"].data
    np.testing.assert_allclose(run(model, x)["embeddings"], vectors, rtol=0, atol=1e-5)


def test_nodes_are_called_by_their_layers(tmp_path: Path) -> None:
    model = exported(network("inception_v4"), tmp_path)
    outputs = {node.output for node in model.nodes}
    assert {"mixed_5b/concat", "mixed_5b/branch_1/conv2d_0b_3x3/conv2d", "logits"} <= outputs


def test_short_vectors_stay_short(tmp_path: Path) -> None:
    """Below the least length, and a row of zeros."""

    def unit(x: Tensor) -> Tensor:
        return ops.l2_normalize(ops.reshape(ops.global_avg_pool2d(x), shape=(-1, 3)))

    net = written(unit)
    model = exported(net, tmp_path)
    x = np.ones((3, 75, 75, 3), np.float32) * np.array([1, 1e-6, 0], np.float32).reshape(3, 1, 1, 1)
    y = answer(net, x)
    np.testing.assert_allclose(run(model, x)["logits"], y, rtol=1e-3)
    assert np.linalg.norm(y, axis=1)[1] < 0.5


def padded_strides(x: Tensor) -> Tensor:
    pooled = ops.max_pool2d(x, kernel_size=(3, 3), stride=(2, 2), padding="same")
    return ops.reshape(ops.global_avg_pool2d(pooled), shape=(-1, 3))


def test_size_is_fixed_if_padding_depends_on_it(tmp_path: Path) -> None:
    net = written(padded_strides)
    net.preprocessing = Preprocessing(77, 80)
    model = exported(net, tmp_path)
    assert model.inputs == {"input": ["N", 77, 80, 3]}
    x = normal(2, 77, 80, 3)
    np.testing.assert_allclose(run(model, x)["logits"], answer(net, x), rtol=1e-5)


def shared(x: Tensor) -> Tensor:
    rows = ops.reshape(ops.global_avg_pool2d(x), shape=(-1, 3))
    weight = np.eye(3, dtype=np.float32)
    return ops.softmax(ops.matmul(ops.matmul(rows, weight), weight))


def test_one_layer_may_do_the_same_twice(tmp_path: Path) -> None:
    net = written(shared)
    x = normal(2, 75, 75, 3)
    model = exported(net, tmp_path)
    assert len(model.arrays) == 1
    np.testing.assert_allclose(run(model, x)["logits"], answer(net, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: ops.add_bias(x, np.ones(3, np.float32)), "add_bias of .75, 75, 3. cannot be"),
        (lambda x: ops.reshape(x, shape=(-1, 75 * 75 * 3)), "reshape of .75, 75, 3. cannot be"),
    ],
)
def test_what_cannot_be_written(function: Function, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        export(written(function), tmp_path / "net.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


@EACH_VARIANT
def test_onnx_runtime(name: str, config: Any, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    net = network(name, **config)
    export(net, tmp_path / "net.onnx", "onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for x in (normal(1, 75, 75, 3), normal(2, 80, 93, 3)):
        y = answer(net, x)
        np.testing.assert_allclose(
            session.run(None, {"input": x})[0], y, rtol=0, atol=1e-4 * y.std()
        )
