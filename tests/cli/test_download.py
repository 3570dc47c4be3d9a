"""`minincep download`, but for the transfer."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minincep as mi
from minincep import cli
from minincep.io import download as module
from minincep.io.catalogue import CATALOGUE
from minincep.io.download import Fetched

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs `minincep` with a cache folder of its own: -> status, output, errors."""
    monkeypatch.setenv("MININCEP_CACHE_DIR", str(tmp_path))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["minincep", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output, errors = capsys.readouterr()
        return int(caught.value.code or 0), output, errors

    return run


def test_the_list(run: Run, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "inception_v4.h5").touch()
    status, output, _ = run("download", "--list")
    assert status == 0
    for name, published in CATALOGUE.items():
        assert f"{name}{', is here' if name == 'inception_v4' else ''}\n" in output
        assert published.url in output
        assert published.license in output


@pytest.mark.parametrize("names", [[], ["inception_v5"]])
def test_what_is_not_there(run: Run, names: list[str]) -> None:
    status, _, errors = run("download", *names)
    assert status == 2
    assert "'minincep download --list' shows them" in errors


def test_commands_name_the_command(run: Run) -> None:
    picture = mi.__path__[0] + "/../examples/eggs/pictures/broken.jpg"
    for name in ("inception_resnet_v2", "inception_resnet_v1_casia"):
        status, _, errors = run("classify", picture, "--weights", name)
        assert status == 2
        assert f"'minincep download {name}' fetches them" in errors


def test_fetched_once_and_found_by_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[tuple[str, Path]] = []

    def download(name: str, target: Path, shown: Any) -> Fetched:
        fetched.append((name, target))
        network = mi.create_model("inception_v4", num_classes=2, width=0.02, blocks=(1, 1, 1))
        target.parent.mkdir(exist_ok=True)
        mi.save(network, target)
        return Fetched(network, "abc", verified=False)

    monkeypatch.setattr(module, "download", download)
    place = tmp_path / "weights" / "inception_v4.h5"
    status, output, errors = run("download", "inception_v4")
    assert (status, fetched) == (0, [("inception_v4", place)])
    assert f"{place}: inception_v4, sha256 abc" in output
    assert "171 MB, license as far as known: Apache-2.0" in errors
    assert "could not be verified" in errors
    assert mi.load("inception_v4").config["num_classes"] == 2

    status, output, _ = run("download", "inception_v4")
    assert (status, len(fetched)) == (0, 1)
    assert "is there already; --force fetches it again" in output
    assert run("download", "inception_v4", "--force")[0] == 0
    elsewhere = tmp_path / "elsewhere.h5"
    assert run("download", "inception_v4", "-o", elsewhere)[0] == 0
    assert fetched[1:] == [("inception_v4", place), ("inception_v4", elsewhere)]


@pytest.mark.parametrize("left", [False, True])
def test_interrupted(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left: bool) -> None:
    """While it is fetched, or when it has come and is converted."""

    def download(name: str, target: Path, shown: Any) -> Fetched:
        if left:
            target.parent.mkdir()
            target.with_name(f"{target.name}.part").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "download", download)
    status, _, errors = run("download", "inception_v4")
    assert status == 130
    assert ("the same command goes on with what has come" in errors) == left
