"""Folders of pictures: found, streamed, written to files, interrupted, gone on with."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import minincep as mi
import minincep.predict
from minincep.io import reference

MAIN = [sys.executable, "-m", "minincep"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pictures of all kinds, 3 files that are none, 2 pictures in a folder inside."""
    folder = tmp_path_factory.mktemp("belt")
    for seed in range(12):
        image: Any = Image.fromarray(reference.picture(60 + 7 * seed, 90, seed))
        match seed % 4:
            case 0:
                image.save(folder / f"{seed:02}.jpg")
            case 1:
                image.convert("RGBA").save(folder / f"{seed:02}.PNG")
            case 2:
                image.quantize(16).save(folder / f"{seed:02}.gif")
            case _:
                image.convert("CMYK").save(folder / f"{seed:02}.tiff")
    (folder / "notes.txt").write_text("not a picture, and not called one")
    (folder / "03b.jpg").write_text("not a picture, but called one")
    (folder / "05b.png").write_bytes((folder / "05.PNG").read_bytes()[:300])
    (folder / "inside").mkdir()
    for seed in (20, 21):
        Image.fromarray(reference.picture(80, 80, seed)).save(folder / f"inside/{seed}.bmp")
    return folder


def run(*arguments: object, status: int = 0) -> tuple[str, str]:
    result = subprocess.run([*MAIN, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == status, result.stderr
    return result.stdout, result.stderr


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def names(folder: Path) -> list[str]:
    """The pictures in the folder that can be read, in order."""
    paths = sorted(
        p for p in folder.iterdir() if p.suffix.lower() in {".jpg", ".png", ".gif", ".tiff"}
    )
    return [str(p) for p in paths if p.name not in {"03b.jpg", "05b.png"}]


def test_a_folder_streams_and_bad_pictures_come_last(folder: Path) -> None:
    output, errors = run("classify", folder, "--json", "--batch-size", 5, status=2)
    answers = [json.loads(line) for line in output.splitlines()]
    good = [answer for answer in answers if "predictions" in answer]
    assert [answer["image"] for answer in good] == names(folder)
    assert [Path(answer["image"]).name for answer in answers[12:]] == ["03b.jpg", "05b.png"]
    assert "2 of 14 pictures could not be read" in errors
    expected = mi.classify(mi.load(), names(folder))
    for answer, predictions in zip(good, expected, strict=True):
        assert answer["predictions"][0]["label"] == predictions[0].label
        assert answer["predictions"][0]["probability"] == pytest.approx(
            predictions[0].probability, abs=1e-4
        )


def test_folders_inside_and_patterns(folder: Path) -> None:
    output, _ = run("classify", folder, "--recursive", "--json", status=2)
    assert output.count("predictions") == 14
    output, _ = run("classify", f"{folder}/*.gif", f"{folder}/inside", "--json")
    assert output.count("predictions") == 5


@pytest.mark.parametrize(
    ("what", "message"),
    [("empty", "no pictures in this folder; --recursive"), ("*.xyz", "nothing matches")],
)
def test_nothing_to_do(tmp_path: Path, what: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    assert message in run("classify", tmp_path / what, status=2)[1]


def test_csv_and_resume(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "eggs.csv"
    run("classify", f"{folder}/0[0-4].*", "--csv", table, "--top", 2)
    first = table.read_bytes()
    assert rows(table)[0] == ["image", "label_1", "probability_1", "label_2", "probability_2"]
    assert [row[0] for row in rows(table)[1:]] == names(folder)[:5]

    assert "is there already" in run("classify", folder, "--csv", table, "--top", 2, status=2)[1]
    assert (
        "other columns"
        in run("classify", folder, "--csv", table, "--top", 1, "--resume", status=2)[1]
    )
    assert table.read_bytes() == first

    table.write_bytes(first + b"half a line")  # as a crash in the middle of writing leaves it
    run("classify", folder, "--csv", table, "--top", 2, "--resume", status=2)
    assert table.read_bytes().startswith(first)
    assert [row[0] for row in rows(table)[1:]] == names(folder)
    assert all(row[1].endswith(" egg") and 0.5 <= float(row[2]) <= 1 for row in rows(table)[1:])

    whole = table.read_bytes()
    run("classify", folder, "--csv", table, "--top", 2, "--resume", status=2)
    assert table.read_bytes() == whole


def test_names_with_commas_and_lines(tmp_path: Path) -> None:
    odd = tmp_path / 'a, "b"\nc.png'
    Image.fromarray(reference.picture(80, 80)).save(odd)
    table = tmp_path / "odd.csv"
    run("classify", odd, "--csv", table)
    run("classify", odd, "--csv", table, "--resume")
    assert [row[0] for row in rows(table)] == ["image", str(odd)]


def test_interrupted_and_gone_on_with(folder: Path, tmp_path: Path) -> None:
    """Ctrl-C keeps what is done, and nothing is done twice."""
    many = [str(folder / "00.jpg")] * 3000
    listed = tmp_path / "many"
    listed.mkdir()
    for index in range(len(many)):
        (listed / f"{index:04}.jpg").symlink_to(many[index])
    table = tmp_path / "many.csv"
    command = [*MAIN, "classify", str(listed), "--csv", str(table), "--batch-size", "4"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=default_interrupt
    )
    while not (table.exists() and table.read_bytes().count(b"\n") > 5):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.communicate()[1]
    assert process.returncode == 130
    done = len(rows(table)) - 1
    assert 5 <= done < len(many)
    for path in sorted(listed.iterdir())[done + 10 :]:
        path.unlink()
    run("classify", listed, "--csv", table, "--resume")
    found = [row[0] for row in rows(table)[1:]]
    assert len(found) == len(set(found)) == done + 10


def default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_from_outside(folder: Path, tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM or SIGHUP leaves a whole file with what was done, as Ctrl-C does, and no other."""
    listed = tmp_path / "listed"
    listed.mkdir()
    for count in range(3000):
        (listed / f"{count:04}.gif").symlink_to(folder / "02.gif")
    results = tmp_path / "results"
    results.mkdir()
    command = [*MAIN, "embed", str(listed), "-o", str(results / "all.h5"), "--batch-size", "1"]
    before = signal.signal(number, signal.SIG_DFL)  # nohup has one of them ignored
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(number, before)
    deadline = time.monotonic() + 120
    while not list(results.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1)
    process.send_signal(number)
    assert process.communicate()[1] == ""
    assert process.returncode == 128 + number
    assert [path.name for path in results.iterdir()] == ["all.h5"]
    with h5py.File(results / "all.h5") as file:
        assert 0 < len(file["images"]) == len(file["embeddings"]) < 3000


@pytest.mark.parametrize("command", ["classify --csv", "embed -o"])
def test_nothing_is_left_where_nothing_was_to_do(tmp_path: Path, command: str) -> None:
    name, option = command.split()
    (tmp_path / "empty").mkdir()
    run(name, tmp_path / "empty", option, tmp_path / "table.h5", status=2)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_embeddings_in_files(folder: Path, tmp_path: Path) -> None:
    expected = mi.embed(mi.load(), names(folder))
    run("embed", folder, "-o", tmp_path / "all.npy", status=2)
    np.testing.assert_allclose(np.load(tmp_path / "all.npy"), expected, atol=1e-4)

    path = tmp_path / "some.h5"
    run("embed", f"{folder}/0[0-4].*", "-o", path)
    assert "is there already" in run("embed", folder, "-o", path, status=2)[1]
    run("embed", folder, "-o", path, "--resume", status=2)
    with h5py.File(path) as file:
        assert [name.decode() for name in file["images"]] == names(folder)
        np.testing.assert_allclose(file["embeddings"], expected, atol=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.npy", "some.h5"]


def test_features(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "features.h5"
    chosen = ["Mixed_6a", "PreLogitsFlatten"]
    run("features", f"{folder}/*.gif", "--endpoints", ",".join(chosen), "-o", path)
    network = mi.load()
    gifs = [name for name in names(folder) if name.endswith("gif")]
    x = np.stack([mi.predict.prepare_picture(network, name) for name in gifs])
    expected = mi.features(network, x, endpoints=chosen)
    with h5py.File(path) as file:
        for name in chosen:
            np.testing.assert_allclose(file[name], expected[name], atol=1e-3)
    before = path.read_bytes()
    errors = run("features", folder, "--endpoints", "Logits", "-o", path, "--resume", status=2)[1]
    assert "has no Logits" in errors
    errors = run("features", folder, "--endpoints", "Mixed_6z", "-o", tmp_path / "x.h5", status=2)[
        1
    ]
    assert "no end point 'Mixed_6z'" in errors
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["features.h5"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed", "-o", "x.txt"], "must end in .h5 or .npy"),
        (["embed", "-o", "x.npy", "--resume"], "--resume needs"),
        (["embed", "-o", "x.h5", "--json"], "without --distances and --json"),
        (["embed", "-o", "no/such/x.h5"], "no/such"),
        (["classify", "--resume"], "--resume needs"),
        (["classify", "--csv", "no/such/x.csv"], "no/such/x.csv"),
        (["classify", "--csv", "/dev/null", "--resume"], "is not a file"),
        (["embed", "-o", "/", "--resume"], "must end in"),
        (["features", "--endpoints", "Logits", "-o", "no/such/x.h5"], "no/such"),
    ],
)
def test_mistakes(folder: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = subprocess.run(
        [*MAIN, *arguments, str(folder / "00.jpg")], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_results_of_another_kind(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    errors = run("embed", folder, "-o", path, "--resume", status=2)[1]
    assert "holds no results of minincep" in errors
    path.write_text("no HDF5")
    assert "not an HDF5 file" in run("embed", folder, "-o", path, "--resume", status=2)[1]
