"""How many cores and threads: from the system, the environment, and the caller."""

import os
import threading
from pathlib import Path

import pytest
import threadpoolctl

from minincep_kernels import machine
from tests.kernels import scripts

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def blas_threads() -> set[int]:
    return {
        library["num_threads"]
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
    }


# ------------------------------------------------------------------ the system

V2 = "0::/a/b\n"
V1 = "12:cpuset:/\n4:cpu,cpuacct:/a/b\n3:memory:/a/b\n1:name=systemd:/\n0::/\n"


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("", {}, 8),
        (V2, {}, 8),
        (V2, {"a/b/cpu.max": "max 100000"}, 8),
        (V2, {"a/b/cpu.max": "300000 100000"}, 3),
        (V2, {"a/b/cpu.max": "250000 100000"}, 3),
        (V2, {"a/b/cpu.max": "50000 100000"}, 1),
        (V2, {"a/b/cpu.max": "1600000 100000"}, 8),
        (V2, {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}, 2),
        (V2, {"a/b/cpu.max": "max 100000", "cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        (V2, {"a/b/cpu.max": ""}, 8),
        (V2, {"a/b/cpu.max": "nonsense"}, 8),
        (V1, {}, 8),
        (V1, {"cpu/a/b/cpu.cfs_quota_us": "-1", "cpu/a/b/cpu.cfs_period_us": "100000"}, 8),
        (V1, {"cpu/a/b/cpu.cfs_quota_us": "150000", "cpu/a/b/cpu.cfs_period_us": "100000"}, 2),
        (V1, {"cpu/a/cpu.cfs_quota_us": "150000", "cpu/a/cpu.cfs_period_us": "100000"}, 2),
        (V1, {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        (
            V1,
            {
                "cpu,cpuacct/a/b/cpu.cfs_quota_us": "150000",
                "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000",
            },
            2,
        ),
        (V1, {"cpu/a/b/cpu.cfs_quota_us": "150000"}, 8),
    ],
)
def test_quota(tmp_path: Path, groups: str, files: dict[str, str], cores: int) -> None:
    contents = {f"sys/fs/cgroup/{name}": content for name, content in files.items()}
    if groups:
        contents["proc/self/cgroup"] = groups.rstrip()
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    assert machine.available_cores(tmp_path) == cores


def test_this_machine() -> None:
    assert 1 <= machine.available_cores() <= CORES


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity here")
def test_affinity(tmp_path: Path) -> None:
    script = """if True:
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from minincep_kernels import machine
        print([machine.available_cores(), machine.get_num_threads()])
    """
    assert scripts.run(tmp_path, script, OMP_NUM_THREADS="").values == [1, 1]


# ------------------------------------------------------------------ the environment


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(
    ("wishes", "threads"),
    [
        ({}, 8),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3,2"}, 3),
        ({"OMP_NUM_THREADS": " 3 "}, 3),
        ({"NUMBA_NUM_THREADS": "3"}, 3),
        ({"OPENBLAS_NUM_THREADS": "3"}, 3),
        ({"MKL_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "3"}, 2),
        ({"OMP_NUM_THREADS": "100"}, 8),
        ({"OMP_NUM_THREADS": "0"}, 8),
        ({"OMP_NUM_THREADS": "-1"}, 8),
        ({"OMP_NUM_THREADS": "²"}, 8),
        ({"OMP_NUM_THREADS": "all"}, 8),
    ],
)
def test_default(monkeypatch: pytest.MonkeyPatch, wishes: dict[str, str], threads: int) -> None:
    monkeypatch.setattr(machine, "_cpu_quotas", lambda root: iter(()))
    for name in machine.WISHES:
        monkeypatch.delenv(name, raising=False)
    for name, wish in wishes.items():
        monkeypatch.setenv(name, wish)
    assert machine._default_threads() == threads


def test_default_drives_numba_and_blas(tmp_path: Path) -> None:
    script = """if True:
        import tiny, numba, threadpoolctl
        from tiny import json, machine
        tiny.check()
        pools = threadpoolctl.threadpool_info()
        blas = {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"}
        print(json.dumps([machine.get_num_threads(), numba.get_num_threads(), *blas]))
    """
    settings = {"NUMBA_NUM_THREADS": str(CORES), "OMP_NUM_THREADS": ""}
    cores = machine.available_cores()
    values = scripts.run(tmp_path, script, **settings).values
    assert set(values) == {cores}
    assert len(values) == 3


# ------------------------------------------------------------------ the caller


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "2", None])
def test_number_of_threads_is_checked(wrong: object) -> None:
    before = machine.get_num_threads()
    with pytest.raises(ValueError, match=r"whole number of at least 1, got "):
        machine.set_num_threads(wrong)  # type: ignore[arg-type]
    with (
        pytest.raises(ValueError, match=r"whole number of at least 1, got "),
        (
            machine.num_threads(wrong)  # type: ignore[arg-type]
        ),
    ):
        pass
    assert machine.get_num_threads() == before


def test_context_drives_blas_and_puts_back() -> None:
    before = machine.get_num_threads()
    with machine.num_threads(3):
        assert machine.get_num_threads() == 3
        assert blas_threads() == {3}
        with machine.num_threads(1):
            assert blas_threads() == {1}
        assert blas_threads() == {3}
        with pytest.raises(KeyError), machine.num_threads(2):
            raise KeyError
        assert blas_threads() == {3}
    assert machine.get_num_threads() == before
    assert blas_threads() == {before}


def test_it_holds_in_every_python_thread(tmp_path: Path) -> None:
    script = """if True:
        import threading, numba
        import tiny
        from tiny import json, machine
        masks = []

        def work():
            tiny.check()
            masks.append(numba.get_num_threads())

        for threads in (2, 3, 2):
            machine.set_num_threads(threads)
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        print(json.dumps(masks))
    """
    assert scripts.run(tmp_path, script, NUMBA_NUM_THREADS="3").values == [2, 3, 2]


def test_default_never_overrides_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    # One thread asks for the first time while another chooses.
    before = machine.get_num_threads()
    monkeypatch.setattr(machine, "_threads", None)
    asked: list[int] = []
    asking = threading.Thread(target=lambda: asked.append(machine.get_num_threads()))
    with machine._lock:
        asking.start()
        asking.join(0.2)  # it waits
        machine.set_num_threads(5)
    asking.join()
    assert asked == [5]
    assert machine.get_num_threads() == 5
    machine.set_num_threads(before)
