"""A variant of the user's own: any Python file that says `@variant("conv2d", name="mine")`.

The file is executed, with all that is in it: that is what it is for.  What goes wrong in it is told
in one sentence, with its line.
"""

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from minincep.bench.verify import Case, RefusedError
from minincep.bench.workloads import Workload
from minincep_kernels import registry
from minincep_kernels.errors import UserError
from minincep_kernels.registry import Variant


class PluginError(UserError, ValueError):
    """A file of variants cannot be used."""


def load(path: Path, ops: Sequence[str]) -> list[Variant]:
    """Execute a file: -> the variants of some operations that it has registered.

    Raises
    ------
    PluginError
        If there is no such file, it fails, or it registers no variant of these operations.
    """
    if not path.is_file():
        raise PluginError(f"there is no file {path}: give a Python file with a kernel")
    before = {op: set(registry.variants(op)) for op in ops}
    name = f"minincep_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is no Python file: its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where Numba and dataclasses look for it
    with _told(path, PluginError, "cannot be loaded"):
        spec.loader.exec_module(module)
    added = [
        one for op in ops for name, one in registry.variants(op).items() if name not in before[op]
    ]
    if not added:
        raise PluginError(
            f"{path} registers no variant of {' or '.join(ops)}: decorate a function with "
            f'@variant("{ops[0]}", name="...") from minincep_kernels.registry'
        )
    return [_guarded(variant, path) for variant in added]


def verify(variant: Variant, workloads: Iterable[Workload]) -> Iterator[Workload]:
    """Hold a variant against the exact results of all shapes that it supports, small ones first.

    Gives each shape that it has passed.

    Raises
    ------
    RefusedError
        At the first shape on which it is wrong, or if it supports none.
    """
    claimed = [one for one in workloads if variant.supports(one.shape)]
    if not claimed:
        raise RefusedError(
            f"{variant.op} variant {variant.name!r} supports no layer of the networks"
        )
    for workload in sorted(claimed, key=lambda one: int(one.shape.flops)):
        Case(workload).verify(variant)
        yield workload


def _guarded(variant: Variant, path: Path) -> Variant:
    """The same variant; what goes wrong in it is a refusal that names the line."""

    def guard(function: Callable[..., Any], doing: str) -> Callable[..., Any]:
        def guarded(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except Exception as error:
                what = f"{variant.op} variant {variant.name!r} fails {doing} {arguments[-1]}"
                raise RefusedError(f"{what}: {_blame(error, path)}") from None

        return guarded

    return replace(
        variant,
        forward=guard(variant.forward, "on"),
        supports=guard(variant.supports, "to say whether it supports"),
    )


@contextlib.contextmanager
def _told(path: Path, kind: type[Exception], what: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        raise kind(f"{path} {what}: {_blame(error, path)}") from None


def _blame(error: BaseException, path: Path) -> str:
    """The kind and the first line of an error, and the last line of the file that led to it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}{': ' + lines[0][:300] if lines else ''}"
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"line {error.lineno}: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"line {own[-1]}: {text}" if own else text
