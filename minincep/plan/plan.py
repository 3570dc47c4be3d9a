"""`compile`: a network made ready for pictures of one size.  `Plan`: the result.

    plan = mi.compile(network, image_size=299)
    logits = plan(x)                                # prepared pictures (N, 299, 299, 3)

A plan is the network's own forward pass, traced once, rewritten (`passes`), laid out in memory
(`lower`), and run by one compiled function (`minincep_kernels.program`).  It holds copies of the
weights, packed, and nothing of the network.
"""

import threading
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from minincep.models.preprocessing import shape_hint
from minincep.plan.program import Program
from minincep_kernels import Array, machine
from minincep_kernels.errors import DTypeError, PlanError, ShapeError
from minincep_kernels.program.runner import Runner, aligned

if TYPE_CHECKING:
    from minincep.models.network import Network

CACHED = 20 << 20  # bytes of maps for each thread: measured, with those of 8 to 60 MB


class Plan:
    """A network made ready for pictures of one size, on any number of threads.

    The result for a picture is the same to the last bit, alone or at any place in a batch, on any
    number of threads, and from any plan of the same network for the same size.

    Python threads may share a plan; it answers one at a time.

    Attributes
    ----------
    program
        What runs.
    """

    program: Program

    def __init__(self, program: Program) -> None:
        self.program = program
        self._lock = threading.Lock()
        self._memory = aligned(program.memory)
        self._runner = Runner(program.steps, program.scratch)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures, in pixels."""
        return self.program.input.height, self.program.input.width

    @property
    def batch_size(self) -> int:
        """Pictures that there is memory for; more are run in parts."""
        return self.program.batch

    @property
    def at_once(self) -> int:
        """Pictures that run at once, on as many threads as are set now.

        With more of them, filters are fetched less often, but maps do not stay in the caches from
        one step to the next, which costs more.
        """
        size = self.program.memory // self.batch_size * self._memory.itemsize
        return max(min(CACHED * machine.get_num_threads() // size, self.batch_size), 1)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """End points that it was compiled for."""
        return tuple(name for name in self.program.outputs if name)

    def __call__(self, x: Array) -> Array:
        """The network's answer to prepared pictures: (N, H, W, 3) of float32 -> (N, ...).

        Raises
        ------
        DTypeError
            If x is not float32.
        ShapeError
            If x is not (N, H, W, 3) with the height and width of the plan.
        """
        return self.run_endpoints(x)[""]

    def run_endpoints(self, x: Array) -> dict[str, Array]:
        """The end points that the plan was compiled for, and the answer under ``""``: -> (N, ...).

        Raises
        ------
        DTypeError, ShapeError
            As when the plan is called.
        """
        self._check(x)
        shapes = {name: shape for name, (_, shape) in self.program.outputs.items()}
        found = {name: np.empty((len(x), *shape), x.dtype) for name, shape in shapes.items()}
        parts = -(-len(x) // self.at_once)  # of even size
        for number in range(parts):
            first, last = number * len(x) // parts, (number + 1) * len(x) // parts
            part = x[first:last]
            with self._lock:
                self._put(part)
                self._run(0, len(self.program.steps), len(part))
                for name, (place, shape) in self.program.outputs.items():
                    maps = place.view(self._memory, len(part))
                    found[name][first:last] = maps.reshape(len(part), *shape)
        return found

    def time_steps(self, x: Array) -> npt.NDArray[np.float64]:
        """Seconds that each step takes by itself, for those that run at once: -> (steps,)."""
        self._check(x)
        part = x[: self.at_once]
        seconds = np.zeros(len(self.program.steps))
        with self._lock:
            self._put(part)
            for step in range(len(seconds)):
                start = time.perf_counter()
                self._run(step, step + 1, len(part))
                seconds[step] = time.perf_counter() - start
        return seconds

    def _check(self, x: Array) -> None:
        if not isinstance(x, np.ndarray) or x.dtype != np.float32:
            kind = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise DTypeError(f"a plan takes an array of float32, got {kind}")
        wanted = (*self.image_size, 3)
        if x.ndim != 4 or x.shape[1:] != wanted:
            raise ShapeError(
                f"this plan takes pictures (N, {', '.join(map(str, wanted))}), got {x.shape}"
                f"{shape_hint(x.shape) or '; for another size compile another plan'}"
            )

    def _put(self, x: Array) -> None:
        self.program.input.view(self._memory, len(x))[...] = x

    def _run(self, first: int, last: int, batch: int) -> None:
        """Run steps first to last on all threads."""
        self._runner(first, last, batch, self.program.weights, self._memory, self._memory)


def compile(  # noqa: A001  (called as mi.compile)
    network: "Network",
    *,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int = 1,
    endpoints: Collection[str] = (),
    tune: bool = False,
    allocate: Callable[[int], Array] | None = None,
) -> Plan:
    """Make a network ready for pictures of one size.

    Parameters
    ----------
    network
        In inference mode.  The plan takes a copy of its weights: training on leaves it alone.
    image_size
        Height and width in pixels, or one number for both; by default what the network's
        preprocessing makes.
    batch_size
        Pictures to take memory for, at least 1.  It decides nothing else: a plan answers fewer
        pictures and more, and runs as many at once as is fastest.
    endpoints
        End points that `run_endpoints` is to give; they take memory of their own.
    tune
        Try which sizes of chunks are fastest on this machine; it takes some fifty times as long as
        one answer, and changes no bit of any.
    allocate
        Gives memory for so many floats of packed weights; by default ordinary memory.

    Raises
    ------
    ConfigError
        If there is no end point of a name.
    PlanError
        If the network is in training mode or not of float32, or `batch_size` is out of range.
    ShapeError
        If the size is too small for the network.
    """
    from minincep.plan.lower import lower  # a plan from a file does without all these
    from minincep.plan.passes import apply_all
    from minincep.plan.trace import trace

    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise PlanError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
    size = image_size
    if size is None:
        size = network.preprocessing.height, network.preprocessing.width
    elif isinstance(size, int):
        size = size, size
    graph = apply_all(trace(network, size, endpoints))
    plan = Plan(lower(graph, batch_size, allocate or aligned))
    if tune:
        from minincep.plan.tune import tune as tuned  # which needs a plan to try

        plan = tuned(plan)
    return plan
