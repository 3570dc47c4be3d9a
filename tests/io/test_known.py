"""Weights by name, and the catalogue of those that can be downloaded."""

import hashlib
from pathlib import Path

import pytest

from minincep.io.catalogue import CATALOGUE
from minincep.io.errors import WeightError
from minincep.io.known import downloaded, weights_path
from minincep.models.registry import ARCHITECTURES


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue(name: str) -> None:
    published = CATALOGUE[name]
    assert any(name.startswith(architecture) for architecture in ARCHITECTURES)
    assert published.url.startswith(("https://", "http://data.lip6.fr/"))
    is_archive = published.url.endswith((".tar.gz", ".zip"))
    assert is_archive == bool(published.members)
    assert published.background in (None, "drop")
    if published.digest:
        kind, digits = published.digest.split(":")
        assert int(digits, 16)
        assert len(digits) in (8, hashlib.new(kind).digest_size * 2)


def test_names_are_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MININCEP_CACHE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert weights_path("inception_v4") == tmp_path / "weights" / "inception_v4.h5"
    assert weights_path(tmp_path / "inception_v4") == tmp_path / "inception_v4"
    (tmp_path / "inception_v4").touch()
    assert weights_path("inception_v4") == Path("inception_v4")


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MININCEP_CACHE_DIR", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: Path("~/.cache") / name)
    with pytest.raises(WeightError, match="set MININCEP_CACHE_DIR"):
        downloaded("inception_v4")
