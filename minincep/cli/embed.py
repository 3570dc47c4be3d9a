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

    from minincep.cli.pictures import Pictures
    from minincep.io.hdf5 import DEFAULT, load
    from minincep.predict import embed_batch

    network = load(weights or DEFAULT)
    waiting = Pictures(network, pictures)
    names: list[str] = []
    parts = []
    with options.running_as(threads, kernels):
        for paths, batch in waiting.batches(batch_size):
            parts.append(embed_batch(network, batch))
            names += [str(path) for path in paths]
    vectors = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
    if distances:  # row by row: all differences at once would be N x N x D
        apart = [np.linalg.norm(vectors - vector, axis=1).round(7).tolist() for vector in vectors]
    failed = [{"image": str(path), "error": reason} for path, reason in waiting.bad]
    if as_json and distances:
        click.echo(json.dumps({"images": names, "distances": apart, "failed": failed}))
    elif as_json:
        rows = [{"image": n, "embedding": v.tolist()} for n, v in zip(names, vectors, strict=True)]
        click.echo(json.dumps([*rows, *failed]))
    elif distances:
        for number, (name, row) in enumerate(zip(names, apart, strict=True), 1):
            click.echo(f"{number:4} {name}\n     {' '.join(f'{value:.4f}' for value in row)}")
    else:
        for name, vector in zip(names, vectors, strict=True):
            click.echo(f"{name} {' '.join(f'{value:.6g}' for value in vector)}")
    waiting.report()
