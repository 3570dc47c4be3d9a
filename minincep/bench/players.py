"""Engines that take turns, each in a process of its own that sleeps meanwhile.

In one process, threads of one engine that spin would steal the cores of the next.
"""

import multiprocessing
import os
import re
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from minincep.bench.engines import Engine, Floats
from minincep_kernels.errors import UserError

PAUSE = 0.2  # seconds; threads spin on for a while when a call is over


class EngineError(UserError, RuntimeError):
    """An engine has failed; its own message went to standard error."""


def serve(pipe: Any, engine: type[Engine], path: Path, threads: int, x: Floats) -> None:
    """The life of an engine's process: send one output, then time calls when told to."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # `load` alone decides about threads
        os.environ.pop(name, None)
    player = engine()
    player.load(path, threads, x)
    pipe.send((player.run(x), peak_memory()))
    while True:
        times = []
        calls = pipe.recv()
        player.run(x)  # untimed: the caches hold what the engine before has used
        for _ in range(calls):
            start = time.perf_counter()
            player.run(x)
            times.append(time.perf_counter() - start)
        pipe.send(statistics.median(times))


def peak_memory() -> float | None:
    """Most memory that this process has held so far, in megabytes, where the system tells."""
    return memory("VmHWM")


def memory(field: str, process: int | str = "self") -> float | None:
    """A field of a process's status in megabytes: VmHWM is the peak, VmRSS what it holds now."""
    status = Path(f"/proc/{process}/status")
    found = re.search(rf"{field}:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 / 1e6 if found else None


class Player:
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
        self.name = engine.name
        spawn = multiprocessing.get_context("spawn")
        self._pipe, far_end = spawn.Pipe()
        arguments = (far_end, engine, path, threads, x)
        self._process = spawn.Process(target=serve, args=arguments, daemon=True)
        start = time.perf_counter()
        self._process.start()
        far_end.close()  # only the child has it now, so its death shows here
        self.output: Floats
        self.output, megabytes = self._receive()
        self.start = {"seconds": time.perf_counter() - start, "megabytes": megabytes}
        time.sleep(PAUSE)

    def turn(self, calls: int) -> float:
        """Median seconds of a few calls; afterwards a pause until the threads sleep too."""
        self._pipe.send(calls)
        seconds = float(self._receive())
        time.sleep(PAUSE)
        return seconds

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise EngineError(f"{self.name} failed; its own message is above") from None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


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
