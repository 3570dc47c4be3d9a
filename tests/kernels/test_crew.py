"""Helpers that wait in machine code: each job is done once, and nobody waits in vain."""

import ctypes
import functools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from minincep_kernels import Array, jit, machine
from minincep_kernels.conv2d import gradients
from minincep_kernels.program import crew, numba_threads
from minincep_kernels.shapes import conv2d_shape

NONE = [0] * (crew.ARGUMENTS - 1)
_VOID = ctypes.c_void_p
_KIND = ctypes.CFUNCTYPE(ctypes.c_int32, _VOID, _VOID, *[ctypes.c_int64] * crew.ARGUMENTS)
_kept: list[Any] = []


def job(work: Callable[[int], object]) -> int:
    """The address of a function that calls a Python function with its first argument."""

    def enter(result: int, exception: int, first: int, *others: int) -> int:
        work(first)
        return 0

    _kept.append(_KIND(enter))
    address = ctypes.cast(_kept[-1], _VOID).value
    assert address is not None
    return address


@functools.cache
def adding() -> int:
    """The address of a function that adds 1 to the number at its first argument, all at once."""
    number, pointer = ir.IntType(64), ir.PointerType(ir.IntType(8))
    kind = ir.FunctionType(ir.IntType(32), [pointer, pointer, *[number] * crew.ARGUMENTS])
    function = ir.Function(ir.Module(), kind, "minincep_test_adding")
    builder = ir.IRBuilder(function.append_basic_block())
    place = builder.inttoptr(function.args[2], ir.PointerType(number))
    builder.atomic_rmw("add", place, ir.Constant(number, 1), "seq_cst")
    builder.ret(ir.Constant(ir.IntType(32), 0))
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(function.module)), target)
    engine.finalize_object()
    _kept.append(engine)
    address: int = engine.get_function_address(function.name)
    return address


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """No helpers from before, and no threads of Numba's."""
    helpers: list[Any] = []
    monkeypatch.setattr(crew, "_idle", helpers)
    monkeypatch.setattr(jit, "has_threads", lambda: False)
    return helpers


def job_of(function: int, *numbers: int) -> crew.Job:
    """A function for each of some numbers, at the same time."""
    return crew.Job(function, np.array([[number, *NONE] for number in numbers]))


def until(condition: Callable[[], object]) -> None:
    """Wait, but not for ever."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def is_parked(helper: Any) -> bool:
    return bool(helper._cells[crew.PARKED] == 1)


@pytest.mark.parametrize("spins", [1, crew.SPINS])
@pytest.mark.parametrize("threads", [1, 2, 3, 9])
def test_all_at_the_same_time_and_each_once(
    threads: int, spins: int, idle: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "SPINS", spins)
    barrier = threading.Barrier(threads)
    seen: list[tuple[int, int]] = []

    def work(number: int) -> None:
        barrier.wait(60)
        seen.append((number, threading.get_ident()))

    for _ in range(5):
        seen.clear()
        crew.run(job_of(job(work), *range(threads)))
        assert sorted(number for number, _ in seen) == list(range(threads))
        assert dict(seen)[0] == threading.get_ident()
        assert len({thread for _, thread in seen}) == threads
        assert len(idle) == threads - 1  # the same ones each time


def test_a_job_gets_all_its_arguments() -> None:
    seen = []

    def enter(result: int, exception: int, *numbers: int) -> int:
        seen.append(numbers)
        return 0

    _kept.append(_KIND(enter))
    numbers = [tuple(range(first, first + crew.ARGUMENTS)) for first in (1, 1 << 40)]
    address = ctypes.cast(_kept[-1], _VOID).value
    assert address is not None
    crew.run(crew.Job(address, np.array(numbers)))
    assert sorted(seen) == numbers


def test_jobs_follow_each_other() -> None:
    seen: list[int] = []

    def work(number: int) -> None:
        time.sleep(0.002 * (number % 2))  # so that one thread is behind the other
        seen.append(number // 10)

    crew.run(*(job_of(job(work), 10 * index, 10 * index + 1) for index in range(5)))
    assert seen == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("threads", [2, 4])
def test_a_helper_that_sleeps_is_woken(
    threads: int, idle: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "SPINS", 1)
    counter = np.zeros(1, np.int64)
    for turn in range(1, 20):
        crew.run(job_of(adding(), *[counter.ctypes.data] * threads))
        assert counter == turn * threads
        until(lambda: all(is_parked(helper) for helper in idle))
        time.sleep(0.002)  # and really sleeps
    assert len(idle) == threads - 1


def test_a_helper_that_waits_for_more_is_not_woken(
    idle: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks out for work needs no call into the system, which is what it is for."""
    monkeypatch.setattr(crew, "SPINS", 1 << 40)
    counter = np.zeros(1, np.int64)
    crew.run(job_of(adding(), *[counter.ctypes.data] * 2))
    (helper,) = idle
    monkeypatch.setattr(helper, "_woken", None)
    for _ in range(100):
        crew.run(job_of(adding(), *[counter.ctypes.data] * 2))
    assert counter == 202


