"""Engines that take turns, each in a process of its own that sleeps meanwhile."""

import os
import re
import statistics
import time
from pathlib import Path

import numpy as np

from minincep.bench.engines import Engine, Floats
from minincep.bench.remote import Remote


def peak_memory() -> float | None:
    """Most memory that this process has held so far, in megabytes, where the system tells."""
    return memory("VmHWM")


def memory(field: str, process: int | str = "self") -> float | None:
    """A field of a process's status in megabytes: VmHWM is the peak, VmRSS what it holds now."""
    status = Path(f"/proc/{process}/status")
    found = re.search(rf"{field}:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 / 1e6 if found else None


class Player(Remote):
    """An engine in a process of its own, asleep between its turns.

    Attributes
    ----------
    output
        Its first answer.
    start
        What it took to get there: `seconds` from the start of the process, imports included, and
        `megabytes` of memory at most.
    """

    def __init__(self, engine: type[Engine], path: Path, threads: int, x: Floats) -> None:
        start = time.time()  # that of all processes
        super().__init__(engine.name, _Playing, engine, path, threads, x)
        self.output: Floats
        self.output, end, megabytes = self.call("first")
        self.start = {"seconds": end - start, "megabytes": megabytes}

    def turn(self, calls: int) -> float:
        """Median seconds of a few calls."""
        return float(self.call("turn", calls))


class _Playing:
    """What is in the process of a player."""

    def __init__(self, engine: type[Engine], path: Path, threads: int, x: Floats) -> None:
        for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # `load` alone decides about threads
            os.environ.pop(name, None)
        self._engine, self._x = engine(), x
        self._engine.load(path, threads, x)
        self._first = self._engine.run(x), time.time(), peak_memory()

    def first(self) -> tuple[Floats, float, float | None]:
        """The first answer, when it was there, and the memory that it took."""
        return self._first

    def turn(self, calls: int) -> float:
        times = []
        self._engine.run(self._x)  # untimed: the caches hold what the engine before has used
        for _ in range(calls):
            start = time.perf_counter()
            self._engine.run(self._x)
            times.append(time.perf_counter() - start)
        return statistics.median(times)


def difference(output: Floats, wanted: Floats) -> float:
    """Largest difference of two outputs, in standard deviations of what is wanted."""
    if output.shape != wanted.shape:
        return np.inf
    exact = wanted.astype(np.float64)
    return float(np.abs(output - exact).max() / exact.std())


def pictures(count: int, size: int) -> Floats:
    """Reference pictures, scaled: (count, size, size, 3)."""
    from minincep.io import reference  # here: an engine's process needs this file, not that one

    raw = np.stack([reference.picture(size, size, seed) for seed in range(count)])
    return reference.scaled(raw)
