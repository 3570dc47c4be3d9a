"""`minincep evaluate`: numbers for people and for machines."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import minincep as mi
from minincep import cli
from tests.train import small

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process: arguments -> exit status, standard output and error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        words = ["minincep", "evaluate", *map(str, arguments), "--workers", "0", "--threads", "1"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output, errors = capsys.readouterr()
        return int(caught.value.code or 0), output, errors

    return run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return small.pictures(tmp_path / "source", 2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that knows one class more, in another order, and takes everything for red."""
    network = small.network(num_classes=4)
    network.labels = ["red", "green", "yellow", "blue"]
    network.parameters()["logits/weight"].data[...] = 0
    network.parameters()["logits/bias"].data[...] = [1, 0, 0, 0]
    path = tmp_path_factory.mktemp("weights") / "small.h5"
    mi.save(network, path)
    return path


def test_for_people(run: Run, weights: Path, source: Path) -> None:
    status, output, errors = run(weights, source, "--confused", 3)
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0].startswith("6 pictures: accuracy 33.3%, loss 1.4103")
    rows = [line.split() for line in lines[2:6]]
    assert rows == [
        ["red", "2", "33.3%", "100.0%", "50.0%"],
        ["green", "2", "-", "0.0%", "0.0%"],
        ["yellow", "0", "-", "-", "-"],
        ["blue", "2", "-", "0.0%", "0.0%"],
    ]
    assert [line.split() for line in lines[8:10]] == [
        ["1", "red", "2", "0", "0", "0"],
        ["2", "green", "2", "0", "0", "0"],
    ]
    assert len(lines[12:]) == 3
    assert all("taken for red (47.5%)" in line for line in lines[12:])


@pytest.mark.parametrize("options", [[], ["--kernels", "conv2d=im2col"]])
def test_for_machines(run: Run, weights: Path, source: Path, options: list[str]) -> None:
    status, output, errors = run(weights, source, "--json", "--confused", 1, *options)
    assert (status, errors) == (0, "")
    found = json.loads(output)
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["confusion"][3] == [2, 0, 0, 0]
    assert found["classes"][2]["recall"] is None
    assert [row["taken_for"] for row in found["confused"]] == ["red"]
    assert found["skipped"] == []


def test_pictures_that_cannot_be_read(run: Run, weights: Path, source: Path) -> None:
    (source / "red/0.png").write_bytes(b"no picture")
    status, output, errors = run(weights, source)
    assert status == 2
    assert output.startswith("5 pictures: ")
    assert errors.startswith(f"minincep: {source}/red/0.png: not a picture")


def test_classes_that_the_network_does_not_know(run: Run, weights: Path, source: Path) -> None:
    (source / "red").rename(source / "pink")
    status, output, errors = run(weights, source)
    assert (status, output) == (2, "")
    assert "'pink' is not among the 4 classes" in errors


def test_a_network_without_labels(run: Run, tmp_path: Path, source: Path) -> None:
    network = small.network()
    network.labels = None
    mi.save(network, tmp_path / "plain.h5")
    status, _, errors = run(tmp_path / "plain.h5", source)
    assert status == 2
    assert "does not name its classes" in errors


def test_no_weights(run: Run, tmp_path: Path, source: Path) -> None:
    status, _, errors = run(tmp_path / "no.h5", source)
    assert status == 2
    assert "no such file" in errors


def test_names_do_not_change_the_terminal(run: Run, weights: Path, source: Path) -> None:
    odd, shown = "\x1b[2J\n\u202e.png", "\ufffd[2J\ufffd\ufffd.png"
    (source / "blue/0.png").rename(source / f"blue/{odd}")
    (source / f"blue/bad{odd}").write_bytes(b"no picture")
    status, output, errors = run(weights, source, "--confused", 9)
    assert status == 2
    assert f"  {source}/blue/{shown}: blue, taken for red (47.5%)" in output.splitlines()
    assert (
        errors == f"minincep: {source}/blue/bad{shown}: not a picture of a kind that can be read\n"
    )
    _, output, _ = run(weights, source, "--confused", 9, "--json")
    found = json.loads(output)
    assert str(source / f"blue/{odd}") in [row["path"] for row in found["confused"]]
    assert [row["path"] for row in found["skipped"]] == [str(source / f"blue/bad{odd}")]


def test_numbers_that_are_not_finite(run: Run, tmp_path: Path, source: Path) -> None:
    """JSON has none; and nothing warns of them."""
    network = small.network()
    network.parameters()["logits/weight"].data[...] = np.finfo(np.float32).max
    mi.save(network, tmp_path / "large.h5")

    def refused(word: str) -> None:
        raise AssertionError(word)

    status, output, errors = run(tmp_path / "large.h5", source, "--json", "--confused", 9)
    assert (status, errors) == (0, "")
    found = json.loads(output, parse_constant=refused)
    assert found["loss"] is None
    assert None in [row["probability"] for row in found["confused"]]
