"""Programs on Numba's threads, for processes that have them: those that train.

Between the convolutions of a training step stand kernels that Numba runs on threads of its own.
They look out for work for a moment before they sleep, as the helpers of `crew` do, and two such
pools would keep each other from the cores.  So where Numba's threads run, they run the programs.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from minincep_kernels import Array
from minincep_kernels.jit import kernel
from minincep_kernels.program.crew import ARGUMENTS, Job
from minincep_kernels.vectors import INT, whole


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _call(typing: Any, function: Any, arguments: Any, row: Any) -> Any:
    """Call the function at an address with the numbers in a row of a table: -> its status."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function, table, row = values
        data = context.make_array(signature.args[1])(context, builder, table).data
        start = builder.mul(row, whole(ARGUMENTS))
        numbers = [
            builder.load(builder.gep(data, [builder.add(start, whole(i))]))
            for i in range(ARGUMENTS)
        ]
        # Where a result would go, and where an exception would, come first.
        nothing = [cgutils.alloca_once(builder, ir.PointerType(ir.IntType(8))) for _ in range(2)]
        kinds = [*(pointer.type for pointer in nothing), *[INT] * ARGUMENTS]
        kind = ir.FunctionType(ir.IntType(32), kinds).as_pointer()
        return builder.call(builder.inttoptr(function, kind), [*nothing, *numbers])

    return types.int32(types.int64, arguments, types.int64), generate


@kernel
def _share(functions: Array, tables: Array, out: Array) -> None:
    """One function after the other, each with all rows of its table: (jobs, threads, ARGUMENTS)."""
    for job in range(len(functions)):
        table = tables[job]
        for row in prange(len(table)):
            out[row] = _call(functions[job], table, np.int64(row))


def run(*jobs: Job) -> None:
    """`crew.run` on Numba's threads: Python is entered once for all the jobs."""
    functions = np.array([job.function for job in jobs])
    tables = np.array([job.arguments for job in jobs])
    _share(functions, tables, np.zeros(len(tables[0]), np.int32))
