"""`minincep compile`: make a plan of a weights file, for quick starts."""

from pathlib import Path

import click

from minincep.cli import options
from minincep.cli.say import say


def image_size(context: click.Context, option: click.Parameter, text: str | None) -> object:
    """Height and width from "H" or "HxW"."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise click.BadParameter(f"{text!r} is not a size in pixels, such as 299 or 331x203")
    return int(sides[0]), int(sides[-1])


sizes = click.option(
    "--image-size",
    "size",
    callback=image_size,
    metavar="H[xW]",
    help="Pixels; by default what the weights file says.",
)


@click.command("compile")
@click.argument("weights", type=click.Path(path_type=Path))
@sizes
@click.option(
    "--batch-size",
    type=click.IntRange(1, 4096),
    default=1,
    show_default=True,
    help="Pictures that there is to be memory for at once; any number is answered.",
)
@click.option(
    "--tune", is_flag=True, help="Try which sizes of chunks are fastest here; takes a while."
)
@click.option("--endpoints", default="", metavar="NAME,...", help="End points for 'features'.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write; by default WEIGHTS.plan, where the other commands find it.",
)
def command(
    weights: Path,
    size: tuple[int, int] | None,
    batch_size: int,
    endpoints: str,
    tune: bool,
    output: Path | None,
) -> None:
    """Make a plan of a weights file, so that commands start quickly.

    The plan serves this CPU and this minincep.  The other commands take it when they are given the
    weights file, and notice when it no longer fits.  An older plan is replaced.
    """
    from minincep.io.hdf5 import load
    from minincep.io.known import weights_path
    from minincep.plan import store
    from minincep.predict import compile_for, describe

    path = weights_path(weights)
    network = load(path)
    names = [name.strip() for name in endpoints.split(",") if name.strip()]
    target = output or path.with_name(path.name + store.SUFFIX)
    if not target.parent.is_dir():
        raise click.UsageError(f"{target.parent} is not a folder; make it first")
    with options.running_as(None, ()):
        store.save(
            target,
            lambda allocate: compile_for(
                network, size, batch_size, names, allocate=allocate, tune=tune
            ),
            describe(network),
            path,
        )
    plan = store.load(target)
    height, width = plan.image_size
    say(
        f"{target}: {network.architecture} for {height} x {width} pixels, "
        f"{len(plan.program.steps)} steps, {target.stat().st_size / 1e6:.1f} MB"
    )
