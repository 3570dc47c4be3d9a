"""Pictures named on the command line: found, and decoded ahead of the network."""

import contextlib
import glob
import itertools
import sys
import warnings
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from pathlib import Path

import click
import numpy as np

from minincep.cli.say import say
from minincep.io.errors import ImageError
from minincep.io.images import SUFFIXES
from minincep.predict import Prepares, prepared_ahead
from minincep_kernels import Array


def find(arguments: Sequence[Path], recursive: bool) -> list[Path]:
    """Files that are meant: each named, the pictures in folders, and what matches a pattern.

    Raises
    ------
    ImageError
        If a folder has no picture in it.
    """
    found: list[Path] = []
    for argument in arguments:
        if argument.is_dir():
            entries = sorted(argument.rglob("*") if recursive else argument.iterdir())
            paths = [p for p in entries if p.suffix.lower() in SUFFIXES and p.is_file()]
            if not paths:
                hint = "" if recursive else "; --recursive looks into the folders inside it"
                raise ImageError(f"{argument}: no pictures in this folder{hint}")
        elif not argument.exists() and glob.has_magic(str(argument)):
            paths = [Path(name) for name in sorted(glob.glob(str(argument), recursive=recursive))]
            if not paths:
                raise ImageError(f"{argument}: nothing matches")
        else:
            paths = [argument]
        found += paths
    return found


class Pictures:
    """Decodes and prepares pictures, and remembers those that cannot be read.

    Decoding runs ahead of the network by a batch, no further, so that memory stays the same
    however many pictures there are.  On a terminal, progress is shown.

    Attributes
    ----------
    paths
        The pictures that are to be done.
    bad
        Path and reason of each picture that could not be read so far.
    """

    paths: list[Path]
    bad: list[tuple[Path, str]]

    def __init__(self, arguments: Sequence[Path], *, recursive: bool = False) -> None:
        self.paths = find(arguments, recursive)
        self.bad = []

    def skip(self, done: Collection[str]) -> None:
        """Leave out the pictures of these names."""
        self.paths = [path for path in self.paths if str(path) not in done]

    def batches(self, network: Prepares, size: int) -> Iterator[tuple[list[Path], Array]]:
        """Paths and prepared pictures (N, H, W, 3), at most `size` at a time."""
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata, which changes nothing
        with contextlib.closing(self._decoded(network, size)) as decoded:
            while batch := list(itertools.islice(decoded, size)):
                yield [path for path, _ in batch], np.stack([picture for _, picture in batch])

    def _decoded(self, network: Prepares, ahead: int) -> Generator[tuple[Path, Array], None, None]:
        with contextlib.closing(prepared_ahead(network, self._shown(), ahead)) as waiting:
            for path, picture in waiting:
                try:
                    yield path, picture.result()
                except ImageError as error:
                    self.bad.append((path, str(error)))

    def _shown(self) -> Iterable[Path]:
        """The paths, while a terminal shows how many are done."""
        if len(self.paths) == 1 or not sys.stderr.isatty():
            return self.paths
        from rich.console import Console  # takes a while to import
        from rich.progress import track

        return track(self.paths, "pictures", console=Console(stderr=True), transient=True)

    def report(self) -> None:
        """Name the bad pictures on standard error; exit with status 2 if there are any."""
        for _, reason in self.bad:
            say(f"minincep: {reason}", err=True)
        if self.bad:
            click.echo(
                f"minincep: {len(self.bad)} of {len(self.paths)} pictures could not be read",
                err=True,
            )
            raise SystemExit(2)
