"""Threads that are at hand: helpers that wait in machine code for the next piece of work.

A thread that sleeps takes a tenth of a millisecond to wake up and to get into machine code through
Python; a training step enters it a thousand times.  So a helper that has finished its work looks
out for more, in machine code and without Python's lock, for a moment (`SPINS`), before it sleeps.

Each helper has a box, an array of whole numbers that both sides see:

- `POSTED` counts the jobs that were put in, `FINISHED` those that are done.
- `JOB` is the address of a function and its arguments.
- `PARKED` says that the helper sleeps, or is about to.  It says so first and then looks once more
  whether something was posted; who posts does so first and then looks whether the helper is
  parked.  So, whichever comes first, nobody waits in vain.

The three functions on boxes (`post`, `serve`, `wait`) are written here as LLVM code, since
Python knows no atomic operations; they take a few milliseconds to compile, in each process.
"""

import ctypes
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
from llvmlite import ir

# Each on a cache line of its own, so that threads do not fight over it.
POSTED, FINISHED, PARKED, JOB = 0, 8, 16, 24
ARGUMENTS = 10  # of a job
BOX = JOB + 1 + ARGUMENTS
SPINS = 4000  # looks into the box, each some tens of cycles, before a helper sleeps

_INT = ir.IntType(64)
_NOTHING = ir.PointerType(ir.IntType(8))


class _Functions(NamedTuple):
    post: Any
    serve: Any
    wait: Any


def _cell(builder: ir.IRBuilder, box: ir.Value, index: int) -> ir.Value:
    return builder.gep(box, [ir.Constant(_INT, index)])


def _start(module: ir.Module, name: str, result: ir.Type) -> tuple[ir.IRBuilder, list[ir.Value]]:
    """A function (box, spins) that is to be written."""
    kind = ir.FunctionType(result, [ir.PointerType(_INT), _INT])
    function = ir.Function(module, kind, f"minincep_{name}")
    return ir.IRBuilder(function.append_basic_block()), list(function.args)


def pause(builder: ir.IRBuilder) -> None:
    """Tell the CPU that this is a waiting loop, where it knows how to be told."""
    if "x86" in llvm.get_default_triple():
        name, module = "llvm.x86.sse2.pause", builder.module
        nothing = ir.FunctionType(ir.VoidType(), [])
        builder.call(module.globals.get(name) or ir.Function(module, nothing, name), [])


def _write_post(module: ir.Module) -> None:
    """Count a job that lies in the box: -> whether the helper must be woken."""
    builder, (box, _) = _start(module, "post", _INT)
    builder.atomic_rmw("add", _cell(builder, box, POSTED), ir.Constant(_INT, 1), "seq_cst")
    builder.ret(builder.load_atomic(_cell(builder, box, PARKED), "seq_cst", 8))


def _write_wait(module: ir.Module) -> None:
    """Look so many times whether all that was posted is finished: -> whether it is."""
    builder, (box, spins) = _start(module, "wait", _INT)
    function, first = builder.function, builder.block
    look, again, done = (function.append_basic_block() for _ in range(3))
    builder.branch(look)
    builder.position_at_end(look)
    count = builder.phi(_INT)
    count.add_incoming(spins, first)
    finished = builder.load_atomic(_cell(builder, box, FINISHED), "acquire", 8)
    posted = builder.load_atomic(_cell(builder, box, POSTED), "monotonic", 8)
    complete = builder.icmp_signed("==", finished, posted)
    over = builder.icmp_signed("==", count, ir.Constant(_INT, 0))
    builder.cbranch(builder.or_(complete, over), done, again)
    builder.position_at_end(again)
    pause(builder)
    count.add_incoming(builder.sub(count, ir.Constant(_INT, 1)), again)
    builder.branch(look)
    builder.position_at_end(done)
    builder.ret(builder.zext(complete, _INT))


