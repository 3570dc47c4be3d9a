"""Lines for people."""

import sys

import click

from minincep.io.text import printable


def say(line: str, *, err: bool = False) -> None:
    """Print a line that may hold names of files, or text from them.

    What could take over the terminal, or what it has no letters for, is replaced.
    """
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    click.echo(printable(line).encode(encoding, "replace").decode(encoding), err=err)
