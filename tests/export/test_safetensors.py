"""safetensors files: what PyTorch's networks have, under the names that they give it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minincep.export import export
from minincep.io.convert import convert
from minincep.models.network import Network
from minincep.models.preprocessing import Preprocessing
from minincep_kernels import Array
from tests.plan.graphs import network

SMALL: dict[str, Any] = {"width": 0.05}
RELEASED: dict[str, tuple[int, int, int]] = {
    "inception_v4": (4, 7, 3),
    "inception_resnet_v1": (5, 10, 5),
    "inception_resnet_v2": (10, 20, 9),
}
UNITS = {"inception_v4": 149, "inception_resnet_v1": 112, "inception_resnet_v2": 204}
SAMPLES = {  # torch name -> our path
    "inception_v4": {
        "features.0.conv.weight": "conv2d_1a_3x3/weight",
        "features.20.branch2_3b.bn.running_var": (
            "mixed_7c/branch_2/conv2d_0e_3x1/batch_norm/running_var"
        ),
        "last_linear.weight": "logits/weight",
        "last_linear.bias": "logits/bias",
    },
    "inception_resnet_v1": {
        "repeat_1.4.branch2.1.conv.weight": "repeat/block35_5/branch_2/conv2d_0b_3x3/weight",
        "block8.conv2d.bias": "block8/conv2d_1x1/bias",
        "last_linear.weight": "bottleneck/weight",
        "last_bn.running_mean": "bottleneck/batch_norm/running_mean",
    },
    "inception_resnet_v2": {
        "repeat_1.19.branch1.1.conv.weight": "repeat_1/block17_20/branch_1/conv2d_0b_1x7/weight",
        "conv2d_7b.bn.bias": "conv2d_7b_1x1/batch_norm/beta",
        "classif.weight": "logits/weight",
    },
}
EACH_NETWORK = pytest.mark.parametrize("name", RELEASED)


def released(name: str, **config: Any) -> Network:
    """A thin network with all the blocks of the released one."""
    return network(name, **{**SMALL, "blocks": RELEASED[name]} | config)


def parsed(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Arrays by name, and what is said about them, as the format's description has it."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    assert size % 8 == 0
    header = json.loads(content[8 : 8 + size])
    about = header.pop("__metadata__")
    data = content[8 + size :]
    end = 0
    found = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        assert entry.keys() == {"dtype", "shape", "data_offsets"}
        start, stop = entry["data_offsets"]
        dtype = np.dtype({"F32": "<f4", "I64": "<i8"}[entry["dtype"]])
        assert start == end  # no holes
        assert start % dtype.itemsize == 0
        found[name] = np.frombuffer(data[start:stop], dtype).reshape(entry["shape"])
        end = stop
    assert end == len(data)
    return found, about


@EACH_NETWORK
def test_arrays(name: str, tmp_path: Path) -> None:
    net = released(name)
    export(net, tmp_path / "net.safetensors", "safetensors")
    stored, _ = parsed(tmp_path / "net.safetensors")
    arrays = net.arrays()
    for torch_name, path in SAMPLES[name].items():
        array = arrays[path]
        axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[array.ndim]
        np.testing.assert_array_equal(stored[torch_name], array.transpose(axes))
    # Each batch norm has two more: a gamma, which ours has not, and a counter.
    assert len(stored) == len(arrays) + 2 * UNITS[name]
    counters = [array for key, array in stored.items() if key.endswith(".num_batches_tracked")]
    assert len(counters) == UNITS[name]
    assert all(array.dtype == np.int64 and array.shape == () and array == 0 for array in counters)
    gammas = [
        stored[key.replace("running_var", "weight")] for key in stored if "running_var" in key
    ]
    assert all((gamma == 1).all() for gamma in gammas)
    mine = sorted(float(array.sum()) for array in arrays.values())
    theirs = [a for a in stored.values() if a.dtype == np.float32 and not (a == 1).all()]
    np.testing.assert_allclose(sorted(float(a.sum()) for a in theirs), mine, atol=1e-4)


@EACH_NETWORK
def test_gamma(name: str, tmp_path: Path) -> None:
    net = released(name, batch_norm_gamma=True)
    export(net, tmp_path / "net.safetensors", "safetensors")
    stored, _ = parsed(tmp_path / "net.safetensors")
    assert len(stored) == len(net.arrays()) + UNITS[name]
    first = {"inception_v4": "features.0"}.get(name, "conv2d_1a")
    gamma = net.arrays()["conv2d_1a_3x3/batch_norm/gamma"]
    np.testing.assert_array_equal(stored[f"{first}.bn.weight"], gamma)


def test_identities_have_a_place(tmp_path: Path) -> None:
    net = released("inception_resnet_v1", num_classes=5, embedding_size=7)
    export(net, tmp_path / "net.safetensors", "safetensors")
    stored, _ = parsed(tmp_path / "net.safetensors")
    assert stored["logits.weight"].shape == (5, 7)
    np.testing.assert_array_equal(stored["logits.bias"], net.arrays()["logits/bias"])


def test_auxiliary_heads_have_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for aux in (True, False):
        export(released("inception_v4", aux_logits=aux), tmp_path / f"{aux}", "safetensors")
        assert caplog.text.count("left out, for there is no place for it: aux_logits") == 1
    with_it, without = (parsed(tmp_path / f"{aux}")[0] for aux in (True, False))
    assert with_it.keys() == without.keys()


def test_what_it_says_about_itself(tmp_path: Path) -> None:
    net = released("inception_v4", num_classes=2)
    net.preprocessing, net.labels = Preprocessing(80, 96), ["Ei", "Straußenei"]
    net.source = "a \ud800 test"
    export(net, tmp_path / "net.safetensors", "safetensors")
    _, about = parsed(tmp_path / "net.safetensors")
    assert about["format"] == "pt"  # without it, some libraries refuse a file
    assert all(isinstance(value, str) for value in about.values())
    assert json.loads(about["preprocessing"])["width"] == 96
    assert json.loads(about["labels"]) == net.labels


def test_there_and_back(tmp_path: Path) -> None:
    net = released("inception_resnet_v1", width=1.0)
    export(net, tmp_path / "net.safetensors", "safetensors")
    again = convert(tmp_path / "net.safetensors").arrays()
    for path, array in net.arrays().items():
        np.testing.assert_array_equal(again[path], array)
