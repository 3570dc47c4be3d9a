"""`minincep convert`: other people's weights as a weights file, and ours as theirs."""

import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal, get_args

import click

from minincep.cli.say import say

Kind = Literal["minincep", "safetensors", "keras", "onnx"]
SUFFIXES: dict[str, Kind] = {".safetensors": "safetensors", ".onnx": "onnx"}
OTHERS = (".pt", ".pth", ".bin", ".pb", ".ckpt", ".keras", ".weights.h5")  # read, but not written


@click.command("convert")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.",
)
@click.option(
    "--to",
    "kind",
    type=click.Choice(get_args(Kind)),
    help="What to write; by default what the suffix of the output says (.safetensors, .onnx), and "
    "else a weights file of minincep.",
)
@click.option(
    "--background",
    type=click.Choice(["drop", "keep"]),
    help="What becomes of the first of 1001 classes, which stands for the background; such files "
    "are not converted without this.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names of the classes, one a line; with --background drop, the background's may be first.",
)
@click.option(
    "--moving-averages/--no-moving-averages",
    default=None,
    help="Take the moving averages of the weights, or not; by default if there is one of each.",
)
@click.option(
    "--num-classes",
    type=click.IntRange(1, 1_000_000),
    help="For a file without classifier: classes of a new one, not trained.",
)
@click.option("--force", is_flag=True, help="Replace the output if it is there already.")
def command(
    source: Path,
    output: Path,
    kind: Kind | None,
    background: str | None,
    labels: Path | None,
    moving_averages: bool | None,
    num_classes: int | None,
    force: bool,
) -> None:
    """Turn other people's weights into a weights file of minincep, or minincep's into theirs.

    SOURCE says by its content what it is.  Formats: HDF5 and .keras of Keras, .pt, .pth and .bin of
    PyTorch, safetensors, TensorFlow checkpoints (any of their files, or their folder) and frozen
    graphs, ONNX.  Networks: timm's and Cadene's Inception-v4 and Inception-ResNet-v2,
    facenet-pytorch, keras.applications, yuyang-huang, kentsommer, keras-facenet, TF-slim, facenet.
    Only arrays are read; code that a file may hold is never run.

    Written besides minincep's own: safetensors for timm and facenet-pytorch, HDF5 for
    keras.applications, keras-facenet and kentsommer's network (--to keras), and ONNX, which holds
    the whole network.
    """
    from minincep.io.convert import convert, read_labels
    from minincep.io.formats import detect
    from minincep.io.hdf5 import load, save
    from minincep.io.known import weights_path

    if output.exists() and not force:
        raise click.UsageError(f"{output} is there already; --force replaces it")
    if not output.parent.is_dir():
        raise click.UsageError(f"{output.parent} is not a folder; make it first")
    if kind is None and output.name.lower().endswith(OTHERS):
        raise click.UsageError(f"{output}: such files are not written; --to says what can be")
    kind = kind or SUFFIXES.get(output.suffix.lower(), "minincep")
    source = weights_path(source)
    if detect.reader(source) == detect.OWN:
        if kind == "minincep":
            raise click.UsageError(
                f"{source} is already a weights file of minincep: use it as it is, or say with "
                f"--to what else it shall become"
            )
        if (background, labels, moving_averages, num_classes) != (None, None, None, None):
            raise click.UsageError(f"{source} is minincep's: only -o, --to and --force apply to it")
        network = load(source)
    else:
        network = convert(
            source,
            background=background,
            labels=None if labels is None else read_labels(labels),
            moving_averages=moving_averages,
            num_classes=num_classes,
            shown=_shown,
        )
    if kind == "minincep":
        save(network, output)
    else:
        from minincep.export import export

        export(network, output, kind)
    values = sum(array.size for array in network.arrays().values())
    say(
        f"{output}: {network.architecture}, {len(network.arrays())} arrays, {values:,} values, "
        f"from {network.source}"
    )


def _shown(paths: Collection[str]) -> Iterable[str]:
    """The paths of the arrays, while a terminal shows how many are read."""
    if not sys.stderr.isatty():
        return paths
    from rich.console import Console  # takes a while to import
    from rich.progress import track

    console = Console(stderr=True)
    return track(paths, "arrays", total=len(paths), console=console, transient=True)
