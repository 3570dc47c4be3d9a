"""The page: whole, self-contained, harmless.  `tools/report` looks at it in a browser."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from minincep.bench import html
from minincep.bench.record import Record, RecordError, load
from tests.bench import invented


class Parts(HTMLParser):
    """Elements with their attributes and texts, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.found.append((f"/{tag}", {}, ""))

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, text) for name, attributes, text in self.found if name == tag]


def record(tmp_path: Path, content: dict[str, Any]) -> Record:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    return load(path)


def data(parts: Parts) -> dict[str, Any]:
    (attributes, text), _ = parts.of("script")
    assert attributes == {"type": "application/json", "id": "data"}
    assert not set(text) & set("<>&")
    assert text.isascii()
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture(params=["honest", "hostile"])
def content(request: pytest.FixtureRequest) -> dict[str, Any]:
    return invented.record(5) if request.param == "honest" else invented.hostile()


def test_all_measurements_are_in_it(tmp_path: Path, content: dict[str, Any]) -> None:
    source = record(tmp_path, content)
    found = data(Parts(html.page(source)))
    assert len(found["rows"]) == len(source.rows)
    for values, row in zip(found["rows"], source.rows, strict=True):
        cells = dict(zip(found["fields"], values, strict=True))
        assert cells["label"] == row.label
        assert cells["variant"] == row.variant
        assert cells["networks"] == row.networks
        assert cells["median"] == pytest.approx(row.median, rel=1e-5)
        assert cells["median"] == float(f"{cells['median']:.6g}")
        assert cells["low"] <= cells["median"] <= cells["high"]
        assert cells["effective"] == (row.work < row.flops)
    keys = [row[found["fields"].index("key")] for row in found["rows"]]
    assert len(set(keys)) == len({json.dumps(row.shape) for row in source.rows})
    assert [roof["threads"] for roof in found["roofs"]] == [1, 2]
    networks = {name for row in source.rows for name in row.networks}
    assert {ladder["network"] for ladder in found["ladders"]} == {"", *networks}
    assert [len(entry["parts"]) for entry in found["blocks"]] == [len(invented.STEPS)] * 2


def test_names_are_text_and_no_more(tmp_path: Path) -> None:
    plain = Parts(html.page(record(tmp_path, invented.record(5)))).found
    hostile = Parts(html.page(record(tmp_path, invented.hostile()))).found
    policies = ("meta", "script")  # whose texts differ
    assert [part[0] for part in hostile] == [part[0] for part in plain]
    for one, other in zip(hostile, plain, strict=True):
        assert one == other or one[0] in policies, one


def test_the_policy_lets_only_these_scripts_run(tmp_path: Path, content: dict[str, Any]) -> None:
    parts = Parts(html.page(record(tmp_path, content)))
    policy = next(
        attributes["content"]
        for attributes, _ in parts.of("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    _, (attributes, script) = parts.of("script")
    ((_, style),) = parts.of("style")
    assert attributes == {}
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (script, style)
    ]
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_nothing_is_fetched(tmp_path: Path) -> None:
    page = html.page(record(tmp_path, invented.record(5)))
    addresses = set(re.findall(r"\w+://[^\s\"'`]*", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert not re.search(r"\b(src|href|action)\s*=|@import|url\(|fetch\(|import\(", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", page)


def test_thousands_of_rows_are_no_burden(tmp_path: Path) -> None:
    few, many = (html.page(record(tmp_path, invented.record(count))) for count in (5, 45))
    rows = 40 * 2 * len(invented.LADDER)
    assert len(many) - len(few) < 300 * rows


def test_a_record_without_rows_is_a_page_too(tmp_path: Path) -> None:
    content = invented.record(1) | {"rows": [], "roof": {}, "machine": {}, "settings": {}}
    found = data(Parts(html.page(record(tmp_path, content))))
    assert (found["rows"], found["roofs"], found["title"]) == (
        [],
        [],
        "unknown processor, cores: ?",
    )


@pytest.mark.parametrize("field", ["median", "bytes", "flops"])
def test_numbers_whose_quotients_have_no_size_are_refused(tmp_path: Path, field: str) -> None:
    content = invented.record(1)
    content["rows"][0][field] = 1e-300
    with pytest.raises(RecordError, match=field):
        record(tmp_path, content)


def test_facts_are_words(tmp_path: Path) -> None:
    content = invented.record(1)
    content["machine"] |= {
        "caches": [{"level": 1, "size": 32768}, {"level": 2, "size": 1048576}],
        "vectors": ["avx2", "fma"],
        "long": "x" * 1000,
    }
    found = dict(data(Parts(html.page(record(tmp_path, content))))["machine"])
    assert found["caches"] == "level 1, size 32768; level 2, size 1048576"
    assert found["vectors"] == "avx2, fma"
    assert found["versions"] == "minincep 0.1.0, python 3.11.7, numpy 2.4.6"
    assert len(found["long"]) == 400


def test_its_files_come_with_the_package() -> None:
    folder = files("minincep.bench") / "page"
    for name in ("report.html", "report.css", *html.SCRIPTS):
        assert (folder / name).is_file()
