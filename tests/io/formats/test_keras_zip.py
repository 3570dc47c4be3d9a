"""Keras 3 models: every value, only the weights are looked at, and what is wrong with a file."""

import io
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.io.formats import keras_v3, keras_zip
from minincep.io.formats.keras_zip import PIECE, Part, arrays, inflated
from minincep.io.formats.source import opened
from tools.sources.sample_states import GROUPS, KERAS, keras

SOURCES = Path(__file__).parents[2] / "data" / "sources"
WEIGHTS = (SOURCES / "keras3.weights.h5").read_bytes()


def check(path: Path, groups: dict[str, str]) -> None:
    with arrays(path) as found:
        assert len(found) == len(KERAS)
        for array, (_, shape) in KERAS.items():
            layer, _, kind = array.partition("/")
            read = found[f"{groups.get(layer, layer)}/{kind}"].read()
            np.testing.assert_array_equal(read, keras(array, shape), strict=True)


def test_every_array() -> None:
    check(SOURCES / "keras3.keras", {})


def test_the_last_keras_2_wrote_no_names() -> None:
    check(SOURCES / "keras2.keras", GROUPS)


def write(path: Path, method: int = zipfile.ZIP_STORED, **more: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("model.weights.h5", WEIGHTS)
        archive.writestr("config.json", b'{"module": "os", "class_name": "system"')
        for name, content in more.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_stored_or_compressed(tmp_path: Path, method: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    path = write(tmp_path / "a.keras", method)
    check(path, {})
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_heap_that_keeps_the_library_busy(tmp_path: Path) -> None:
    at = WEIGHTS.index(b"GCOL") + 24  # length of the first object
    damaged = WEIGHTS[:at] + struct.pack("<Q", 1 << 40) + WEIGHTS[at + 8 :]
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("model.weights.h5", damaged)
    with pytest.raises(WeightError, match="its heap at byte"), arrays(tmp_path / "a.keras"):
        pass


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_claim_of_terabytes(tmp_path: Path, method: int) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (1, 1, 1 << 20, 1 << 20), "f4", chunks=True)
    with zipfile.ZipFile(tmp_path / "a.keras", "w", method) as archive:
        archive.write(tmp_path / "a.h5", "model.weights.h5")
    for module, name in ((keras_v3, "a.h5"), (keras_zip, "a.keras")):
        with (
            pytest.raises(WeightError, match="far more than it can hold"),
            module.arrays(tmp_path / name),
        ):
            pass


def test_more_than_a_piece(tmp_path: Path) -> None:
    values = np.random.RandomState(0).uniform(0, 1, (700, 1000)).astype(np.float16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["layers/dense/vars/0"] = values.astype(np.float32)
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "a.h5", "model.weights.h5")
    with arrays(tmp_path / "a.keras") as found:
        np.testing.assert_array_equal(found["layers/dense/kernel"].read(), values)


def test_the_last_bytes_come_out(tmp_path: Path) -> None:
    """The input can be at its end when some of the output still is inside."""
    path = tmp_path / "a"
    for seed in range(15):
        content = np.random.RandomState(seed).bytes(30) + bytes(PIECE + 70)
        compressor = zlib.compressobj(wbits=-15)
        path.write_bytes(compressor.compress(content) + compressor.flush())
        with opened(path) as source:
            assert sum(map(len, inflated(source.whole()))) == len(content)


def test_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with opened(path) as source, io.BufferedReader(Part(source.whole().part(2, 5))) as file:
        assert file.read() == b"23456"
        assert (file.seek(-2, io.SEEK_END), file.read(99)) == (3, b"56")
        assert (file.seek(9), file.read()) == (9, b"")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", WEIGHTS.replace(b"dense\0", b"den\xfbe\0"))
    with pytest.raises(WeightError, match="HDF5 file"), arrays(path):
        pass


def relist(path: Path, offset: int, value: int) -> None:
    """Change a number of 32 bits in the list entry of the weights."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\1\2") + offset, value)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (len(WEIGHTS) - 1, "is not as long as it claims"),
        (len(WEIGHTS) + 1, "is not as long as it claims"),
        (1 << 31, "claims 2,147,483,648 bytes, far more than it can hold"),
    ],
)
def test_lengths_that_lie(tmp_path: Path, size: int, message: str) -> None:
    path = write(tmp_path / "a.keras", zipfile.ZIP_DEFLATED)
    relist(path, 24, size)
    with pytest.raises(WeightError, match=message), arrays(path):
        pass


class Small(io.BytesIO):
    """A file that cannot become large."""

    def write(self, content: Any) -> int:
        assert self.tell() + len(content) <= PIECE
        return super().write(content)


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(1 << 24))
    with pytest.raises(WeightError, match="far more than it can hold"), arrays(path):
        pass
    monkeypatch.setattr(tempfile, "TemporaryFile", Small)
    relist(path, 24, 100_000)  # a bomb that claims to be harmless
    with pytest.raises(WeightError, match="not as long as it claims"), arrays(path):
        pass


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_another_checksum(tmp_path: Path, method: int) -> None:
    path = write(tmp_path / "a.keras", method)
    relist(path, 16, 1)
    with (
        pytest.raises(WeightError, match=r"checksum of 'model.weights.h5' is another"),
        arrays(path),
    ):
        pass


def test_damaged_compression(tmp_path: Path) -> None:
    path = write(tmp_path / "a.keras", zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    content[300:400] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(WeightError, match=r"damaged at byte 46: .*decompressing"), arrays(path):
        pass


def test_other_content(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.npz", b"")
    with (
        pytest.raises(WeightError, match="no model of Keras 3, which has one record"),
        arrays(path),
    ):
        pass
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", b"text")
    with pytest.raises(WeightError, match="damaged, or no HDF5 file"), arrays(path):
        pass


@pytest.mark.parametrize("twentieth", range(20))
def test_weights_cut_short(tmp_path: Path, twentieth: int) -> None:
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", WEIGHTS[: len(WEIGHTS) * twentieth // 20])
    with pytest.raises(WeightError), arrays(path):
        pass


@pytest.mark.parametrize("twentieth", range(20))
def test_cut_short(tmp_path: Path, twentieth: int) -> None:
    content = (SOURCES / "keras3.keras").read_bytes()
    path = tmp_path / "a.keras"
    path.write_bytes(content[: len(content) * twentieth // 20])
    with pytest.raises(WeightError), arrays(path):
        pass
