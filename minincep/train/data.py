"""Pictures and their classes, listed from a folder or from a table; nothing is decoded here."""

import csv
import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from minincep.io.images import SUFFIXES
from minincep_kernels.errors import ConfigError

MOST = 5_000_000  # files of a data set, four times ImageNet's: more is a mistake, such as /
MOST_BYTES = 2**30  # of a table
LONGEST = 200  # letters of a class's name
PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
COLUMNS = ("file", "label")


@dataclass(frozen=True)
class Example:
    """A picture and the number of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class DataSet:
    """Pictures with labels.

    Attributes
    ----------
    classes
        Names, in the order of the network's outputs.
    examples
        In an order that depends on names only, not on the file system.
    skipped
        Files that were left out, each with the reason.
    """

    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    skipped: tuple[tuple[Path, str], ...] = ()

    def __post_init__(self) -> None:
        for example in self.examples:
            if not 0 <= example.label < len(self.classes):
                raise ConfigError(
                    f"{example.path}: label {example.label}, but there are {len(self.classes)} "
                    "classes, counted from 0"
                )

    def __len__(self) -> int:
        return len(self.examples)

    def counts(self) -> tuple[int, ...]:
        """How many pictures each class has."""
        found = Counter(example.label for example in self.examples)
        return tuple(found[label] for label in range(len(self.classes)))


def read(path: str | os.PathLike[str]) -> DataSet:
    """A folder (`image_folder`) or a table (`from_csv`)."""
    return image_folder(path) if Path(path).is_dir() else from_csv(path)


def image_folder(folder: str | os.PathLike[str]) -> DataSet:
    """One class for each sub-folder, called after it, with all pictures in it, however deep.

    Classes are numbered by name, in the order of `sorted`.  Hidden files and folders are passed
    over.  What is no picture by its name is listed in `skipped`, and so is a folder that was met
    before, through a link.

    Raises
    ------
    ConfigError
        If there is no such folder, it has no sub-folders, one of them has no picture, or a name
        cannot be that of a class.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"{root}: " + ("is a file" if root.exists() else "no such folder"))
    if given := given_parts(root):
        names = " or ".join(str(place) for place in given)
        raise ConfigError(f"{root} holds a data set that is split already: name {names}")
    listing = _Listing()
    listing.same(root)
    entries = listing.entries(root)
    folders = [path for path in entries if path.is_dir()]
    if not folders:
        pictures = any(path.suffix.lower() in SUFFIXES for path in entries)
        found = "pictures but no folders" if pictures else "nothing that could be a class"
        raise ConfigError(f"{root} holds {found}: make a folder for each class, with its pictures")
    listing.skipped += [(path, "in the folder of no class") for path in set(entries) - set(folders)]
    listing.skipped.sort()
    classes: dict[str, Path] = {}
    for place in folders:
        name = class_name(place.name, str(place))
        if first := classes.get(name) or listing.same(place):
            raise ConfigError(
                f"{str(first)!r} and {str(place)!r} are one class: rename one, or put all pictures "
                "into the other"
            )
        classes[name] = place
    examples: list[Example] = []
    for label, name in enumerate(sorted(classes)):
        before = len(listing.skipped)
        paths = listing.pictures(classes[name])
        if not paths:
            others = [f"; {path.name!r} is {why}" for path, why in listing.skipped[before:][:1]]
            raise ConfigError(
                f"{classes[name]}: no pictures in the folder of this class: add some, or remove it"
                f"{''.join(others)}"
            )
        examples += [Example(path, label) for path in paths]
    return DataSet(tuple(sorted(classes)), tuple(examples), tuple(listing.skipped))


def given_parts(folder: Path) -> tuple[Path, Path] | None:
    """The folders of a split that is made already, `train` and `val` or `validation`.

    None if there are others beside them, except `test`: then these are names of classes.
    """
    names = [path.name for path in _Listing().entries(folder) if path.is_dir()]
    found = {PARTS[name]: folder / name for name in names if name in PARTS}
    if not {"train", "validation"} <= found.keys() or not PARTS.keys() >= set(names):
        return None
    if {"val", "validation"} <= set(names):
        raise ConfigError(f"{folder} holds both val and validation: rename one of them")
    return found["train"], found["validation"]


