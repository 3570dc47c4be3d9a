"""Frozen graphs: what TensorFlow wrote, and hostile ones."""

import struct
from pathlib import Path

import numpy as np
import pytest

from minincep.io.formats.tf_graph import arrays
from tests.io.formats.messages import FLOAT, field, tf_shape
from tests.io.formats.outcomes import flipped, outcome, refused, unreadable
from tools.sources.sample_rule import GRAPH, draw, expected

DATA = Path(__file__).parents[2] / "data/sources"
FLOAT_VAL, HALF_VAL, CONTENT = 5, 13, 4
BFLOAT16 = 14
SIX = struct.pack("<6f", *range(6))


def node(name: str, tensor: bytes, *, op: str = "Const", key: str = "value") -> bytes:
    """A NodeDef in a graph."""
    attribute = field(1, key) + field(2, field(8, tensor))
    return field(1, field(1, name) + field(2, op) + field(5, attribute))


def tensor(shape: bytes, number: int, numbers: bytes, dtype: int = FLOAT) -> bytes:
    """A TensorProto."""
    return field(1, dtype) + field(2, shape) + field(number, numbers)


def graph(folder: Path, *nodes: bytes) -> Path:
    """A frozen graph."""
    (folder / "net.pb").write_bytes(b"".join(nodes))
    return folder / "net.pb"


def test_every_constant_that_tensorflow_wrote() -> None:
    with arrays(DATA / "tf_frozen.pb") as found:
        for name, (dtype, shape) in GRAPH.items():
            stored = found[name]
            assert (stored.dtype, stored.shape) == (dtype, shape)
            if dtype != "int64":
                values = stored.read()
                assert values.flags.c_contiguous
                np.testing.assert_array_equal(values, expected(name, dtype, shape))
        np.testing.assert_array_equal(found["repeated"].read(), np.full((5, 4), 0.25, np.float32))
        np.testing.assert_array_equal(found["listed"].read(), draw("listed", (2, 3)))
        np.testing.assert_array_equal(found["halves"].read(), expected("halves", "float16", (7,)))
        assert not {"input", "output"} & set(found)


def test_values_that_are_repeated(tmp_path: Path) -> None:
    few = tensor(tf_shape(2, 2), FLOAT_VAL, SIX[4:12])
    none = tensor(tf_shape(2), FLOAT_VAL, b"")
    bits = tensor(tf_shape(3), HALF_VAL, b"\x80\x7f\xc0\x7f"[:2], BFLOAT16)
    single = field(1, FLOAT) + field(2, tf_shape(2)) + b"\x2d" + SIX[4:8] + b"\x2d" + SIX[8:12]
    path = graph(
        tmp_path, node("few", few), node("none", none), node("bits", bits), node("single", single)
    )
    with arrays(path) as found:
        np.testing.assert_array_equal(found["few"].read(), [[1, 2], [2, 2]])
        np.testing.assert_array_equal(found["none"].read(), [0, 0])
        np.testing.assert_array_equal(found["bits"].read(), [1, 1, 1])
        np.testing.assert_array_equal(found["single"].read(), [1, 2])


def test_only_constants_are_arrays(tmp_path: Path) -> None:
    six = tensor(tf_shape(6), CONTENT, SIX)
    path = graph(
        tmp_path,
        node("read", six, op="Identity"),
        node("other", six, key="shape"),
        field(2, b"functions are not looked at"),
        node("x", six),
    )
    with arrays(path) as found:
        assert list(found) == ["x"]
        np.testing.assert_array_equal(found["x"].read(), np.arange(6))


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    # at the end of a node a graph that is cut off is a whole one
    whole = (DATA / "tf_frozen.pb").read_bytes()
    for part in range(20):
        path = graph(tmp_path, whole[: len(whole) * part // 20])
        assert part == 0 or outcome(arrays, path) is not None
    cut_one = graph(tmp_path, node("x", tensor(tf_shape(6), CONTENT, SIX)))
    content = cut_one.read_bytes()
    for length in range(1, len(content)):
        cut_one.write_bytes(content[:length])
        assert outcome(arrays, cut_one) is not None


def test_wrong_bytes(tmp_path: Path) -> None:
    flipped(arrays, DATA / "tf_frozen.pb", tmp_path / "net.pb", always=False)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (node("x", tensor(tf_shape(1 << 40), FLOAT_VAL, SIX)), "claims 4,398,046,511,104 bytes"),
        (node("x", tensor(tf_shape(1 << 62), FLOAT_VAL, SIX)), "impossible shape"),
        (node("x", tensor(tf_shape(-1), FLOAT_VAL, SIX)), "impossible shape"),
        (node("x", tensor(tf_shape(*[1] * 33), FLOAT_VAL, SIX)), "impossible shape"),
        (node("x", tensor(tf_shape(1), FLOAT_VAL, SIX)) * 2, "two nodes are called 'x'"),
        (node("x" * 5000, b""), "5,001 bytes|5,000 bytes, where at most 4,096"),
        (field(1, 3), "field 1 of a message should be a message"),
        (b"\x0b", "no field of a message"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "a number without end"),
    ],
)
def test_hostile_graphs(tmp_path: Path, content: bytes, match: str) -> None:
    refused(arrays, graph(tmp_path, content), match)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (tensor(tf_shape(7), CONTENT, SIX), "has 24 bytes, shape .* needs 28"),
        (tensor(tf_shape(5), CONTENT, SIX), "has 24 bytes, shape .* needs 20"),
        (tensor(tf_shape(5), FLOAT_VAL, SIX), "more numbers than places"),
        (tensor(tf_shape(6), FLOAT_VAL, SIX[:-1]), "has 23 bytes"),
        (tensor(tf_shape(6), CONTENT, SIX, dtype=3), "holds int32, not floating-point"),
        (tensor(tf_shape(6), FLOAT_VAL, SIX, dtype=3), "holds int32, not floating-point"),
        (tensor(tf_shape(6), CONTENT, SIX, dtype=20), "holds resource, not floating-point"),
        (b"", "holds .*, not floating-point"),
    ],
)
def test_hostile_arrays(tmp_path: Path, value: bytes, match: str) -> None:
    unreadable(arrays, graph(tmp_path, node("x", value)), "x", match)


def test_nesting_is_not_followed(tmp_path: Path) -> None:
    deep = b""
    for _ in range(3000):
        deep = field(1, deep)
    six = node("x", tensor(tf_shape(6), CONTENT, SIX))
    path = graph(tmp_path, field(2, deep), six)
    with arrays(path) as found:
        assert list(found) == ["x"]
    # as a node: names of nodes are text, and this one is far too long
    refused(arrays, graph(tmp_path, field(1, field(1, deep))), "make sense")
