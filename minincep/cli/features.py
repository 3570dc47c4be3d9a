"""`minincep features`: what comes out inside the network."""

from pathlib import Path

import click

from minincep.cli import options


@click.command("features")
@options.pictures
@options.weights
@click.option(
    "--endpoints",
    required=True,
    metavar="NAME,...",
    help="End points; 'minincep info WEIGHTS --endpoints' lists them.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="File .h5 to write."
)
@options.resume
@options.running
def command(
    pictures: tuple[Path, ...],
    recursive: bool,
    weights: Path | None,
    endpoints: str,
    output: Path,
    resume: bool,
    batch_size: int,
    threads: int | None,
    kernels: tuple[str, ...],
) -> None:
    """What comes out at end points, for each picture, into an HDF5 file.

    The file has `images`, the names, and for each end point an array with a row for each of them.
    Pictures that cannot be read are named at the end, and the exit status is then 2.  After an
    interruption, --resume goes on with the file.
    """
    from minincep.cli.pictures import Pictures
    from minincep.io.known import DEFAULT
    from minincep.io.results import ArrayResults
    from minincep.predict import ready

    names = [name.strip() for name in endpoints.split(",")]
    with options.running_as(threads, kernels):
        network = ready(
            weights or DEFAULT, batch_size=batch_size, endpoints=names, eager=bool(kernels)
        )
        waiting = Pictures(pictures, recursive=recursive)
        with ArrayResults(output, resume=resume) as file:
            waiting.skip(file.done)
            for paths, batch in waiting.batches(network, batch_size):
                found = network.features(batch, names)
                file.add([str(path) for path in paths], found)
    waiting.report()
