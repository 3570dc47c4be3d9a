"""`minincep profile`: where the time goes, step by step."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minincep.cli import options
from minincep.cli.compile import sizes
from minincep.io.text import to_json

if TYPE_CHECKING:
    from minincep.plan.plan import Plan
    from minincep.plan.profile import Profile, StepTime

COLUMNS = ("layer", "shape", "method", "ms", "share", "GFLOP/s", "of roof", "bound by")
FIELDS = (
    *("path", "shape", "method", "seconds", "flops", "work", "bytes"),
    *("gflops", "share_of_roof", "bound"),
)


@click.command("profile")
@click.argument("weights", metavar="WEIGHTS|PLAN", type=click.Path(path_type=Path))
@sizes
@click.option(
    "--batch-size", type=click.IntRange(1, 4096), default=1, show_default=True, help="Pictures."
)
@click.option("--threads", type=click.IntRange(1, 4096), help="Threads; by default all cores.")
@click.option("--repeats", type=click.IntRange(1, 10_000), default=10, show_default=True)
@click.option("--top", type=click.IntRange(1), help="Only so many steps, the slowest first.")
@options.as_json
def command(
    weights: Path,
    size: tuple[int, int] | None,
    batch_size: int,
    threads: int | None,
    repeats: int,
    top: int | None,
    as_json: bool,
) -> None:
    """How long each step of a plan takes, and how near that is to what this CPU can do.

    The median of some repeats on random pictures.  GFLOP/s count a direct convolution; "of roof" is
    the share of the speed that arithmetic or memory would allow, whichever is the lower.
    """
    import numpy as np

    from minincep.plan.profile import profile as profile_of

    with options.running_as(threads, ()):
        plan = _plan(weights, size, batch_size)
        shape = (min(batch_size, plan.batch_size), *plan.image_size, 3)
        x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        profile = profile_of(plan, x, repeats=repeats)
    if as_json:
        click.echo(to_json(_as_json(profile, top)))
        return
    _print(_rows(profile, top))
    click.echo(
        f"{1e3 * profile.total_seconds:.2f} ms for {profile.batch} "
        f"picture{'s' * (profile.batch > 1)} on {profile.threads} "
        f"thread{'s' * (profile.threads > 1)}, each step by itself"
    )


def _plan(path: Path, size: tuple[int, int] | None, batch_size: int) -> "Plan":
    from minincep.io.known import weights_path
    from minincep.plan import store

    path = weights_path(path)
    if path.suffix == store.SUFFIX:
        plan = store.load(path)
        if size not in (None, plan.image_size) or batch_size > plan.batch_size:
            raise click.UsageError(
                f"{path} is for {plan.image_size[0]} x {plan.image_size[1]} pixels and batches of "
                f"{plan.batch_size}: compile another plan, or give the weights file"
            )
        return plan
    from minincep.io.hdf5 import load
    from minincep.plan.plan import compile as compile_plan

    return compile_plan(load(path), image_size=size, batch_size=batch_size)


def _as_json(profile: "Profile", top: int | None) -> dict[str, object]:
    return {
        "total_seconds": profile.total_seconds,
        "threads": profile.threads,
        "batch": profile.batch,
        "steps": [{name: getattr(step, name) for name in FIELDS} for step in _steps(profile, top)],
    }


def _steps(profile: "Profile", top: int | None) -> "list[StepTime]":
    """All steps in order, or the slowest."""
    if top is None:
        return profile.steps
    return sorted(profile.steps, key=lambda step: -step.seconds)[:top]


def _rows(profile: "Profile", top: int | None) -> list[tuple[str, ...]]:
    return [
        (
            step.path,
            step.shape,
            step.method,
            f"{1e3 * step.seconds:.3f}",
            f"{step.seconds / profile.total_seconds:.1%}",
            f"{step.gflops:.1f}",
            f"{step.share_of_roof:.0%}",
            step.bound,
        )
        for step in _steps(profile, top)
    ]


def _print(rows: list[tuple[str, ...]]) -> None:
    """A table on a terminal; elsewhere columns, a line for each step, none of them cut."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for index, name in enumerate(COLUMNS):
            table.add_column(name, justify="right" if 3 <= index <= 6 else "left")
        for row in rows:
            table.add_row(*row)
        Console(markup=False, highlight=False).print(table)
        return
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    for row in (COLUMNS, *rows):
        cells = [
            cell.rjust(width) if 3 <= index <= 6 else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
