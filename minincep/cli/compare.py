"""`minincep compare`: two weights files, or one and a reference dump, layer by layer."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minincep.cli import options
from minincep.cli.say import say
from minincep.io.text import to_json

if TYPE_CHECKING:
    from minincep.io.compare import Comparison, Pair

COLUMNS = ("layer", "array", "difference", "likely cause")


@click.command("compare")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", metavar="B|REFERENCE", type=click.Path(path_type=Path))
@click.option("--case", help="Only the case of this name, of a reference dump.")
@click.option("--all", "everything", is_flag=True, help="Layers that are the same, too.")
@options.as_json
@options.running
def command(
    a: Path,
    b: Path,
    case: str | None,
    everything: bool,
    as_json: bool,
    threads: int | None,
    kernels: tuple[str, ...],
) -> None:
    """What differs between two weights files, or a weights file and a reference dump, and why.

    A and B are weights files of minincep, or any that 'minincep convert' takes.  The difference of
    two arrays is the largest, divided by the standard deviation of the array in B.  A cause is
    named if undoing a known mistake makes the arrays equal, or the end points of the dump agree.
    Exit status 1 if anything differs that changes an answer.
    """
    from minincep.io.compare import compare_files

    with options.running_as(threads, kernels):
        found = compare_files(a, b, case)
    if as_json:
        click.echo(to_json(_as_json(found)))
    else:
        _report(a, b, found, everything)
    raise SystemExit(int(not found.same))


def _as_json(found: "Comparison") -> dict[str, object]:
    return {
        "architecture": found.architecture,
        "same": found.same,
        "arrays": [
            {
                "path": pair.path,
                "shape_a": pair.a,
                "shape_b": pair.b,
                "difference": pair.difference,
                "same": pair.same,
                "cause": pair.cause or None,
            }
            for pair in found.arrays
        ],
        "cases": [
            {
                "case": outputs.case,
                "witness": outputs.witness,
                "end_points": [
                    {
                        "name": row.endpoint,
                        "error": row.error,
                        "float32_error": row.float32_error,
                        "passed": row.passed,
                    }
                    for row in outputs.rows
                ],
            }
            for outputs in found.outputs
        ],
        "first": found.first and found.first.path,
        "largest": found.largest and found.largest.path,
        "causes": [
            {"cause": cause.name, "text": cause.text, "where": cause.where}
            for cause in found.causes
        ],
    }


def _report(a: Path, b: Path, found: "Comparison", everything: bool) -> None:
    from minincep.io.verify import first_failure

    say(f"{found.architecture}; A is {a}, B is {b}")
    layers: dict[str, list[Pair]] = {}
    for pair in found.arrays:
        layers.setdefault(pair.layer, []).append(pair)
    rows = [
        _row(layer, pairs)
        for layer, pairs in layers.items()
        if everything or not all(pair.same for pair in pairs)
    ]
    if rows:
        _table(COLUMNS, rows)
    for outputs in found.outputs:
        ends = [
            (row.endpoint, f"{row.error:.2e}", f"{row.float32_error:.2e}", _verdict(row.passed))
            for row in outputs.rows
            if everything or not row.passed
        ]
        say(f"{outputs.case}, against {outputs.witness}")
        if ends:
            _table(("end point", "error", "reference float32", ""), ends)
        failure = first_failure(outputs.rows)
        if failure is None:
            say(f"all {len(outputs.rows)} end points agree")
        else:
            say(f"first end point that diverges: {failure.endpoint}")
    _summary(found)


def _row(layer: str, pairs: Sequence["Pair"]) -> tuple[str, ...]:
    worst = max(pairs, key=lambda pair: pair.difference)
    causes = ", ".join(sorted({pair.cause for pair in pairs if pair.cause}))
    return layer, worst.path.removeprefix(f"{layer}/"), _amount(worst), causes


def _amount(pair: "Pair") -> str:
    if pair.a is None or pair.b is None:
        return f"only in {'B' if pair.a is None else 'A'}"
    if pair.a != pair.b:
        return f"{_shape(pair.a)}, {_shape(pair.b)}"
    return f"{pair.difference:.2e}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _verdict(passed: bool) -> str:
    return "ok" if passed else "DIVERGES"


def _summary(found: "Comparison") -> None:
    if found.first:
        say(f"{len(found.differing)} of {len(found.arrays)} arrays differ")
        say(f"first: {found.first.path} ({_amount(found.first)})")
        if found.largest:
            say(f"largest: {found.largest.path} ({_amount(found.largest)})")
    elif found.arrays:
        say(f"all {len(found.arrays)} arrays are the same")
    for cause in found.causes:
        others = f" and {len(cause.where) - 1} more" if len(cause.where) > 1 else ""
        say(f"likely cause: {cause.text} ({cause.where[0]}{others})")
    if found.unexplained:
        say(f"no known cause: {len(found.unexplained)} arrays, first {found.unexplained[0].path}")


def _table(names: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """A table on a terminal; elsewhere columns, a line for each row, none of them cut."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in names:
            table.add_column(name, overflow="fold", no_wrap=name != names[0])
        for row in rows:
            table.add_row(*row)
        Console(markup=False, highlight=False).print(table)
        return
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in (tuple(names), *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(cells).rstrip())
