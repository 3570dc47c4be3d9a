"""What torch.save writes since 1.6: every value, and what is wrong with a file."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.io.formats.torch_zip import arrays
from tests.io.formats.torch_programs import (
    HEAD,
    STOP,
    mapping,
    storage,
    tensor,
    write_stream,
    write_zip,
)
from tools.sources.sample_rule import Arrays, expected
from tools.sources.sample_states import STATE, TYPES, strided

SOURCES = Path(__file__).parents[2] / "data" / "sources"
NUMBERS = np.arange(4, dtype="<f4").tobytes()
PROGRAM = HEAD + mapping(a=tensor(storage())) + STOP


def check(path: Path, content: Arrays, prefix: str = "") -> None:
    with arrays(path) as found:
        assert set(content) <= {name.removeprefix(prefix) for name in found}
        for name, (dtype, shape) in content.items():
            stored = found[prefix + name]
            assert (stored.dtype, stored.shape) == (dtype, shape)
            if dtype in ("int64", "bool"):
                with pytest.raises(WeightError, match=f"{name}.*{dtype}, not floating-point"):
                    stored.read()
            else:
                values = stored.read()
                assert values.flags.c_contiguous
                np.testing.assert_array_equal(values, expected(name, dtype, shape), strict=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [("torch_state.pth", STATE), ("torch_protocol_4.pth", STATE), ("torch_types.pth", TYPES)],
)
def test_every_array(name: str, content: Arrays) -> None:
    check(SOURCES / name, content)
    with arrays(SOURCES / name) as found:
        assert list(found) == list(content)


def test_checkpoint_of_a_training() -> None:
    path = SOURCES / "torch_checkpoint.pth"
    check(path, STATE, "state_dict.module.")
    with arrays(path) as found:
        assert len(found) == 2 * len(STATE)
        assert found["optimizer.state.3.momentum_buffer"].read().tolist() == [3] * 8


def test_tensors_that_share_numbers() -> None:
    with arrays(SOURCES / "torch_views.pth") as found:
        for name, values in strided().items():
            read = found[name].read()
            assert read.flags.c_contiguous
            np.testing.assert_array_equal(read, values, strict=True)


def test_big_endian(tmp_path: Path) -> None:
    numbers = {"data/0": np.arange(4, dtype=">f4").tobytes()}
    path = write_zip(tmp_path / "a.pth", PROGRAM, {**numbers, "byteorder": b"big"})
    with arrays(path) as found:
        assert found["a"].read().tolist() == [0, 1, 2, 3]
        assert found["a"].read().dtype == np.float32
    numbers = {"data/0": np.array([0x3F80, 0xC000], ">u2").tobytes()}
    program = HEAD + mapping(a=tensor(storage("0", "BFloat16Storage", 2), 0, (2,))) + STOP
    path = write_zip(tmp_path / "b.pth", program, {**numbers, "byteorder": b"big"})
    with arrays(path) as found:
        assert found["a"].read().tolist() == [1, -2]


def test_part_of_a_storage(tmp_path: Path) -> None:
    program = HEAD + mapping(a=tensor(storage(), 1, (2,), (2,))) + STOP
    with arrays(write_zip(tmp_path / "a.pth", program, {"data/0": NUMBERS})) as found:
        assert found["a"].read().tolist() == [1, 3]


def test_checksums_may_be_absent(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.pth", PROGRAM, {"data/0": NUMBERS})
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            content = content.replace(entry.CRC.to_bytes(4, "little"), bytes(4))
    path.write_bytes(content)
    with arrays(path) as found:
        assert found["a"].read().tolist() == [0, 1, 2, 3]


def test_damaged_numbers(tmp_path: Path) -> None:
    content = (SOURCES / "torch_state.pth").read_bytes()
    numbers = expected("last_linear.bias", *STATE["last_linear.bias"]).tobytes()
    assert numbers in content
    path = tmp_path / "a.pth"
    path.write_bytes(content.replace(numbers, numbers[:-1] + b"\x01"))
    with arrays(path) as found:
        found["last_linear.weight"].read()
        with pytest.raises(WeightError, match=r"the checksum of .*data/7' is another one"):
            found["last_linear.bias"].read()


def test_a_damaged_program(tmp_path: Path) -> None:
    content = (SOURCES / "torch_state.pth").read_bytes()
    path = tmp_path / "a.pth"
    path.write_bytes(content.replace(b"features.0.bn.bias", b"features.0.bn.gone", 1))
    with pytest.raises(WeightError, match=r"checksum of .*data.pkl"), arrays(path):
        pass


def test_a_network_instead_of_its_state() -> None:
    with (
        pytest.raises(WeightError, match=r"holds torch.nn.modules.linear.Linear.*state_dict\(\)"),
        arrays(SOURCES / "torch_module.pth"),
    ):
        pass


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (tensor(storage("1")), "the numbers of 'a' should be 16 bytes, and are missing"),
        (tensor(storage("../0")), "and are missing"),
        (tensor(storage("0", count=5), shape=(5,)), "should be 20 bytes, and are only 16"),
        (tensor(storage("0", count=1 << 40), shape=(1 << 40,)), "and are only 16"),
        (tensor(storage(), 1), "'a' ends after its numbers"),
        (tensor(storage(), 5, (0,)), "'a' ends after its numbers"),
        (tensor(storage(), 0, (2, 2), (3, 1)), "'a' ends after its numbers"),
        (tensor(storage(), 0, (2,), (1 << 47,)), "'a' ends after its numbers"),
        (tensor(storage(), 0, (1 << 20, 1 << 20), (0, 0)), "of which only 4 are stored"),
        (tensor(storage(), 0, (5,), (0,)), "of which only 4 are stored"),
        (tensor(storage(), 0, (1 << 30, 1 << 30), (0, 0)), "impossible shape"),
        (b"K\x01", "holds no tensors"),
    ],
)
def test_tensors_that_cannot_be(tmp_path: Path, made: bytes, message: str) -> None:
    path = write_zip(tmp_path / "a.pth", HEAD + mapping(a=made) + STOP, {"data/0": NUMBERS})
    with pytest.raises(WeightError, match=message), arrays(path):
        pass


def test_compressed_records(tmp_path: Path) -> None:
    program = HEAD + mapping(a=tensor(storage(count=1 << 20), 0, (1 << 20,))) + STOP
    path = write_zip(tmp_path / "a.pth", program, {"data/0": bytes(4 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightError, match="is compressed, which PyTorch never does"), arrays(path):
        pass


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"byteorder": b"middle"}, "its byte order is b'middle'"),
        ({"constants.pkl": b""}, "a TorchScript file, which is a program"),
        ({"more/data.pkl": b""}, "not a file of PyTorch"),
    ],
)
def test_other_records(tmp_path: Path, records: dict[str, bytes], message: str) -> None:
    path = write_zip(tmp_path / "a.pth", PROGRAM, {"data/0": NUMBERS, **records})
    with pytest.raises(WeightError, match=message), arrays(path):
        pass


def test_names_lead_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../data.pkl", PROGRAM)
        archive.writestr("../../data/0", NUMBERS)
        archive.writestr("/etc/passwd", b"root")
    with arrays(path) as found:
        assert found["a"].read().tolist() == [0, 1, 2, 3]
    assert list(tmp_path.iterdir()) == [path]


def test_another_zip_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    with pytest.raises(WeightError, match="not a file of PyTorch"), arrays(path):
        pass


def test_another_file(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "a.pth", PROGRAM, {"0": NUMBERS})
    with pytest.raises(WeightError, match="a zip file that cannot be read"), arrays(path):
        pass


@pytest.mark.parametrize("twentieth", range(20))
def test_cut_short(tmp_path: Path, twentieth: int) -> None:
    content = (SOURCES / "torch_state.pth").read_bytes()
    path = tmp_path / "a.pth"
    path.write_bytes(content[: len(content) * twentieth // 20])
    with pytest.raises(WeightError), arrays(path):
        pass
