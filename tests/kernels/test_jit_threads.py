"""Kernels in Python threads, in forked and spawned processes, and under signals."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernels import scripts
from tests.kernels.scripts import Report

Run = Callable[..., Report]


def has_tbb() -> bool:
    try:
        importlib.import_module("numba.np.ufunc.tbbpool")
    except ImportError:
        return False
    return True


LAYERS = ["omp", "workqueue", *(["tbb"] if has_tbb() else [])]
each_layer = pytest.mark.parametrize("layer", LAYERS)

# Python 3.12 warns of any fork beside threads, which is what is tested here.
OPTIONS = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one cache for all scripts here: what they test is not the compiler."""
    return tmp_path_factory.mktemp("threads")


@pytest.fixture
def run(shared: Path) -> Run:
    def run(script: str, layer: str = "omp", **environ: str) -> Report:
        settings = {
            "NUMBA_THREADING_LAYER": layer,
            "NUMBA_NUM_THREADS": "3",  # more threads than cores is no problem, and is sharper
            "OMP_NUM_THREADS": "3",
        }
        return scripts.run(shared, PRELUDE + script, *OPTIONS, **settings | environ)

    return run


PRELUDE = """
import os, signal, sys, threading, traceback
import numba, numpy as np, tiny
from tiny import cache, check, jit, machine

machine.set_num_threads(3)

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)  # it hangs: be killed
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    return child

def expect(child):
    _, status = os.waitpid(child, 0)
    assert status == 0, status

def started():
    try:
        return bool(numba.threading_layer())
    except ValueError:
        return False

def product():
    a = np.random.default_rng(0).random((300, 300))
    assert np.allclose((a @ a)[0], [np.dot(a[0], a[:, j]) for j in range(300)])
"""


@each_layer
def test_many_python_threads_at_once(run: Run, layer: str) -> None:
    run(
        """
failures = []

def work(number):
    try:
        for turn in range(60):
            if turn % 10 == 0:
                machine.set_num_threads(1 + (number + turn // 10) % 4)
            check()
    except BaseException as error:
        failures.append(error)

check()
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failures, failures
assert numba.threading_layer() == os.environ["NUMBA_THREADING_LAYER"]
""",
        layer,
    )


@each_layer
def test_forked_child_runs_serially(run: Run, layer: str) -> None:
    run(
        """
def work():
    check()
    product()
    assert "serial" in tiny.double._dispatchers
    expect(in_child(check))

check()
product()
expect(in_child(work))
check()
product()
""",
        layer,
    )


@each_layer
def test_forked_pool(run: Run, layer: str) -> None:
    run(
        """
import multiprocessing

def work(number):
    check()
    return number

check()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(work, range(8)) == list(range(8))
""",
        layer,
    )


def test_spawned_process(run: Run, shared: Path) -> None:
    (shared / "spawned.py").write_text(
        "import tiny\ndef work(n):\n    tiny.check()\n    return n\n"
    )
    run("""
import multiprocessing, spawned
check()
with multiprocessing.get_context("spawn").Pool(1) as pool:
    assert pool.map(spawned.work, range(3)) == [0, 1, 2]
""")


@each_layer
def test_fork_while_a_thread_is_inside_a_kernel(run: Run, layer: str) -> None:
    run(
        """
def work():
    x, y = np.ones(3_000_000, np.float32), np.empty(3_000_000, np.float32)
    while not done.is_set():
        tiny.double(x, y)

done = threading.Event()
check()
thread = threading.Thread(target=work)
thread.start()
try:
    for _ in range(5):
        expect(in_child(check))
        check()
finally:
    done.set()
thread.join()
""",
        layer,
    )


@each_layer
def test_child_of_a_parent_without_threads_may_start_them(run: Run, layer: str) -> None:
    run(
        """
def work():
    assert not jit._threads.forked
    check()
    assert started()
    expect(in_child(check))

with machine.num_threads(1): check()
assert not started()
expect(in_child(work))
""",
        layer,
    )


def test_child_is_serial_when_others_have_started_the_threads(run: Run) -> None:
    run("""
@numba.njit(parallel=True)
def others(x):
    for i in numba.prange(x.size):
        x[i] = i

others(np.zeros(100))
expect(in_child(check))
""")


