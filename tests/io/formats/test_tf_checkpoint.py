"""Checkpoints of version 2: what TensorFlow wrote, and hostile ones."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.io.formats.tf_checkpoint import arrays, prefix
from tests.io.formats.messages import (
    INT64,
    TEXT,
    bundle_entry,
    checkpoint,
    field,
    table,
    tf_shape,
)
from tests.io.formats.outcomes import cut_off, flipped, refused, unreadable
from tools.sources.sample_rule import VARIABLES, expected

DATA = Path(__file__).parents[2] / "data/sources"
ONE = np.arange(6, dtype="<f4").tobytes()


@pytest.mark.parametrize("name", ["tf_v2.ckpt", "tf_v2_sharded.ckpt"])
def test_every_array_that_tensorflow_wrote(name: str) -> None:
    with arrays(DATA / name) as found:
        assert set(found) == set(VARIABLES)
        for variable, (dtype, shape) in VARIABLES.items():
            stored = found[variable]
            assert (stored.dtype, stored.shape) == (dtype, shape)
            if dtype != "int64":
                values = stored.read()
                assert values.dtype == np.float32
                assert values.flags.c_contiguous
                np.testing.assert_array_equal(values, expected(variable, dtype, shape))
        with pytest.raises(WeightError, match="'global_step' holds int64, not floating-point"):
            found["global_step"].read()


def test_partitioned_variables_are_refused() -> None:
    unreadable(arrays, DATA / "tf_v2_parts.ckpt", "parts", "is a partitioned variable")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with a checkpoint in one data file, and one in two."""
    for file in DATA.glob("tf_v2*.ckpt.*"):
        if "parts" not in file.name:
            shutil.copy(file, tmp_path)
    return tmp_path


@pytest.mark.parametrize("end", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_any_of_its_files_names_a_checkpoint(end: str) -> None:
    assert prefix(DATA / f"tf_v2.ckpt{end}") == DATA / "tf_v2.ckpt"


@pytest.mark.parametrize("folder", ["", "{folder}/"])
def test_a_folder_names_its_latest_checkpoint(copied: Path, folder: str) -> None:
    named = folder.format(folder=copied) + "tf_v2_sharded.ckpt"
    text = f'model_checkpoint_path: "{named}"\nall_model_checkpoint_paths: "tf_v2.ckpt"\n'
    (copied / "checkpoint").write_text(text)
    assert prefix(copied) == copied / "tf_v2_sharded.ckpt"


def test_a_folder_with_one_checkpoint(copied: Path) -> None:
    with pytest.raises(WeightError, match="2 checkpoints"):
        prefix(copied)
    (copied / "tf_v2_sharded.ckpt.index").unlink()
    assert prefix(copied) == copied / "tf_v2.ckpt"
    (copied / "tf_v2.ckpt.index").unlink()
    with pytest.raises(WeightError, match="0 checkpoints"):
        prefix(copied)


@pytest.mark.parametrize(
    "named",
    ["../tf_v2.ckpt", "/elsewhere/tf_v2.ckpt", "sub/tf_v2.ckpt", "..", "", ".", "..\\\\tf_v2.ckpt"],
)
def test_a_checkpoint_in_another_place_is_refused(copied: Path, named: str) -> None:
    inside = copied / "sub"
    inside.mkdir()
    for file in copied.glob("tf_v2.ckpt.*"):
        shutil.copy(file, inside)
    (inside / "checkpoint").write_text(f'model_checkpoint_path: "{named}"\n')
    with pytest.raises(WeightError, match="in another place"):
        prefix(inside)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"model_checkpoint_path: 5"])
def test_a_note_without_a_checkpoint(copied: Path, content: bytes) -> None:
    (copied / "checkpoint").write_bytes(content)
    with pytest.raises(WeightError, match="names no checkpoint"):
        prefix(copied)


def test_a_note_with_a_name_that_is_too_long(copied: Path) -> None:
    (copied / "checkpoint").write_text(f'model_checkpoint_path: "{"x" * 3000}"')
    with pytest.raises(WeightError, match="cannot be read: File name too long"):
        prefix(copied)


def test_missing_files(copied: Path) -> None:
    (copied / "tf_v2_sharded.ckpt.data-00001-of-00002").unlink()
    refused(arrays, copied / "tf_v2_sharded.ckpt", "data-00001-of-00002: there is no such file")
    refused(arrays, copied / "other", r"other\.index, the index of the checkpoint, is missing")
    (copied / "tf_v2_sharded.ckpt.data-00001-of-00002").mkdir()
    refused(arrays, copied / "tf_v2_sharded.ckpt", "data-00001-of-00002: is a folder")


def test_files_that_are_cut_off(copied: Path) -> None:
    for end in (".index", ".data-00000-of-00001"):
        whole = DATA / f"tf_v2.ckpt{end}"
        cut_off(arrays, whole, copied / whole.name, copied / "tf_v2.ckpt")
        shutil.copy(whole, copied)


