"""safetensors files: every value, and what is wrong with a file."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.io.formats.safetensors import LONGEST_HEADER, arrays
from tools.sources.sample_rule import Arrays, expected
from tools.sources.sample_states import STATE, TYPES

SOURCES = Path(__file__).parents[2] / "data" / "sources"


@pytest.mark.parametrize(
    ("name", "content"), [("state.safetensors", STATE), ("types.safetensors", TYPES)]
)
def test_every_array(name: str, content: Arrays) -> None:
    with arrays(SOURCES / name) as found:
        assert set(found) == set(content)
        for array, (dtype, shape) in content.items():
            stored = found[array]
            assert (stored.dtype, stored.shape) == (dtype, shape)
            assert stored.size == math.prod(shape) * (2 if dtype == "bfloat16" else 1) * (
                1 if dtype == "bfloat16" else np.dtype(dtype).itemsize
            )
            if dtype in ("int64", "bool"):
                with pytest.raises(WeightError, match=f"{array}.*{dtype}, not floating-point"):
                    stored.read()
            else:
                values = stored.read()
                assert values.dtype == np.float32
                assert values.flags.c_contiguous
                np.testing.assert_array_equal(values, expected(array, dtype, shape), strict=True)


def entry(*offsets: int, dtype: str = "F32", shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def write(
    path: Path, header: object, numbers: bytes = bytes(16), length: int | None = None
) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + numbers)
    return path


def test_header_may_be_padded_and_in_any_order(tmp_path: Path) -> None:
    header = {"b": entry(8, 16), "__metadata__": {"format": "pt"}, "a": entry(0, 8)}
    text = json.dumps(header).encode() + b"     "
    numbers = np.arange(4, dtype="<f4").tobytes()
    with arrays(write(tmp_path / "a.safetensors", text, numbers)) as found:
        assert {name: stored.read().tolist() for name, stored in found.items()} == {
            "a": [0, 1],
            "b": [2, 3],
        }


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": entry(0, 8), "b": entry(4, 12)}, "one array should end"),  # overlap
        ({"a": entry(0, 8), "b": entry(0, 8)}, "one array should end"),
        ({"a": entry(0, 4, shape=(1,)), "b": entry(8, 16)}, "one array should end"),  # gap
        ({"a": entry(4, 12)}, "one array should end"),
        ({"a": entry(0, 8)}, "one array should end"),  # bytes at the end are nobody's
        ({}, "one array should end"),
        ({"a": entry(0, 8), "b": entry(8, 24, shape=(4,))}, "bytes should follow"),
        ({"a": entry(-8, 0), "b": entry(0, 16, shape=(4,))}, "bytes should follow"),
        ({"a": entry(0, 16, shape=(3,))}, "has 16 bytes, but float32 of shape"),
        ({"a": entry(0, 16, shape=(1 << 62, 4))}, "impossible shape"),
        ({"a": entry(0, 16, shape=(-2, -2))}, "impossible shape"),
        ({"a": entry(0, 16, shape=(1,) * 40 + (4,))}, "impossible shape"),
        ({"a": entry(0, 1 << 43, shape=(1 << 41,))}, "bytes should follow"),
        ({"a": entry(0, 16, dtype="F8_E4M3", shape=(16,))}, "F8_E4M3.*not known"),
        ({"a": {**entry(0, 16), "shape": [4.0]}}, "entry of 'a' is damaged"),
        ({"a": {**entry(0, 16), "shape": [True]}}, "entry of 'a' is damaged"),
        ({"a": {**entry(0, 16), "data_offsets": [0]}}, "entry of 'a' is damaged"),
        ({"a": {**entry(0, 16), "dtype": 3}}, "entry of 'a' is damaged"),
        ({"a": {**entry(0, 16), "more": 3}}, "entry of 'a' is damaged"),
        ({"a": [1]}, "entry of 'a' is damaged"),
        ([1, 2], "holds no names"),
        (b'{"a": 1, "a": 1}', "a name is there twice"),
        (b'{"a": {"dtype": "F32", "dtype": "F32"}}', "a name is there twice"),
        (b"[" * 100_000, "not a safetensors file"),
        (b"1" * 5_000, "not a safetensors file"),
        (b"\xff\xfe", "not a safetensors file"),
        (b"", "not a safetensors file"),
    ],
)
def test_hostile_headers(tmp_path: Path, header: object, message: str) -> None:
    path = write(tmp_path / "a.safetensors", header)
    with pytest.raises(WeightError, match=message), arrays(path):
        pass


@pytest.mark.parametrize("length", [3, 1 << 40, (1 << 64) - 1])
def test_lengths_that_lie(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "a.safetensors", {"a": entry(0, 16, shape=(4,))}, length=length)
    with pytest.raises(WeightError), arrays(path):
        pass


def test_a_header_without_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", b" " * (LONGEST_HEADER + 1))
    with pytest.raises(WeightError, match="at most 4,194,304 make sense"), arrays(path):
        pass


@pytest.mark.parametrize("twentieth", range(20))
def test_cut_short(tmp_path: Path, twentieth: int) -> None:
    content = (SOURCES / "state.safetensors").read_bytes()
    path = tmp_path / "a.safetensors"
    path.write_bytes(content[: len(content) * twentieth // 20])
    with pytest.raises(WeightError), arrays(path):
        pass


def test_cut_short_after_it_was_opened(tmp_path: Path) -> None:
    header = {"a": entry(0, 1 << 20, shape=(1 << 18,))}
    path = write(tmp_path / "a.safetensors", header, bytes(1 << 20))
    with arrays(path) as found:
        with path.open("r+b") as file:
            file.truncate(1 << 19)
        with pytest.raises(WeightError, match="the file ends here"):
            found["a"].read()


@pytest.mark.parametrize("name", ["missing", "."])
def test_no_file(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(WeightError, match=r"there is no such file|is a folder"),
        arrays(tmp_path / name),
    ):
        pass