@pytest.mark.parametrize("pause", [0, 1e-5, 3e-5])
@pytest.mark.parametrize("spins", [1, 100, 200, 400, crew.SPINS])
def test_no_wake_up_is_lost(spins: int, pause: float) -> None:
    """The functions on boxes alone: `_Helper.wait` would make up for a lost one."""
    functions = crew._functions()
    cells, counter = np.zeros(crew.BOX, np.int64), np.zeros(1, np.int64)
    cells[crew.JOB : crew.JOB + 2] = adding(), counter.ctypes.data
    box, woken, over = cells.ctypes.data, threading.Semaphore(0), threading.Event()

    def live() -> None:
        while not over.is_set():
            functions.serve(box, spins)
            woken.acquire()

    helper = threading.Thread(target=live, daemon=True)
    helper.start()
    drawn = random.Random(0)
    for turn in range(1, 5000):
        if functions.post(box, 0):
            woken.release()
        until_finished(functions, box)
        assert counter == turn
        if pause:
            end = time.perf_counter() + drawn.random() * pause
            while time.perf_counter() < end:  # shorter than any sleep
                pass
    over.set()
    woken.release()
    helper.join(60)
    assert not helper.is_alive()
    assert cells[crew.POSTED] == cells[crew.FINISHED] == 4999


def until_finished(functions: Any, box: int) -> None:
    deadline = time.monotonic() + 60
    while not functions.wait(box, 100):
        assert time.monotonic() < deadline
        time.sleep(0)


