"""`minincep classify`: what is in these pictures?"""

import contextlib
import itertools
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minincep.cli import options
from minincep.cli.say import say
from minincep.io.text import to_json

if TYPE_CHECKING:
    from minincep.io.results import CsvResults
    from minincep.predict import Ready


@click.command("classify")
@options.pictures
@options.weights
@click.option(
    "--top", type=click.IntRange(1, 1000), default=5, show_default=True, help="Classes each."
)
@options.as_json
@click.option(
    "--csv", type=click.Path(path_type=Path), help="Write a table, a line for each picture."
)
@options.resume
@options.running
def command(
    pictures: tuple[Path, ...],
    recursive: bool,
    weights: Path | None,
    top: int,
    as_json: bool,
    csv: Path | None,
    resume: bool,
    batch_size: int,
    threads: int | None,
    kernels: tuple[str, ...],
) -> None:
    """The most probable classes of each picture.

    Pictures that cannot be read are named at the end, and the exit status is then 2.  With --json,
    a line of JSON for each picture.  After an interruption, --resume goes on with the --csv file.
    """
    from minincep.cli.pictures import Pictures
    from minincep.io.known import DEFAULT
    from minincep.predict import ready

    if resume and csv is None:
        raise click.UsageError("--resume needs the --csv file to go on with")
    with contextlib.ExitStack() as stack:
        stack.enter_context(options.running_as(threads, kernels))
        network = ready(weights or DEFAULT, batch_size=batch_size, eager=bool(kernels))
        network.check_classes(top)
        waiting = Pictures(pictures, recursive=recursive)
        table = stack.enter_context(_table(csv, network, top, resume)) if csv else None
        waiting.skip(table.done if table else ())
        for paths, batch in waiting.batches(network, batch_size):
            found = network.classify(batch, top=top)
            if table:
                cells = [[(p.label, f"{p.probability:.6g}") for p in row] for row in found]
                rows = zip(paths, cells, strict=True)
                table.add([[path, *itertools.chain(*row)] for path, row in rows])
            for path, predictions in zip(paths, found, strict=True):
                if as_json:
                    answers = [asdict(prediction) for prediction in predictions]
                    click.echo(to_json({"image": str(path), "predictions": answers}))
                elif not table:
                    say(str(path))
                    for prediction in predictions:
                        say(f"  {prediction.probability:7.2%}  {prediction.label}")
    if as_json:
        for path, reason in waiting.bad:
            click.echo(to_json({"image": str(path), "error": reason}))
    waiting.report()


def _table(path: Path, network: "Ready", top: int, resume: bool) -> "CsvResults":
    from minincep.io.results import CsvResults

    ranks = range(1, min(top, network.classes or 0) + 1)
    columns = [f"{kind}_{rank}" for rank in ranks for kind in ("label", "probability")]
    return CsvResults(path, columns, resume=resume)
