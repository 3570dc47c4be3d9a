"""`minincep convert`: turn other people's weights into a weights file."""

from pathlib import Path

import click


@click.command("convert")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Weights file to write.",
)
@click.option("--force", is_flag=True, help="Replace the output if it is there already.")
def command(source: Path, output: Path, force: bool) -> None:
    """Turn other people's weights into a weights file of minincep.

    SOURCE is a Keras h5 file of the facenet family (Inception-ResNet-v1).  Only arrays are read;
    code that the file may hold is never run.
    """
    from minincep.io.convert import convert
    from minincep.io.hdf5 import save

    if output.exists() and not force:
        raise click.UsageError(f"{output} is there already; --force replaces it")
    if not output.parent.is_dir():
        raise click.UsageError(f"{output.parent} is not a folder; make it first")
    network = convert(source)
    save(network, output)
    values = sum(array.size for array in network.arrays().values())
    click.echo(
        f"{output}: {network.architecture}, {len(network.arrays())} arrays, {values:,} values"
    )