def class_name(text: str, where: str) -> str:
    """A name as it is compared and kept: composed letters, single spaces."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name or not name.isprintable() or len(name) > LONGEST:
        raise ConfigError(f"{where!r}: {text[:80]!r} cannot name a class: use a line of plain text")
    return name


class _Listing:
    """Walks through folders, never twice through one, and not without end.

    Attributes
    ----------
    skipped
        What was left out so far, and why.
    """

    skipped: list[tuple[Path, str]]

    def __init__(self) -> None:
        self.skipped = []
        self._seen: dict[tuple[int, int], Path] = {}
        self._count = 0

    def entries(self, folder: Path) -> list[Path]:
        """What is in a folder, by name, without what is hidden."""
        try:
            with os.scandir(folder) as found:
                names = [entry.name for entry in itertools.islice(found, MOST + 1 - self._count)]
        except OSError as error:
            raise ConfigError(f"{folder} cannot be listed: {error.strerror}") from None
        self._count += len(names)
        if self._count > MOST:
            raise ConfigError(f"{folder}: more than {MOST} files: name the folder of a data set")
        return [folder / name for name in sorted(names) if not name.startswith(".")]

    def same(self, folder: Path) -> Path | None:
        """The name under which a folder was met before, if it was."""
        status = folder.stat()
        first = self._seen.setdefault((status.st_dev, status.st_ino), folder)
        return None if first is folder else first

    def pictures(self, folder: Path) -> list[Path]:
        """All in a folder and in those inside it, by name."""
        pictures, waiting = [], [folder]
        while waiting:
            for path in self.entries(waiting.pop()):
                if path.is_dir():
                    if first := self.same(path):
                        self.skipped.append((path, f"the same folder as {first}"))
                    else:
                        waiting.append(path)
                elif not path.is_file():
                    self.skipped.append((path, "no file, or a link that leads nowhere"))
                elif path.suffix.lower() not in SUFFIXES:
                    self.skipped.append((path, "no picture by its name"))
                else:
                    pictures.append(path)
        return sorted(pictures, key=Path.as_posix)


def from_csv(file: str | os.PathLike[str]) -> DataSet:
    """A table with the columns `file` and `label`, in UTF-8, separated by commas.

    Files are relative to the folder of the table.  Classes are numbered by name, in the order of
    `sorted`.

    Raises
    ------
    ConfigError
        If it is no such table, a picture is missing or named twice; with the number of the line.
    """
    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"{path}: neither a folder of pictures nor a table of them")
    if path.stat().st_size > MOST_BYTES:
        raise ConfigError(f"{path}: too long for a table of pictures, over {MOST_BYTES} bytes")
    pictures: dict[str, tuple[Path, str, int]] = {}
    try:
        for line, name, text in _rows(path):
            where = f"{path}, line {line}"
            picture = path.parent / name
            if problem := _problem(picture):
                raise ConfigError(f"{where}: {str(picture)!r}: {problem}")
            label = class_name(text, where)
            _, first, before = pictures.setdefault(os.path.abspath(picture), (picture, label, line))
            if label != first:
                raise ConfigError(
                    f"{where}: {name!r} is {label!r}, but {first!r} in line {before}: remove one"
                )
            if line != before:
                raise ConfigError(f"{where}: {name!r} again, as in line {before}: remove one")
            if len(pictures) > MOST:
                raise ConfigError(f"{where}: more than {MOST} pictures")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text in UTF-8, as a table must be") from None
    if not pictures:
        raise ConfigError(f"{path}: no pictures after the header")
    classes = sorted({name for _, name, _ in pictures.values()})
    numbers = {name: label for label, name in enumerate(classes)}
    examples = (Example(picture, numbers[name]) for picture, name, _ in pictures.values())
    return DataSet(tuple(classes), tuple(sorted(examples, key=lambda e: e.path.as_posix())))


def _problem(picture: Path) -> str:
    try:
        if picture.is_file():
            return ""
        return "is a folder" if picture.is_dir() else "there is no such file"
    except OSError as error:  # such as a name that is too long
        return str(error.strerror)


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Number of the line, file and label of each row."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(table, [])]
            if sorted(header) != sorted(COLUMNS):
                raise ConfigError(
                    f"{path}: the first line must be 'file,label', got {','.join(header)[:80]!r}"
                )
            for row in table:
                if not row:  # an empty line
                    continue
                if len(row) != len(COLUMNS) or not all(cell.strip() for cell in row):
                    raise ConfigError(
                        f"{path}, line {table.line_num}: there must be a file and a label, got "
                        f"{','.join(row)[:80]!r}"
                    )
                cells = dict(zip(header, row, strict=True))
                yield table.line_num, cells["file"], cells["label"]
        except csv.Error as error:
            raise ConfigError(f"{path}, line {table.line_num}: {error}") from None


def with_classes(data: DataSet, classes: Sequence[str], where: str) -> DataSet:
    """The same pictures, labelled by the order of other classes, such as those of a network.

    Raises
    ------
    ConfigError
        If a class that has pictures is not among them; `where` says in the message whose it is.
    """
    numbers = {name: label for label, name in enumerate(classes)}
    counts = data.counts()
    used = [name for name, count in zip(data.classes, counts, strict=True) if count]
    if missing := [name for name in used if name not in numbers]:
        shown = ", ".join(repr(name) for name in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ConfigError(
            f"{where}: the label {shown}{more} is not among the {len(classes)} classes that are "
            "learned: correct it, or add pictures of it to those for training"
        )
    examples = tuple(Example(e.path, numbers[data.classes[e.label]]) for e in data.examples)
    return DataSet(tuple(classes), examples, data.skipped)
