"""Is a variant right?  Each is held against the exact result before it is timed."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from minincep.bench import arrays
from minincep.bench.workloads import Workload
from minincep_kernels import Array
from minincep_kernels.errors import UserError
from minincep_kernels.registry import Variant

LINE = 64  # bytes of a cache line
PLACES = 64  # of which a page has so many


class RefusedError(UserError):
    """A variant is wrong: the message says on which shape, where, and how."""


@dataclass(frozen=True)
class Checked:
    """What the first call of a variant has told."""

    error: float
    first_seconds: float


class Case:
    """A shape with its arrays and the exact result, for any number of variants."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.arrays = arrays.drawn(workload.op, workload.shape)
        self.exact = arrays.exact(workload.op, workload.shape, self.arrays)

    def call(self, variant: Variant) -> Any:
        return variant.forward(*self.arrays.values(), self.workload.shape)

    def move(self, generator: np.random.Generator) -> None:
        """Copy the arrays to other places in memory, each on a cache line of its own."""
        for name, array in self.arrays.items():
            room = np.empty(array.nbytes + PLACES * LINE, np.uint8)
            start = -room.ctypes.data % LINE + int(generator.integers(PLACES)) * LINE
            moved = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
            moved[...] = array
            self.arrays[name] = moved

    def control(self) -> None:
        """Let NumPy do something with the same arrays; see `arrays.Operation`."""
        arrays.OPERATIONS[self.workload.op].control(*self.arrays.values())

    def verify(self, variant: Variant) -> Checked:
        """Run a variant once.

        Raises
        ------
        RefusedError
            If its result is wrong or of another kind, or an input is not what it was.
        """
        before = {name: array.copy() for name, array in self.arrays.items()}
        start = time.perf_counter()
        result = self.call(variant)
        seconds = time.perf_counter() - start
        for name, array in before.items():
            if not np.array_equal(array, self.arrays[name]):
                self.arrays[name][...] = array
                raise self._refusal(variant, f"changes its input {name}: copy it first")
        return Checked(self._error(variant, result), seconds)

    def _error(self, variant: Variant, result: Any) -> float:
        names = arrays.OPERATIONS[self.workload.op].results
        found = result if isinstance(result, tuple) else (result,)
        if len(found) != len(names):
            raise self._refusal(variant, f"gives {len(found)} results, wanted {len(names)}")
        triples = zip(names, found, self.exact, strict=True)
        return max(self._error_of(variant, *triple) for triple in triples)

    def _error_of(self, variant: Variant, name: str, result: Any, exact: Array) -> float:
        """The error of one result."""
        verb = f"gives as {name}" if name else "gives"
        if not isinstance(result, np.ndarray):
            raise self._refusal(variant, f"{verb} {type(result).__name__}, not a NumPy array")
        wanted = exact.astype(np.float32) if exact.dtype == np.float64 else exact
        if result.shape != wanted.shape or result.dtype != wanted.dtype:
            raise self._refusal(variant, f"{verb} {_kind(result)}, wanted {_kind(wanted)}")
        found = arrays.difference(self.workload.op, result, exact)
        if not found.error <= variant.tolerance:
            of = f" in {name}" if name else ""
            raise self._refusal(
                variant,
                f"is wrong{of} at {found.where}: got {found.got:.7g}, wanted {found.wanted:.7g} "
                f"({found.error:.1e} standard deviations off, {variant.tolerance:.1e} allowed)",
            )
        return found.error

    def _refusal(self, variant: Variant, what: str) -> RefusedError:
        return RefusedError(
            f"{variant.op} variant {variant.name!r} on {self.workload.label} {what}"
        )


def _kind(array: Array) -> str:
    return f"{array.dtype} of shape {array.shape}"
