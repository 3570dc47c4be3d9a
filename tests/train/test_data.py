"""Listing pictures: classes, order, what is left out, and mistakes."""

import re
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

import minincep.train.data
from minincep.train.data import DataSet, Example, from_csv, image_folder, read, with_classes
from minincep_kernels.errors import ConfigError


def pictures(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, "PNG")
    return root


def names(data: DataSet, root: Path) -> list[tuple[str, str]]:
    """Each picture's path in the folder, and its class."""
    return [(e.path.relative_to(root).as_posix(), data.classes[e.label]) for e in data.examples]


def test_classes_are_folders_in_order_of_names(tmp_path: Path) -> None:
    pictures(tmp_path, "b/2.png", "b/10.JPG", "a/x.tiff", "b/deep/er/1.webp", "10/q.gif", "2/q.bmp")
    data = image_folder(tmp_path)
    assert data.classes == ("10", "2", "a", "b")
    assert names(data, tmp_path) == [
        ("10/q.gif", "10"),
        ("2/q.bmp", "2"),
        ("a/x.tiff", "a"),
        ("b/10.JPG", "b"),
        ("b/2.png", "b"),
        ("b/deep/er/1.webp", "b"),
    ]
    assert data.counts() == (1, 1, 1, 3)
    assert len(data) == 6
    assert data.skipped == ()


def test_the_order_of_the_file_system_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path, *(f"{c}/{n}.png" for c in "cab" for n in (3, 1, 2)), "a/in/0.png")
    data = image_folder(tmp_path)
    entries = minincep.train.data._Listing.entries
    monkeypatch.setattr(
        minincep.train.data._Listing, "entries", lambda self, folder: entries(self, folder)[::-1]
    )
    assert image_folder(tmp_path) == data


def test_what_is_no_picture(tmp_path: Path) -> None:
    """Hidden files are passed over; others are listed with a reason; nothing is opened."""
    pictures(tmp_path, "a/1.png", "b/1.png", "a/.hidden.png", ".git/x.png", "a/.cache/y.png")
    (tmp_path / "a/notes.txt").write_text("seen from the left")
    (tmp_path / "a/none.png").symlink_to("nowhere.png")
    (tmp_path / "a/self").symlink_to("self")
    (tmp_path / "b/no picture.png").write_text("found by the loader, not here")
    pictures(tmp_path, "stray.png")
    data = image_folder(tmp_path)
    assert data.classes == ("a", "b")
    assert names(data, tmp_path) == [("a/1.png", "a"), ("b/1.png", "b"), ("b/no picture.png", "b")]
    assert {(path.name, reason) for path, reason in data.skipped} == {
        ("stray.png", "in the folder of no class"),
        ("notes.txt", "no picture by its name"),
        ("none.png", "no file, or a link that leads nowhere"),
        ("self", "no file, or a link that leads nowhere"),
    }


def test_links(tmp_path: Path) -> None:
    """Links to pictures and to folders are followed, each folder once."""
    root = pictures(tmp_path / "set", "a/1.png", "b/1.png", "a/in/2.png")
    pictures(tmp_path / "store", "3.png")
    (root / "a/loop").symlink_to(root)
    (root / "a/in/up").symlink_to("..")
    (root / "b/again").symlink_to(root / "a/in")
    (root / "b/far").symlink_to(tmp_path / "store")
    (root / "b/4.png").symlink_to(tmp_path / "store/3.png")
    data = image_folder(root)
    assert names(data, root) == [
        ("a/1.png", "a"),
        ("a/in/2.png", "a"),
        ("b/1.png", "b"),
        ("b/4.png", "b"),
        ("b/far/3.png", "b"),
    ]
    assert sorted(path.name for path, _ in data.skipped) == ["again", "loop", "up"]
    assert dict(data.skipped)[root / "a/loop"] == f"the same folder as {root}"

    (root / "c").symlink_to(root / "a")
    with pytest.raises(ConfigError, match=r"a' and '.*c' are one class"):
        image_folder(root)


def test_names_that_look_the_same(tmp_path: Path) -> None:
    """A name may be written with composed letters or with separate accents: it is one class."""
    pictures(tmp_path, "Küken/1.png", "Ei/1.png")
    assert image_folder(tmp_path).classes == ("Ei", "Küken")
    pictures(tmp_path, unicodedata.normalize("NFD", "Küken") + "/1.png")
    with pytest.raises(ConfigError, match="are one class: rename one"):
        image_folder(tmp_path)


