"""`minincep verify`: compare a network with an independent implementation."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minincep.cli import options
from minincep.cli.say import say

if TYPE_CHECKING:
    from minincep.io.verify import Run
    from minincep.models import Network
    from minincep_kernels import Array


@click.command("verify")
@click.argument(
    "references", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="REFERENCE..."
)
@click.option("--case", "wanted", help="Only the case of this name.")
@click.option("--eager", is_flag=True, help="The network itself, op by op, not its plan.")
@click.option("--failed", is_flag=True, help="Show only the end points that diverge.")
@options.running
def command(
    references: tuple[Path, ...],
    wanted: str | None,
    eager: bool,
    failed: bool,
    threads: int | None,
    kernels: tuple[str, ...],
) -> None:
    """Compare a network with reference files, end point by end point.

    The weights are drawn by the rule that the reference used.  The error of an end point is the
    largest difference, divided by the standard deviation; it may be 8 times that of the reference's
    own float32 against its float64, and must be below 2e-4; with --eager or --kernels, 4 times and
    1e-4.  Exit status 1 if one diverges.
    """
    from minincep.io.verify import PLANNED, first_failure, read_cases, reference_network, verify

    diverged = False
    with options.running_as(threads, kernels):
        for path in references:
            cases = [case for case in read_cases(path) if wanted in (None, case.name)]
            if not cases:
                raise click.UsageError(f"{path} has no case {wanted!r}")
            network = reference_network(path)
            for case in cases:
                if eager or kernels:
                    rows, how = verify(network, case), "op by op"
                else:
                    rows, how = verify(network, case, _planned(network), PLANNED), "plan"
                say(f"{network.architecture}, {case.name}, {how}, against {case.witness}")
                shown = [row for row in rows if not (row.passed and failed)]
                if shown:
                    say(f"  {'end point':24}    error  reference float32   ratio")
                for row in shown:
                    ratio = f"{row.error / row.float32_error:.2f}" if row.float32_error else "-"
                    say(
                        f"  {row.endpoint:24} {row.error:8.2e}  {row.float32_error:17.2e}  "
                        f"{ratio:>6}  {'ok' if row.passed else 'DIVERGES'}"
                    )
                first = first_failure(rows)
                diverged = diverged or first is not None
                if first is None:
                    say(f"all {len(rows)} end points agree")
                else:
                    say(f"first end point that diverges: {first.endpoint}")
    raise SystemExit(int(diverged))


def _planned(network: "Network") -> "Run":
    """A plan with all the end points that are asked for."""
    from minincep.plan.plan import compile as compile_plan

    def run(x: "Array", names: Collection[str]) -> Mapping[str, "Array"]:
        height, width = x.shape[1:3]
        plan = compile_plan(network, image_size=(height, width), endpoints=names)
        return plan.run_endpoints(x)

    return run
