"""ONNX: what its own library wrote, and hostile files."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.io.formats.onnx import arrays
from tests.io.formats.messages import field, varint
from tests.io.formats.outcomes import cut_off, flipped, outcome, refused, unreadable
from tools.sources.sample_rule import GRAPH, expected

DATA = Path(__file__).parents[2] / "data/sources"
FLOAT, FLOAT16, BFLOAT16 = 1, 10, 16
FLOAT_DATA, INT32_DATA, RAW = 4, 5, 9
SIX = struct.pack("<6f", *range(6))


def initialiser(name: str, shape: tuple[int, ...], *values: bytes, dtype: int = FLOAT) -> bytes:
    """A TensorProto in a graph."""
    dims = b"".join(field(1, length) for length in shape)
    return field(5, dims + field(2, dtype) + field(8, name) + b"".join(values))


def external(**place: object) -> bytes:
    """Says where an array is."""
    pairs = (field(1, key) + field(2, str(value)) for key, value in place.items())
    return b"".join(field(13, pair) for pair in pairs) + field(14, 1)


def model(folder: Path, *entries: bytes) -> Path:
    """A model with a graph, and beside it a file with numbers."""
    (folder / "net.onnx").write_bytes(field(1, 8) + field(7, b"".join(entries)))
    (folder / "net.data").write_bytes(SIX)
    return folder / "net.onnx"


@pytest.mark.parametrize("name", ["onnx_raw", "onnx_lists", "onnx_external"])
def test_every_array_that_onnx_wrote(name: str) -> None:
    with arrays(DATA / f"{name}.onnx") as found:
        assert set(found) == set(GRAPH)
        for array, (dtype, shape) in GRAPH.items():
            stored = found[array]
            assert (stored.dtype, stored.shape) == (dtype, shape)
            if dtype != "int64":
                values = stored.read()
                assert values.flags.c_contiguous
                np.testing.assert_array_equal(values, expected(array, dtype, shape))
        with pytest.raises(WeightError, match="'global_step' holds int64, not floating-point"):
            found["global_step"].read()


def test_lists_may_be_in_parts_and_packed_or_not(tmp_path: Path) -> None:
    one_by_one = b"".join(varint(FLOAT_DATA << 3 | 5) + SIX[at : at + 4] for at in range(0, 12, 4))
    path = model(
        tmp_path,
        initialiser("x", (6,), one_by_one, field(FLOAT_DATA, SIX[12:])),
        initialiser(
            "bits",
            (3,),
            field(INT32_DATA, 0x3F80),
            field(INT32_DATA, varint(0x4000) * 2),
            dtype=BFLOAT16,
        ),
        field(
            5, field(1, varint(2) + varint(3)) + field(2, FLOAT) + field(8, "y") + field(RAW, SIX)
        ),
    )
    with arrays(path) as found:
        np.testing.assert_array_equal(found["x"].read(), np.arange(6))
        np.testing.assert_array_equal(found["bits"].read(), [1, 2, 2])
        np.testing.assert_array_equal(found["y"].read(), [[0, 1, 2], [3, 4, 5]])


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    for name in ("onnx_raw.onnx", "onnx_lists.onnx"):
        content = (DATA / name).read_bytes()
        path = tmp_path / name
        for part in range(1, 20):
            path.write_bytes(content[: len(content) * part // 20])
            with_graph = len(content) * part // 20 > 20
            assert not with_graph or outcome(arrays, path) is not None
    shutil.copy(DATA / "onnx_external.onnx", tmp_path)
    data = "onnx_external.data"
    cut_off(arrays, DATA / data, tmp_path / data, tmp_path / "onnx_external.onnx")


@pytest.mark.parametrize("name", ["onnx_raw", "onnx_lists", "onnx_external"])
def test_wrong_bytes(tmp_path: Path, name: str) -> None:
    shutil.copy(DATA / "onnx_external.data", tmp_path)
    flipped(arrays, DATA / f"{name}.onnx", tmp_path / f"{name}.onnx", always=False)


def test_external_data(tmp_path: Path) -> None:
    path = model(
        tmp_path,
        initialiser("x", (3,), external(location="net.data", offset=12, length=12)),
        initialiser("y", (6,), external(location="net.data")),
    )
    with arrays(path) as found:
        np.testing.assert_array_equal(found["x"].read(), [3, 4, 5])
        np.testing.assert_array_equal(found["y"].read(), np.arange(6))


@pytest.mark.parametrize(
    "location",
    [
        "../net.data",
        "sub/../net.data",
        "{folder}/net.data",
        "sub/net.data",
        "..",
        ".",
        "",
        "..\\net.data",
        "C:net.data",
        "file:net.data",
        "net.data\0",
        "a/" * 1000,
    ],
)
def test_external_data_elsewhere_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inside"
    (folder / "sub").mkdir(parents=True)
    for other in (tmp_path, folder / "sub"):
        (other / "net.data").write_bytes(SIX)
    place = external(location=location.format(folder=tmp_path), length=24)
    path = model(folder, initialiser("x", (6,), place))
    refused(arrays, path, "only a file in the same folder is read")


@pytest.mark.parametrize(
    ("place", "match"),
    [
        ({"location": "other.data"}, r"other\.data: there is no such file"),
        ({"location": "x" * 4000}, "x cannot be read: File name too long"),
        ({"location": "net.data", "offset": 4}, "is at byte 4 of net.data, 24 bytes; .* has 24"),
        ({"location": "net.data", "offset": 1 << 62}, "has no place in net.data"),
        ({"location": "net.data", "offset": -4}, "has no place in net.data"),
        ({"location": "net.data", "length": 20}, "20 bytes; its shape needs 24"),
        ({"location": "net.data", "length": "9" * 4000}, "has no place in net.data"),
        ({"location": "net.data", "offset": "\N{SUPERSCRIPT TWO}"}, "has no place"),
        ({}, "is said to be in ''; only a file in the same folder"),
    ],
)
def test_hostile_places(tmp_path: Path, place: dict[str, object], match: str) -> None:
    refused(arrays, model(tmp_path, initialiser("x", (6,), external(**place))), match)


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        (initialiser("x", (1 << 40,), field(RAW, SIX)), "claims 4,398,046,511,104 bytes"),
        (initialiser("x", (1 << 62,), field(RAW, SIX)), "impossible shape"),
        (initialiser("x", (0, 1 << 62)), "impossible shape"),
        (initialiser("x", (-6,), field(RAW, SIX)), "impossible shape"),
        (initialiser("x", (1,) * 33, field(RAW, SIX)), "impossible shape"),
        (initialiser("x", (6,), field(RAW, SIX)) * 2, "two arrays are called 'x'"),
        (initialiser("x", (6,), field(RAW, 5)), "field 9 of a message should be numbers"),
        (field(5, field(1, b"\x80")), "one of which has no end"),
        (field(15, b""), "sparse weights"),
        (field(5, 1), "field 5 of a message should be a message"),
    ],
)
def test_hostile_models(tmp_path: Path, entry: bytes, match: str) -> None:
    refused(arrays, model(tmp_path, entry), match)


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        (initialiser("x", (7,), field(RAW, SIX)), "has 24 bytes, shape .* needs 28"),
        (initialiser("x", (5,), field(FLOAT_DATA, SIX)), "has 24 bytes, shape .* needs 20"),
        (initialiser("x", (6,)), "has 0 bytes, shape .* needs 24"),
        (initialiser("x", (2,), field(INT32_DATA, b"\1"), dtype=FLOAT16), "has 1 numbers"),
        (initialiser("x", (1,), field(INT32_DATA, b"\1\1"), dtype=BFLOAT16), "more numbers, or"),
        (initialiser("x", (1,), field(INT32_DATA, -1), dtype=FLOAT16), "or larger"),
        (initialiser("x", (6,), field(RAW, SIX), dtype=6), "holds int32, not floating-point"),
        (initialiser("x", (6,), field(RAW, SIX), dtype=99), "holds numbers of type 99"),
    ],
)
def test_hostile_arrays(tmp_path: Path, entry: bytes, match: str) -> None:
    unreadable(arrays, model(tmp_path, entry), "x", match)


def test_nesting_is_not_followed(tmp_path: Path) -> None:
    deep = b""
    for _ in range(3000):
        deep = field(1, deep)
    path = model(tmp_path, field(1, deep), initialiser("x", (6,), field(RAW, SIX)))
    with arrays(path) as found:
        assert list(found) == ["x"]


def test_a_file_beside_that_is_no_file(tmp_path: Path) -> None:
    path = model(tmp_path, initialiser("x", (0,), external(location="pipe")))
    (tmp_path / "pipe").symlink_to("/dev/zero")
    refused(arrays, path, "is no ordinary file")
