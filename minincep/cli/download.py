"""`minincep download`: fetch published weights."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click


@click.command("download")
@click.argument("name", required=False)
@click.option("--list", "listed", is_flag=True, help="The weights that there are.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; by default one in the cache folder, where the other commands find it "
    "by NAME.",
)
@click.option("--force", is_flag=True, help="Fetch them again if they are there already.")
def command(name: str | None, listed: bool, output: Path | None, force: bool) -> None:
    """Fetch published weights, check them, and make a weights file of them.

    Nothing else goes to the network.  A transfer that breaks off is gone on with when the command
    is given again.
    """
    from minincep.io.catalogue import CATALOGUE
    from minincep.io.known import downloaded

    if listed:
        _list()
        return
    if name not in CATALOGUE:
        reason = f"no weights {name!r} in the catalogue" if name else "which weights?"
        raise click.UsageError(f"{reason}; 'minincep download --list' shows them")
    target = output or downloaded(name)
    if target.exists() and not force:
        click.echo(f"{target} is there already; --force fetches it again")
        return
    from minincep.io.download import download

    published = CATALOGUE[name]
    license_ = f"license as far as known: {published.license}"
    click.echo(f"{published.url}, {published.megabytes} MB, {license_}", err=True)
    try:
        with _progress(name) as shown:
            fetched = download(name, target, shown)
    except KeyboardInterrupt:
        if target.with_name(f"{target.name}.part").exists():
            click.echo("minincep: the same command goes on with what has come", err=True)
        raise
    click.echo(f"{target}: {fetched.network.architecture}, sha256 {fetched.sha256} as it came")
    if not fetched.verified:
        click.echo("no whole digest is known for this file, so it could not be verified", err=True)


def _list() -> None:
    from minincep.io.catalogue import CATALOGUE
    from minincep.io.known import downloaded

    for name, published in CATALOGUE.items():
        how = published.preprocessing
        state = ", is here" if downloaded(name).exists() else ""
        click.echo(f"{name}{state}")
        for line in (
            published.origin,
            f"{published.megabytes} MB, {published.digest or 'no digest published'}",
            f"license as far as known: {published.license}",
            f"pictures: {how.height} x {how.width}, crop {how.crop:g}, {how.filter}, {how.scaling}",
            published.url,
        ):
            click.echo(f"    {line}")


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A function that shows on a terminal how much has come."""
    if not sys.stderr.isatty():
        yield lambda done, size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name)
        yield lambda done, size: progress.update(task, completed=done, total=size)
