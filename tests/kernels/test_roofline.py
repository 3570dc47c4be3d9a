"""What the machine can do: measured at each level, and which level counts for whom."""

import functools
import time
from pathlib import Path

import pytest

from minincep_kernels import machine, roofline
from minincep_kernels.machine import Cache
from minincep_kernels.roofline import Gauge, Level, Roof, memory_floats

ROOF = Roof(flops=1e9, bandwidth=1e8, levels=(Level("L1", 1000, 4e8), Level("L2", 10_000, 2e8)))


def test_without_caches_the_bytes_come_from_memory() -> None:
    assert ROOF.seconds(1e9, 0) == 1
    assert ROOF.seconds(0, 500) == 500 / 1e8
    assert ROOF.bound(1e9, 1e8 + 1) == "bandwidth"
    assert ROOF.bound(1e9, 1e8 - 1) == "compute"


@pytest.mark.parametrize(
    ("size", "name", "bandwidth"),
    [(1000, "L1", 4e8), (1001, "L2", 2e8), (10_000, "L2", 2e8), (10_001, None, 1e8)],
)
def test_cached_they_come_from_the_smallest_that_holds_them(
    size: int, name: str | None, bandwidth: float
) -> None:
    level = ROOF.source(size)
    assert (level.name if level else None) == name
    assert ROOF.seconds(0, size, cached=True) == size / bandwidth
    least = size / bandwidth * 1e9
    assert ROOF.bound(least * 1.01, size, cached=True) == "compute"
    assert ROOF.bound(least * 0.99, size, cached=True) == "bandwidth"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "MEMORY", 1 << 20)
    monkeypatch.setattr(roofline, "COUNT", 1 << 10)
    monkeypatch.setattr(roofline, "FROM_CACHE", 1 << 16)
    monkeypatch.setattr(machine, "caches", list)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("threads", [1, 2])
def test_the_gauge_measures_each_level(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    caches = [Cache(1, 1 << 14, 1), Cache(2, 1 << 18, 2)]
    gauge = Gauge(threads, caches)
    read: list[tuple[int, int]] = []

    def listen(share: int, times: int) -> float:
        read.append((share, times))
        return 7.0

    for _ in range(3):
        gauge.take()
    roof = gauge.roof
    assert [(level.name, level.size) for level in roof.levels] == [
        ("L1", threads << 14),  # each thread has one of its own
        ("L2", 1 << 18),  # which two share
    ]
    assert min(roof.flops, roof.bandwidth, *(level.bandwidth for level in roof.levels)) > 0
    assert len(gauge.samples) == 3
    monkeypatch.setattr(gauge, "_read", listen)
    gauge.take()
    # Floats: all of memory, half of the first level, and of the second as much as leaves little of
    # it in the first.
    assert [share for share, _ in read] == [(1 << 20) // threads, 1 << 11, 1 << 14]
    assert [share * times for share, times in read[1:]] == [1 << 16, 1 << 16]
    assert gauge.roof_since(3).bandwidth == 7.0
    assert gauge.compute() > 0
    gauge.flush()
    assert read[-1] == ((1 << 20) // threads, 1)


@pytest.mark.usefixtures("quick")
def test_the_peak_is_that_of_threads_with_a_core_each(monkeypatch: pytest.MonkeyPatch) -> None:
    gauge = Gauge(2)
    monkeypatch.setattr(roofline, "TRIES", 4)

    def measured(*tries: tuple[float, float]) -> float:
        """Of tries with so many cores, at so many operations a second; each takes a second."""
        clocks = {"perf_counter": 0.0, "process_time": 0.0}
        left = iter(tries)

        def compute(count: int) -> float:
            assert count == roofline.AWAKE * roofline.COUNT
            cores, speed = next(left)
            clocks["perf_counter"] += 1
            clocks["process_time"] += cores
            return speed

        for name in clocks:
            monkeypatch.setattr(time, name, functools.partial(clocks.get, name))
        monkeypatch.setattr(gauge, "_compute", compute)
        found = gauge.compute()
        assert next(left, None) is None  # no more than is needed, and no less
        return found

    assert measured((1.99, 5.0)) == 5.0
    assert measured((1.0, 3.0), (1.2, 3.5), (1.9, 6.0)) == 6.0
    assert measured((1.0, 3.0), (1.0, 4.0), (1.0, 3.0), (1.0, 3.0)) == 4.0  # others are there


@pytest.mark.usefixtures("quick")
def test_memory_is_taken_when_it_is_needed() -> None:
    gauge = Gauge(1)
    assert "_memory" not in vars(gauge)
    gauge.compute()
    assert "_memory" not in vars(gauge)
    gauge.flush()
    assert vars(gauge)["_memory"].size == 1 << 20


def test_memory_is_more_than_the_caches_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_floats([]) == roofline.MEMORY
    assert memory_floats([Cache(1, 1 << 15, 1)]) == roofline.MEMORY
    pages = {"SC_PHYS_PAGES": 1 << 20, "SC_PAGE_SIZE": 1 << 12}  # 4 GB
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    assert memory_floats([Cache(3, 1 << 28, 1)]) == 2 * (1 << 28) // 4
    assert memory_floats([Cache(3, 1 << 40, 1)]) == (1 << 30) // 4


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


def test_caches_of_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    folder = tmp_path / "sys/devices/system/cpu/cpu0/cache"
    write(folder / "index3", level="3", type="Unified", size="32M", shared_cpu_list="0-3,8-11")
    write(folder / "index0", level="1", type="Data", size="48K", shared_cpu_list="0,8")
    write(folder / "index1", level="1", type="Instruction", size="64K", shared_cpu_list="0,8")
    write(folder / "index2", level="2", type="Unified", size="none", shared_cpu_list="0")
    write(folder / "index4", level="4", type="Unified", size="1G", shared_cpu_list="")
    assert machine.caches(tmp_path) == [
        Cache(1, 48 << 10, 2),
        Cache(3, 32 << 20, 8),
        Cache(4, 1 << 30, 1),
    ]
    assert machine.caches(tmp_path / "nothing") == []


def test_caches_of_apple(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"hw.perflevel0.l1dcachesize": 131072, "hw.perflevel0.l2cachesize": 1 << 24}
    known |= {"hw.perflevel0.cpusperl2": 4, "hw.l2cachesize": 1 << 22}
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(machine, "_sysctl", lambda name: known.get(name, 0))
    assert machine.caches() == [Cache(1, 131072, 1), Cache(2, 1 << 24, 4)]
