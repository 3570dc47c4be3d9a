"""The rule for reference weights and pictures, taken from the package by file location.

`minincep/io/reference.py` needs NumPy alone.  Importing it through the package would also import
Numba, which the environment of these scripts does not have.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "tests" / "data"


def load(path: str) -> ModuleType:
    """Execute a file of the package, one that needs NumPy at most, as a module of its own."""
    name = f"minincep_{path.removesuffix('.py').replace('/', '_')}"
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "minincep" / path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_module = load("io/reference.py")
draw = _module.draw
picture = _module.picture
scaled = _module.scaled
