"""Objects in processes of their own, which sleep between calls.

In one process, threads of one library that spin would steal the cores of the next: those of a BLAS
or of OpenMP look for more work for up to a tenth of a second before they sleep.
"""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable
from typing import Any

from minincep_kernels import cache
from minincep_kernels.errors import UserError

NAP = 0.01  # seconds
STILL = 0.1  # of a core: a process that takes less sleeps
PATIENCE = 100  # naps: some libraries never sleep


class RemoteError(UserError, RuntimeError):
    """A process has failed; its own message went to standard error."""


class Remote:
    """An object in a process of its own, whose threads sleep when a call is over.

    Parameters
    ----------
    name
        What the process is called in messages.
    make
        Makes the object, of these arguments, in the process.

    Raises
    ------
    RemoteError
        If the process ends; so does `call`.  A `UserError` of the object is raised as it is.
    """

    def __init__(self, name: str, make: Callable[..., object], *arguments: Any) -> None:
        self.name = name
        spawn = multiprocessing.get_context("spawn")
        self._pipe, far_end = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=(far_end,), daemon=True)
        self._process.start()
        far_end.close()  # only the child has it now, so its death shows here
        try:
            self._ask("make", make, *arguments)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the object."""
        return self._ask("call", method, *arguments)

    def _ask(self, what: str, *arguments: Any) -> Any:
        try:
            self._pipe.send((what, arguments))
            kind, content = self._pipe.recv()
            while kind == "compiling":
                cache.tell(*content)
                kind, content = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            status = self._process.exitcode or 0
            killed = f"was ended by {signal.Signals(-status).name}" if status < 0 else ""
            cause = killed or "failed; its own message is above"
            raise RemoteError(f"{self.name} {cause}") from None
        if kind == "error":
            raise content
        return content

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


class _Host:
    """Has the object, in its process."""

    def make(self, make: Callable[..., object], *arguments: Any) -> None:
        self._object = make(*arguments)

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self._object, method)(*arguments)


def serve(pipe: Any) -> None:
    """Do what is asked until nobody asks: the whole life of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks decides what Ctrl-C ends

    def tell(kind: str, content: object) -> None:
        with contextlib.suppress(ConnectionError):  # nobody asks any more
            pipe.send((kind, content))

    cache.listener = lambda *news: tell("compiling", news)
    host = _Host()
    while True:
        try:
            what, arguments = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            kind, content = "answer", getattr(host, what)(*arguments)
        except UserError as error:
            kind, content = "error", error
        rest()
        tell(kind, content)


def rest() -> None:
    """Wait until all threads of this process sleep: until it takes no more of the CPU."""
    for _ in range(PATIENCE):
        used, start = time.process_time(), time.perf_counter()
        time.sleep(NAP)
        if time.process_time() - used < STILL * (time.perf_counter() - start):
            return
