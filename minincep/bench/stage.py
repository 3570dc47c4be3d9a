"""Where variants are timed: one process, a turn of one variant at a time."""

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from minincep.bench.remote import Remote
from minincep.bench.verify import Case
from minincep.bench.workloads import Workload
from minincep_kernels import machine
from minincep_kernels.registry import Variant
from minincep_kernels.roofline import Gauge

LEAST = 3  # repeats, however slow
LONG = 0.05  # seconds: a call that takes as long makes the caches its own
WARM = 0.02  # seconds of calls until all threads are awake, each on a core of its own


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


@dataclass(frozen=True)
class Entry:
    """What the first calls of a variant have told.

    Attributes
    ----------
    repeats
        Turns that there is time for.
    """

    error: float
    first_seconds: float
    repeats: int


@dataclass(frozen=True)
class Turn:
    """What a turn has shown.

    Attributes
    ----------
    seconds, control
        Of one call of the variant, and of the control.
    peak
        Operations a second of multiply-adds alone.
    """

    seconds: float
    peak: float
    control: float


class Stage:
    """Verifies and times variants in this process, on one shape after the other."""

    def __init__(self, gauge: Gauge, settings: Settings, variants: Iterable[Variant]) -> None:
        self._gauge, self._settings = gauge, settings
        self._variants = {(one.op, one.name): one for one in variants}
        self._generator = np.random.default_rng(settings.seed)

    def enter(self, workload: Workload) -> None:
        """Go on to another shape."""
        self._case = Case(workload)
        self._contenders: dict[str, _Contender] = {}

    def verify(self, name: str) -> Entry:
        """Verify a variant.

        Raises
        ------
        RefusedError
            If it is wrong.
        """
        variant = self._variants[self._case.workload.op, name]
        checked = self._case.verify(variant)
        self._contenders[name] = contender = _Contender(self._case, variant, self._settings)
        return Entry(checked.error, checked.first_seconds, contender.repeats)

    def move(self) -> None:
        """Move the arrays, before a round."""
        self._case.move(self._generator)

    def turn(self, name: str) -> Turn:
        """Time some calls of a variant, and what they are held against."""
        peak = self._gauge.compute()
        contender = self._contenders[name]
        seconds = contender.seconds(self._gauge)
        with threadpool_limits(limits=1, user_api="blas"):  # so that none of its threads spins
            return Turn(seconds, peak, contender.control(self._gauge))


class _Contender:
    """A variant on a shape, and how many calls make a turn."""

    def __init__(self, case: Case, variant: Variant, settings: Settings) -> None:
        self._case, self._settings = case, settings
        self._call = functools.partial(case.call, variant)
        self._once, once_control = _seconds(self._call), _seconds(case.control)
        self._calls, self._controls = (
            1 if settings.flushed else max(1, round(settings.turn / one))
            for one in (self._once, once_control)
        )
        affordable = int(settings.budget / (self._once * self._calls))
        self.repeats = min(settings.repeats, max(LEAST, affordable))

    def seconds(self, gauge: Gauge) -> float:
        """Seconds of a call."""
        return self._time(self._call, self._calls, gauge)

    def control(self, gauge: Gauge) -> float:
        """Seconds of what NumPy does with the same arrays."""
        return self._time(self._case.control, self._controls, gauge)

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


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _warm_up(call: Callable[[], object]) -> None:
    start = time.perf_counter()
    call()
    while machine.get_num_threads() > 1 and time.perf_counter() < start + WARM:
        call()


class Elsewhere(Remote):
    """A stage in a process of its own."""

    def enter(self, workload: Workload) -> None:
        self.call("enter", workload)

    def verify(self, name: str) -> Entry:
        entry: Entry = self.call("verify", name)
        return entry

    def move(self) -> None:
        self.call("move")

    def turn(self, name: str) -> Turn:
        turn: Turn = self.call("turn", name)
        return turn
