"""Which kernel runs where: the variants of each operation, and one `choose`.

A variant is one way to compute an operation, with the shapes that it supports.  Ops never name a
variant: they ask `choose`.  To run one in a whole network, force it:

    with use(conv2d="naive"):
        network(x)

To add one, decorate its forward function, in any file:

    @variant("conv2d", name="mine")
    def forward(x, filters, shape):
        ...

Some variants are the rungs of a ladder: each names the rung below, and does one thing better.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from minincep_kernels import Array
from minincep_kernels.errors import VariantError

# What a variant does: forwards, and the two gradients.
Part = Literal["forward", "input_gradient", "filter_gradient"]

# Of a sum of products in float32, in any order: rounding, and nothing else.
DIRECT_TOLERANCE = 1e-5

# The same, of terms that are added one after the other: the more, the further it goes astray.
IN_SEQUENCE_TOLERANCE = 4e-5

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _everything(_: Any) -> bool:
    return True


@dataclass(frozen=True)
class Variant:
    """One way to do an operation: functions over arrays, and the shapes that they support.

    A shape is a frozen dataclass of `shapes`: `Conv2dShape` for "conv2d", and so on.

    Attributes
    ----------
    op
        The operation, such as ``"conv2d"``.
    name
        The name by which the variant is forced, reported and tested.
    supports
        (shape) -> whether the functions take it.
    forward
        (arrays..., shape) -> result; for conv2d (x, filters, shape) -> y, (N, OH, OW, OC).
    input_gradient
        For conv2d: (gy, filters, shape) -> gx, (N, H, W, C).  None leaves it to the preferred one.
    filter_gradient
        For conv2d: (x, gy, shape) -> gw, (KH, KW, C, OC).  None likewise.
    tolerance
        The largest error in float32, for random images and filters without bias, in standard
        deviations of the result.  Absolute, not relative to another variant: whose own error may
        happen to be 0.
    below
        The variant that is the rung below on the ladder; None for the foot, and for variants that
        stand on no ladder.
    work
        (shape) -> the operations that `forward` really does, where they are not `shape.flops`.
    asks
        Operations that it leaves to variants of their own, by `choose`.
    uses_blas
        Whether `forward` calls the BLAS, as NumPy's matrix product does.  Its threads and those of
        Numba keep each other from the cores, so that benchmarks time each in processes of its own.
    about
        What there is to say of it, if not the docstring of `forward` or of its file.
    """

    op: str
    name: str
    supports: Callable[[Any], bool]
    forward: Callable[..., Any]
    input_gradient: Callable[..., Array] | None = None
    filter_gradient: Callable[..., Array] | None = None
    tolerance: float = DIRECT_TOLERANCE
    below: str | None = None
    work: Callable[[Any], float] | None = None
    asks: tuple[str, ...] = ()
    uses_blas: bool = False
    about: str = ""

    def does(self, part: Part) -> bool:
        return getattr(self, part) is not None

    @property
    def description(self) -> str:
        """What it does and how: the docstring of `forward`, or, if that has none, of its file."""
        file = getattr(inspect.unwrap(self.forward), "__globals__", {})
        return inspect.cleandoc(self.about or self.forward.__doc__ or file.get("__doc__") or "")


@dataclass
class _Forced:
    """A variant that the user wants, and what has become of the wish."""

    variant: Variant
    hidden: "_Forced | None" = None  # by this one, in a block around this one's
    refused: Any = None
    used: bool = False
    asked: bool = False  # something did for its operation,
    others: bool = False  # or for another one


_variants: dict[str, dict[str, Variant]] = {}
_preferred: dict[str, Callable[[Any, Part], str]] = {}
_forced: ContextVar[dict[str, _Forced] | None] = ContextVar("forced", default=None)


def register(variant: Variant) -> Variant:
    """Make a variant known to `choose`, to the tests and to the command line."""
    names = _variants.setdefault(variant.op, {})
    if variant.name in names:
        raise VariantError(f"there is a variant {variant.name!r} of {variant.op} already")
    names[variant.name] = variant
    return variant


def variant(
    op: str,
    *,
    name: str,
    supports: Callable[[Any], bool] = _everything,
    tolerance: float = DIRECT_TOLERANCE,
    below: str | None = None,
    asks: tuple[str, ...] = (),
    uses_blas: bool = False,
) -> Callable[[_Function], _Function]:
    """Decorate a function (arrays..., shape) -> result to register it as a variant, forwards only.

    The parameters are the attributes of `Variant`.

    Raises
    ------
    VariantError
        If there is a variant of that name already.
    """

    def decorate(forward: _Function) -> _Function:
        register(
            Variant(
                op,
                name,
                supports,
                forward,
                tolerance=tolerance,
                below=below,
                asks=asks,
                uses_blas=uses_blas,
            )
        )
        return forward

    return decorate


def prefer(op: str, name_of: Callable[[Any, Part], str]) -> None:
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


def ladder(op: str) -> list[Variant]:
    """The rungs of an operation's ladder, from the foot up.

    Where two stand on one rung, as the Winograd tiles do, the one registered first comes first, and
    then all that stands on it.
    """
    known = variants(op)
    above: dict[str | None, list[Variant]] = {}
    for rung in known.values():
        above.setdefault(rung.below, []).append(rung)

    def climb(rung: Variant) -> list[Variant]:
        return [rung, *(one for higher in above.get(rung.name, []) for one in climb(higher))]

    feet = [rung for rung in above.get(None, []) if rung.name in above]
    return [rung for foot in feet for rung in climb(foot)]


def forced(op: str) -> str | None:
    """The name of the variant that is forced, if one is."""
    wish = (_forced.get() or {}).get(op)
    return wish.variant.name if wish else None


def choose(op: str, shape: Any, part: Part = "forward") -> Variant:
    """The variant that runs this shape: the forced one if it can, else the preferred one."""
    known = variants(op)
    wishes = _forced.get() or {}
    for wanted, other in wishes.items():
        other.others = other.others or wanted != op
    wish = shadow = wishes.get(op)
    while shadow is not None:
        shadow.asked, shadow = True, shadow.hidden
    if wish is not None:
        if wish.variant.does(part) and wish.variant.supports(shape):
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
        shapes that came, or if other operations ran, but never this one.
    """
    outer = _forced.get() or {}
    wishes = {}
    for op, name in names.items():
        known = variants(op)
        if name not in known:
            raise VariantError(f"{op} has no variant {name!r}, only {', '.join(known)}")
        wishes[op] = _Forced(known[name], outer.get(op))
    token = _forced.set({**outer, **wishes})
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
        if wish.others and not wish.asked:
            hint = " or ".join(f"{caller.op}={caller.name}" for caller in _callers(op))
            raise VariantError(
                f"nothing asked for {op}, so that its variant {wish.variant.name!r} never ran"
                + (f": force {hint} with it" if hint else "")
            )


def _callers(op: str) -> list[Variant]:
    """The variants that ask for an operation."""
    every = [known for names in _variants.values() for known in names.values()]
    return [known for known in every if op in known.asks]
