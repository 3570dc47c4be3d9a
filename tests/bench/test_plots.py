"""Pictures of a record: files of both kinds, what must be in them, and no words on words."""

import dataclasses
import itertools
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from minincep.bench import plots
from minincep.bench.record import Record, load
from minincep.bench.summary import BEST, bars, blocks, groups
from tests.bench import invented


def record(tmp_path: Path, content: dict[str, Any]) -> Record:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    return load(path)


@pytest.fixture
def some(tmp_path: Path) -> Record:
    return record(tmp_path, invented.record(12))


def words(figure: Figure) -> list[Text]:
    """All that is written and seen."""
    beyond = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    return [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text)
        and id(text) not in beyond
        and text.get_visible()
        and text.get_text().strip()
    ]


def check_readable(figure: Figure) -> None:
    """No two words overlap, and none is cut."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in words(figure)]
    boxes = [(text, box) for text, box in boxes if box.width]
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
        assert box.y1 <= figure.bbox.y1, text
    for (one, box), (other, place) in itertools.combinations(boxes, 2):
        assert not box.overlaps(place), (one, other)


def test_files(some: Record, tmp_path: Path) -> None:
    found = plots.draw(some, tmp_path / "new" / "plots")
    assert sorted(path.name for path in found) == sorted(
        f"{name}.{kind}"
        for kind in ("png", "svg")
        for name in (
            *("roofline_conv2d_warm_1", "roofline_conv2d_warm_2", "ladder_conv2d_warm"),
            "blocks_inception_resnet_v2_1_picture_1",
            "blocks_inception_resnet_v2_1_picture_2",
        )
    )
    assert set((tmp_path / "new" / "plots").iterdir()) == set(found)
    for path in found:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width >= 1600
                assert len(np.unique(np.asarray(image.convert("L")))) > 20
        else:
            assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_the_same_record_gives_the_same_files(tmp_path: Path) -> None:
    content = invented.record(1, threads=(1,))
    content["rows"] = [row for row in content["rows"] if row["op"] == "conv2d"]
    some = record(tmp_path, content)
    first = [path.read_bytes() for path in plots.draw(some, tmp_path / "a")]
    assert first == [path.read_bytes() for path in plots.draw(some, tmp_path / "b")]


def test_roofline(some: Record) -> None:
    rows = groups(some.rows)["conv2d", 1, "warm"]
    figure = plots.roofline(rows, some.roof[1], "conv2d, 1 thread")
    seen = "\n".join(text.get_text() for text in words(figure))
    for name in invented.LADDER:
        assert name in seen
    assert "winograd_1d\n" in seen
    assert "effective" in seen
    assert "FMA peak\n110 GFLOP/s" in seen
    for roof in ("L1 400 GB/s", "L2 160 GB/s", "L3 60 GB/s", "memory 12 GB/s"):
        assert roof in seen
    (axes,) = figure.axes
    marks = [np.asarray(points.get_offsets()).shape[0] for points in axes.collections]
    assert sum(marks) == len(rows) + len(invented.LADDER)  # of each layer, and of each variant
    check_readable(figure)
    alike = [row for row in rows if row.variant == "naive"]
    figure = plots.roofline(alike, some.roof[1], "conv2d, 1 thread")
    check_readable(figure)
    names = [text for text in words(figure) if "GB/s" in text.get_text()]
    assert len(names) == 4
    for text in names:
        assert text.get_window_extent().y1 < figure.axes[0].bbox.y1


def test_many_variants_have_room(some: Record) -> None:
    rows = groups(some.rows)["conv2d", 1, "warm"]
    more = [
        dataclasses.replace(row, variant=f"{row.variant}_{number}", below=None)
        for row in rows
        for number in range(3)
    ]
    figure = plots.roofline(more, some.roof[1], "conv2d, 1 thread")
    check_readable(figure)
    (axes,) = figure.axes
    pairs = {
        (
            np.asarray(points.get_paths()[0].vertices).tobytes(),
            np.asarray(points.get_edgecolor()).tobytes(),
        )
        for points in axes.collections[::2]
    }
    assert len(pairs) == 3 * len(invented.LADDER)  # no sign comes twice


def test_effective_signs_are_hollow(some: Record) -> None:
    rows = groups(some.rows)["conv2d", 1, "warm"]
    figure = plots.roofline(rows, None, "")
    (axes,) = figure.axes
    small = {
        bar.variant: axes.collections[2 * index]
        for index, bar in enumerate(bar for bar in bars(rows) if bar.kind != "best")
    }
    assert (np.asarray(small["winograd_1d"].get_facecolor())[:, 3] == 0).all()
    assert (np.asarray(small["tile_direct"].get_facecolor())[:, 3] > 0.4).all()


@pytest.mark.parametrize("threads", [(1,), (1, 2), (1, 2, 4)])
def test_ladder(tmp_path: Path, threads: tuple[int, ...]) -> None:
    some = record(tmp_path, invented.record(12, threads=threads))
    tables = groups(some.rows)
    panels = [(f"{n} threads", bars(tables["conv2d", n, "warm"]), some.roof[n]) for n in threads]
    figure = plots.ladder(panels, "The ladder of conv2d")
    names = [text.get_text().split("\n")[0] for text in figure.axes[0].get_yticklabels()]
    assert sorted(names) == sorted([*invented.LADDER, BEST])
    heights = {
        text.get_text().split("\n")[0]: text.get_position()[1]
        for text in figure.axes[0].get_yticklabels()
    }
    climbed = ["pointwise", *(name for name in invented.LADDER if name != "pointwise"), BEST]
    assert sorted(heights, key=lambda name: heights[name]) == climbed
    first = panels[0][1][1]
    seen = [text.get_text() for text in words(figure)]
    assert f"{first.gflops:.3g}, ×{first.step:.2f}\n{first.share:.0%} of the roof" in seen
    check_readable(figure)


def test_network(some: Record) -> None:
    parts = blocks(some.rows)["inception_resnet_v2, 1 picture", 1]
    figure = plots.network(parts, "inception_resnet_v2, 1 thread")
    seen = [text.get_text() for text in words(figure)]
    for block in invented.STEPS:
        assert block in seen
    total = sum(sum(part.seconds.values()) for part in parts)
    assert f"inception_resnet_v2, 1 thread: {1e3 * total:.3g} ms" in seen
    for part, y in zip(parts, range(len(parts)), strict=True):
        pieces = [
            (bar.get_x(), bar.get_width())
            for bar in figure.axes[0].patches
            if isinstance(bar, Rectangle) and abs(bar.get_y() + bar.get_height() / 2 - y) < 0.1
        ]
        end = 0.0
        for start, width in sorted(piece for piece in pieces if piece[1]):
            assert start == pytest.approx(end)  # each begins where the one before it ends
            end = start + width
        assert end == pytest.approx(1e3 * sum(part.seconds.values()))


def test_hostile_names(tmp_path: Path) -> None:
    some = record(tmp_path, invented.hostile(threads=(1,)))
    folder = tmp_path / "plots"
    found = plots.draw(some, folder)
    assert len(found) == 8  # no roofline of what does nothing
    assert set(tmp_path.iterdir()) == {folder, tmp_path / "record.json"}
    for path in found:
        assert path.parent == folder
        if path.suffix == ".svg":
            tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
            assert not tags & {"script", "img", "image", "foreignObject"}


def test_without_matplotlib(some: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(plots.PlotError, match=r"pip install 'minincep\[plot\]'"):
        plots.draw(some, tmp_path / "plots")
    assert not (tmp_path / "plots").exists()


def test_a_record_without_rows_has_no_pictures(tmp_path: Path) -> None:
    some = record(tmp_path, invented.record(1) | {"rows": []})
    assert plots.draw(some, tmp_path / "plots") == []
