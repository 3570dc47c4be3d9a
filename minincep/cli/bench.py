"""`minincep bench`: the kernel laboratory."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minincep.cli import options
from minincep.cli.bench_table import Table, ranking
from minincep.io.text import to_json

if TYPE_CHECKING:
    from minincep.bench.journal import Journal
    from minincep.bench.record import Row
    from minincep.bench.session import Part

OPERATIONS = {
    "gemm": ("gemm",),
    "conv2d": ("conv2d",),
    "norm": ("moments", "normalize"),
    "pool": ("max_pool2d", "avg_pool2d"),
}
CONTESTS = {
    "network": "One picture or more through a whole network.",
    "training": "Training steps.",
}
OTHERS = {
    "compare": "Has a kernel changed between two records?",
    "report": "Pictures and a page to read of records.",
}


class Benches(click.Group):
    """The benchmarks; those in files of their own are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*OPERATIONS, *CONTESTS, *OTHERS]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in OTHERS:
            module = importlib.import_module(f"minincep.cli.bench_{name}")
            other: click.Command = module.command
            return other
        if name in CONTESTS:
            return _of_contest(name)
        return _of_operation(name) if name in OPERATIONS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        kernels = {name: f"Variants of {' and '.join(ops)}." for name, ops in OPERATIONS.items()}
        with formatter.section("Commands"):
            formatter.write_dl(list((kernels | CONTESTS | OTHERS).items()))


@click.group("bench", cls=Benches)
def command() -> None:
    """Verify and time the variants of an operation on the layers of the networks.

    Each is checked against an exact result, then they take turns.  GFLOP/s count the plain
    definition of the operation; "of roof" is the share of the speed that arithmetic, caches or
    memory would allow, whichever is the lowest, for the work that is really done.
    """


