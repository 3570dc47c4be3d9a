"""Time variants: one after the other, round by round, beside what the machine can do.

A shared machine is never the same twice, so

- the variants take turns, in another order in each round, and what the machine does to one of them
  it does to all;
- a turn is long enough for the clock, several calls if need be;
- before each round, the arrays move: where they happen to lie, and what else falls on the same
  lines of a cache, makes some per cent, for a whole run if they stayed (Mytkowicz et al. 2009,
  "Producing wrong data without doing anything obviously wrong!", ASPLOS);
- beside each turn, the peak of multiply-adds is measured, for the roof of that very moment, and a
  control, NumPy on the same arrays: `compare` divides by it;
- the first call, which compiles, is not counted.

A turn begins with a call that does not count, so that the caches hold the arrays; or, flushed, each
call begins with caches that hold something else.
"""

import contextlib
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from minincep.bench.record import Row
from minincep.bench.verify import Case, Checked
from minincep.bench.workloads import Workload
from minincep_kernels import machine
from minincep_kernels.registry import Variant
from minincep_kernels.roofline import Gauge, Roof

LEAST = 3  # repeats, however slow
LONG = 0.05  # seconds: a call that takes as long makes the caches its own
PAUSE = 0.05  # seconds: the threads of the BLAS spin on for a while when a call is over
WARM = 0.02  # seconds of calls until all threads are awake, each on a core of its own
# How often a thread of GNU OpenMP looks for work before it sleeps: some milliseconds, so that none
# does between the calls of a turn.  Who is woken may land on the core of who has woken it.
SPINS = "2000000"


@dataclass(frozen=True)
class Settings:
    """How long and how often.

    Attributes
    ----------
    repeats
        Turns of each variant, at most.
    turn
        Seconds that a turn takes, at least.
    budget
        Seconds that all turns of one variant on one shape take, as nearly as can be.
    flushed
        Whether each call finds its arrays in memory, not in the caches.
    roofs
        How often the bandwidths are measured beside each shape.
    seed
        Of the order of turns.
    """

    repeats: int = 11
    turn: float = 0.004
    budget: float = 0.4
    flushed: bool = False
    roofs: int = 3
    seed: int = 0


UNLIMITED = 1e9  # as a budget
QUICK = Settings(repeats=3, turn=0.001, budget=0.02, roofs=1)


class Bench:
    """Measures on so many threads.

    Attributes
    ----------
    gauge
        What has been seen of the machine so far.
    """

    def __init__(self, threads: int, settings: Settings) -> None:
        self.threads = threads
        self.settings = settings
        self.gauge = Gauge(threads, machine.caches())
        self._generator = np.random.default_rng(settings.seed)

    def rows(
        self,
        case: Case,
        variants: Sequence[Variant],
        watch: Callable[[list[Row]], None] = lambda rows: None,
    ) -> list[Row]:
        """Verify and time the variants that support a shape.

        Parameters
        ----------
        watch
            Is told after each round what the rows are so far.

        Raises
        ------
        RefusedError
            If one of them is wrong.
        """
        able = [variant for variant in variants if variant.supports(case.workload.shape)]
        with _spinning(), machine.num_threads(self.threads):
            contenders = [self._contender(case, variant) for variant in able]
            first = len(self.gauge.samples)
            for _ in range(self.settings.roofs):
                self.gauge.take()
            roof = self.gauge.roof_since(first)
            rows: list[Row] = []
            for round_ in range(max((one.repeats for one in contenders), default=0)):
                case.move(self._generator)
                self._round([one for one in contenders if round_ < one.repeats])
                medians = {one.variant.name: statistics.median(one.seconds) for one in contenders}
                rows = [one.row(case.workload, self.threads, roof, medians) for one in contenders]
                watch(rows)
        return rows

    def _contender(self, case: Case, variant: Variant) -> "_Contender":
        checked = case.verify(variant)
        start = time.perf_counter()
        case.call(variant)
        once = time.perf_counter() - start
        return _Contender(case, variant, checked, once, self.settings)

    def _round(self, contenders: "list[_Contender]") -> None:
        for index in self._generator.permutation(len(contenders)):
            if self.threads > 1:
                time.sleep(PAUSE)
            contenders[index].take_turn(self.gauge)


class _Contender:
    """A variant on a shape, and what it has shown."""

    def __init__(
        self, case: Case, variant: Variant, checked: Checked, once: float, settings: Settings
    ) -> None:
        self.variant = variant
        self.seconds: list[float] = []
        self._peak: list[float] = []
        self._control: list[float] = []
        self._case, self._checked, self._once, self._settings = case, checked, once, settings
        start = time.perf_counter()
        case.control()
        control = time.perf_counter() - start
        self._calls, self._controls = (
            1 if settings.flushed else max(1, round(settings.turn / one)) for one in (once, control)
        )
        affordable = int(settings.budget / (once * self._calls))
        self.repeats = min(settings.repeats, max(LEAST, affordable))

    def take_turn(self, gauge: Gauge) -> None:
        """Time some calls, and what they are held against."""
        self._peak.append(gauge.compute())
        call = functools.partial(self._case.call, self.variant)
        self.seconds.append(self._time(call, self._calls, gauge))
        with threadpool_limits(limits=1, user_api="blas"):  # so that none of its threads spins
            self._control.append(self._time(self._case.control, self._controls, gauge))

    def _time(self, call: Callable[[], object], calls: int, gauge: Gauge) -> float:
        """Seconds of a call, of so many."""
        if self._settings.flushed:
            gauge.flush()
        elif self._once < LONG:
            _warm_up(call)
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls

    def row(self, workload: Workload, threads: int, roof: Roof, medians: dict[str, float]) -> Row:
        shape, variant = workload.shape, self.variant
        roof = replace(roof, flops=max(self._peak))  # that of these very moments
        median = medians[variant.name]
        work = float(variant.work(shape) if variant.work else shape.flops)
        cached = not self._settings.flushed
        below = medians.get(variant.below or "")
        return Row(
            op=workload.op,
            variant=variant.name,
            below=variant.below,
            shape={name: _plain(value) for name, value in asdict(shape).items()},
            label=workload.label,
            networks=dict(workload.networks),
            threads=threads,
            cache="warm" if cached else "flushed",
            flops=float(shape.flops),
            bytes=float(shape.bytes),
            work=work,
            seconds=list(self.seconds),
            peak=list(self._peak),
            control=list(self._control),
            median=median,
            compile_seconds=max(0.0, self._checked.first_seconds - median),
            error=self._checked.error,
            tolerance=variant.tolerance,
            gflops=shape.flops / median / 1e9,
            share_of_roof=roof.seconds(work, shape.bytes, cached=cached) / median,
            bound=roof.bound(work, shape.bytes, cached=cached),
            speedup_over_below=below / median if below else None,
        )


@contextlib.contextmanager
def _spinning() -> Iterator[None]:
    """Threads that start within look for work `SPINS` times, unless the user chose."""
    if "GOMP_SPINCOUNT" in os.environ:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def _warm_up(call: Callable[[], object]) -> None:
    start = time.perf_counter()
    call()
    while machine.get_num_threads() > 1 and time.perf_counter() < start + WARM:
        call()


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
