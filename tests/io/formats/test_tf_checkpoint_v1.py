"""Checkpoints of version 1: what TensorFlow wrote, and hostile ones."""

import struct
from pathlib import Path

import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.io.formats.tf_checkpoint_v1 import arrays
from tests.io.formats.messages import FLOAT, field, table, tf_shape
from tests.io.formats.outcomes import cut_off, flipped, refused, unreadable
from tools.sources.sample_rule import VARIABLES, expected

DATA = Path(__file__).parents[2] / "data/sources"
WHOLE = field(1, b"")  # a slice of one axis, without start or length
PART = field(1, field(2, 3))


def described(
    name: str, shape: bytes, *, dtype: int = FLOAT, slices: tuple[bytes, ...] = (WHOLE,)
) -> bytes:
    """An entry of the first message."""
    parts = b"".join(field(4, part) for part in slices)
    return field(1, field(1, name) + field(2, shape) + field(3, dtype) + parts)


def written(name: str, numbers: bytes, kind: int = 5) -> bytes:
    """A message with a variable."""
    return field(2, field(1, name) + field(2, WHOLE) + field(3, field(kind, numbers)))


def checkpoint(folder: Path, meta: bytes, *values: bytes) -> Path:
    """A file of version 1."""
    entries = [(b"%03d" % at, value) for at, value in enumerate(values)]
    (folder / "v1.ckpt").write_bytes(table([(b"", field(1, meta))], entries))
    return folder / "v1.ckpt"


SIX = struct.pack("<6f", *range(6))


def test_every_array_that_tensorflow_wrote() -> None:
    with arrays(DATA / "tf_v1.ckpt") as found:
        assert set(found) == set(VARIABLES) - {"Net/brain"}  # it does not write bfloat16 there
        for variable, stored in found.items():
            dtype, shape = VARIABLES[variable]
            assert (stored.dtype, stored.shape) == (dtype, shape)
            if dtype != "int64":
                values = stored.read()
                assert values.flags.c_contiguous
                np.testing.assert_array_equal(values, expected(variable, dtype, shape))
        with pytest.raises(WeightError, match="'global_step' holds int64, not floating-point"):
            found["global_step"].read()


def test_partitioned_variables_are_refused() -> None:
    unreadable(arrays, DATA / "tf_v1_parts.ckpt", "parts", "is a partitioned variable")


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    cut_off(arrays, DATA / "tf_v1.ckpt", tmp_path / "v1.ckpt")


def test_wrong_bytes(tmp_path: Path) -> None:
    whole = DATA / "tf_v1.ckpt"
    flipped(arrays, whole, tmp_path / "v1.ckpt", always=False)
    # all but the padding of the footer and the block that holds nothing have checksums
    cut = whole.read_bytes()[:-100]
    for at in range(0, len(cut), 40):
        content = bytearray(whole.read_bytes())
        content[at] ^= 1
        (tmp_path / "v1.ckpt").write_bytes(content)
        refused(arrays, tmp_path / "v1.ckpt", "damaged at byte")


def test_what_is_written_here_can_be_read(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, described("x", tf_shape(2, 3)), written("x", SIX))
    with arrays(path) as found:
        np.testing.assert_array_equal(found["x"].read(), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("meta", "value", "match"),
    [
        (b"", written("x", SIX), "'x' is not described"),
        (described("x", tf_shape(6)), field(2, field(1, "x")), "'x' has no numbers"),
        (described("x", tf_shape(6)) + described("y", b""), written("x", SIX), "'y' is described"),
        (described("x", tf_shape(1 << 40)), written("x", SIX), "claims 4,398,046,511,104 bytes"),
        (described("x", tf_shape(1 << 62)), written("x", SIX), "impossible shape"),
        (described("x", tf_shape(-1)), written("x", SIX), "impossible shape"),
        (described("x", field(3, 1)), written("x", SIX), "is not known"),
        (described("x", tf_shape(6)), field(2, "\xff"), "damaged"),
        (described("x", tf_shape(6)), field(2, 1), "field 2 of a message should be a message"),
    ],
)
def test_hostile_files(tmp_path: Path, meta: bytes, value: bytes, match: str) -> None:
    refused(arrays, checkpoint(tmp_path, meta, value), match)


@pytest.mark.parametrize(
    ("meta", "value", "match"),
    [
        (described("x", tf_shape(5)), written("x", SIX), "more numbers than places"),
        (described("x", tf_shape(6)), written("x", SIX[:-1]), "has 23 bytes"),
        (described("x", tf_shape(6), dtype=19), written("x", b"\x80", 13), "no end"),
        (described("x", tf_shape(6), dtype=19), written("x", b"\xff\xff\x04", 13), "larger, than"),
        (described("x", tf_shape(2), dtype=19), written("x", b"\1\2\3", 13), "more numbers"),
        (described("x", tf_shape(6), slices=(PART,)), written("x", SIX), "partitioned"),
        (described("x", tf_shape(6), slices=(WHOLE, WHOLE)), written("x", SIX), "partitioned"),
        (described("x", tf_shape(6), slices=()), written("x", SIX), "partitioned"),
    ],
)
def test_hostile_arrays(tmp_path: Path, meta: bytes, value: bytes, match: str) -> None:
    unreadable(arrays, checkpoint(tmp_path, meta, value), "x", match)


def test_an_index_of_version_2_is_refused() -> None:
    refused(arrays, DATA / "tf_v2.ckpt.index", "field 1 of a message should be a message")
