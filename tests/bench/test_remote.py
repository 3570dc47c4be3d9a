"""Objects in processes of their own: what they tell, how they end, and that they sleep."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from minincep.bench import remote
from minincep.bench.remote import Remote, RemoteError
from minincep_kernels import cache
from minincep_kernels.errors import ConfigError


class Counter:
    """Counts in its own process, and does whatever else goes wrong there."""

    def __init__(self, start: int) -> None:
        if start < 0:
            raise ConfigError("no start below 0")
        self._count = start

    def add(self, number: int) -> tuple[int, int]:
        if number < 0:
            raise ConfigError("nothing below 0")
        self._count += number
        return self._count, os.getpid()

    def compile(self) -> None:
        cache.tell("kernel", True)
        cache.tell("kernel", False)

    def work_on(self, seconds: float) -> None:
        """Leave a thread behind that works for so long."""

        def work() -> None:
            end = time.thread_time() + seconds
            while time.thread_time() < end:
                pass

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def works(self) -> bool:
        return self._thread.is_alive()

    def fail(self) -> None:
        raise RuntimeError("out of order")

    def interrupt(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def counter() -> Iterator[Remote]:
    found = Remote("the counter", Counter, 5)
    yield found
    found.close()
    assert not multiprocessing.active_children()


def test_it_has_a_state_and_a_process(counter: Remote) -> None:
    (first, process), second = counter.call("add", 2), counter.call("add", 3)
    assert (first, second) == (7, (10, process))
    assert process != os.getpid()


def test_mistakes_are_told_and_it_lives_on(counter: Remote) -> None:
    with pytest.raises(ConfigError, match=r"^nothing below 0$"):
        counter.call("add", -1)
    assert counter.call("add", 0)[0] == 5
    with pytest.raises(ConfigError, match=r"^no start below 0$"):
        Remote("another", Counter, -1)
    assert len(multiprocessing.active_children()) == 1


def test_kernels_that_it_compiles_are_told(
    counter: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, bool]] = []
    monkeypatch.setattr(cache, "listener", lambda *news: told.append(news))
    counter.call("compile")
    assert told == [("kernel", True), ("kernel", False)]


def test_it_sleeps_when_a_call_is_over(counter: Remote) -> None:
    counter.call("work_on", 0.2)
    assert counter.call("works") is False


def test_some_never_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    monkeypatch.setattr(time, "process_time", iter(range(1000)).__next__)
    remote.rest()
    assert naps == [remote.NAP] * remote.PATIENCE


def test_a_failure_is_told_whatever_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    counter = Remote("the counter", Counter, 5)
    with pytest.raises(RemoteError, match=r"^the counter failed; its own message is above$"):
        counter.call("fail")
    assert "RuntimeError: out of order" in capfd.readouterr().err
    with pytest.raises(RemoteError, match=r"^the counter failed"):  # is gone
        counter.call("add", 1)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_signals(counter: Remote) -> None:
    counter.call("interrupt")  # Ctrl-C reaches all processes of a terminal
    with pytest.raises(RemoteError, match=r"^the counter was ended by SIGKILL$"):
        counter.call("kill")


def test_it_ends_with_who_asks(capfd: pytest.CaptureFixture[str]) -> None:
    counter = Remote("the counter", Counter, 5)
    counter._pipe.send(("call", ("add", 1)))  # who will hear the answer?
    counter._pipe.close()
    counter._process.join()
    assert counter._process.exitcode == 0
    assert capfd.readouterr().err == ""
