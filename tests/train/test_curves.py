"""Pictures at the end: files of both kinds, with what they must show in them."""

import csv
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from minincep.train import curves
from minincep.train.evaluate import Report
from minincep.train.log import Epoch, Step

STEPS = [Step(n, n / 4, 2 / n, 0.5, 0.01 / n, 10.0) for n in range(1, 13)]
EPOCHS = [Epoch(4 * n, n, 2 / n, n / 4, 1 / n, n / 5, n == 3, 1.0) for n in range(1, 4)]
UNMEASURED = [Epoch(4, 1, 2.0, 0.5, None, None, False, 1.0)]


def result(count: int) -> Report:
    names = tuple(
        f"class ${k}_{{" if k else "ein sehr langer Name einer Klasse" for k in range(count)
    )
    return Report(names, np.diag(np.arange(count)) + 1, 0.5, None)


def check(paths: list[Path]) -> None:
    png, svg = sorted(paths)
    assert (png.suffix, svg.suffix) == (".png", ".svg")
    with Image.open(png) as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20  # lines and letters
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


@pytest.mark.parametrize("epochs", [EPOCHS, UNMEASURED, []])
def test_curves(tmp_path: Path, epochs: list[Epoch]) -> None:
    check(curves.draw_curves(STEPS if epochs else [], epochs, tmp_path / "curves"))
    assert len(list(tmp_path.iterdir())) == 2
    text = (tmp_path / "curves.svg").read_text()
    assert ("validation" in text) == (epochs is EPOCHS)
    assert ("best: 60.0%, epoch 3" in text) == (epochs is EPOCHS)


@pytest.mark.parametrize("classes", [2, 20, 60])
def test_confusion(tmp_path: Path, classes: int) -> None:
    check(curves.draw_confusion(result(classes), tmp_path / "confusion"))
    text = (tmp_path / "confusion.svg").read_text()
    assert ("class $1_{" in text) == (classes <= curves.LABELLED)
    assert ("ein sehr langer Name ei…" in text) == (classes <= curves.LABELLED)


def test_table(tmp_path: Path) -> None:
    curves.write_csv(result(3), tmp_path / "confusion.csv")
    with (tmp_path / "confusion.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header[1:] == list(result(3).classes)
    assert rows == [
        [header[1], "1", "1", "1"],
        ["class $1_{", "1", "2", "1"],
        ["class $2_{", "1", "1", "3"],
    ]


def test_no_class_in_the_table_is_a_formula(tmp_path: Path) -> None:
    report = Report(("=cmd", "+1", "a"), np.eye(3, dtype=np.int64), 0.5, None)
    curves.write_csv(report, tmp_path / "confusion.csv")
    text = (tmp_path / "confusion.csv").read_text()
    assert text == "is \\ taken for,'=cmd,'+1,a\n'=cmd,1,0,0\n'+1,0,1,0\na,0,0,1\n"


def test_matplotlib_is_not_needed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    assert curves.available()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not curves.available()
