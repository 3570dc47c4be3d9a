"""`minincep embed`: vectors that are close for pictures that are alike."""

import contextlib
from pathlib import Path

import click

from minincep.cli import options
from minincep.cli.say import say
from minincep.io.text import to_json


@click.command("embed")
@options.pictures
@options.weights
@click.option("--distances", is_flag=True, help="Distances between all pictures instead.")
@options.as_json
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write to FILE.h5 (images, embeddings), or the vectors alone to FILE.npy.",
)
@options.resume
@options.running
def command(
    pictures: tuple[Path, ...],
    recursive: bool,
    weights: Path | None,
    distances: bool,
    as_json: bool,
    output: Path | None,
    resume: bool,
    batch_size: int,
    threads: int | None,
    kernels: tuple[str, ...],
) -> None:
    """A vector of length 1 for each picture, or the distances between them.

    Distances are Euclidean, from 0 (the same) to 2.  Pictures that cannot be read are named at the
    end, and the exit status is then 2.  After an interruption, --resume goes on with a file.h5.
    """
    import numpy as np

    from minincep.cli.pictures import Pictures
    from minincep.io.known import DEFAULT
    from minincep.predict import ready

    kind = output.suffix.lower() if output else ""
    if output and kind not in (".h5", ".npy"):
        raise click.UsageError(f"--output {output}: the name must end in .h5 or .npy")
    if resume and kind != ".h5":
        raise click.UsageError("--resume needs an --output file.h5 to go on with")
    if output and (distances or as_json):
        raise click.UsageError("--output goes without --distances and --json")
    if output and kind == ".npy" and (output.exists() or not output.parent.is_dir()):
        raise click.UsageError(f"--output {output} is there already, or its folder is not")
    names: list[str] = []
    parts = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(options.running_as(threads, kernels))
        network = ready(weights or DEFAULT, batch_size=batch_size, eager=bool(kernels))
        waiting = Pictures(pictures, recursive=recursive)
        file = None
        if output and kind == ".h5":
            from minincep.io.results import ArrayResults

            file = stack.enter_context(ArrayResults(output, resume=resume))
        waiting.skip(file.done if file else ())
        for paths, batch in waiting.batches(network, batch_size):
            vectors = network.embed(batch)
            if file:
                file.add([str(path) for path in paths], {"embeddings": vectors})
            elif distances or output:  # these two need all of them
                names += [str(path) for path in paths]
                parts.append(vectors)
            else:
                _print(paths, vectors.tolist(), as_json)
    if output and not file:
        from minincep.io.results import write_npy

        write_npy(output, np.concatenate(parts) if parts else np.zeros((0, 0), np.float32))
    failed = [{"image": str(path), "error": reason} for path, reason in waiting.bad]
    if distances:
        vectors = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
        # Row by row: all differences at once would be N x N x D.
        apart = [np.linalg.norm(vectors - vector, axis=1).round(7).tolist() for vector in vectors]
        if as_json:
            click.echo(to_json({"images": names, "distances": apart, "failed": failed}))
        else:
            for number, (name, row) in enumerate(zip(names, apart, strict=True), 1):
                say(f"{number:4} {name}")
                say(f"     {' '.join(f'{value:.4f}' for value in row)}")
    elif as_json:
        for row in failed:
            click.echo(to_json(row))
    waiting.report()


def _print(paths: list[Path], vectors: list[list[float]], as_json: bool) -> None:
    for path, vector in zip(paths, vectors, strict=True):
        if as_json:
            click.echo(to_json({"image": str(path), "embedding": vector}))
        else:
            say(f"{path} {' '.join(f'{value:.6g}' for value in vector)}")
