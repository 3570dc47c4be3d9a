"""Checkpoints: every bit comes back, damage is noticed, and failures leave the old one."""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.train import checkpoint
from minincep.train.data import DataSet, Example
from minincep.train.trainer import State
from minincep_kernels import Array

HEADER: dict[str, Any] = {"run": {"network": "x", "seed": 1}, "state": {"step": 3}, "note": "ä"}


def arrays() -> dict[str, Array]:
    random = np.random.default_rng(0)
    return {
        "network/a/weight": random.normal(size=(3, 2)).astype(np.float32),
        "network/empty": np.zeros((0, 4), np.float32),
        "optimizer/mean/a/weight": random.normal(size=(3, 2)),
        "optimizer/steps": np.array(7),
        "optimizer/odd": np.array([np.nan, np.inf, -0.0, 1e-45], np.float32),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.h5"
    checkpoint.write(path, HEADER, arrays())
    return path


def test_every_bit_comes_back(path: Path) -> None:
    found = checkpoint.read(path)
    assert found.header == HEADER
    assert found.arrays.keys() == arrays().keys()
    for name, array in arrays().items():
        got = found.arrays[name]
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        assert got.tobytes() == array.tobytes()
    assert set(found.part("optimizer")) == {"mean/a/weight", "odd", "steps"}


def test_parts_are_checked(path: Path) -> None:
    found = checkpoint.read(path)
    wanted = {"a/weight": np.zeros((3, 2), np.float32), "empty": np.zeros((0, 4), np.float32)}
    assert found.part("network", wanted).keys() == wanted.keys()
    with pytest.raises(WeightError, match="a/weight is float32, should be float64"):
        found.part("network", {**wanted, "a/weight": np.zeros((3, 2))})
    with pytest.raises(WeightError, match=r"checkpoint\.h5: .*\n  missing: b\n"):
        found.part("network", {"b": np.zeros(3)})
    found.check_run({"network": "x", "seed": 1})
    with pytest.raises(WeightError, match="another training, seed differs: 1 there, 2 now"):
        found.check_run({"network": "x", "seed": 2})


def test_every_byte_counts(path: Path) -> None:
    """A changed bit is noticed, or is none of what is read."""
    content = path.read_bytes()
    weight = arrays()["network/a/weight"].tobytes()
    places = [content.index(weight), content.index(b'"step": 3') + 8]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(WeightError, match="damaged, its checksum is another"):
            checkpoint.read(path)
    for length in (0, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(WeightError, match=str(path)):
            checkpoint.read(path)


def change(path: Path, what: str) -> None:
    with h5py.File(path, "r+") as file:
        match what:
            case "format":
                file.attrs["format"] = "minincep-weights"
            case "version":
                file.attrs["format_version"] = 2
            case "header":
                del file["header"]
            case "text":
                del file["header"]
                file["header"] = np.frombuffer(b"[1]", np.uint8)
                content = {k: np.asarray(v) for k, v in arrays().items()}
                file.attrs["sha256"] = checkpoint._checksum(b"[1]", content)
            case "stranger":
                file["elsewhere"] = np.zeros(3)
            case "kind":
                file["arrays/text"] = ["a", "b"]
            case "link":
                file["arrays/link"] = h5py.ExternalLink("/etc/passwd", "/")
            case "bomb":
                file.create_dataset("arrays/large", (1 << 40,), "f4", chunks=(1 << 20,))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("format", "not a checkpoint of minincep"),
        ("version", "checkpoint version 2"),
        ("header", "no header"),
        ("text", "the header of the checkpoint is damaged"),
        ("stranger", "elsewhere is no part of a checkpoint"),
        ("kind", "arrays/text is no part of a checkpoint"),
        ("link", "link to another place, refused"),
        ("bomb", "far more than it can hold"),
    ],
)
def test_refuses(path: Path, what: str, message: str) -> None:
    change(path, what)
    with pytest.raises(WeightError, match=message):
        checkpoint.read(path)


def test_state_of_another_kind(path: Path) -> None:
    with pytest.raises(WeightError, match="state of the run is damaged"):
        checkpoint.read(path).state(Example)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epoch", "1"), ("epoch", 0.5), ("position", -1), ("seconds", None), ("best_epoch", True)],
)
def test_a_state_of_other_values(path: Path, name: str, value: Any) -> None:
    state = {**asdict(State()), name: value}
    checkpoint.write(path, {**HEADER, "state": state}, {})
    with pytest.raises(WeightError, match=f"state of the run is damaged, {name} is {value!r}"):
        checkpoint.read(path).state(State)


def test_reaches_the_disk_before_its_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    sync, replace = os.fsync, os.replace

    def synced(file: int) -> None:
        calls.append(("sync", os.fstat(file).st_ino))
        sync(file)

    def replaced(old: str, new: str) -> None:
        calls.append(("replace", os.stat(old).st_ino))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    checkpoint.write(path, HEADER, arrays())
    number = path.stat().st_ino
    assert calls == [("sync", number), ("replace", number)]


FULL = """
import errno, resource, sys
from pathlib import Path
import numpy as np
from minincep.train import checkpoint
path = Path(sys.argv[1])
arrays = {"network/a": np.ones((300, 300), np.float32)}
for limit in [0, 1, 500, *range(1000, 360_000, 20_000)]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    try:
        checkpoint.write(path, {"run": {}, "state": {}}, arrays)
    except OSError as error:
        assert error.errno == errno.EFBIG
        assert str(error) == f"{path} cannot be written: File too large; make room, or choose " \\
            "another place"
    else:
        assert False, "a limit that is none"
"""


def test_a_full_disk_leaves_the_old_one(path: Path) -> None:
    before = path.read_bytes()
    result = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == before


def test_leftovers_are_removed(path: Path) -> None:
    ours = [f".checkpoint.h5.{'0a' * 16}", f".curves.png.{'f' * 32}"]
    others = [".hidden", ".x.12", "notes.txt", f".a.{'z' * 32}"]
    for name in (*ours, *others):
        (path.parent / name).touch()
    checkpoint.remove_leftovers(path.parent)
    assert sorted(p.name for p in path.parent.iterdir()) == sorted([*others, path.name])


def pictures(root: Path, names: dict[str, int], classes: tuple[str, ...] = ("a", "b")) -> DataSet:
    return DataSet(classes, tuple(Example(root / name, k) for name, k in names.items()))


def test_a_data_set_is_known_by_names_and_labels(tmp_path: Path) -> None:
    names = {"a/1.png": 0, "a/2.png": 0, "b/1.png": 1}
    digest = checkpoint.digest(pictures(tmp_path / "x", names))
    assert digest.startswith("3 pictures of 2 classes, ")
    assert checkpoint.digest(pictures(tmp_path / "y", names)) == digest  # moved
    others = [
        pictures(tmp_path, {**names, "b/1.png": 0}),
        pictures(tmp_path, {**names, "b/2.png": 1}),
        pictures(tmp_path, dict(reversed(names.items()))),
        pictures(tmp_path, names, ("a", "c")),
    ]
    assert digest not in [checkpoint.digest(other) for other in others]
    assert checkpoint.digest(pictures(tmp_path, {})).startswith("0 pictures")


def test_a_header_is_strict_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint.write(tmp_path / "checkpoint.h5", {**HEADER, "notes": float("nan")}, {})
    assert list(tmp_path.iterdir()) == []
