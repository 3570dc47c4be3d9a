"""`minincep bench report`: one page, pictures if asked for, and nothing half."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import invented

COMMAND = [sys.executable, "-m", "minincep", "bench", "report"]


def run(folder: Path, *arguments: str, status: int, **environ: str) -> tuple[str, str]:
    """Run it in a folder, which the environment's packages are not looked up in."""
    result = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env=os.environ | environ,
    )
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.json").write_text(json.dumps(invented.record(2)))
    (tmp_path / "b.json").write_text(json.dumps(invented.record(2, seed=1)))
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_page(folder: Path) -> None:
    output, errors = run(folder, "a.json", status=0)
    assert (output, errors) == ("wrote report.html\n", "")
    assert (folder / "report.html").read_text("utf-8").startswith("<!doctype html>")
    assert names(folder) == {"a.json", "b.json", "report.html"}


def test_several_records_and_pictures(folder: Path) -> None:
    output, errors = run(folder, "a.json", "b.json", "-o", "x.html", "--plots", "plots", status=0)
    assert (output, errors) == ("wrote x.html, 10 pictures in plots\n", "")
    one = len(json.loads((folder / "a.json").read_text())["rows"])
    page = (folder / "x.html").read_text("utf-8")
    data = page.partition('id="data">')[2].partition("</script>")[0]
    assert one < len(json.loads(data)["rows"]) < 2 * one  # engines and steps are in both
    assert len(names(folder / "plots")) == 10


@pytest.mark.parametrize(
    ("content", "reason"),
    [("[]", "not an object"), ("{", "not JSON"), (None, "No such file"), ("different", "machines")],
)
def test_bad_records(folder: Path, content: str | None, reason: str) -> None:
    if content == "different":
        other = invented.record(1)
        other["machine"]["cpu"] = "Other CPU"
        content = json.dumps(other)
    if content is not None:
        (folder / "bad.json").write_text(content)
    before = names(folder)
    _, errors = run(folder, "a.json", "bad.json", "--plots", "plots", status=2)
    assert reason in errors
    assert len(errors.splitlines()) == 1
    assert names(folder) == before


def test_no_records(folder: Path) -> None:
    _, errors = run(folder, status=2)
    assert "RESULT" in errors


def test_a_place_that_is_none(folder: Path) -> None:
    before = names(folder)
    _, errors = run(folder, "a.json", "-o", "none/x.html", "--plots", "plots", status=2)
    assert "none is not a folder; make it first" in errors
    assert names(folder) == before


def test_a_failure_leaves_the_old_page(folder: Path) -> None:
    (folder / "report.html").write_text("old")
    (folder / "plots").write_text("in the way")
    _, errors = run(folder, "a.json", "--plots", "plots", status=2)
    assert "plots" in errors
    assert (folder / "report.html").read_text() == "old"
    assert names(folder) == {"a.json", "b.json", "report.html", "plots"}


def test_without_matplotlib(folder: Path) -> None:
    (folder / "matplotlib.py").write_text("raise ImportError")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    before = names(folder)
    _, errors = run(folder, "a.json", "--plots", "plots", status=2, PYTHONPATH=path)
    assert errors == (
        "minincep: no plots are drawn without matplotlib: pip install 'minincep[plot]'\n"
    )
    assert names(folder) - {"__pycache__"} == before
    run(folder, "a.json", status=0, PYTHONPATH=path)  # the page does without it