def numbers(text: str) -> list[int]:
    """Whole numbers of at least 1, comma between."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) <= 4096 for part in parts):
        raise click.UsageError(f"{text!r} is no list of whole numbers, such as 1,2")
    return [int(part) for part in parts]


def names(text: str | None) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def threads_of(text: str | None) -> list[int]:
    """What --threads says; by default one number, all cores."""
    from minincep_kernels import machine

    if text is None:
        return [machine.get_num_threads()]
    found = numbers(text)
    if max(found) > (cores := machine.available_cores()):
        raise click.UsageError(f"--threads {text}: there are {cores} cores")
    return list(dict.fromkeys(found))


def kept(command: Callable[..., None]) -> Callable[..., None]:
    """The options on what becomes of the results."""
    for option in (
        options.as_json,
        click.option("--resume", is_flag=True, help="Go on with FILE: skip what it has."),
        click.option(
            "--save", type=click.Path(path_type=Path), metavar="FILE", help="Keep a record (JSON)."
        ),
        click.option("--quick", is_flag=True, help="A few shapes, a few repeats: a look."),
        click.option(
            "--repeats",
            type=click.IntRange(3, 10_000),
            help="Turns of each; fewer by default where it takes long.",
        ),
        click.option("--threads", metavar="N,...", help="Threads; by default all cores."),
    ):
        command = option(command)
    return command


def _of_operation(name: str) -> click.Command:
    """The command that measures one operation."""
    ops = OPERATIONS[name]

    @click.command(name, help=f"Variants of {' and '.join(ops)} on the layers of the networks.")
    @click.option(
        "--shapes", metavar="v4,v1,v2|LABEL,...", help="Networks, or single shapes; by default all."
    )
    @click.option("--variants", metavar="NAME,...", help="By default all.")
    @click.option("--batch", type=click.IntRange(1, 4096), default=1, help="Pictures.")
    @click.option(
        "--plugin",
        type=click.Path(path_type=Path),
        metavar="FILE.py",
        help=f'Your own: its @variant("{ops[0]}", ...) is verified on all shapes, then ranked. The '
        "file is executed.",
    )
    @click.option("--flushed", is_flag=True, help="Each call finds its arrays in memory.")
    @click.option("--list", "listed", is_flag=True, help="Say what there is, measure nothing.")
    @kept
    def measure(
        shapes: str | None,
        variants: str | None,
        batch: int,
        plugin: Path | None,
        flushed: bool,
        listed: bool,
        threads: str | None,
        repeats: int | None,
        quick: bool,
        save: Path | None,
        resume: bool,
        as_json: bool,
    ) -> None:
        from dataclasses import asdict, replace

        from minincep.bench import journal, session
        from minincep.bench.fingerprint import fingerprint
        from minincep.bench.stage import QUICK, UNLIMITED, Settings

        parts = session.parts(ops, names(variants), names(shapes), batch=batch, quick=quick)
        if listed:
            for part in parts:
                _list(part)
            return
        settings = replace(QUICK if quick else Settings(), flushed=flushed)
        if repeats:
            settings = replace(settings, repeats=repeats, budget=UNLIMITED)
        if plugin is not None:
            _add_verified(plugin, parts)
        log = journal.Journal(fingerprint(), {"op": name, **asdict(settings)}, save, resume=resume)
        with session.benches(parts, threads_of(threads), settings, plugin) as benches:
            for part in parts:
                labels = [one.label for one in part.workloads]
                table = Table(labels, [one.name for one in part.variants], as_json)
                _run(log, session.rows(log, benches, part, table.update), table)
        _sum_up(log, as_json)

    return measure


def _of_contest(name: str) -> click.Command:
    """The command that measures whole networks."""

    @click.command(name, help=f"{CONTESTS[name]} Random weights; engines take turns.")
    @click.option("--shapes", metavar="v4,v1,v2", help="Networks; by default all.")
    @click.option("--batch", metavar="N,...", help="Pictures; by default 1, and 8 for training.")
    @click.option("--against", metavar="ENGINE,...", help="Of onnxruntime, openvino, torch.")
    @kept
    def measure(
        shapes: str | None,
        batch: str | None,
        against: str | None,
        threads: str | None,
        repeats: int | None,
        quick: bool,
        save: Path | None,
        resume: bool,
        as_json: bool,
    ) -> None:
        from minincep.bench import journal, networks, workloads
        from minincep.bench.fingerprint import fingerprint

        contest = networks.NETWORK if name == "network" else networks.TRAINING
        wanted = contest.engines(names(against))
        models = workloads.networks(names(shapes))
        if quick and not shapes:
            models = ["inception_resnet_v1"]  # the smallest
        batches = numbers(batch) if batch else [8 if name == "training" else 1]
        tasks = [
            networks.Task(model, pictures, number)
            for model in models
            for pictures in batches
            for number in threads_of(threads)
        ]
        if name == "training" and min(batches) < 2:
            raise click.UsageError("--batch: batch norm cannot learn from less than 2 pictures")
        machine = fingerprint(package for engine in wanted for package in engine.packages)
        count = repeats or (3 if quick else 7)
        log = journal.Journal(machine, {"op": name, "repeats": count}, save, resume=resume)
        table = Table([task.label for task in tasks], [one.name for one in wanted], as_json)
        _run(log, networks.rows(log, contest, tasks, wanted, count), table)
        _sum_up(log, as_json)

    return measure


def _list(part: "Part") -> None:
    click.echo(f"variants of {part.op}:")
    for variant in part.variants:
        rung = f", the rung above {variant.below}" if variant.below else ""
        click.echo(f"  {variant.name}{rung}")
    click.echo("shapes:")
    for workload in part.workloads:
        layers = ", ".join(f"{count} in {name}" for name, count in workload.networks)
        click.echo(f"  {workload.label}  ({layers})")


def _add_verified(path: Path, parts: "list[Part]") -> None:
    """Add the variants of a file, if they are right on all shapes that they support."""
    from minincep.bench import plugin, workloads
    from minincep.bench.verify import RefusedError

    for variant in plugin.load(path, [part.op for part in parts]):
        try:
            passed = sum(1 for _ in plugin.verify(variant, workloads.shapes(variant.op)))
        except RefusedError as refusal:
            click.echo(f"refused: {refusal}", err=True)
            sys.exit(1)
        click.echo(f"{variant.name} is right on all {passed} shapes that it supports", err=True)
        for part in parts:
            if part.op == variant.op:
                part.variants.append(variant)


def _run(journal: "Journal", rows: "Iterator[list[Row]]", table: Table) -> None:
    """Show rows as they come."""
    from minincep.bench.verify import RefusedError
    from minincep.cli.compiling import announced

    try:
        with announced(), table:
            for found in rows:
                table.add(found)
    except RefusedError as refusal:
        click.echo(f"refused: {refusal}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo(f"interrupted: what was measured until then is kept{journal.where}", err=True)
        sys.exit(130)


def _sum_up(journal: "Journal", as_json: bool) -> None:
    if as_json:
        click.echo(to_json(journal.record.as_json()))
    else:
        ranking(journal.record.rows)
