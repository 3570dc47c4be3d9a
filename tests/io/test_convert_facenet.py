"""Weights in a file with the layout of the real facenet_keras.h5; nothing in it is run."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

import minincep as mi
from minincep.io import reference
from minincep.io.convert import convert
from minincep.io.errors import WeightError

DATA = Path(__file__).parents[1] / "data"


def listing() -> dict[str, tuple[int, ...]]:
    """Names and shapes as they are in the real facenet_keras.h5."""
    lines = (DATA / "names/facenet_keras.txt").read_text().splitlines()
    return {name: tuple(int(n) for n in shape.split("x")) for name, shape in map(str.split, lines)}


def write(path: Path, prefix: str = "model_weights/") -> dict[str, np.ndarray]:
    """A file of the real layout, every array with random values of its own."""
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        # The real file has the marshalled code of Lambda layers here.  This is not even JSON: a
        # reader that looked at it would fail.
        file.attrs["model_config"] = b"\x80\x04cos\nsystem\n"
        written = {}
        for name, shape in listing().items():
            written[name] = random.uniform(0, 1, shape).astype(np.float32)
            file[prefix + name] = written[name]
    return written


@pytest.mark.parametrize("prefix", ["model_weights/", ""])
def test_every_array_arrives(tmp_path: Path, prefix: str) -> None:
    written = write(tmp_path / "net.h5", prefix)
    network = convert(tmp_path / "net.h5")
    arrays = network.arrays()
    assert sum(array.size for array in arrays.values()) == 22_808_144
    for path, name in {
        "conv2d_1a_3x3/weight": "Conv2d_1a_3x3/Conv2d_1a_3x3/kernel:0",
        "repeat/block35_2/branch_2/conv2d_0c_3x3/batch_norm/running_var": (
            "Block35_2_Branch_2_Conv2d_0c_3x3_BatchNorm/"
            "Block35_2_Branch_2_Conv2d_0c_3x3_BatchNorm/moving_variance:0"
        ),
        "repeat_1/block17_10/conv2d_1x1/bias": (
            "Block17_10_Conv2d_1x1/Block17_10_Conv2d_1x1/bias:0"
        ),
        "block8/branch_1/conv2d_0b_1x3/weight": (
            "Block8_6_Branch_1_Conv2d_0b_1x3/Block8_6_Branch_1_Conv2d_0b_1x3/kernel:0"
        ),
        "bottleneck/batch_norm/beta": "Bottleneck_BatchNorm/Bottleneck_BatchNorm/beta:0",
    }.items():
        np.testing.assert_array_equal(arrays[path], written[name])
    sums = sorted(float(array.sum()) for array in arrays.values())
    assert sums == sorted(float(array.sum()) for array in written.values())


def test_left_over_and_missing_arrays_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    write(path)
    with h5py.File(path, "r+") as file:
        root = file["model_weights"]
        root.move(
            "Block8_6_Conv2d_1x1/Block8_6_Conv2d_1x1/bias:0",
            "Block8_7_Conv2d_1x1/Block8_7_Conv2d_1x1/bias:0",
        )
    with pytest.raises(WeightError, match="missing: Block8_6_Conv2d_1x1/bias") as caught:
        convert(path)
    assert "unexpected: Block8_7_Conv2d_1x1/bias" in str(caught.value)


def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    write(path)
    with h5py.File(path, "r+") as file:
        file["model_weights/other/Bottleneck/kernel:0"] = np.ones((1792, 128), np.float32)
    with pytest.raises(WeightError, match="two arrays are called 'Bottleneck/kernel'"):
        convert(path)


def test_the_family_in_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    write(path)
    with h5py.File(path, "r+") as file:
        name = "model_weights/Bottleneck/Bottleneck/kernel:0"
        values = file[name][()]
        del file[name]
        file[name] = values[:-1]
    with pytest.raises(WeightError, match=r"wrong shape: Bottleneck/kernel is \(1791, 128\)"):
        convert(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "Bottleneck/Bottleneck/kernel:0",
            np.nan,
            "Bottleneck/kernel holds numbers that are not",
        ),
        (
            "Conv2d_1a_3x3_BatchNorm/Conv2d_1a_3x3_BatchNorm/moving_variance:0",
            -1,
            "moving_variance holds a negative variance",
        ),
    ],
)
def test_numbers_that_are_no_weights(tmp_path: Path, name: str, value: float, message: str) -> None:
    path = tmp_path / "net.h5"
    write(path)
    with h5py.File(path, "r+") as file:
        stored = file[f"model_weights/{name}"]
        stored[(0,) * stored.ndim] = value
    with pytest.raises(WeightError, match=message):
        convert(path)


def test_a_small_file_that_claims_much(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        for name, shape in listing().items():  # chunks that are never written take no room
            file.create_dataset(name, shape, "f4", chunks=True)
    with pytest.raises(WeightError, match="far more than it can hold"):
        convert(path)


def test_a_link_to_another_file(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        file["Bottleneck/Bottleneck/kernel:0"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(WeightError, match="link to another place"):
        convert(path)


@pytest.mark.skipif(
    "MININCEP_FACENET_KERAS" not in os.environ,
    reason="92 MB of other people's weights: .ci/run fetches them and says where they are",
)
def test_real_weights(tmp_path: Path) -> None:
    """The embeddings of three pictures agree with facenet-pytorch carrying the same weights."""
    network = convert(os.environ["MININCEP_FACENET_KERAS"])
    assert sum(array.size for array in network.arrays().values()) == 22_808_144
    mi.save(network, tmp_path / "facenet.h5")
    with h5py.File(DATA / "reference_facenet_keras.h5") as file:
        expected = file["embeddings"][()]
        seeds = [int(seed) for seed in file.attrs["image_seeds"]]
    pictures = [reference.picture(160, 160, seed) for seed in seeds]
    embeddings = mi.embed(tmp_path / "facenet.h5", pictures)
    assert np.abs(embeddings - expected).max() < 1e-5
