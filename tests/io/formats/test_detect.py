"""Formats are told apart by content: each file under a name that says nothing."""

import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.io.formats import detect
from minincep.io.hdf5 import DEFAULT

TORCH_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
TABLE_END = bytes.fromhex("57fb808b247547db")


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return path


def hdf5(path: Path, name: str, **options: object) -> Path:
    with h5py.File(path, "w", **options) as file:
        file[name] = np.zeros(3, np.float32)
    return path


def content(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def test_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    assert detect.reader(DEFAULT) == detect.OWN
    assert detect.reader(hdf5(path, "model_weights/a/a/kernel:0")) == "keras_h5"
    assert detect.reader(hdf5(path, "layers/conv2d/vars/0")) == "keras_v3"
    assert detect.reader(hdf5(path, "_layer_checkpoint_dependencies/a/vars/0")) == "keras_v3"
    assert detect.reader(hdf5(path, "a/kernel:0", userblock_size=512)) == "keras_h5"


def test_zip_files(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    assert detect.reader(zipped(path, "archive/data.pkl", "archive/data/0")) == "torch_zip"
    assert detect.reader(zipped(path, "config.json", "model.weights.h5")) == "keras_zip"
    with pytest.raises(WeightError, match="neither of PyTorch nor of Keras"):
        detect.reader(zipped(path, "conv.npy"))
    with pytest.raises(WeightError, match="weights"):
        detect.reader(content(path, b"PK\x03\x04", bytes(100)))


def test_what_begins_or_ends_with_something(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    assert detect.reader(content(path, TORCH_MAGIC, b"...")) == "torch_stream"
    assert detect.reader(content(path, struct.pack("<Q", 2), b"{}")) == "safetensors"
    assert detect.reader(content(path, bytes(40), TABLE_END)) == "tf_checkpoint_v1"
    assert detect.reader(content(path, b"\x0a\x02\x0a\x00")) == "tf_graph"
    assert detect.reader(content(path, b"\x08\x0a\x12\x07pytorch")) == "onnx"


def test_a_header_longer_than_the_file_is_no_safetensors(tmp_path: Path) -> None:
    with pytest.raises(WeightError, match="no weights of a known format"):
        detect.reader(content(tmp_path / "weights", struct.pack("<Q", 3), b"{}"))


def test_checkpoints(tmp_path: Path) -> None:
    index = content(tmp_path / "model.ckpt-7.index", bytes(40), TABLE_END)
    data = content(tmp_path / "model.ckpt-7.data-00000-of-00001", b"\x0a\x02\x0a\x00")
    graph = content(tmp_path / "model.ckpt-7.meta", b"\x0a\x02\x0a\x00")
    for path in (index, data, graph, tmp_path / "model.ckpt-7", tmp_path):
        assert detect.reader(path) == "tf_checkpoint"
    index.unlink()
    assert detect.reader(data) == "tf_graph"  # a name alone says nothing


@pytest.mark.parametrize(
    ("begin", "message"),
    [
        (b"", "the file is empty"),
        (b"\x80\x04\x95", "a pickle that is no file of PyTorch's, and no other is opened"),
        (b"GIF89a\x1b[31m", r"it begins with b'GIF89a\\x1b\['"),
        (b"\x08\x01\x12\x07", "no weights of a known format"),  # a SavedModel
    ],
)
def test_other_files(begin: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightError, match=message) as caught:
        detect.reader(content(tmp_path / "weights", begin))
    assert "formats that are known: HDF5 (Keras)" in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeightError, match=r"absent.h5: there is no such file"):
        detect.reader(tmp_path / "absent.h5")


def test_arrays_come_from_the_reader_of_the_format(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "weights", "conv2d/conv2d/kernel:0")
    with detect.arrays(path) as found:
        assert [*found] == ["conv2d/kernel"]
    with (
        pytest.raises(WeightError, match=r"eggs.h5 is already a weights file of minincep"),
        detect.arrays(DEFAULT),
    ):
        pass


SOURCES = Path(__file__).parents[2] / "data" / "sources"


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("keras2.h5", "keras_h5"),
        ("keras2_weights.h5", "keras_h5"),
        ("keras3.h5", "keras_h5"),
        ("keras3.weights.h5", "keras_v3"),
        ("keras3.keras", "keras_zip"),
        ("torch_state.pth", "torch_zip"),
        ("torch_state_old.pth", "torch_stream"),
        ("torch_protocol_4.pth", "torch_zip"),
        ("state.safetensors", "safetensors"),
        ("onnx_raw.onnx", "onnx"),
        ("onnx_external.onnx", "onnx"),
        ("tf_frozen.pb", "tf_graph"),
        ("tf_v1.ckpt", "tf_checkpoint_v1"),
        ("tf_v2.ckpt.index", "tf_checkpoint"),
        ("tf_v2.ckpt.data-00000-of-00001", "tf_checkpoint"),
        ("tf_v2.ckpt", "tf_checkpoint"),
        ("tf_v2_sharded.ckpt", "tf_checkpoint"),
    ],
)
def test_files_that_the_libraries_wrote(name: str, reader: str) -> None:
    path = SOURCES / name
    assert detect.reader(path) == reader
    with detect.arrays(path) as found:
        assert found


def test_files_of_the_libraries_under_another_name(tmp_path: Path) -> None:
    """All but those of checkpoints in several files, which are found by their names."""
    for source in SOURCES.iterdir():
        if source.suffix == ".npz" or ".index" in source.name or ".data" in source.name:
            continue
        if source.suffix in (".h5", ".keras", ".pth", ".safetensors", ".onnx", ".pb", ".ckpt"):
            (tmp_path / "weights").write_bytes(source.read_bytes())
            assert detect.reader(tmp_path / "weights") == detect.reader(source)
