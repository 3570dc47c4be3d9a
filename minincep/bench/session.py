"""A run: some variants on some shapes."""

import importlib
from collections.abc import Callable, Iterator, Sequence

from minincep.bench.journal import Journal
from minincep.bench.measure import Bench
from minincep.bench.record import Row
from minincep.bench.verify import Case
from minincep.bench.workloads import Workload
from minincep_kernels import registry
from minincep_kernels.errors import VariantError
from minincep_kernels.registry import Variant

# The module that registers the variants of an operation.
HOMES = {
    "gemm": "minincep_kernels.gemm",
    "conv2d": "minincep_kernels.conv2d",
    "batch_norm": "minincep_kernels.norm",
    "max_pool2d": "minincep_kernels.pool",
}


def variants(op: str, names: Sequence[str] = ()) -> list[Variant]:
    """The variants of these names, or all; the ladder first, from its foot up.

    Raises
    ------
    VariantError
        If there is none of a name.
    """
    importlib.import_module(HOMES[op])
    known = registry.variants(op)
    for name in names:
        if name not in known:
            raise VariantError(f"{op} has no variant {name!r}, only {', '.join(known)}")
    ordered = {variant.name: variant for variant in registry.ladder(op)} | known
    return [variant for name, variant in ordered.items() if not names or name in names]


def rows(
    journal: Journal,
    benches: Sequence[Bench],
    workloads: Sequence[Workload],
    variants: Sequence[Variant],
    watch: Callable[[list[Row]], None],
) -> Iterator[list[Row]]:
    """Measure what the journal has not: the rows of each shape and number of threads, one by one.

    Parameters
    ----------
    watch
        Is told after each round what the rows are so far.
    """
    for workload in workloads:
        case: Case | None = None
        for bench in benches:
            left = [
                one for one in variants if not journal.has(workload.label, bench.threads, one.name)
            ]
            if any(one.supports(workload.shape) for one in left):
                case = case or Case(workload)
                found = bench.rows(case, left, watch)
                journal.keep(found, bench.threads, bench.gauge.roof)
                yield found
