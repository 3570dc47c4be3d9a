"""The pages of the ladder show the sources as they are."""

import re
from pathlib import Path

import pytest

from benchmarks import ladder_docs, readme_table
from minincep.bench import session
from minincep.bench.record import save
from tests.bench.records import record

OLD = '''
SIZE = 3  # why

@kernel
def f(x):
    """Text,

    more."""
    y = x
    return y
'''
NEW = '''
def f(x):
    """Text."""

    def g(z):
        # Why.
        return z

    return g
'''


@pytest.mark.parametrize("path", ladder_docs.PAGES, ids=lambda path: path.stem)
def test_pages_are_what_is_made_of_the_sources(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    made = ladder_docs.filled(text)
    assert made == text, "run: python benchmarks/ladder_docs.py"
    found = len(ladder_docs.BLOCK.findall(text))
    assert found == text.count("<!-- make:") == text.count("<!-- end -->")


def test_every_rung_has_its_docstring_in_a_page() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in ladder_docs.PAGES)
    told = set(re.findall(r"<!-- make: about (\w+) (\w+) -->", text))
    # Tiles of one kind share one docstring.
    about = {
        ladder_docs.about(one.op, one.name): (one.op, one.name)
        for op in session.HOMES
        for one in session.variants(op)
    }
    shown = {ladder_docs.about(op, name) for op, name in told}
    assert [about[one] for one in about if one not in shown] == []


def test_links_lead_somewhere() -> None:
    for path in ladder_docs.PAGES:
        for link in re.findall(r"\]\(([^):]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ladder_docs, "KERNELS", tmp_path)
    (tmp_path / "old.py").write_text(OLD)
    (tmp_path / "new.py").write_text(NEW)
    return tmp_path


def test_functions_constants_and_differences(kernels: Path) -> None:
    assert ladder_docs.functions("old.py", ["SIZE", "f"]) == (
        "SIZE = 3  # why\n\n\n@kernel\ndef f(x):\n    y = x\n    return y"
    )
    assert ladder_docs.functions("new.py", ["f.g"]) == "def g(z):\n    # Why.\n    return z"
    made = ladder_docs.filled("<!-- make: difference old.py:f new.py:f -->\nold\n<!-- end -->\n")
    assert made == (
        "<!-- make: difference old.py:f new.py:f -->\n```diff\n-@kernel\n def f(x):\n-    y = x\n"
        "-    return y\n+\n+    def g(z):\n+        # Why.\n+        return z\n+\n+    return g\n"
        "```\n<!-- end -->\n"
    )
    with pytest.raises(LookupError, match="there is no g"):
        ladder_docs.functions("new.py", ["g"])


def test_assembly_stays_until_it_is_asked_for() -> None:
    block = "<!-- make: assembly tile -->\nexcerpt\n<!-- end -->"
    assert ladder_docs.filled(block) == block
    assert "excerpt" not in ladder_docs.filled(block, kept=())


def test_tables_and_pictures_of_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "<!-- make: table conv2d -->\n<!-- end -->\n<!-- make: pictures conv2d -->\n<!-- end -->"
    monkeypatch.setattr(readme_table, "RESULTS", tmp_path)
    monkeypatch.setattr(ladder_docs, "PICTURES", tmp_path / "pictures")
    with pytest.raises(SystemExit, match=r"there is no ladder\*\.json in"):
        ladder_docs.draw()
    assert "Not measured yet" in ladder_docs.filled(page)
    sample = record()
    sample.machine |= {"vectors": ["avx2"], "versions": {"numpy": "2.0"}}
    save(sample, tmp_path / "ladder.json")
    ladder_docs.draw()
    assert {path.suffix for path in (tmp_path / "pictures").iterdir()} == {".svg"}
    made = ladder_docs.filled(page)
    assert "| `mine` |" in made
    assert re.findall(r"\((pictures/\w+\.svg)\)", made) == [
        "pictures/ladder_conv2d_warm.svg",
        "pictures/roofline_conv2d_warm_1.svg",
    ]
