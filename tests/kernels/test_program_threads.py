"""Programs of several steps: who waits for whom, and the threads that run them."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minincep_kernels import Array, machine
from minincep_kernels.microkernel import pack
from minincep_kernels.program.runner import Runner, aligned, together
from minincep_kernels.program.step import CLAIMED, COUNTERS, FINISHED, PLACES, STEP, ZEROS, Kind
from minincep_kernels.vectors import COLUMNS_SLACK, padded
from tests.kernels import scripts
from tests.kernels.programs import enter

PIXELS, CHANNELS = 40, 7
CANARY = np.float32(-7777)
SIZE = PIXELS * CHANNELS  # of each value, floats; value n is at n SIZE, the input is value 0


class Products:
    """1 x 1 convolutions: step n makes value n + 1 of `read[n]`, one value or the sum of two.

    A step of two multiplies the first with its filters, and adds the second.
    """

    def __init__(self, read: list[tuple[int, ...]], seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.read = read
        self.x = random.standard_normal((PIXELS, CHANNELS)).astype(np.float32)
        shape = (len(read), CHANNELS, CHANNELS)
        self.filters = (random.standard_normal(shape) / np.sqrt(CHANNELS)).astype(np.float32)
        self.weights = np.zeros(ZEROS, np.float32)
        self.steps = np.zeros(len(read), STEP)
        for index, (values, filters) in enumerate(zip(read, self.filters, strict=True)):
            step = self.steps[index]
            step["kind"] = Kind.POINTWISE
            step["wait"] = max(values)  # value n is complete when n steps are
            step["in_offset"], step["out_offset"] = values[0] * SIZE, (index + 1) * SIZE
            step["residual_offset"] = values[1] * SIZE if len(values) == 2 else -1
            for name in ("in_pitch", "out_pitch", "residual_pitch", "channels", "out_channels"):
                step[name] = CHANNELS
            for name in ("width", "out_width"):
                step[name] = PIXELS
            for name in ("height", "out_height", "kernel_height", "kernel_width"):
                step[name] = 1
            step["stride_height"] = step["stride_width"] = 1
            step["filters"] = self.weights.size
            step["rows"], step["columns"] = 3, CHANNELS
            self.weights = np.concatenate([self.weights, pack(filters, CHANNELS)])
        room = np.zeros(padded(CHANNELS) + COLUMNS_SLACK, np.float32)
        self.weights = np.concatenate([self.weights, room])
        self.counters = np.zeros(len(read) * COUNTERS, np.int64)
        self.memory = np.full((len(read) + 1) * SIZE + COLUMNS_SLACK, CANARY)
        self.value(0)[:] = self.x

    def value(self, number: int) -> Array:
        return self.memory[number * SIZE : (number + 1) * SIZE].reshape(PIXELS, CHANNELS)

    @property
    def chunks(self) -> int:
        """Of each step."""
        return -(-PIXELS // 3)

    def expected(self) -> list[Array]:
        found = [self.x.astype(np.float64)]
        for (first, *more), filters in zip(self.read, self.filters, strict=True):
            found.append(found[first] @ filters + sum(found[value] for value in more))
        return found

    def work(self, _: int, first: int = 0, last: int | None = None) -> None:
        last = len(self.read) if last is None else last
        own = np.zeros(0, np.float32), np.zeros(PLACES, np.int64)
        activations = self.memory, self.memory
        enter(self.steps, (first, last), 1, self.weights, *activations, *own, self.counters)


def drawn(seed: int) -> list[tuple[int, ...]]:
    """Steps that read one or two of the values before them, mostly late ones."""
    random = np.random.default_rng(seed)
    read = []
    for index in range(25):
        values = {int(index - min(index, random.geometric(0.4) - 1)) for _ in range(2)}
        read.append(tuple(random.permutation(sorted(values)).tolist()))
    return read


@pytest.mark.parametrize("late", [{}, {0: 0.01}, {1: 0.01}], ids=str)
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_values_are_read_when_they_are_complete(
    seed: int, threads: int, late: dict[int, float]
) -> None:
    alone = Products(drawn(seed), seed)
    alone.work(0)
    wanted = alone.expected()
    for number, value in enumerate(wanted):
        assert np.abs(alone.value(number) - value).max() < 1e-4 * value.std()

    for _ in range(5):
        shared = Products(drawn(seed), seed)

        def work(worker: int, shared: Products = shared) -> None:
            time.sleep(late.get(worker, 0))
            shared.work(worker)

        together(work, threads)
        np.testing.assert_array_equal(shared.memory, alone.memory)
        assert (shared.counters[FINISHED::COUNTERS] == shared.chunks).all()


def until(condition: Callable[[], object]) -> None:
    """Wait, but not for ever."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("unfinished", [1, 5])
