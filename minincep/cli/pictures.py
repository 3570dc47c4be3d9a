"""Pictures named on the command line, decoded batch by batch."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from PIL import Image
from rich.console import Console
from rich.progress import track

from minincep.io.errors import ImageError
from minincep.io.images import open_image


class Pictures:
    """Decodes pictures, shows progress on a terminal, and remembers those that cannot be read.

    Attributes
    ----------
    bad
        Path and reason of each picture that could not be read so far.
    """

    bad: list[tuple[Path, str]]

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.bad = []

    def batches(self, size: int) -> Iterator[tuple[list[Path], list[Image.Image]]]:
        """At most `size` pictures at a time."""
        console = Console(stderr=True)
        waiting = iter(self.paths)
        if console.is_terminal and len(self.paths) > 1:
            waiting = iter(track(self.paths, "pictures", console=console, transient=True))
        while chunk := list(itertools.islice(waiting, size)):
            good, images = [], []
            for path in chunk:
                try:
                    images.append(open_image(path))
                    good.append(path)
                except ImageError as error:
                    self.bad.append((path, str(error)))
            if good:
                yield good, images

    def report(self) -> None:
        """Name the bad pictures on standard error; exit with status 2 if there are any."""
        for _, reason in self.bad:
            click.echo(f"minincep: {reason}", err=True)
        if self.bad:
            raise SystemExit(2)