def _write_serve(module: ir.Module) -> None:
    """Do what is posted, until for so many looks nothing was: the helper is parked then."""
    builder, (box, spins) = _start(module, "serve", ir.VoidType())
    function = builder.function
    names = ("look", "idle", "park", "stay", "job", "done")
    look, idle, park, stay, job, done = (function.append_basic_block(name) for name in names)
    zero, one = ir.Constant(_INT, 0), ir.Constant(_INT, 1)
    nothing, exception = (builder.alloca(_NOTHING) for _ in range(2))
    builder.atomic_rmw("xchg", _cell(builder, box, PARKED), zero, "seq_cst")
    first = builder.block
    builder.branch(look)

    builder.position_at_end(look)
    count = builder.phi(_INT)
    count.add_incoming(spins, first)
    finished = builder.load(_cell(builder, box, FINISHED))
    posted = builder.load_atomic(_cell(builder, box, POSTED), "seq_cst", 8)
    builder.cbranch(builder.icmp_signed("!=", posted, finished), job, idle)

    builder.position_at_end(idle)
    pause(builder)
    left = builder.sub(count, one)
    count.add_incoming(left, idle)
    builder.cbranch(builder.icmp_signed("==", left, zero), park, look)

    builder.position_at_end(park)
    builder.atomic_rmw("xchg", _cell(builder, box, PARKED), one, "seq_cst")
    posted = builder.load_atomic(_cell(builder, box, POSTED), "seq_cst", 8)
    builder.cbranch(builder.icmp_signed("!=", posted, finished), stay, done)

    builder.position_at_end(stay)
    builder.atomic_rmw("xchg", _cell(builder, box, PARKED), zero, "seq_cst")
    builder.branch(job)

    builder.position_at_end(job)
    values = [builder.load(_cell(builder, box, JOB + i)) for i in range(1 + ARGUMENTS)]
    # Numba's own come first: where a result would go, and where an exception would.
    kind = ir.FunctionType(ir.IntType(32), [nothing.type, exception.type, *[_INT] * ARGUMENTS])
    called = builder.inttoptr(values[0], kind.as_pointer())
    builder.call(called, [nothing, exception, *values[1:]])
    following = builder.add(finished, one)
    builder.store_atomic(following, _cell(builder, box, FINISHED), "release", 8)
    count.add_incoming(spins, job)
    builder.branch(look)

    builder.position_at_end(done)
    builder.ret_void()


@functools.cache
def _functions() -> _Functions:
    module = ir.Module()
    for write in (_write_post, _write_serve, _write_wait):
        write(module)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    _kept.append(engine)  # it holds the code
    box, number = ctypes.c_void_p, ctypes.c_int64
    return _Functions(
        ctypes.CFUNCTYPE(number, box, number)(engine.get_function_address("minincep_post")),
        ctypes.CFUNCTYPE(None, box, number)(engine.get_function_address("minincep_serve")),
        ctypes.CFUNCTYPE(number, box, number)(engine.get_function_address("minincep_wait")),
    )


_kept: list[Any] = []


class _Helper:
    """A thread, and the box that it looks into; used by one caller at a time."""

    def __init__(self) -> None:
        self._functions = _functions()
        self._cells = np.zeros(BOX, np.int64)
        self._box = self._cells.ctypes.data
        self._woken = threading.Event()
        threading.Thread(target=self._live, name="minincep", daemon=True).start()

    def _live(self) -> None:
        while True:
            self._functions.serve(self._box, SPINS)
            self._woken.wait()
            self._woken.clear()  # what is posted from here on, and before, `serve` will see

    def post(self, function: int, arguments: Sequence[int]) -> None:
        """Let the helper call a function, while this goes on."""
        self._cells[JOB] = function
        self._cells[JOB + 1 : BOX] = arguments
        if self._functions.post(self._box, 0):
            self._woken.set()

    def wait(self) -> None:
        """Wait until the helper has finished."""
        while not self._functions.wait(self._box, SPINS):
            if self._cells[PARKED]:  # once more: `post` may have been interrupted just before
                self._woken.set()
            time.sleep(0)  # who shares a core with the helper lets it go first


_idle: list[_Helper] = []  # the last to be used comes last, and may still be awake


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class Job(NamedTuple):
    """A function of machine code, and what it is called with.

    Attributes
    ----------
    function
        The address of one that Numba has compiled (`native`), which takes whole numbers.
    arguments
        `ARGUMENTS` numbers for each thread, (threads, ARGUMENTS) of int64.
    """

    function: int
    arguments: npt.NDArray[np.int64]


def run(*jobs: Job) -> None:
    """Do jobs one after the other, each on all its threads at the same time.

    The calling thread is the first of them.
    """
    jit = sys.modules.get("minincep_kernels.jit")
    if len(jobs[0].arguments) > 1 and jit is not None and jit.has_threads():
        from minincep_kernels.program import numba_threads

        numba_threads.run(*jobs)
        return
    for job in jobs:
        _run(job.function, job.arguments.tolist())


def _run(function: int, arguments: list[list[int]]) -> None:
    helpers: list[_Helper] = []
    interruption = None
    own, *others = arguments
    try:
        for numbers in others:
            try:
                helpers.append(_idle.pop())
            except IndexError:
                helpers.append(_Helper())
            helpers[-1].post(function, numbers)
        call(function)(*own)
    except BaseException as error:
        interruption = error
    while helpers:  # come what may: they work on the caller's memory
        try:
            helpers[-1].wait()
            _idle.append(helpers.pop())
        except BaseException as error:
            interruption = error
    if interruption is not None:
        raise interruption


@functools.cache
def call(function: int) -> Callable[..., int]:
    """A function of machine code, for Python to call: 0 for success."""
    pointer = ctypes.c_void_p
    kind = ctypes.CFUNCTYPE(ctypes.c_int32, pointer, pointer, *[ctypes.c_int64] * ARGUMENTS)
    called = kind(function)
    result, exception = pointer(), pointer()
    _kept.append((result, exception))
    return functools.partial(called, ctypes.byref(result), ctypes.byref(exception))
