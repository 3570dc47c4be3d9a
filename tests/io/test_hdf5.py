"""Weights files: what is written comes back; what is wrong with a file is said."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import minincep as mi
from minincep.io.errors import WeightError
from minincep.io.hdf5 import checksum
from minincep.models import Network
from minincep.models.preprocessing import Preprocessing

FIRST = "conv2d_1a_3x3/weight"


@pytest.fixture(scope="module")
def network() -> Network:
    network = mi.create_model("inception_resnet_v2", num_classes=3, width=0.05, blocks=(1, 1, 1))
    network.labels = ["hen's egg", "duck's egg", "Straußenei"]
    network.preprocessing = Preprocessing(80, 96, crop=0.9, filter="lanczos", scaling="fixed")
    network.source = "a test"
    return network


@pytest.fixture
def path(network: Network, tmp_path: Path) -> Path:
    path = tmp_path / "net.h5"
    mi.save(network, path)
    return path


def test_round_trip(network: Network, path: Path) -> None:
    loaded = mi.load(path)
    assert loaded.architecture == network.architecture
    assert loaded.config == network.config
    assert loaded.preprocessing == network.preprocessing
    assert loaded.labels == network.labels
    assert loaded.source == "a test"
    assert not loaded.training
    assert list(loaded.arrays()) == list(network.arrays())
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array)


def test_layout_is_the_documented_one(network: Network, path: Path) -> None:
    with h5py.File(path) as file:
        assert file.attrs["format"] == "minincep-weights"
        assert json.loads(file.attrs["config"])["num_classes"] == 3
        assert json.loads(file.attrs["preprocessing"])["width"] == 96
        assert file[f"weights/{FIRST}"].shape == network.arrays()[FIRST].shape
        assert file["labels"][2].decode() == "Straußenei"


def test_new_classifier(network: Network, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded = mi.load(path, num_classes=7)
    assert "new classifier for 7 classes" in caplog.text
    assert loaded.labels is None
    assert loaded.config["num_classes"] == 7
    assert loaded.arrays()["logits/weight"].shape[1] == 7
    assert loaded.arrays()["logits/weight"].std() > 0
    np.testing.assert_array_equal(loaded.arrays()[FIRST], network.arrays()[FIRST])
    again = mi.load(path, num_classes=7)
    np.testing.assert_array_equal(loaded.arrays()["logits/weight"], again.arrays()["logits/weight"])


def test_checksum_depends_on_every_name_and_value(network: Network) -> None:
    arrays = dict(network.arrays())
    before = checksum(arrays)
    assert checksum(dict(reversed(arrays.items()))) == before
    changed = arrays[FIRST].copy()
    changed[0, 0, 0, 0] += 1
    assert checksum(arrays | {FIRST: changed}) != before
    arrays["other"] = arrays.pop(FIRST)
    assert checksum(arrays) != before


def rename(file: h5py.File) -> None:
    file.move(f"weights/{FIRST}", "weights/conv2d_1a_3x3/wieght")


def reshape(file: h5py.File) -> None:
    values = file[f"weights/{FIRST}"][()]
    del file[f"weights/{FIRST}"]
    file[f"weights/{FIRST}"] = values[:, :, :, :-1]


def spoil(value: float) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        file[f"weights/{FIRST}"][0, 0, 0, 0] = value

    return damage


def external_link(file: h5py.File) -> None:
    del file[f"weights/{FIRST}"]
    file[f"weights/{FIRST}"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File) -> None:
    del file["weights/logits/bias"]
    file["weights/logits/bias"] = h5py.SoftLink("/labels")


def external_storage(file: h5py.File) -> None:
    del file["weights/logits/bias"]
    file.create_dataset("weights/logits/bias", (3,), "f4", external=[("/etc/passwd", 0, 12)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
    del file["weights/logits/bias"]
    file.create_virtual_dataset("weights/logits/bias", layout)


def integers(file: h5py.File) -> None:
    del file["weights/logits/bias"]
    file["weights/logits/bias"] = [1, 2, 3]


def claim_terabytes(file: h5py.File) -> None:
    del file["weights/logits/bias"]
    file.create_dataset("weights/logits/bias", (2**40,), "f4", chunks=(1024,))


def few_labels(file: h5py.File) -> None:
    del file["labels"]
    file["labels"] = [b"one", b"two"]


def attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file.attrs[name] = value

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            rename,
            "missing: conv2d_1a_3x3/weight .nearest: conv2d_1a_3x3/wieght"
            "(.|\n)*unexpected: conv2d_1a_3x3/wieght",
        ),
        (reshape, r"wrong shape: conv2d_1a_3x3/weight is \(3, 3, 3, 3\), should be"),
        (spoil(np.nan), "conv2d_1a_3x3/weight holds numbers that are not finite"),
        (spoil(np.inf), "conv2d_1a_3x3/weight holds numbers that are not finite"),
        (spoil(1.5), "damaged, their checksum"),
        (external_link, "conv2d_1a_3x3/weight is a link to another place"),
        (soft_link, "logits/bias is a link to another place"),
        (external_storage, "logits/bias is stored in another file"),
        (virtual, "logits/bias is stored in another file"),
        (integers, "logits/bias holds int64"),
        (claim_terabytes, r"wrong shape: logits/bias is \(1099511627776,\)"),
        (few_labels, "must be 3 labels"),
        (attribute("format", "other"), "not a weights file of minincep"),
        (attribute("format_version", 99), "format version 99"),
        (attribute("architecture", "vgg"), "no model 'vgg'"),
        (attribute("config", "{"), "description of the network is damaged"),
        (attribute("config", '{"wings": 2, "blocks": [1, 1, 1]}'), "no option 'wings'"),
        (attribute("config", '{"blocks": 3}'), "description of the network is damaged"),
        (attribute("config", '{"blocks": [1, 1, 1], "num_classes": 1e12}'), "num_classes"),
        (attribute("config", '{"blocks": [1, 1, 1], "width": "wide"}'), "damaged"),
        (attribute("config", "[]"), "description of the network is damaged"),
        (attribute("preprocessing", '{"height": 0, "width": 80}'), "out of range"),
    ],
)
def test_damage_is_named(path: Path, damage: Callable[[h5py.File], None], message: str) -> None:
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(WeightError, match=message) as caught:
        mi.load(path)
    assert str(path) in str(caught.value)


def test_no_such_file_folder_and_no_hdf5(tmp_path: Path) -> None:
    with pytest.raises(WeightError, match="there is no such file"):
        mi.load(tmp_path / "absent.h5")
    with pytest.raises(WeightError, match="is a folder"):
        mi.load(tmp_path)
    (tmp_path / "text.h5").write_text("eggs")
    with pytest.raises(WeightError, match="not an HDF5 file"):
        mi.load(tmp_path / "text.h5")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightError, match=re.escape(str(path))):
        mi.load(path)


def test_an_unwritable_place_loses_nothing(network: Network, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(OSError, match="there"):
        mi.save(network, path.parent / "not there" / "net.h5")
    folder = path.parent / "taken"
    folder.mkdir()
    with pytest.raises(OSError, match="taken"):
        mi.save(network, folder)
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["net.h5", "taken"]
