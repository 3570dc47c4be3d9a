"""`minincep classify`: what is in these pictures?"""

import json
from dataclasses import asdict
from pathlib import Path

import click

from minincep.cli import options


@click.command("classify")
@options.pictures
@options.weights
@click.option(
    "--top", type=click.IntRange(1, 1_000_000), default=5, show_default=True, help="Classes each."
)
@options.batch_size
@options.as_json
@options.running
def command(
    pictures: tuple[Path, ...],
    weights: Path | None,
    top: int,
    batch_size: int,
    as_json: bool,
    threads: int | None,
    kernels: tuple[str, ...],
) -> None:
    """The most probable classes of each picture.

    Pictures that cannot be read are named at the end, and the exit status is then 2.
    """
    from minincep.cli.pictures import Pictures
    from minincep.io.hdf5 import DEFAULT, load
    from minincep.predict import classify_batch

    network = load(weights or DEFAULT)
    waiting = Pictures(network, pictures)
    answers = []
    with options.running_as(threads, kernels):
        for paths, batch in waiting.batches(batch_size):
            found = classify_batch(network, batch, top=top)
            for path, predictions in zip(paths, found, strict=True):
                if as_json:
                    rows = [asdict(prediction) for prediction in predictions]
                    answers.append({"image": str(path), "predictions": rows})
                    continue
                click.echo(path)
                for prediction in predictions:
                    click.echo(f"  {prediction.probability:7.2%}  {prediction.label}")
    if as_json:
        failed = [{"image": str(path), "error": reason} for path, reason in waiting.bad]
        click.echo(json.dumps([*answers, *failed], indent=1))
    waiting.report()
