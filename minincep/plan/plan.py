"""`Plan`: a network made ready for pictures of one size."""

import threading
from collections.abc import Collection
from typing import Any

import numpy as np

from minincep.models.network import Network
from minincep.plan.lower import Program, lower
from minincep.plan.passes import apply_all
from minincep.plan.trace import trace
from minincep_kernels import Array, machine
from minincep_kernels.errors import DTypeError, ShapeError
from minincep_kernels.program import tiles
from minincep_kernels.program.run import COUNTERS, run, together


class Plan:
    def __init__(self, program: Program) -> None:
        self.program = program
        self._memory = _flat(program.memory)
        self._counters = np.zeros(len(program.steps) * COUNTERS, np.int64)
        self._lock = threading.Lock()
        self._scratch = _flat(0)
        self._places = np.zeros(0, np.int64)

    def __call__(self, x: Array) -> Array:
        return self.run_endpoints(x)[""]

    def run_endpoints(self, x: Array) -> dict[str, Array]:
        with self._lock:
            self.program.input.view(self._memory, len(x))[...] = x
            self._run(0, len(self.program.steps), len(x))
            return {
                name: place.view(self._memory, len(x)).reshape(len(x), *shape)
                for name, (place, shape) in self.program.outputs.items()
            }

    def _run(self, first: int, last: int, batch: int) -> None:
        threads = machine.get_num_threads()
        if len(self._places) < threads * tiles.PLACES:
            self._scratch = _flat(threads * self.program.scratch)
            self._places = np.zeros(threads * tiles.PLACES, np.int64)
        self._counters[:] = 0
        memory = self._memory

        def work(worker: int) -> None:
            run.serial(
                self.program.steps,
                first,
                last,
                batch,
                worker,
                self.program.weights,
                memory,
                memory,
                self._scratch,
                self._places,
                self._counters,
            )

        together(work, threads)


def compile(
    network: Network,
    *,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int = 1,
    endpoints: Collection[str] = (),
) -> Plan:
    size = network.preprocessing.size if image_size is None else image_size
    height, width = (size, size) if isinstance(size, int) else size
    graph = apply_all(trace(network, (height, width), endpoints))
    return Plan(lower(graph, batch_size))


def _flat(floats: int) -> Array:
    """Zeros that begin where a cache line does."""
    room = np.zeros(floats + 16, np.float32)
    start = -(room.ctypes.data // 4) % 16
    return room[start : start + floats]
