"""Options that several commands take."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import click


def pictures(command: Callable[..., None]) -> Callable[..., None]:
    """What pictures (files, folders, patterns), and how many at once."""
    for option in (
        click.option("--recursive", is_flag=True, help="Folders inside folders, too."),
        click.option(
            "--batch-size",
            type=click.IntRange(1, 4096),
            default=8,
            show_default=True,
            help="Pictures at once.",
        ),
    ):
        command = option(command)
    return click.argument(
        "pictures",
        nargs=-1,
        required=True,
        type=click.Path(path_type=Path),
        metavar="IMAGE|FOLDER|PATTERN...",
    )(command)


weights = click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="PATH|NAME",
    help="Weights file, or a plan of one ('minincep compile'), or a name of 'minincep download', "
    "or 'eggs', the default: a small network that knows broken eggs.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="JSON, for machines.")
resume = click.option(
    "--resume", is_flag=True, help="Go on with a file: skip the pictures that it has."
)


def running(command: Callable[..., None]) -> Callable[..., None]:
    """The options on how a network runs: `running_as(threads, kernels)` obeys them."""
    for option in (
        click.option(
            "--threads", type=click.IntRange(1, 4096), help="Threads; by default all cores."
        ),
        click.option(
            "--kernels",
            metavar="OP=NAME",
            multiple=True,
            help="Force a kernel variant, such as conv2d=naive; once for each operation.",
        ),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def running_as(threads: int | None, kernels: tuple[str, ...]) -> Iterator[None]:
    """Within the `with` block, obey the options of `running`, and tell what is being compiled."""
    from minincep.cli.compiling import announced
    from minincep_kernels import machine

    wishes: dict[str, str] = {}
    for wish in kernels:
        op, equals, name = wish.partition("=")
        if not equals:
            raise click.UsageError(f"--kernels {wish}: write OP=NAME, such as conv2d=naive")
        wishes[op] = name
    limited = contextlib.nullcontext() if threads is None else machine.num_threads(threads)
    with limited, announced(), _forced(wishes):
        yield


@contextlib.contextmanager
def _forced(wishes: dict[str, str]) -> Iterator[None]:
    if not wishes:
        yield
        return
    import minincep.autograd.ops  # noqa: F401  (registers the variants)
    from minincep_kernels import registry

    with registry.use(**wishes):
        yield
