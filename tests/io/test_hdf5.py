"""Weights files: what is written comes back; what is wrong with a file is said."""

import itertools
import json
import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import minincep as mi
from minincep.io.errors import WeightError
from minincep.io.files import NewFile
from minincep.io.hdf5 import checksum
from minincep.models import Network
from minincep.models.preprocessing import Preprocessing
from minincep.models.registry import build_model

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


def surplus(file: h5py.File) -> None:
    file["weights/logits/extra"] = np.zeros(3, np.float32)


def lacking(file: h5py.File) -> None:
    del file["weights/logits/bias"]


def another_width(file: h5py.File) -> None:
    file.attrs["config"] = json.dumps(json.loads(file.attrs["config"]) | {"width": 0.1})


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


def many_labels(file: h5py.File) -> None:
    del file["labels"]
    file["labels"] = [b"one", b"two", b"three", b"four"]


def whole_labels(file: h5py.File) -> None:
    del file["labels"]
    file["labels"] = [1, 2, 3]


def shared_groups(file: h5py.File) -> None:
    """A small file that describes 8 to the power of 5 groups; of 12, nobody would see the end."""
    groups = [file.create_group(f"weights/extra{level}") for level in range(6)]
    for above, below in itertools.pairwise(groups):
        for number in range(8):
            above[str(number)] = below


def negative_variance(file: h5py.File) -> None:
    file["weights/conv2d_1a_3x3/batch_norm/running_var"][0] = -1


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
        (spoil(-np.inf), "conv2d_1a_3x3/weight holds numbers that are not finite"),
        (spoil(np.inf), "conv2d_1a_3x3/weight holds numbers that are not finite"),
        (spoil(1.5), "damaged, their checksum"),
        (external_link, "conv2d_1a_3x3/weight is a link to another place"),
        (soft_link, "logits/bias is a link to another place"),
        (external_storage, "logits/bias is stored in another file"),
        (virtual, "logits/bias is stored in another file"),
        (integers, "logits/bias holds int64"),
        (claim_terabytes, r"wrong shape: logits/bias is \(1099511627776,\)"),
        (few_labels, "must be 3 labels"),
        (many_labels, "must be 3 labels"),
        (whole_labels, "must be 3 labels, text"),
        (surplus, "unexpected: logits/extra"),
        (lacking, "missing: logits/bias"),
        (another_width, "wrong shape: conv2d_2b_3x3/weight is .*, should be"),
        (attribute("architecture", "inception_v4"), "missing: (.|\n)*unexpected: "),
        (shared_groups, "is there in two places"),
        (negative_variance, "running_var holds a negative variance"),
        (attribute("class_offset", 1), "class offset"),
        (attribute("config", "9" * 5000), "description of the network is damaged"),
        (attribute("config", "[" * 100_000), "description of the network is damaged"),
        *[
            (attribute(name, np.arange(3)), f"attribute {name} must be one")
            for name in ("format", "format_version", "architecture", "config", "sha256", "source")
        ],
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
    for num_classes in (None, 5):
        with pytest.raises(WeightError, match=message) as caught:
            mi.load(path, num_classes=num_classes)
        assert str(path) in str(caught.value)


def test_a_small_file_that_claims_much(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["config"]) | {"width": 3.0}
        big = build_model("inception_resnet_v2", **config)
        del file["weights"]
        for name, array in big.arrays().items():  # chunks that are never written take no room
            file.create_dataset(f"weights/{name}", array.shape, "f4", chunks=True)
        file.attrs["config"] = json.dumps(config)
    with pytest.raises(WeightError, match="far more than it can hold"):
        mi.load(path)


@pytest.mark.parametrize("wish", [0, -1, 2.5, 10**9])
def test_a_wrong_number_of_classes_is_not_the_files_fault(path: Path, wish: Any) -> None:
    with pytest.raises(mi.ConfigError, match="num_classes must be"):
        mi.load(path, num_classes=wish)


def test_control_characters_do_not_reach_the_terminal(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "red.h5"
    before = network.labels, network.source
    try:
        network.labels, network.source = ["\x1b[31mred", "b", "c"], "a\x07bell"
        mi.save(network, path)
    finally:
        network.labels, network.source = before
    loaded = mi.load(path)
    assert loaded.labels == ["\ufffd[31mred", "b", "c"]
    assert loaded.source == "a\ufffdbell"


@pytest.mark.parametrize("labels", [["one"], ["a", "b", "c", "d"], ["one", "t\0wo", "three"]])
def test_save_refuses_what_load_would(
    network: Network, tmp_path: Path, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.h5"
    monkeypatch.setattr(network, "labels", labels)
    with pytest.raises(WeightError, match="labels"):
        mi.save(network, path)
    monkeypatch.undo()
    bias = network.arrays()["logits/bias"]
    bias[0] = np.nan
    with pytest.raises(WeightError, match="logits/bias holds numbers that are not finite"):
        mi.save(network, path)
    bias[0] = 0
    assert list(tmp_path.iterdir()) == []


def test_save_through_a_link_keeps_the_link(network: Network, path: Path) -> None:
    link = path.with_name("link.h5")
    link.symlink_to(path.name)
    path.write_bytes(b"")
    mi.save(network, link)
    assert link.is_symlink()
    assert mi.load(path).labels == network.labels


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
    with pytest.raises(
        OSError, match=r"net\.h5 cannot be written: .*not there is not a folder; make"
    ):
        mi.save(network, path.parent / "not there" / "net.h5")
    folder = path.parent / "taken"
    folder.mkdir()
    with pytest.raises(OSError, match="taken cannot be written: Is a directory; choose another"):
        mi.save(network, folder)
    assert path.read_bytes() == before
    pipe = path.parent / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="pipe cannot be written: it is no ordinary file"):
        mi.save(network, pipe)
    assert pipe.is_fifo()
    assert sorted(p.name for p in path.parent.iterdir()) == ["net.h5", "pipe", "taken"]


def test_interrupted(network: Network, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while HDF5 writes leaves the old file, and HDF5 in peace."""
    before = path.read_bytes()
    write = NewFile.write
    threads: set[threading.Thread] = set()

    def interrupted(file: NewFile, content: memoryview) -> int:
        if not threads:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        threads.add(threading.current_thread())
        return write(file, content)

    monkeypatch.setattr(NewFile, "write", interrupted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            mi.save(network, path)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert threading.main_thread() not in threads
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_weights_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mi.load("eggs").labels == mi.load().labels == ["broken egg", "intact egg"]
    monkeypatch.setenv("MININCEP_CACHE_DIR", str(tmp_path))
    with pytest.raises(WeightError, match="'minincep download inception_v4' fetches them, 171 MB"):
        mi.load("inception_v4")
    with pytest.raises(WeightError, match="no weights of inception_resnet_v2_paper come with"):
        mi.load("inception_resnet_v2_paper")
