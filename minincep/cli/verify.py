"""`minincep verify`: compare a network with an independent implementation."""

from pathlib import Path

import click

from minincep.cli import options


@click.command("verify")
@click.argument(
    "references", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="REFERENCE..."
)
@click.option("--case", "wanted", help="Only the case of this name.")
@click.option("--failed", is_flag=True, help="Show only the end points that diverge.")
@options.running
def command(
    references: tuple[Path, ...],
    wanted: str | None,
    failed: bool,
    threads: int | None,
    kernels: tuple[str, ...],
) -> None:
    """Compare a network with reference files, end point by end point.

    The weights are drawn by the rule that the reference used.  The error of an end point is the
    largest difference, divided by the standard deviation; it may be 4 times that of the reference's
    own float32 against its float64, and must be below 1e-4.  Exit status 1 if one diverges.
    """
    from rich.console import Console
    from rich.table import Table

    from minincep.io.verify import first_failure, read_cases, reference_network, verify

    console = Console()
    diverged = False
    with options.running_as(threads, kernels):
        for path in references:
            cases = [case for case in read_cases(path) if wanted in (None, case.name)]
            if not cases:
                raise click.UsageError(f"{path} has no case {wanted!r}")
            network = reference_network(path)
            for case in cases:
                rows = verify(network, case)
                table = Table("end point", "error", "reference float32", "ratio", "")
                for row in rows:
                    if row.passed and failed:
                        continue
                    ratio = (
                        row.error / row.float32_error if row.float32_error else float(row.error > 0)
                    )
                    table.add_row(
                        row.endpoint,
                        f"{row.error:.2e}",
                        f"{row.float32_error:.2e}",
                        f"{ratio:.2f}",
                        "ok" if row.passed else "DIVERGES",
                    )
                first = first_failure(rows)
                diverged = diverged or first is not None
                console.print(f"{network.architecture}, {case.name}, against {case.witness}")
                if table.row_count:
                    console.print(table)
                if first is None:
                    console.print(f"all {len(rows)} end points agree")
                else:
                    console.print(f"first end point that diverges: {first.endpoint}")
    raise SystemExit(int(diverged))