def test_fork_waits_for_the_compiler(run: Run) -> None:
    run("""
from numba.core.compiler_lock import global_compiler_lock

def compile():
    with global_compiler_lock:
        inside.set()
        threading.Event().wait(0.5)

def work():
    signal.alarm(20)
    y = np.empty(3)
    tiny.double(np.ones(3), y)  # a new type, to be compiled
    assert (y == 2).all()

inside = threading.Event()
thread = threading.Thread(target=compile)
thread.start()
inside.wait()
expect(in_child(work))
thread.join()
""")


def test_fork_while_a_thread_sets_the_number_of_threads(run: Run) -> None:
    run("""
def hold():
    with machine._lock:
        inside.set()
        done.wait()

def work():
    signal.alarm(20)
    machine.set_num_threads(2)
    check()

inside, done = threading.Event(), threading.Event()
thread = threading.Thread(target=hold)
thread.start()
inside.wait()
expect(in_child(work))
done.set()
thread.join()
""")


def test_signal_handler_may_call_a_kernel(run: Run) -> None:
    # It runs between two steps of the interpreter, where the lock may be held.
    run(
        """
signal.alarm(60)
called = []
signal.signal(signal.SIGUSR1, lambda *_: called.append(check()))

def interrupted(*arguments):
    os.kill(os.getpid(), signal.SIGUSR1)

jit._threads.run(interrupted)
assert called
""",
        "workqueue",
    )


def test_interrupt_leaves_the_lock_free(run: Run) -> None:
    run(
        """
def interrupted(*arguments):
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(10)

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background jobs
try:
    jit._threads.run(interrupted)
except KeyboardInterrupt:
    pass
else:
    raise SystemExit("not interrupted")
signal.alarm(60)
thread = threading.Thread(target=check)
thread.start()
thread.join()
""",
        "workqueue",
    )


def test_threads_asked_for_beyond_those_of_numba(run: Run) -> None:
    run("""
machine.set_num_threads(1000)
check()
assert numba.get_num_threads() == 3
machine.set_num_threads(2)
check()
assert numba.get_num_threads() == 2
""")


def test_waiting_threads_sleep_unless_the_user_chose(run: Run) -> None:
    script = """
before = dict(os.environ)
check()
assert dict(os.environ) == before  # child processes are not told
print("null")
"""
    shown = {"OMP_DISPLAY_ENV": "true"}  # GNU OpenMP says on standard error what it was told
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in run(script, **shown).errors
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in run(script, OMP_WAIT_POLICY="active", **shown).errors
    shown = {"OMP_DISPLAY_ENV": "verbose"}
    assert "GOMP_SPINCOUNT = '20000'" in run(script, **shown).errors
    chosen = run(script, GOMP_SPINCOUNT="7", **shown).errors
    assert "GOMP_SPINCOUNT = '7'" in chosen


def test_the_environment_is_as_it_was_when_threads_cannot_start(run: Run) -> None:
    run("""
def fails(threads):
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    raise ZeroDivisionError

before = dict(os.environ)
numba.set_num_threads = fails
try:
    check()
except ZeroDivisionError:
    assert dict(os.environ) == before
else:
    raise SystemExit("nothing was started")
""")


def test_numba_s_limit_is_set_when_it_changes(run: Run) -> None:
    """It belongs to the calling Python thread, and takes longer to set than a short kernel."""
    run("""
limits = []
set_limit = numba.set_num_threads
numba.set_num_threads = lambda threads: (limits.append(threads), set_limit(threads))

def expect_limits(*expected):
    limits.clear()
    for _ in range(3): check()
    assert limits == list(expected), limits
    assert numba.get_num_threads() == machine.get_num_threads()

expect_limits(1, 3)  # to start the threads, and for this thread
expect_limits()
machine.set_num_threads(2)
expect_limits(2)
failures = []

def work():
    try:
        expect_limits(2)
        expect_limits()
    except BaseException as error:
        failures.append(error)

thread = threading.Thread(target=work)
thread.start()
thread.join()
assert not failures, failures
machine.set_num_threads(3)
expect_limits(3)
""")


def test_whether_there_are_threads_to_share(run: Run) -> None:
    """Those that are just being started are not there yet."""
    script = """
assert not jit.has_threads()
jit._threads.started = True
assert not jit.has_threads()
jit._threads.started = False
check()
assert jit.has_threads() == (os.environ["NUMBA_THREADING_LAYER"] == "omp")
expect(in_child(lambda: sys.exit(1) if jit.has_threads() else None))
"""
    for layer in LAYERS:
        run(script, layer)
