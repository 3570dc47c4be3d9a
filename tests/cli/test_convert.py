"""`minincep convert`: what it writes, what it refuses, and that nothing is left of what fails."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minincep as mi
from minincep import cli, export
from minincep.io.hdf5 import DEFAULT
from minincep_kernels import Array
from tests.io.names.listings import SOURCES, Shapes
from tests.io.names.test_tables import slots, without
from tests.io.stand_ins import nothing, numbers, stand_in, use

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in a folder of its own -> exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.bin").touch()

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["minincep", "convert", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output, errors = capsys.readouterr()
        return int(caught.value.code or 0), output, errors

    return run


def hold(monkeypatch: pytest.MonkeyPatch, shapes: Shapes, read: Any = nothing) -> None:
    """Let net.bin, which is empty, hold arrays of these names and shapes."""
    use(monkeypatch, stand_in(shapes, read))


def test_a_file_of_others(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hold(monkeypatch, SOURCES["keras_facenet"](), numbers)
    status, output, errors = run("net.bin", "-o", "face.h5")
    assert (status, errors) == (0, "")
    assert output == (
        "face.h5: inception_resnet_v1, 490 arrays, 22,808,144 values, from net.bin, Keras, facenet "
        "family\n"
    )
    network = mi.load(tmp_path / "face.h5")
    assert network.preprocessing.scaling == "whitening"
    weight = numbers("Bottleneck/kernel", (1792, 128))
    np.testing.assert_array_equal(network.arrays()["bottleneck/weight"], weight)


def test_the_background_must_be_decided(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hold(monkeypatch, SOURCES["slim_v4"]())
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(["background", *map(str, range(1000))]))
    status, _, errors = run("net.bin", "-o", "net.h5", "--labels", labels)
    assert status == 2
    assert "--background drop" in errors
    assert "--background keep" in errors
    assert not (tmp_path / "net.h5").exists()
    status, _, _ = run("net.bin", "-o", "net.h5", "--labels", labels, "--background", "drop")
    assert status == 0
    network = mi.load(tmp_path / "net.h5")
    assert network.labels is not None
    assert list(network.labels) == [str(n) for n in range(1000)]


def test_moving_averages(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = SOURCES["facenet_alone"]()
    hold(monkeypatch, shapes | slots(shapes, "ExponentialMovingAverage"))
    status, output, _ = run("net.bin", "-o", "a.h5")
    assert status == 0
    assert "facenet, moving averages" in output
    status, output, _ = run("net.bin", "-o", "b.h5", "--no-moving-averages")
    assert status == 0
    assert "moving averages" not in output
    hold(monkeypatch, shapes)
    status, _, errors = run("net.bin", "-o", "c.h5", "--moving-averages")
    assert status == 2
    assert "no moving average" in errors


def test_a_new_classifier(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hold(monkeypatch, without(SOURCES["timm_v4"](), "last_linear."))
    status, _, errors = run("net.bin", "-o", "net.h5")
    assert status == 2
    assert "--num-classes N" in errors
    assert run("net.bin", "-o", "net.h5", "--num-classes", "3")[0] == 0
    assert mi.load(tmp_path / "net.h5").config["num_classes"] == 3


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit(143), MemoryError])
def test_nothing_is_left_of_an_interrupted_run(
    failure: Any, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = 0

    def interrupted(name: str, shape: tuple[int, ...]) -> Array:
        nonlocal read
        read += 1
        if read == 100:
            raise failure
        return nothing(name, shape)

    hold(monkeypatch, SOURCES["keras_facenet"](), interrupted)
    before = sorted(tmp_path.iterdir())
    if failure is MemoryError:
        monkeypatch.setattr(sys, "argv", ["minincep", "convert", "net.bin", "-o", "net.h5"])
        with pytest.raises(MemoryError):
            cli.main()
    else:
        assert run("net.bin", "-o", "net.h5")[0] in (130, 143)
    assert sorted(tmp_path.iterdir()) == before


def test_progress_on_a_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hold(monkeypatch, SOURCES["keras_facenet"]())
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    status, _, errors = run("net.bin", "-o", "net.h5")
    assert status == 0
    assert "arrays" in errors
    assert "100%" in errors


# --- weights files of ours -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["-o", "eggs.onnx"], "onnx"),
        (["-o", "eggs.safetensors"], "safetensors"),
        (["-o", "eggs.h5", "--to", "keras"], "keras"),
        (["-o", "eggs.bin", "--to", "onnx"], "onnx"),
    ],
)
@pytest.mark.parametrize("source", ["eggs", DEFAULT])
def test_the_other_way(
    source: object, arguments: list[str], kind: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, str, str]] = []
    monkeypatch.setattr(
        export,
        "export",
        lambda network, path, kind: written.append((network.architecture, str(path), kind)),
    )
    status, output, _ = run(source, *arguments)
    assert status == 0
    assert [row[1:] for row in written] == [(arguments[1], kind)]
    assert output.startswith(f"{arguments[1]}: {written[0][0]}, ")


def test_others_become_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(monkeypatch, SOURCES["keras_facenet"]())
    written: list[str] = []
    monkeypatch.setattr(export, "export", lambda network, path, kind: written.append(kind))
    assert run("net.bin", "-o", "net.onnx")[0] == 0
    assert written == ["onnx"]


def test_ours_are_not_converted_to_ours(run: Run, tmp_path: Path) -> None:
    status, _, errors = run("eggs", "-o", "again.h5")
    assert status == 2
    assert "already a weights file of minincep" in errors
    assert "--to" in errors
    status, _, errors = run("eggs", "-o", "net.onnx", "--background", "drop")
    assert status == 2
    assert "only -o, --to and --force apply" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["net.bin"]


def test_labels_that_cannot_be_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(monkeypatch, SOURCES["timm_v4"]())
    status, _, errors = run("net.bin", "-o", "net.h5", "--labels", "absent.txt")
    assert status == 2
    assert "absent.txt cannot be read" in errors


def test_the_help_names_every_source_and_option(run: Run) -> None:
    status, output, _ = run("--help")
    assert status == 0
    words = " ".join(output.split())
    for word in ("timm", "Cadene", "facenet-pytorch", "kentsommer", "TF-slim", "safetensors"):
        assert word in words
    for option in ("--to", "--background", "--labels", "--moving-averages", "--num-classes"):
        assert option in words


@pytest.mark.parametrize("name", ["net.pth", "net.keras", "net.weights.h5", "net.CKPT"])
def test_files_that_are_not_written(run: Run, name: str) -> None:
    status, output, errors = run("net.bin", "-o", name)
    assert (status, output) == (2, "")
    assert "such files are not written" in errors
