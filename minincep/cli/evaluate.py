"""`minincep evaluate`: how good a network is on pictures whose classes are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minincep.cli import options
from minincep.cli.say import say
from minincep.io.text import to_json

if TYPE_CHECKING:
    from minincep.train.evaluate import Report


@click.command("evaluate")
@click.argument("weights", metavar="WEIGHTS|PLAN", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--confused", type=click.IntRange(0), default=0, help="List so many wrong answers.")
@click.option("--workers", type=click.IntRange(0, 64), default=1, help="Processes that decode.")
@click.option("--batch-size", type=click.IntRange(1, 4096), default=8, help="Pictures at once.")
@options.as_json
@options.running
def command(
    weights: Path,
    data: Path,
    confused: int,
    workers: int,
    batch_size: int,
    as_json: bool,
    threads: int | None,
    kernels: tuple[str, ...],
) -> None:
    """Accuracy, loss, precision and recall of each class, and which is taken for which.

    DATA is a folder with a folder for each class, or a CSV file.  Classes are those of the network
    by name.  Pictures that cannot be read are named at the end, and the exit status is then 2.
    """
    from minincep.cli.report import show
    from minincep.cli.training import counting
    from minincep.io.known import weights_path
    from minincep.predict import ready
    from minincep.train.data import read, with_classes
    from minincep.train.evaluate import evaluate
    from minincep.train.loader import Loader

    with options.running_as(threads, kernels):
        network = ready(weights, batch_size=batch_size, eager=bool(kernels))
        network.check_classes(1)
        labels = network.description.labels
        if labels is None:
            raise click.UsageError(f"{weights_path(weights)} does not name its classes")
        pictures = with_classes(read(data), labels, str(data))
        how = network.preprocessing
        with (
            Loader(pictures, how, batch_size=batch_size, workers=workers) as loader,
            counting(len(pictures)) as done,
        ):
            report = evaluate(network.logits, loader, done=done, keep=confused)
            bad = list(loader.skipped)
    assert report is not None
    if as_json:
        click.echo(to_json(as_dict(report, bad)))
    else:
        show(report)
        for picture in report.confused:
            say(
                f"  {picture.path}: {picture.label}, taken for {picture.taken_for} "
                f"({picture.probability:.1%})"
            )
    for _, reason in bad:
        say(f"minincep: {reason}", err=True)
    raise SystemExit(2 if bad else 0)


def as_dict(report: "Report", bad: "Sequence[tuple[Path, str]]") -> dict[str, Any]:
    """All that was found, for JSON."""
    confused = [{**vars(picture), "path": str(picture.path)} for picture in report.confused]
    skipped = [{"path": str(path), "error": reason} for path, reason in bad]
    return {**report.as_json(), "confused": confused, "skipped": skipped}