def test_upper_and_lower_case_are_two_classes(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1.png", "A/1.png")
    if len(list(tmp_path.iterdir())) == 2:  # not on a file system that knows no case
        assert image_folder(tmp_path).classes == ("A", "a")


@pytest.mark.parametrize("name", ["\x1b[31mred", "caf\udce9", "a\u202eb", "n" * 201])
def test_names_that_are_no_text(tmp_path: Path, name: str) -> None:
    pictures(tmp_path, f"{name}/1.png", "b/1.png")
    with pytest.raises(ConfigError, match="cannot name a class") as caught:
        image_folder(tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "holds nothing that could be a class: make a folder"),
        (["1.png"], "holds pictures but no folders: make a folder for each class"),
        ([".hidden/1.png"], "holds nothing that could be a class"),
        (["a/1.png", "b/.hidden.png"], "b: no pictures in the folder of this class"),
        (["a/1.png", "b/1.heic"], "b: no pictures .*; '1.heic' is no picture by its name"),
        (["train/a/1.png", "val/a/1.png"], "is split already: name .*train or .*val"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path: Path, files: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        image_folder(pictures(tmp_path, *files))


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        image_folder(tmp_path / "none")
    with pytest.raises(ConfigError, match="is a file"):
        image_folder(pictures(tmp_path, "x.png") / "x.png")


def test_a_whole_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, *(f"a/{n}/{m}.png" for n in range(3) for m in range(3)), "b/1.png")
    monkeypatch.setattr(minincep.train.data, "MOST", 15)
    assert len(image_folder(tmp_path)) == 10
    monkeypatch.setattr(minincep.train.data, "MOST", 14)
    with pytest.raises(ConfigError, match="more than 14 files"):
        image_folder(tmp_path)


def table(root: Path, text: str | bytes) -> Path:
    pictures(root, "a.png", "in/b.png", "c, d.png")
    path = root / "eggs.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_table(tmp_path: Path) -> None:
    rows = 'in/b.png,whole\n\n"c, d.png", broken \na.png,whole\n'
    data = from_csv(table(tmp_path, f"file,label\n{rows}"))
    assert data.classes == ("broken", "whole")
    expected = [("a.png", "whole"), ("c, d.png", "broken"), ("in/b.png", "whole")]
    assert names(data, tmp_path) == expected
    assert read(table(tmp_path, f"file,label\n{rows}")) == data
    windows = f"\ufefffile , label\n{rows}".replace("\n", "\r\n")
    assert from_csv(table(tmp_path, windows)) == data
    swapped = f"label,file\nwhole,{tmp_path}/a.png\nbroken,in/b.png\n"
    assert names(from_csv(table(tmp_path, swapped)), tmp_path) == [
        ("a.png", "whole"),
        ("in/b.png", "broken"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "eggs.csv: the first line must be 'file,label', got ''"),
        ("a.png,x\n", "the first line must be 'file,label', got 'a.png,x'"),
        ("file;label\n", "got 'file;label'"),
        ("file,label,split\n", "got 'file,label,split'"),
        ("file,label\n", "no pictures after the header"),
        ("file,label\na.png,x\n\nz.png,x\n", "line 4: .*z.png': there is no such file"),
        ("file,label\nin,x\n", "line 2: .*in': is a folder"),
        ("file,label\na.png\n", "line 2: there must be a file and a label, got 'a.png'"),
        ("file,label\na.png,\n", "line 2: there must be a file and a label"),
        ("file,label\na.png,x,y\n", "line 2: there must be a file and a label"),
        ("file,label\na.png,x\n./a.png,x\n", "line 3: './a.png' again, as in line 2: remove"),
        ("file,label\na.png,x\nin/../a.png,x\n", "line 3: 'in/../a.png' again, as in line 2"),
        ("file,label\na.png,x\n\na.png,y\n", "line 4: 'a.png' is 'y', but 'x' in line 2: remove"),
        ('file,label\n"a.png"b,x\n', "line 2: ',' expected after '\"'"),
        ("file,label\na.png,\x1b[31mx\n", r"'\\x1b\[31mx' cannot name a class"),
        ("file,label\n" + 300 * "n" + ",x\n", "line 2: .*File name too long"),
        ("file,label\nno\0ne.png,x\n", r"line 2: .*no\\x00ne.png': there is no such file"),
        ("file,label\n" + 200_000 * "n" + ",x\n", "line 2: field larger than field limit"),
        (b"file,label\na.png,\xff\n", "not a text in UTF-8"),
    ],
)
def test_tables_with_mistakes(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        from_csv(table(tmp_path, text))
    assert len(str(caught.value)) < 1000


def test_a_picture_that_is_named_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever way leads to it, also from a table whose own path is relative."""
    table(tmp_path, f"file,label\na.png,x\n{tmp_path}/a.png,y\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"eggs.csv, line 3: .*a.png' is 'y', but 'x' in line 2"):
        from_csv("eggs.csv")


def test_tables_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path, "file,label\na.png,x\nin/b.png,x\n")
    monkeypatch.setattr(minincep.train.data, "MOST", 1)
    with pytest.raises(ConfigError, match="line 3: more than 1 pictures"):
        from_csv(path)
    monkeypatch.setattr(minincep.train.data, "MOST_BYTES", 20)
    with pytest.raises(ConfigError, match="too long"):
        from_csv(path)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a folder of pictures nor a table"):
        read(tmp_path / "none")
    with pytest.raises(ConfigError, match="not a text in UTF-8"):
        read(pictures(tmp_path, "x.png") / "x.png")


def test_classes_of_a_network() -> None:
    data = DataSet(("b", "c", "none"), (Example(Path("1"), 0), Example(Path("2"), 1)))
    other = with_classes(data, ["a", "b", "c"], "val")
    assert other.classes == ("a", "b", "c")
    assert [example.label for example in other.examples] == [1, 2]
    with pytest.raises(ConfigError, match=re.escape("val: the label 'c' is not among the 2")):
        with_classes(data, ["a", "b"], "val")


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_must_fit(label: int) -> None:
    with pytest.raises(ConfigError, match="there are 2 classes"):
        DataSet(("a", "b"), (Example(Path("x"), label),))
