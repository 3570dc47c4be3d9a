"""`minincep bench compare`: has a kernel changed?"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from minincep.cli import options
from minincep.io.text import to_json

if TYPE_CHECKING:
    from minincep.bench.compare import Verdict


@click.command("compare")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--margin",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Smaller differences, as a share of the time, do not count.",
)
@options.as_json
def command(old: Path, new: Path, margin: float, as_json: bool) -> None:
    """What is slower or faster in the record NEW than in OLD, beyond what is noise.

    Both on one machine, by 'minincep bench ... --repeats 120 --save FILE': the more repeats, the
    smaller the differences that can be told from noise.  Times are held against what NumPy took on
    the same arrays at that moment, ranks are tested (Mann and Whitney), levels corrected for the
    number of rows (Holm).
    """
    from minincep.bench import compare, record

    verdicts = compare.compare(record.load(old), record.load(new), margin)
    if as_json:
        click.echo(to_json([_as_json(verdict) for verdict in verdicts]))
        return
    changed = [verdict for verdict in verdicts if verdict.word != "same"]
    for verdict in sorted(changed, key=lambda verdict: -verdict.ratio):
        row = verdict.row
        threads = f"{row.threads} thread{'s' * (row.threads > 1)}"
        click.echo(
            f"{verdict.word}  {verdict.ratio - 1:+.1%}  {row.op} {row.variant}, {row.label}, "
            f"{threads}, {row.cache}  (p {verdict.p:.0e})"
        )
    many = f"{len(verdicts)} row{'s' * (len(verdicts) > 1)}"
    click.echo(f"{len(changed)} of {many} differ by more than {margin:.0%}")
    if few := sum(len(verdict.row.seconds) < compare.BLOCKS for verdict in verdicts):
        click.echo(f"{few} of them have too few repeats to tell: measure with --repeats 120")


def _as_json(verdict: "Verdict") -> dict[str, object]:
    row = verdict.row
    return {
        **{name: getattr(row, name) for name in ("op", "variant", "label", "threads", "cache")},
        "verdict": verdict.word,
        "ratio": verdict.ratio,
        "p": verdict.p,
    }
