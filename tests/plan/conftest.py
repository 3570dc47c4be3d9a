"""A stored plan for each test to spoil."""

import shutil
from pathlib import Path

import pytest

from tests.plan.stored import saved, small


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(small(), tmp_path_factory.mktemp("stored"))


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy of weights and plan that may be damaged."""
    for file in (original, original.with_suffix("")):
        shutil.copy2(file, tmp_path)
    return tmp_path / original.name
