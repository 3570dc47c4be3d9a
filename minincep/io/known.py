"""Weights that are known by name: those that come with minincep, and those it has downloaded."""

import os
from pathlib import Path

import platformdirs

from minincep.io.catalogue import CATALOGUE
from minincep.io.errors import WeightError

DEFAULT = Path(__file__).parents[1] / "weights" / "eggs.h5"

NAMED = {"eggs": DEFAULT}


def weights_path(name: str | os.PathLike[str]) -> Path:
    """The weights file that a name stands for; anything but a known name is a path itself.

    Raises
    ------
    WeightError
        If there is no home folder, where it would be.
    """
    text, path = str(name), Path(name)
    if text in NAMED:
        return NAMED[text]
    return downloaded(text) if text in CATALOGUE and not path.exists() else path


def downloaded(name: str) -> Path:
    """Where weights of the catalogue are, or will be: in `weights` in the cache folder.

    That is ``MININCEP_CACHE_DIR``, or the user's cache folder.

    Raises
    ------
    WeightError
        If there is neither.
    """
    try:
        named = os.environ.get("MININCEP_CACHE_DIR")
        folder = Path(named).absolute() if named else platformdirs.user_cache_path("minincep")
    except RuntimeError:  # there is no home
        folder = Path()
    if not folder.is_absolute():  # older platformdirs leave "~" where there is no home
        raise WeightError(
            f"no cache folder for {name}: set MININCEP_CACHE_DIR to a folder that can be written"
        )
    return folder / "weights" / f"{name}.h5"
