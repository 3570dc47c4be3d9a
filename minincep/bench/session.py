"""A run: some variants on some shapes."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from minincep.bench.journal import Journal
from minincep.bench.measure import Bench
from minincep.bench.record import Row
from minincep.bench.verify import Case
from minincep.bench.workloads import Workload, chosen, smallest
from minincep_kernels import registry
from minincep_kernels.errors import VariantError
from minincep_kernels.registry import Variant

# The module that registers the variants of an operation.
HOMES = {
    "gemm": "minincep_kernels.gemm",
    "conv2d": "minincep_kernels.conv2d",
    "moments": "minincep_kernels.norm",
    "normalize": "minincep_kernels.norm",
    "max_pool2d": "minincep_kernels.pool",
    "avg_pool2d": "minincep_kernels.pool",
}


@dataclass(frozen=True)
class Part:
    """An operation: its variants, the ladder first, and the shapes to measure them on."""

    op: str
    variants: list[Variant]
    workloads: list[Workload]


def parts(
    ops: Sequence[str],
    names: Sequence[str] = (),
    shapes: Sequence[str] = (),
    *,
    batch: int = 1,
    quick: bool = False,
) -> list[Part]:
    """What to measure of some operations.

    Parameters
    ----------
    names
        Of variants; none for all.
    shapes
        Networks or labels; none for all.
    quick
        Only a few shapes, if none is named.

    Raises
    ------
    VariantError, ConfigError
        If no operation has a variant or a shape of a name.
    """
    known = {op: variants(op) for op in ops}
    every = {one.name for ones in known.values() for one in ones}
    for name in names:
        if name not in every:
            raise VariantError(f"{ops[0]} has no variant {name!r}, only {', '.join(sorted(every))}")
    found = []
    for op, workloads in chosen(ops, shapes, batch).items():
        some = smallest(workloads) if quick and not shapes else workloads
        found.append(Part(op, [one for one in known[op] if not names or one.name in names], some))
    return found


def variants(op: str) -> list[Variant]:
    """All variants of an operation, the ladder first, from its foot up."""
    importlib.import_module(HOMES[op])
    return list(({one.name: one for one in registry.ladder(op)} | registry.variants(op)).values())


def rows(
    journal: Journal,
    benches: Sequence[Bench],
    part: Part,
    watch: Callable[[list[Row]], None],
) -> Iterator[list[Row]]:
    """Measure what the journal has not: the rows of each shape and number of threads, one by one.

    Parameters
    ----------
    watch
        Is told after each round what the rows are so far.
    """
    for workload in part.workloads:
        case: Case | None = None
        for bench in benches:
            left = [
                one
                for one in part.variants
                if not journal.has(part.op, workload.label, bench.threads, one.name)
            ]
            if any(one.supports(workload.shape) for one in left):
                case = case or Case(workload)
                found = bench.rows(case, left, watch)
                journal.keep(found, bench.threads, bench.gauge.roof)
                yield found
