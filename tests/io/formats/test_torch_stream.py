"""What torch.save wrote before 1.6: every value, and what is wrong with a file."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.io.formats.torch_stream import MAGIC, PROTOCOL, arrays
from tests.io.formats.torch_programs import (
    HEAD,
    STOP,
    integer,
    mapping,
    numbers,
    storage,
    tensor,
    text,
    write_stream,
    write_zip,
)
from tools.sources.sample_rule import Arrays, expected
from tools.sources.sample_states import STATE, TYPES, strided

SOURCES = Path(__file__).parents[2] / "data" / "sources"
NUMBERS = np.arange(4, dtype="<f4").tobytes()
PROGRAM = HEAD + mapping(a=tensor(storage())) + STOP


@pytest.mark.parametrize(
    ("name", "content", "prefix"),
    [
        ("torch_state_old.pth", STATE, ""),
        ("torch_types_old.pth", TYPES, ""),
        ("torch_checkpoint_old.pth", STATE, "state_dict.module."),
    ],
)
def test_every_array(name: str, content: Arrays, prefix: str) -> None:
    with arrays(SOURCES / name) as found:
        for array, (dtype, shape) in content.items():
            stored = found[prefix + array]
            assert (stored.dtype, stored.shape) == (dtype, shape)
            if dtype in ("int64", "bool"):
                with pytest.raises(WeightError, match=f"{dtype}, not floating-point"):
                    stored.read()
            else:
                np.testing.assert_array_equal(
                    stored.read(), expected(array, dtype, shape), strict=True
                )


def test_tensors_that_share_numbers() -> None:
    with arrays(SOURCES / "torch_views_old.pth") as found:
        for name, values in strided().items():
            np.testing.assert_array_equal(found[name].read(), values, strict=True)


def test_parts_of_storages(tmp_path: Path) -> None:
    """PyTorch before 0.4 kept parts as such."""
    part = b"(" + text("view") + integer(1) + integer(3) + b"t"
    made = tensor(storage(part=part), 1, (2,))
    path = write_stream(tmp_path / "a.pth", HEAD + mapping(a=made) + STOP, {"0": NUMBERS})
    with arrays(path) as found:
        assert found["a"].read().tolist() == [2, 3]


def test_a_network_instead_of_its_state() -> None:
    with (
        pytest.raises(WeightError, match=r"holds torch.nn.modules.linear.Linear.*state_dict\(\)"),
        arrays(SOURCES / "torch_module_old.pth"),
    ):
        pass


@pytest.mark.parametrize(
    ("made", "storages", "message"),
    [
        (tensor(storage()), {}, "and are missing"),
        (tensor(storage()), {"0": NUMBERS[:12]}, "should be 16 bytes, and are only 12"),
        (tensor(storage()), {"0": NUMBERS, "1": NUMBERS}, "numbers '1' are there twice, or"),
        (tensor(storage(), 1), {"0": NUMBERS}, "'a' ends after its numbers"),
        (
            tensor(storage(part=b"(" + text("v") + numbers([2, 2])[1:]), 0, (3,)),
            {"0": NUMBERS},
            "'a' ends after its numbers",
        ),
    ],
)
def test_tensors_that_cannot_be(
    tmp_path: Path, made: bytes, storages: dict[str, bytes], message: str
) -> None:
    path = write_stream(tmp_path / "a.pth", HEAD + mapping(a=made) + STOP, storages)
    with pytest.raises(WeightError, match=message), arrays(path):
        pass


@pytest.mark.parametrize("count", [5, 1 << 40, (1 << 64) - 1])
def test_a_count_that_lies(tmp_path: Path, count: int) -> None:
    path = write_stream(tmp_path / "a.pth", PROGRAM, {"0": NUMBERS})
    content = path.read_bytes()
    path.write_bytes(content[:-24] + struct.pack("<Q", count) + NUMBERS)
    with pytest.raises(WeightError, match="bytes should follow, where 16 are"), arrays(path):
        pass


@pytest.mark.parametrize("keys", [{"0": 1}, "0", ["0", "0"], [0], [["0"]]])
def test_keys_that_cannot_be(tmp_path: Path, keys: object) -> None:
    path = write_stream(tmp_path / "a.pth", PROGRAM, {"0": NUMBERS})
    content = path.read_bytes()
    wrong = content.replace(pickle.dumps(["0"], 2), pickle.dumps(keys, 2))
    assert wrong != content
    path.write_bytes(wrong + content[-24:])
    with (
        pytest.raises(WeightError, match=r"the keys of the numbers should be|there twice"),
        arrays(path),
    ):
        pass


def test_another_file(tmp_path: Path) -> None:
    for path in (
        write_zip(tmp_path / "a.pth", PROGRAM, {"data/0": NUMBERS}),
        SOURCES / "state.safetensors",
    ):
        with pytest.raises(WeightError), arrays(path):
            pass
    path = write_stream(tmp_path / "b.pth", PROGRAM, {"0": NUMBERS})
    content = path.read_bytes()
    for number in (MAGIC, PROTOCOL):
        path.write_bytes(content.replace(pickle.dumps(number, 2), pickle.dumps(number + 1, 2)))
        with pytest.raises(WeightError, match="not a file of PyTorch"), arrays(path):
            pass


@pytest.mark.parametrize("twentieth", range(20))
def test_cut_short(tmp_path: Path, twentieth: int) -> None:
    content = (SOURCES / "torch_state_old.pth").read_bytes()
    path = tmp_path / "a.pth"
    path.write_bytes(content[: len(content) * twentieth // 20])
    with pytest.raises(WeightError), arrays(path):
        pass