def test_a_step_begins_when_those_that_it_waits_for_are_complete(unfinished: int) -> None:
    """Another thread, played by the test, has all chunks of step 0, and is not ready with some."""
    program = Products([(0,), (0,), (1, 2)])
    program.counters[0 + CLAIMED] = program.chunks
    program.counters[0 + FINISHED] = program.chunks - unfinished
    thread = threading.Thread(target=program.work, args=(0,), daemon=True)
    thread.start()
    until(lambda: program.counters[COUNTERS + FINISHED] == program.chunks)  # waits for nobody
    time.sleep(0.1)
    assert thread.is_alive()
    assert program.counters[2 * COUNTERS + CLAIMED] == 0
    np.testing.assert_array_equal(program.value(3), CANARY)
    program.value(1)[:] = program.expected()[1]
    program.counters[0 + FINISHED] = program.chunks
    thread.join(30)
    assert not thread.is_alive()
    np.testing.assert_allclose(program.value(3), program.expected()[3], rtol=0, atol=1e-4)


def test_nobody_waits_for_more() -> None:
    """Step 2 reads value 1, and value 2 may come when it will."""
    program = Products([(0,), (0,), (1,)])
    program.counters[COUNTERS + CLAIMED] = program.chunks
    thread = threading.Thread(target=program.work, args=(0,), daemon=True)
    thread.start()
    thread.join(30)
    waits = thread.is_alive()
    program.counters[COUNTERS + FINISHED] = program.chunks  # let it go
    thread.join(30)
    assert not waits
    np.testing.assert_array_equal(program.value(2), CANARY)
    np.testing.assert_allclose(program.value(3), program.expected()[3], rtol=0, atol=1e-4)


def test_no_chunk_is_done_twice() -> None:
    program = Products([(0,)])
    program.counters[CLAIMED] = 4
    program.work(0)
    np.testing.assert_array_equal(program.value(1)[:11], CANARY)  # 40 rows in 14 chunks
    assert (program.value(1)[11:] != CANARY).all()
    assert program.counters[FINISHED] == program.chunks - 4


def test_steps_one_by_one() -> None:
    whole, parts = Products(drawn(0)), Products(drawn(0))
    whole.work(0)
    for step in range(len(parts.read)):
        parts.counters[:] = 0
        parts.work(0, step, step + 1)
    np.testing.assert_array_equal(parts.memory, whole.memory)


# ------------------------------------------------------------------ the runner


def test_a_runner_goes_again_and_on_other_numbers_of_threads() -> None:
    program = Products(drawn(1))
    program.work(0)
    wanted = program.memory.copy()
    runner = Runner(program.steps, 0)
    for threads in (1, 3, 2, 2):
        program.memory[SIZE:] = CANARY
        with machine.num_threads(threads):
            runner(0, len(program.steps), 1, program.weights, program.memory, program.memory)
        np.testing.assert_array_equal(program.memory, wanted)


@pytest.mark.parametrize("floats", [0, 1, 1000])
def test_aligned_memory(floats: int) -> None:
    memory = aligned(floats)
    assert memory.shape == (floats,)
    assert memory.dtype == np.float32
    assert memory.ctypes.data % 64 == 0 or floats == 0
    assert not memory.any()


# ------------------------------------------------------------------ together


@pytest.mark.parametrize("threads", [1, 2, 9])
def test_all_at_the_same_time(threads: int) -> None:
    barrier = threading.Barrier(threads, timeout=30)
    seen: dict[int, int] = {}

    def work(worker: int) -> None:
        barrier.wait()
        seen[worker] = threading.get_ident()

    for _ in range(3):
        seen.clear()
        together(work, threads)
        assert set(seen) == set(range(threads))
        assert len(set(seen.values())) == threads
        assert seen[0] == threading.get_ident()


def test_several_callers_at_the_same_time() -> None:
    barrier = threading.Barrier(6, timeout=30)
    callers = [
        threading.Thread(target=together, args=(lambda worker: barrier.wait(), 2)) for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
        assert not caller.is_alive()


@pytest.mark.parametrize("failing", [{0}, {1}, {2}, {0, 2}], ids=str)
def test_an_error_comes_out_when_all_have_ended(failing: set[int]) -> None:
    ended = []

    def work(worker: int) -> None:
        if worker in failing:
            raise ZeroDivisionError
        time.sleep(0.05 * worker)
        ended.append(worker)

    with pytest.raises(ZeroDivisionError):
        together(work, 4)
    assert set(ended) == {0, 1, 2, 3} - failing
    ended.clear()
    failing.clear()
    together(work, 4)  # as if nothing had been
    assert len(ended) == 4


FORKED = """
import os, signal, threading
from minincep_kernels.program.runner import together

def count():
    seen = []
    barrier = threading.Barrier(3, timeout=20)
    together(lambda worker: (barrier.wait(), seen.append(worker)), 3)
    return len(seen)

assert count() == 3
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(0 if count() == 3 else 1)
_, status = os.waitpid(child, 0)
assert count() == 3
print(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_in_a_forked_child(tmp_path: Path) -> None:
    """And the process ends by itself, whatever threads there have been."""
    ignored = ("-W", "error", "-W", "ignore::DeprecationWarning")  # that fork and threads mix badly
    assert scripts.run(tmp_path, FORKED, *ignored).values == 0
