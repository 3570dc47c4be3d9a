"""`minincep embed`: vectors that are close for pictures that are alike."""

import json
from pathlib import Path

import click

from minincep.cli import options


@click.command("embed")
@options.pictures
@options.weights
@click.option("--distances", is_flag=True, help="Distances between all pictures instead.")
@options.batch_size
@options.as_json
@options.running
def command(
    pictures: tuple[Path, ...],
    weights: Path | None,
    distances: bool,
    batch_size: int,
    as_json: bool,
    threads: int | None,
    kernels: tuple[str, ...],
) -> None:
    """A vector of length 1 for each picture, or the distances between them.

    Distances are Euclidean, from 0 (the same) to 2.  Pictures that cannot be read are named at the
    end, and the exit status is then 2.
    """
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from minincep.cli.pictures import Pictures
    from minincep.io.hdf5 import DEFAULT, load
    from minincep.predict import embed

    network = load(weights or DEFAULT)
    waiting = Pictures(pictures)
    names: list[str] = []
    parts = []
    with options.running_as(threads, kernels):
        for paths, images in waiting.batches(batch_size):
            parts.append(embed(network, images, batch_size=batch_size))
            names += [str(path) for path in paths]
    if names:
        vectors = np.concatenate(parts)
        apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
        if as_json and distances:
            click.echo(json.dumps({"images": names, "distances": apart.round(7).tolist()}))
        elif as_json:
            rows = [
                {"image": n, "embedding": v.tolist()} for n, v in zip(names, vectors, strict=True)
            ]
            click.echo(json.dumps(rows))
        elif distances:
            table = Table("", *[str(number) for number in range(1, len(names) + 1)])
            for number, (name, row) in enumerate(zip(names, apart, strict=True), 1):
                table.add_row(f"{number} {name}", *[f"{value:.4f}" for value in row])
            Console().print(table)
        else:
            for name, vector in zip(names, vectors, strict=True):
                click.echo(f"{name} {' '.join(f'{value:.6g}' for value in vector)}")
    waiting.report()
