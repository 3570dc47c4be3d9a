"""Weights that come with minincep."""

from pathlib import Path

DEFAULT = Path(__file__).parents[1] / "weights" / "eggs.h5"

NAMED = {"eggs": DEFAULT}
