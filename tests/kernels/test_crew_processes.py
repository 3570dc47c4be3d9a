"""Helpers in forked children, in processes that end, and beside the threads of Numba's."""

import os
import shutil
from pathlib import Path

import pytest

from minincep_kernels import cache
from minincep_kernels.program import native
from tests.kernels import scripts

PRELUDE = """
import os, signal, sys, threading, time
import numpy as np
from minincep_kernels.program import crew
from minincep_kernels.program.runner import Runner
from minincep_kernels.program.step import STEP, Kind
from minincep_kernels import machine

machine.set_num_threads(3)
steps = np.zeros(1, STEP)
fields = {"kind": Kind.SOFTMAX, "in_pitch": 3, "height": 1, "width": 1, "channels": 3, "rows": 1}
fields |= {"out_pitch": 3, "out_height": 1, "out_width": 1, "out_channels": 3, "columns": 3}
for name, number in fields.items():
    steps[name] = number

def check():
    x, y = np.array([1, 2, 3], np.float32), np.zeros(3, np.float32)
    Runner(steps, 0)(0, 1, 1, x, x, y)
    exponentials = np.exp(x.astype(float))
    np.testing.assert_allclose(y, exponentials / exponentials.sum(), rtol=1e-6)
    assert len(crew._idle) == 2
    assert "numba" not in sys.modules

def threads():
    return [thread for thread in threading.enumerate() if thread.name == "minincep"]

check()
check()
assert len(threads()) == 2
"""
# Python 3.12 warns of any fork beside threads, which is what is tested here.
OPTIONS = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")


def run_script(folder: Path, script: str, program: str = "run", **environ: str) -> None:
    """With the program compiled already, where this process can keep it."""
    native.function(program)
    kept = cache.cache_folder()
    if kept is not None and native.is_kept(program):
        copy = folder / "cache" / "kernels"
        copy.mkdir(parents=True)
        shutil.copy(kept / native._file(program), copy)
    scripts.run(folder, script, *OPTIONS, **environ)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("spins", [1, 1 << 40])
def test_in_a_forked_child(spins: int, tmp_path: Path) -> None:
    """It has helpers of its own; those of the parent are as they were."""
    run_script(
        tmp_path,
        f"from minincep_kernels.program import crew; crew.SPINS = {spins}\n"
        + PRELUDE
        + """
def in_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status

def work():
    assert not crew._idle and not threads()
    check()
    assert len(threads()) == 2

before = list(crew._idle)
in_child(lambda: (work(), in_child(work)))
assert crew._idle == before
check()
""",
    )


@pytest.mark.parametrize("spins", [1, 1 << 40])
def test_a_process_ends_whatever_its_helpers_do(spins: int, tmp_path: Path) -> None:
    """They sleep, or are in machine code."""
    script = f"from minincep_kernels.program import crew; crew.SPINS = {spins}\n" + PRELUDE
    run_script(tmp_path, script + "time.sleep(0.1)")


TRAINING = """
import os, threading
import numba, numpy as np
from minincep_kernels import machine, norm
from minincep_kernels.conv2d import gradients
from minincep_kernels.program import crew
from minincep_kernels.shapes import conv2d_shape

machine.set_num_threads(3)
shape = conv2d_shape((2, 8, 9, 20), (3, 3, 20, 19), (1, 1), "same")
random = np.random.default_rng(0)
x = random.standard_normal(shape.input).astype(np.float32)
gy = random.standard_normal(shape.output).astype(np.float32)

def step():
    return [norm.channel_sums(x), gradients.filter_gradient(x, gy, shape, None)]

wanted = step()
failures = []

def train():
    try:
        for _ in range(30):
            for found, expected in zip(step(), wanted, strict=True):
                np.testing.assert_array_equal(found, expected)
    except BaseException as error:
        failures.append(error)

threads = [threading.Thread(target=train) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failures, failures
layer = os.environ["NUMBA_THREADING_LAYER"]
assert numba.threading_layer() == layer
assert bool(crew._idle) == (layer != "omp")
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_two_python_threads_train_at_once(layer: str, tmp_path: Path) -> None:
    """Workqueue would abort the process, if a program ran on it outside of its lock."""
    environ = {"NUMBA_NUM_THREADS": "3", "OMP_NUM_THREADS": "3"}
    run_script(tmp_path, TRAINING, "learn", NUMBA_THREADING_LAYER=layer, **environ)