def test_wrong_bytes(copied: Path) -> None:
    index, data = "tf_v2.ckpt.index", "tf_v2.ckpt.data-00000-of-00001"
    flipped(arrays, DATA / index, copied / index, always=False)
    shutil.copy(DATA / index, copied)
    # every array has a checksum; that of global_step is not looked at, for it is no weight
    (copied / "tf_v2.ckpt.index").write_bytes((DATA / index).read_bytes())
    flipped(arrays, DATA / data, copied / data, copied / index, always=True)


def test_a_wrong_byte_in_an_array_is_named(copied: Path) -> None:
    data = copied / "tf_v2.ckpt.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    values = expected("Net/Logits/biases", "float32", (7,)).tobytes()
    content[content.index(values)] ^= 1
    data.write_bytes(content)
    match = "data-00000-of-00001: damaged at byte .*: the checksum of 'Net/Logits/biases'"
    unreadable(arrays, copied / "tf_v2.ckpt", "Net/Logits/biases", match)


def test_what_is_written_here_can_be_read(tmp_path: Path) -> None:
    with arrays(checkpoint(tmp_path, {"x": bundle_entry(ONE, (2, 3))}, ONE)) as found:
        np.testing.assert_array_equal(found["x"].read(), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        (bundle_entry(ONE, (2, 4)), "has 24 bytes, its shape .* needs 32"),
        (bundle_entry(ONE, (1 << 40,)), "has 24 bytes"),
        (bundle_entry(ONE, (1 << 40,), size=1 << 42), "which has 24"),
        (bundle_entry(ONE, (1 << 30, 1 << 30)), "impossible shape"),
        (bundle_entry(ONE, (0, 1 << 62)), "impossible shape"),
        (bundle_entry(ONE, (-6,)), "impossible shape"),
        (bundle_entry(ONE, (1,) * 40), "impossible shape"),
        (bundle_entry(ONE, (6,), offset=1), "is at bytes 1 to 25 of .*, which has 24"),
        (bundle_entry(ONE, (6,), offset=-1), "is at bytes -1"),
        (bundle_entry(ONE, (6,), offset=(1 << 63) - 1), "is at bytes 9,223,372,036,854,775,807"),
        (bundle_entry(ONE, (6,), size=-24, dtype=TEXT), "is at bytes 0 to -24"),
        (bundle_entry(ONE, (6,), shard=1), "is in data file 1 of 1"),
        (bundle_entry(ONE, (6,), shard=-1), "is in data file -1 of 1"),
        (field(2, field(3, 1)), "the shape of 'x' is not known"),
        (field(1, "float"), "field 1 of a message should be a number"),
        (field(2, 7), "field 2 of a message should be a message"),
        (field(6, 7), "field 6 of a message should be a number of 4 bytes"),
        (b"\x0a\xff\xff\xff\xff\x0f", "bytes should follow"),
    ],
)
def test_hostile_entries(tmp_path: Path, entry: bytes, match: str) -> None:
    refused(arrays, checkpoint(tmp_path, {"x": entry}, ONE), match)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b"", "0 data files, little-endian"),
        (field(1, 1) + field(2, 1), "1 data files, big-endian"),
        (field(1, 100_000), "100000 data files"),
        (field(1, -1), "-1 data files"),
        (field(1, field(1, 1)), "field 1 of a message should be a number"),  # of version 1
    ],
)
def test_hostile_headers(tmp_path: Path, header: bytes, match: str) -> None:
    entries = {"x": bundle_entry(ONE, (6,))}
    refused(arrays, checkpoint(tmp_path, entries, ONE, header), match)


def test_one_place_for_many_arrays_is_refused(tmp_path: Path) -> None:
    entries = {f"x{number}": bundle_entry(ONE, (6,)) for number in range(1000)}
    refused(arrays, checkpoint(tmp_path, entries, ONE), "claims 24,000 bytes")


def test_unknown_types_are_listed_and_not_read(tmp_path: Path) -> None:
    entry = bundle_entry(ONE, (6,), dtype=77)
    path = checkpoint(tmp_path, {"x": entry, "y": bundle_entry(ONE, (3,), dtype=INT64)}, ONE * 2)
    unreadable(arrays, path, "x", "'x' holds numbers of type 77, not floating-point numbers")
    unreadable(arrays, path, "y", "'y' holds int64, not floating-point numbers")


def test_names_are_text(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, {}, ONE)
    path.write_bytes(table([(b"", field(1, 1)), (b"\xff", bundle_entry(ONE, (6,)))]))
    refused(arrays, path, "the name of a variable is no text")


def test_nesting_is_not_followed(tmp_path: Path) -> None:
    deep = tf_shape(6)
    for _ in range(2000):
        deep = field(9, deep)
    path = checkpoint(tmp_path, {"x": field(9, deep) + bundle_entry(ONE, (6,))}, ONE)
    with arrays(path) as found:
        assert found["x"].read().shape == (6,)
