"""Plans in files: the same answers, refused where they do not fit, written whole."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import minincep as mi
from minincep.models.registry import list_models
from minincep.plan import store
from minincep.predict import compile_for, describe
from minincep_kernels import Array
from minincep_kernels.program import native
from tests.plan.stored import SIZE, X, names, refused, saved, small

# ------------------------------------------------------------------ the same answers


@pytest.mark.parametrize("name", list_models())
def test_a_stored_plan_answers_with_the_same_bits(name: str, tmp_path: Path) -> None:
    net = small(name)
    plan = store.load(saved(net, tmp_path))
    fresh = compile_for(net, SIZE, 2, ())
    found, wanted = plan.run_endpoints(X), fresh.run_endpoints(X)
    assert list(found) == list(wanted)
    for key, y in wanted.items():
        np.testing.assert_array_equal(found[key], y)
    assert np.std(found[""]) > 0
    assert plan.program.paths == fresh.program.paths
    assert plan.description == describe(net)
    assert plan.description.labels == ("hen", "egg", "nest")


def test_a_tuned_plan_is_stored_as_it_is(tmp_path: Path) -> None:
    net = small()
    plan = store.load(saved(net, tmp_path, tune=True))
    np.testing.assert_array_equal(plan(X), compile_for(net, SIZE, 2, ())(X))


def test_weights_are_packed_into_the_file_and_mapped_from_it(original: Path) -> None:
    plan = store.load(original)
    weights = plan.program.weights
    assert not weights.flags.owndata
    assert not weights.flags.writeable
    assert weights.ctypes.data % 64 == 0
    content = original.read_bytes()
    stored = np.frombuffer(content, np.float32, weights.size, store.START.size)
    np.testing.assert_array_equal(weights, stored)


def test_the_file_can_be_replaced_while_it_is_mapped(path: Path) -> None:
    plan = store.load(path)
    wanted = plan(X)
    saved(small(seed=1), path.parent)
    np.testing.assert_array_equal(plan(X), wanted)
    assert not np.array_equal(store.load(path)(X), wanted)


# ------------------------------------------------------------------ another CPU, minincep, state


def test_another_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.load(path)
    monkeypatch.setattr(mi, "__version__", "9.9")
    refused(path, rf"made by minincep {re.escape('0.')}[\d.]+, this is 9\.9")


def test_other_sources(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_sources", lambda: "other")
    refused(path, "before the source files of minincep were changed")


@pytest.mark.parametrize(
    ("index", "message"),
    [(1, r"another CPU: \S+ \(.*\), and this is abacus \("), (2, "not all of its instructions")],
)
def test_another_cpu(path: Path, index: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = native.target()
    target[index] = "abacus"
    monkeypatch.setattr(native, "target", lambda: target)
    refused(path, message)


def test_another_cpu_by_environment(path: Path) -> None:
    code = f"""
from pathlib import Path
from minincep.plan import store
from minincep_kernels.errors import PlanError
try:
    store.load(Path({str(path)!r}))
except PlanError as error:
    print(error)
"""
    for cpu, message in [(None, ""), ("generic", "made for another CPU")]:
        environ = {key: value for key, value in os.environ.items() if key != "NUMBA_CPU_NAME"}
        environ |= {"NUMBA_CPU_NAME": cpu} if cpu else {}
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environ
        )
        assert result.returncode == 0, result.stderr
        assert message in result.stdout
        assert bool(message) == bool(result.stdout)


def test_weights_that_have_changed(path: Path) -> None:
    weights = path.with_suffix("")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for given in (None, weights):
        refused(path, "net.h5 has changed since the plan was made", given)
    weights.write_bytes(bytes(content) + b"more")
    refused(path, "has changed")


def test_weights_that_were_touched_or_copied(path: Path) -> None:
    weights = path.with_suffix("")
    os.utime(weights, (1, 1))
    store.load(path)
    store.load(path, weights)


def test_weights_that_are_gone(path: Path) -> None:
    """The plan has all that it takes; but it is not the plan of a file that is not there."""
    weights = path.with_suffix("")
    weights.unlink()
    store.load(path)
    refused(path, "has changed", weights)


# ------------------------------------------------------------------ written whole or not at all


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, mi.PlanError])
def test_interrupted(path: Path, error: type[BaseException]) -> None:
    before = names(path.parent), path.read_bytes()

    def make(allocate: Callable[[int], Array]) -> mi.Plan:
        allocate(10**6)[:] = 1
        raise error

    with pytest.raises(error):
        store.save(path, make, describe(small()), path.with_suffix(""))
    assert (names(path.parent), path.read_bytes()) == before


def test_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must say so, not send a signal when the mapped file is written."""
    before = names(path.parent), path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        saved(small(), path.parent)
    assert (names(path.parent), path.read_bytes()) == before


def test_a_folder_that_cannot_be_written(path: Path) -> None:
    with pytest.raises(OSError, match="below"):
        store.save(
            path / "below.plan",
            lambda allocate: compile_for(small(), SIZE, 1, (), allocate=allocate),
            describe(small()),
            path.with_suffix(""),
        )


def test_one_write_in_the_middle_of_another(path: Path) -> None:
    """The last to be ready is there in the end, and whole."""
    net = small()

    def make(allocate: Callable[[int], Array]) -> mi.Plan:
        plan = compile_for(net, SIZE, 2, (), allocate=allocate)
        saved(small(seed=1), path.parent)
        mi.save(net, path.with_suffix(""))
        return plan

    wanted = store.load(path)(X)
    store.save(path, make, describe(net), path.with_suffix(""))
    assert names(path.parent) == ["net.h5", "net.h5.plan"]
    np.testing.assert_array_equal(store.load(path)(X), wanted)


def test_two_processes_at_once(path: Path) -> None:
    weights = path.with_suffix("")
    wanted = store.load(path)(X)
    path.unlink()
    command = [sys.executable, "-m", "minincep", "compile", str(weights), "--image-size"]
    command += [f"{SIZE[0]}x{SIZE[1]}", "--batch-size", "2"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        process.communicate(timeout=300)
        assert process.returncode == 0
    assert names(path.parent) == ["net.h5", "net.h5.plan"]
    np.testing.assert_array_equal(store.load(path)(X), wanted)
