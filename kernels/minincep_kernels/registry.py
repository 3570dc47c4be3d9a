"""Which kernel runs where: the variants of each operation, and one `choose`.

A variant is one way to compute an operation, with the shapes that it supports.  Ops never name a
variant: they ask `choose`.  To run one in a whole network, force it:

    with use(conv2d="naive"):
        network(x)
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from minincep_kernels import Array
from minincep_kernels.errors import VariantError
from minincep_kernels.shapes import Conv2dShape

# What a variant does: forwards, and the two gradients.
Part = Literal["forward", "input_gradient", "filter_gradient"]

# Of a sum of products in float32, in any order: rounding, and nothing else.
DIRECT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Variant:
    """One way to convolve: three functions over arrays, and the shapes that they support.

    Attributes
    ----------
    op
        The operation, such as ``"conv2d"``.
    name
        The name by which the variant is forced, reported and tested.
    supports
        (shape) -> whether the three functions take it.
    forward
        (x, filters, shape) -> y, (N, OH, OW, OC).
    input_gradient
        (gy, filters, shape) -> gx, (N, H, W, C).
    filter_gradient
        (x, gy, shape) -> gw, (KH, KW, C, OC).
    tolerance
        The largest error in float32, for random images and filters without bias, in standard
        deviations of the result.  Absolute, not relative to another variant: whose own error may
        happen to be 0.
    """

    op: str
    name: str
    supports: Callable[[Conv2dShape], bool]
    forward: Callable[[Array, Array, Conv2dShape], Array]
    input_gradient: Callable[[Array, Array, Conv2dShape], Array]
    filter_gradient: Callable[[Array, Array, Conv2dShape], Array]
    tolerance: float = DIRECT_TOLERANCE


@dataclass
class _Forced:
    """A variant that the user wants, and what has become of the wish."""

    variant: Variant
    refused: Conv2dShape | None = None
    used: bool = False


_variants: dict[str, dict[str, Variant]] = {}
_preferred: dict[str, Callable[[Conv2dShape, Part], str]] = {}
_forced: ContextVar[dict[str, _Forced] | None] = ContextVar("forced", default=None)


def register(variant: Variant) -> Variant:
    """Make a variant known to `choose`, to the tests and to the command line."""
    names = _variants.setdefault(variant.op, {})
    if variant.name in names:
        raise VariantError(f"there is a variant {variant.name!r} of {variant.op} already")
    names[variant.name] = variant
    return variant


def prefer(op: str, name_of: Callable[[Conv2dShape, Part], str]) -> None:
    """Say which variant of an operation runs where nothing is forced: (shape, part) -> its name."""
    _preferred[op] = name_of


def variants(op: str) -> dict[str, Variant]:
    """All variants of an operation, by name.

    Raises
    ------
    VariantError
        If no operation of that name has variants.
    """
    if op not in _variants:
        raise VariantError(f"no operation {op!r} has variants, only {', '.join(_variants)}")
    return dict(_variants[op])


def forced(op: str) -> str | None:
    """The name of the variant that is forced, if one is."""
    wish = (_forced.get() or {}).get(op)
    return wish.variant.name if wish else None


def choose(op: str, shape: Conv2dShape, part: Part = "forward") -> Variant:
    """The variant that runs this shape: the forced one if it can, else the preferred one."""
    known = variants(op)
    wish = (_forced.get() or {}).get(op)
    if wish is not None:
        if wish.variant.supports(shape):
            wish.used = True
            return wish.variant
        wish.refused = shape
    return known[_preferred[op](shape, part)]


@contextlib.contextmanager
def use(**names: str) -> Iterator[None]:
    """Force variants within the `with` block, in this Python thread: ``use(conv2d="naive")``.

    A shape that the forced variant does not support runs as if nothing were forced.

    Raises
    ------
    VariantError
        If there is no such variant; at the end of the block, if it supported not one of the
        shapes that came.
    """
    wishes = {}
    for op, name in names.items():
        known = variants(op)
        if name not in known:
            raise VariantError(f"{op} has no variant {name!r}, only {', '.join(known)}")
        wishes[op] = _Forced(known[name])
    token = _forced.set({**(_forced.get() or {}), **wishes})
    try:
        yield
    finally:
        _forced.reset(token)
    for op, wish in wishes.items():
        if wish.refused is not None and not wish.used:
            raise VariantError(
                f"no layer could use the {op} variant {wish.variant.name!r}: it does not support, "
                f"for one, {wish.refused}"
            )
