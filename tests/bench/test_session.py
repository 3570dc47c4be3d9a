"""On several threads: a process for those that use the BLAS, and one for the others."""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minincep.bench import plugin, session
from minincep.bench.record import Row
from minincep.bench.remote import RemoteError
from minincep.bench.session import Part
from minincep.bench.stage import Elsewhere, Settings, Turn
from minincep.bench.verify import RefusedError
from minincep.bench.workloads import Workload, shapes
from minincep_kernels import registry

FEW = Settings(repeats=3, turn=0.0, budget=1e9, roofs=1)
PLUGIN = """
import os
from pathlib import Path

from minincep_kernels import machine
from minincep_kernels.conv2d import im2col
from minincep_kernels.registry import variant

def called(name):
    spins = os.environ.get("GOMP_SPINCOUNT")
    with Path("log").open("a") as log:
        print(name, os.getpid(), machine.get_num_threads(), spins, file=log)

@variant("conv2d", name="plain")
def plain(x, filters, shape):
    called("plain")
    return im2col.forward(x, filters, shape)

@variant("conv2d", name="blas", below="plain", uses_blas=True)
def blas(x, filters, shape):
    called("blas")
    CHANGE
    return im2col.forward(x, filters, shape)
"""


@pytest.fixture(autouse=True)
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What files register is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    session.variants("conv2d")
    before = dict(registry._variants["conv2d"])
    yield
    registry._variants["conv2d"] = before
    assert not multiprocessing.active_children()


def measured(change: str = "", threads: int = 2) -> list[Row]:
    """The rows of the two on one shape."""
    path = Path("mine.py")
    path.write_text(PLUGIN.replace("CHANGE", change))
    workload: Workload = shapes("conv2d")[0]
    part = Part("conv2d", plugin.load(path, ["conv2d"]), [workload])
    with session.benches([part], [threads], FEW, path) as (bench,):
        return bench.rows(workload, part.variants)


def calls() -> list[list[str]]:
    return [line.split() for line in Path("log").read_text().splitlines()]


def test_which_use_the_blas() -> None:
    every = [one for op in session.HOMES for one in session.variants(op)]
    found = {(one.op, one.name) for one in every if one.uses_blas}
    assert found == {("gemm", "blas"), ("conv2d", "im2col"), ("conv2d", "pointwise")}


def test_each_kind_has_a_process_and_what_suits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # is for who does not say how many
    plain, blas = measured()
    assert [len(row.seconds) for row in (plain, blas)] == [3, 3]
    assert [len(row.peak) for row in (plain, blas)] == [3, 3]
    assert [len(row.control) for row in (plain, blas)] == [3, 3]
    assert (plain.threads, blas.threads, blas.error < 1e-5) == (2, 2, True)
    assert blas.speedup_over_below == pytest.approx(plain.median / blas.median)
    processes = {
        name: {pid for one, pid, *_ in calls() if one == name} for name in ("plain", "blas")
    }
    assert all(len(pids) == 1 for pids in processes.values())
    assert len({str(os.getpid())}.union(*processes.values())) == 3
    found = {(name, threads, spins) for name, _, threads, spins in calls()}
    assert found == {("plain", "2", session.SPINS), ("blas", "2", "None")}
    assert "GOMP_SPINCOUNT" not in os.environ


def test_the_processes_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    turn = Elsewhere.turn

    def listened(stage: Elsewhere, name: str) -> Turn:
        turns.append(name)
        return turn(stage, name)

    monkeypatch.setattr(Elsewhere, "turn", listened)
    measured()
    assert [sorted(turns[i : i + 2]) for i in (0, 2, 4)] == [["blas", "plain"]] * 3
    assert len(turns) == 6


def test_the_user_chooses_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    measured()
    assert {spins for *_, spins in calls()} == {"7"}


def test_one_thread_needs_one_process() -> None:
    measured(threads=1)
    assert {(pid, threads) for _, pid, threads, _ in calls()} == {(str(os.getpid()), "1")}


def test_a_wrong_one_is_refused_there() -> None:
    with pytest.raises(RefusedError, match=r"^conv2d variant 'blas' .* changes its input x: copy"):
        measured("x[0, 0, 0, 0] += 1")
    with pytest.raises(plugin.PluginError, match="there is a variant 'plain' of conv2d already"):
        measured()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_one_that_ends_its_process() -> None:
    with pytest.raises(RemoteError, match=r"process of variants that use the BLAS .* by SIGSEGV"):
        measured("os.kill(os.getpid(), 11)")
