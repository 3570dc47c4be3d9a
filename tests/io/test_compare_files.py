"""A weights file against a reference dump: what in the dump was made otherwise is named."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

import minincep as mi
from minincep.io import reference
from minincep.io.compare import compare_files
from minincep.io.errors import WeightError
from minincep.io.verify import op_by_op, reference_network
from minincep.models import Network
from minincep.models.registry import build_model
from minincep.nn.layers import BatchNorm
from minincep_kernels import Array
from tests import small_reference
from tests.io.test_compare import SQUARE, named

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    small_reference.write(tmp_path / "dump.h5")
    return tmp_path / "dump.h5"


@pytest.fixture
def weights(dump: Path) -> Path:
    """A weights file with the weights of the dump."""
    path = dump.with_name("net.h5")
    mi.save(reference_network(dump), path)
    return path


def rewrite(dump: Path, network: Network, x: Array) -> None:
    """Give a dump what a network makes of a picture."""
    found = op_by_op(network)(x.astype(np.float32), network.endpoint_names())
    with h5py.File(dump, "r+") as file:
        for entry in file[f"cases/{small_reference.CASE}/endpoints"].values():
            y = found[entry.attrs["name"]]
            entry.attrs["std"] = y.std()
            entry["values"][:] = y.ravel()


def levels() -> Array:
    return reference.picture(75, 75)[None].astype(np.float32)


def symmetric() -> Array:
    return levels() / np.float32(127.5) - np.float32(1)


def forget_weights(dump: Path) -> None:
    """A dump of weights that nobody can draw."""
    with h5py.File(dump, "r+") as file:
        del file["statistics"]


def test_a_dump_of_these_weights(weights: Path, dump: Path) -> None:
    found = compare_files(weights, dump)
    assert found.same
    assert len(found.arrays) == len(reference_network(dump).arrays())
    [outputs] = found.outputs
    assert [row.endpoint for row in outputs.rows] == reference_network(dump).endpoint_names()
    forget_weights(dump)
    found = compare_files(weights, dump)
    assert found.same
    assert found.arrays == ()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("x", "cause", "text"),
    [
        (levels(), "range", "pictures from 0 to 255, 21 of 21"),
        (levels() / 255, "range", "pictures from 0 to 1, 21 of 21"),
        ((levels() - 127.5) / 128, "range", r"pictures as \(x - 127.5\) / 128, 21 of 21"),
        ((levels() - levels().mean()) / levels().std(), "range", "pictures whitened one by one"),
        (
            (levels() / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
            "range",
            "mean and deviation of ImageNet",
        ),
        (symmetric()[..., ::-1].copy(), "channel_order", "pictures in the order BGR"),
    ],
)
def test_a_dump_of_another_input(
    weights: Path, dump: Path, known: bool, x: Array, cause: str, text: str
) -> None:
    rewrite(dump, reference_network(dump), x)
    if not known:
        forget_weights(dump)
    found = compare_files(weights, dump)
    assert not found.same
    assert found.differing == []
    [only] = found.causes
    assert only.name == cause
    assert re.search(text, only.text), only.text
    assert only.where[0] == "Conv2d_1a_3x3"


@pytest.mark.parametrize("eps", [1e-5, 1e-4])
def test_a_dump_of_another_eps(weights: Path, dump: Path, eps: float) -> None:
    network = reference_network(dump)
    norms = [module for _, module in network.modules() if isinstance(module, BatchNorm)]
    for norm in norms:
        norm.eps = eps
    rewrite(dump, network, symmetric())
    found = compare_files(weights, dump)
    assert found.differing == []
    [only] = found.causes
    assert only.name == "eps"
    assert f"eps 1e-{-round(np.log10(eps))}" in only.text


def test_eps_is_put_back(dump: Path, weights: Path) -> None:
    from minincep.io.compare import compare_reference

    rewrite(dump, reference_network(dump), levels())
    network = mi.load(weights)
    forget_weights(dump)
    assert not compare_reference(network, dump).same
    eps = {module.eps for _, module in network.modules() if isinstance(module, BatchNorm)}
    assert eps == {1e-3}


def test_a_mistake_in_the_weights_is_found_in_the_arrays(weights: Path, dump: Path) -> None:
    """The end points diverge too, and no setting is blamed for it."""
    network = mi.load(weights)
    path = "conv2d_2b_3x3/weight"
    mirrored = np.ascontiguousarray(network.arrays()[path].transpose(1, 0, 2, 3))
    network.assign_all({path: mirrored})
    mi.save(network, weights)
    found = compare_files(weights, dump)
    assert named(found) == {"transposed": (path,)}
    failed = [row.endpoint for row in found.outputs[0].rows if not row.passed]
    assert failed[0] == "Conv2d_2b_3x3"


def test_both_at_once(weights: Path, dump: Path) -> None:
    """A mistake in the weights, and a dump of another range: both are found."""
    rewrite(dump, reference_network(dump), levels())
    network = mi.load(weights)
    path = "conv2d_2b_3x3/weight"
    mirrored = np.ascontiguousarray(network.arrays()[path].transpose(1, 0, 2, 3))
    network.assign_all({path: mirrored})
    mi.save(network, weights)
    assert set(named(compare_files(weights, dump))) == {"transposed", "range"}


def with_classes(dump: Path, classes: int) -> Network:
    """The network of the dump with a classifier."""
    network = build_model("inception_resnet_v1", **small_reference.CONFIG, num_classes=classes)
    drawn = {
        path: reference.draw(path, array.shape)
        for path, array in network.arrays().items()
        if path.startswith("logits/")
    }
    network.assign_all(reference_network(dump).arrays() | drawn)
    return network


@pytest.mark.parametrize("background", ["A", "dump"])
def test_background_class_in_a_dump(dump: Path, weights: Path, background: str) -> None:
    smaller, larger = with_classes(dump, 6), with_classes(dump, 7)
    head = {name: array for name, array in larger.arrays().items() if name.startswith("logits/")}
    smaller.assign_all({k: np.ascontiguousarray(v[..., 1:]) for k, v in head.items()})
    mine, theirs = (larger, smaller) if background == "A" else (smaller, larger)
    mi.save(mine, weights)
    y = op_by_op(theirs)(symmetric(), ["Logits"])["Logits"]
    with h5py.File(dump, "r+") as file:
        entry = file.create_group(f"cases/{small_reference.CASE}/endpoints/999")
        entry.attrs.update(name="Logits", shape=y.shape, std=y.std(), float32_error=1e-6)
        entry["index"] = np.arange(y.size)
        entry["values"] = y.ravel().astype(np.float64)
    forget_weights(dump)
    found = compare_files(weights, dump)
    assert named(found) == {"background": tuple(row.endpoint for row in found.outputs[0].rows)}
    assert [row.endpoint for row in found.outputs[0].rows if not row.passed] == ["Logits"]


def test_no_setting_explains_other_weights(weights: Path, dump: Path) -> None:
    with h5py.File(dump, "r+") as file:
        entries = file[f"cases/{small_reference.CASE}/endpoints"]
        for entry in entries.values():
            entry["values"][:] = entry["values"][()][::-1]
    found = compare_files(weights, dump)
    assert not found.same
    assert found.causes == ()


def test_what_cannot_be_compared(weights: Path, dump: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightError, match="no case 'other'"):
        compare_files(weights, dump, "other")
    with pytest.raises(WeightError, match="is a reference dump: give the weights file first"):
        compare_files(dump, weights)
    with pytest.raises(WeightError, match="no such file"):
        compare_files(weights, tmp_path / "absent.h5")
    with h5py.File(dump, "r+") as file:
        file.attrs["config"] = json.dumps(small_reference.CONFIG | {"embedding_size": 9})
        for kind in ("mean", "var"):
            path = f"statistics/bottleneck/batch_norm/running_{kind}"
            del file[path]
            file[path] = np.ones(9, np.float32)
    with pytest.raises(WeightError, match="embedding_size is 512 in A and 9 in B"):
        compare_files(weights, dump)


def test_files(weights: Path, tmp_path: Path) -> None:
    network = mi.load(weights)
    other = tmp_path / "other.h5"
    network.assign_all({SQUARE: np.ascontiguousarray(network.arrays()[SQUARE].swapaxes(0, 1))})
    mi.save(network, other)
    assert compare_files(weights, weights).same
    assert named(compare_files(weights, other)) == {"transposed": (SQUARE,)}
    assert compare_files("eggs", "eggs").same


@pytest.mark.parametrize("who", ["A", "B"])
def test_a_checkpoint_with_moving_averages(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """The other file has the weights of the last step."""
    averages = mi.load(weights)
    averages.assign_all({path: array * 2 for path, array in averages.arrays().items()})
    checkpoint = tmp_path / "model.ckpt-7"

    def convert(path: Path, *, background: str, moving_averages: bool | None = None) -> Network:
        assert (path, background) == (checkpoint, "keep")
        return averages if moving_averages is not False else mi.load(weights)

    monkeypatch.setattr("minincep.io.convert.convert", convert)
    a, b = (checkpoint, weights) if who == "A" else (weights, checkpoint)
    found = compare_files(a, b)
    assert not found.same
    assert found.unexplained == []
    [cause] = found.causes
    assert cause.name == "moving_average"
    assert cause.text.startswith(f"{who} holds moving averages")
    assert cause.where == tuple(pair.path for pair in found.differing)
    averages.assign_all(mi.load(weights).arrays())
    assert compare_files(a, b).same
