"""The loop of a program: one function, on as many threads as call it.

All threads run the same function over the same table, and agree by two counters for each step:

- `claimed`: chunks that somebody has taken.  Who wants work adds one, and has got the chunk of the
  number that was there before.
- `finished`: chunks that are complete.  Who begins a step first waits until the steps that it reads
  from are complete.

So no thread has a part of its own.  One that is slow, or interrupted by another program, takes
fewer chunks; one that comes late finds nothing left.  A thread that runs out of chunks goes on to
the next step at once, unless that one reads what is still being written: branches that stand side
by side in the network overlap.  And since every number is the same chain of operations whoever
works it out, the result does not depend on who did.

The threads leave Python when they enter the function, and meet again when all of the program has
run: `crew` keeps them at hand, or, in processes that train, Numba does (`numba_threads`).
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import carray, from_dtype, types
from numba.core.compiler import Flags, compile_extra
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from minincep_kernels.program.crew import pause
from minincep_kernels.program.memory import Memory
from minincep_kernels.program.step import CLAIMED, COUNTERS, FINISHED
from minincep_kernels.vectors import INT, whole

FAR = 1 << 40  # elements of an array of which only the start is known
_kept: list[Any] = []


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _take(typing: Any, counters: Any, index: Any) -> Any:
    """Add 1 to a counter, and give what it was, whatever other threads do."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.gep(builder.inttoptr(arguments[0], ir.PointerType(INT)), [arguments[1]])
        return builder.atomic_rmw("add", place, whole(1), "acq_rel")

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _look(typing: Any, counters: Any, index: Any) -> Any:
    """A counter, and all that was written before it was last changed."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.gep(builder.inttoptr(arguments[0], ir.PointerType(INT)), [arguments[1]])
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _pause(typing: Any) -> Any:
    """Tell the CPU that this is a waiting loop, where it knows how to be told."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pause(builder)
        return context.get_dummy_value()

    return types.void(), generate


def program(count: Callable[..., int], run_chunk: Callable[..., None], routines: Any) -> Any:
    """The function that runs the steps of a table, whatever they are.

    Parameters
    ----------
    count
        (step, batch) -> chunks of a step.
    run_chunk
        (step, number of the chunk, batch, memory); both are `jit.inlined`.
    routines
        `vectors.table_of` what they call.
    """

    def run(
        steps: Any,
        first: int,
        last: int,
        batch: int,
        weights: Any,
        x: Any,
        out: Any,
        scratch: Any,
        places: Any,
        counters: Any,
    ) -> None:
        """Steps first to last of a program, on one of the threads that share them.

        Everything is an address: `native` compiles this to a function that needs no Python.

        Parameters
        ----------
        steps
            Array of `STEP`.
        batch
            Pictures.
        weights, x, out
            float32: what the offsets of the steps count from.  In a plan, x and out are one.
        scratch
            This thread's own, float32, `scratch_of` the steps.
        places
            This thread's own, int64, `PLACES` of them.
        counters
            int64, zeros, `COUNTERS` for each step.
        """
        table = carray(steps, FAR)
        memory = Memory(x, out, weights, scratch, places, routines())
        for index in range(first, last):
            step = table[index]
            for before in range(first, min(step.wait, index)):
                there = count(table[before], batch)
                while _look(counters, before * COUNTERS + FINISHED) < there:
                    _pause()
            there = count(step, batch)
            while True:
                chunk = _take(counters, index * COUNTERS + CLAIMED)
                if chunk >= there:
                    break
                run_chunk(step, chunk, batch, memory)
                _take(counters, index * COUNTERS + FINISHED)

    return run


def compile_program(function: Any, step: Any) -> tuple[str, bytes, int]:
    """Compile a program: -> its name in machine code, the code as an object file, its address."""
    number = types.int64
    arguments = (types.CPointer(from_dtype(step)), *[number] * 9)
    typing, target = cpu_target.typing_context, cpu_target.target_context
    typing.refresh()
    target.refresh()
    flags = Flags()
    flags.nrt = True  # which Numba asks for wherever there are arrays
    flags.error_model = "numpy"
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    result = compile_extra(typing, target, function, arguments, types.void, flags, {})
    name = result.fndesc.llvm_func_name
    _, _, (code, _) = result.library.serialize_using_object_code()
    _kept.append(result.library)  # its memory holds the code
    return name, code, result.library.get_pointer_to_function(name)
