"""Says on a terminal that kernels are being compiled, which takes a while and happens once."""

import contextlib
import sys
import time
from collections.abc import Iterator

import click


@contextlib.contextmanager
def announced(always: bool = False) -> Iterator[list[str]]:
    """Within the `with` block, a line for each kernel that is compiled; -> their names so far.

    On standard error, if that is a terminal or `always` is true.  Nothing is said of kernels that
    come from the cache.
    """
    from minincep_kernels import cache

    compiled: list[str] = []
    began: dict[str, float] = {}
    loud = always or sys.stderr.isatty()

    def listen(name: str, starts: bool) -> None:
        if starts:
            began[name] = time.monotonic()
            if loud:
                number = len(compiled) + 1
                click.echo(f"compiling kernels for this CPU, once: {number}, {name} ...", err=True)
        else:
            compiled.append(name)
            if loud:
                seconds = time.monotonic() - began.pop(name, time.monotonic())
                click.echo(f"compiled {name} in {seconds:.1f} s", err=True)

    before = cache.listener
    cache.listener = listen
    try:
        yield compiled
    finally:
        cache.listener = before
