"""A run: some variants on some shapes."""

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from minincep.bench import plugin
from minincep.bench.journal import Journal
from minincep.bench.measure import Bench
from minincep.bench.record import Row
from minincep.bench.stage import Elsewhere, Settings, Stage
from minincep.bench.workloads import Workload, chosen, smallest
from minincep_kernels import machine, registry
from minincep_kernels.errors import VariantError
from minincep_kernels.registry import Variant
from minincep_kernels.roofline import Gauge

# The module that registers the variants of an operation.
HOMES = {
    "gemm": "minincep_kernels.gemm",
    "conv2d": "minincep_kernels.conv2d",
    "moments": "minincep_kernels.norm",
    "normalize": "minincep_kernels.norm",
    "max_pool2d": "minincep_kernels.pool",
    "avg_pool2d": "minincep_kernels.pool",
}
# How often a thread of GNU OpenMP looks for work before it sleeps: some hundredths of a second, so
# that none does between the calls of a turn.  Who is woken may land on the core of who has woken
# it.
SPINS = "2000000"


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


@contextlib.contextmanager
def benches(
    parts: Sequence[Part],
    threads: Sequence[int],
    settings: Settings,
    path: Path | None = None,
) -> Iterator[list[Bench]]:
    """What measures on each number of threads.

    On several, the variants that use the BLAS and those that do not have a process each, since they
    want different things of OpenMP, and each must sleep while it is the other's turn.

    Parameters
    ----------
    path
        A file of variants of the user's own.
    """
    every = [variant for part in parts for variant in part.variants]
    ops = [part.op for part in parts]
    with contextlib.ExitStack() as stack:

        def elsewhere(number: int, uses_blas: bool) -> Elsewhere:
            name = f"the process of variants that {'use' if uses_blas else 'do without'} the BLAS"
            stage = Elsewhere(name, _stage, number, settings, ops, path, uses_blas)
            return stack.enter_context(contextlib.closing(stage))

        found = []
        for number in threads:
            gauge = Gauge(number, machine.caches())
            stages: dict[bool, Stage | Elsewhere]
            if number == 1:
                stages = dict.fromkeys((False, True), Stage(gauge, settings, every))
            else:
                kinds = {variant.uses_blas for variant in every}
                stages = {uses_blas: elsewhere(number, uses_blas) for uses_blas in sorted(kinds)}
            found.append(Bench(gauge, settings, stages))
        yield found


def _stage(
    threads: int, settings: Settings, ops: Sequence[str], path: Path | None, uses_blas: bool
) -> Stage:
    """What times some variants, in a process of its own."""
    if not uses_blas:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    machine.set_num_threads(threads)
    every = [variant for op in ops for variant in variants(op)]
    if path is not None:
        every += plugin.load(path, ops)
    return Stage(Gauge(threads), settings, every)


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
        for bench in benches:
            left = [
                one
                for one in part.variants
                if not journal.has(part.op, workload.label, bench.threads, one.name)
            ]
            if any(one.supports(workload.shape) for one in left):
                found = bench.rows(workload, left, watch)
                journal.keep(found, bench.threads, bench.gauge.roof)
                yield found
