"""Records: what is written is what is read, and what is no record is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minincep.bench import record as records
from minincep.bench.journal import Journal
from minincep.bench.record import RecordError, load, save
from tests.bench.records import ROW, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(record(), tmp_path / "record.json")
    return tmp_path / "record.json"


def test_what_is_written_is_what_is_read(path: Path) -> None:
    assert load(path) == record()
    content = json.loads(path.read_text())
    assert (content["format"], content["version"]) == ("minincep-bench", 1)
    assert content["rows"][0]["seconds"] == ROW.seconds
    assert [entry.name for entry in path.parent.iterdir()] == ["record.json"]


def test_a_shape_may_say_yes_or_no(path: Path) -> None:
    written = record()
    written.rows[0].shape["relu"] = True
    save(written, path)
    assert load(path) == written


def test_what_is_not_a_number_is_not_written(path: Path) -> None:
    before = path.read_text()
    damaged = record()
    damaged.rows[0].seconds[0] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(damaged, path)
    assert path.read_text() == before


def put(place: tuple[Any, ...], value: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        *above, last = place
        for key in above:
            content = content[key]
        content[last] = value

    return change


def drop(content: Any) -> None:
    del content["rows"][1]["median"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(("format",), "other"), "is no record of 'minincep bench': its format is another"),
        (put(("version",), 2), "of version 2, and this minincep reads version 1: measure again"),
        (put(("rows",), {}), "the file has a 'rows' that is not a list"),
        (put(("machine",), "mine"), "the file has a 'machine' that is not an object"),
        (put(("roof", "1"), 3), "roof 1 is not an object"),
        (put(("roof", "x"), {}), "roof has no number of threads for a name"),
        (put(("roof", "1", "flops"), 0), "roof 1 has a 'flops' that is not a number above 0"),
        (put(("roof", "1", "levels", 0, "name"), 5), "roof 1 has a 'name' that is not text"),
        (put(("rows", 0), []), "row 1 is not an object"),
        (put(("rows", 1, "seconds"), []), "row 2 has a 'seconds' that is not a list of numbers"),
        (put(("rows", 1, "seconds", 0), "1"), "row 2 has a 'seconds' that is not a list of"),
        (put(("rows", 1, "seconds", 0), -1.0), "row 2 has a 'seconds' that is not a list of"),
        (put(("rows", 1, "seconds", 0), True), "row 2 has a 'seconds' that is not a list of"),
        (put(("rows", 1, "peak"), [1e9]), "row 2 has not as many 'peak' as 'seconds'"),
        (put(("rows", 1, "control"), [1e9]), "row 2 has not as many 'control' as 'seconds'"),
        (put(("rows", 1, "control"), [0]), "row 2 has a 'control' that is not a list of numbers"),
        (put(("rows", 0, "label"), "x" * 2000), "row 1 has a 'label' that is not text"),
        (put(("rows", 0, "cache"), "hot"), "row 1 has a 'cache' that is not \"warm\" or"),
        (put(("rows", 0, "shape"), {"kernel": [[3]]}), "row 1 has a 'shape' that is not the"),
        (put(("rows", 0, "networks"), {"a": 1.5}), "row 1 has a 'networks' that is not numbers"),
        (put(("rows", 0, "threads"), 0), "row 1 has a 'threads' that is not a whole number"),
        (put(("rows", 0, "gflops"), 1e999), "it is not JSON"),
        (put(("rows", 0, "gflops"), float("nan")), "it is not JSON"),
        (put(("rows", 0, "variant"), "naive"), "rows has a row twice"),
        (drop, "row 2 has no 'median'"),
    ],
)
def test_damage_is_named(path: Path, change: Callable[[Any], None], message: str) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match=message) as found:
        load(path)
    assert str(path) in str(found.value)


@pytest.mark.parametrize("text", ["", "{", "\x00", "[" * 100_000, "3", '"text"', '{"rows": 1e999}'])
def test_other_files_are_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(RecordError):
        load(path)


def test_files_that_are_too_large_are_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LARGEST", 10)
    with pytest.raises(RecordError, match="too large for a record"):
        load(path)


def test_a_journal_keeps_each_row_at_once_and_goes_on(tmp_path: Path) -> None:
    path, whole = tmp_path / "record.json", record()
    first = Journal(whole.machine, whole.settings, path)
    assert first.where == f" in {path}"
    first.keep(whole.rows[:1], 1, whole.roof[1])
    assert load(path).rows == whole.rows[:1]
    with pytest.raises(RecordError, match="is there already: give another name, or --resume"):
        Journal(whole.machine, whole.settings, path)
    again = Journal(whole.machine, whole.settings, path, resume=True)
    assert again.has(ROW.op, ROW.label, 1, "mine")
    assert not again.has(ROW.op, ROW.label, 2, "mine")
    assert not again.has(ROW.op, ROW.label, 1, "naive")
    again.keep(whole.rows[1:], 2, whole.roof[2])
    assert load(path) == whole
    for machine, settings in ((whole.machine, {"op": "gemm"}), ({"cpu": "two"}, whole.settings)):
        with pytest.raises(RecordError, match="on another machine, with other versions or"):
            Journal(machine, settings, path, resume=True)


def test_a_journal_without_a_file_keeps_rows_in_memory() -> None:
    whole = record()
    journal = Journal(whole.machine, whole.settings, None)
    journal.keep(whole.rows, 1, whole.roof[1])
    assert journal.record.rows == whole.rows
    assert journal.where == ""