@pytest.mark.parametrize("spins", [1, crew.SPINS])
def test_several_python_threads_at_once(
    spins: int, idle: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "SPINS", spins)
    callers, turns = 4, 100
    counters = np.zeros((callers, turns), np.int64)

    def call(caller: int) -> None:
        for turn in range(turns):
            place = counters[caller, turn:].ctypes.data
            crew.run(job_of(adding(), *[place] * 3))
            assert counters[caller, turn] == 3

    threads = [threading.Thread(target=call, args=(n,), daemon=True) for n in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    np.testing.assert_array_equal(counters, 3)
    assert 2 <= len(idle) <= 2 * callers
    assert len({id(helper) for helper in idle}) == len(idle)


# ------------------------------------------------------------------ interruptions


def slow(done: list[int], before: Callable[[], object] = lambda: None) -> int:
    """A job that takes long on helpers, later ones longer, and no time on the caller's thread."""

    def work(number: int) -> None:
        if number:
            before()
            time.sleep(0.1 * number)
        done.append(number)

    return job(work)


@pytest.fixture
def interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.skipif(os.name != "posix", reason="another way of interrupting")
def test_an_interrupted_caller_waits_for_all_helpers(
    idle: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wait, waits = crew._Helper.wait, threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def begin(helper: Any) -> None:
        waits.set()
        wait(helper)

    def interrupt() -> None:
        waits.wait()
        signal.pthread_kill(main, signal.SIGINT)

    monkeypatch.setattr(crew._Helper, "wait", begin)
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        crew.run(job_of(slow(done, interrupt), 0, 1, 2, 3))
    assert sorted(done) == [0, 1, 2, 3]
    assert len(idle) == 3
    counter = np.zeros(1, np.int64)
    crew.run(job_of(adding(), *[counter.ctypes.data] * 4))  # as if nothing had been
    assert counter == 4


@pytest.mark.parametrize("interrupted", [1, 2, 3])
def test_a_wait_that_is_interrupted_goes_on(
    interrupted: int, idle: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first, the second, the third helper that it waits for; and twice."""
    wait, calls = crew._Helper.wait, []

    def interrupt(helper: Any) -> None:
        calls.append(helper)
        if interrupted <= len(calls) <= interrupted + 1:
            raise KeyboardInterrupt
        wait(helper)

    monkeypatch.setattr(crew._Helper, "wait", interrupt)
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        crew.run(job_of(slow(done), 0, 1, 2, 3))
    assert sorted(done) == [0, 1, 2, 3]
    assert len(idle) == 3


def test_a_post_that_is_interrupted_before_it_wakes_the_helper(
    idle: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job lies in the box then, and will be waited for."""
    monkeypatch.setattr(crew, "SPINS", 1)
    counter = np.zeros(1, np.int64)
    crew.run(job_of(adding(), *[counter.ctypes.data] * 2))
    (helper,) = idle
    until(lambda: is_parked(helper))
    wake = helper._woken.set

    def interrupt() -> None:
        helper._woken.set = wake
        raise KeyboardInterrupt

    helper._woken.set = interrupt
    errors = []

    def call() -> None:
        try:
            crew.run(job_of(adding(), *[counter.ctypes.data] * 2))
        except KeyboardInterrupt as error:
            errors.append(error)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(60)
    assert not caller.is_alive()
    assert len(errors) == 1
    assert counter == 3  # the helper's, not the caller's
    assert idle == [helper]


def test_no_new_thread_is_an_error_and_the_others_are_waited_for(
    idle: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.run(job_of(slow([]), 0, 1))

    def fails() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(crew, "_Helper", fails)
    done: list[int] = []
    with pytest.raises(RuntimeError, match="new thread"):
        crew.run(job_of(slow(done), 0, 1, 2))
    assert done == [1]
    assert len(idle) == 1


# ------------------------------------------------------------------ threads of Numba's


def test_where_there_are_threads_of_numba_they_run_the_jobs(
    idle: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[crew.Job, ...]] = []
    monkeypatch.setattr(jit, "has_threads", lambda: True)
    monkeypatch.setattr(numba_threads, "run", lambda *jobs: seen.append(jobs))
    done: list[int] = []
    address = slow(done)
    both = job_of(address, 0, 1), job_of(address, 2, 3)
    crew.run(*both)
    assert seen == [both]
    assert not done
    crew.run(job_of(address, 0))  # one thread needs no other
    assert done == [0]
    assert not idle


@pytest.mark.parametrize("count", [1, 2, 3, 17])
def test_numba_threads_run_all_of_each_job(count: int) -> None:
    counters = np.zeros((count, 2), np.int64)
    with machine.num_threads(2):
        job = job_of(adding(), *(row.ctypes.data for row in counters))
        numba_threads.run(job, job, job)
    np.testing.assert_array_equal(counters, [[3, 0]] * count)


@pytest.mark.parametrize("tile", [None, 0])
def test_same_bits_on_helpers_and_on_threads_of_numba(
    tile: int | None, idle: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = conv2d_shape((2, 8, 9, 20), (3, 3, 20, 19), (1, 1), "same")
    generator = np.random.default_rng(0)
    x = generator.standard_normal(shape.input).astype(np.float32)
    gy = generator.standard_normal(shape.output).astype(np.float32)
    found: list[Array] = []
    for there in (False, True):
        monkeypatch.setattr(jit, "has_threads", lambda there=there: there)
        with machine.num_threads(3):
            found.append(gradients.filter_gradient(x, gy, shape, tile))
    assert len(idle) == 2
    np.testing.assert_array_equal(found[0], found[1])
