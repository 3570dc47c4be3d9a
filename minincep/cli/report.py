"""What an evaluation found, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import numpy as np

if TYPE_CHECKING:
    from minincep.train.evaluate import Report

MOST = 20  # classes whose confusion matrix is printed


def show(report: "Report") -> None:
    """Print accuracy, a table of the classes, and the confusion matrix if it is small."""
    top = "" if report.top5 is None else f", top 5 {report.top5:.1%}"
    click.echo(
        f"{report.count} pictures: accuracy {report.accuracy:.1%}{top}, loss {report.loss:.4f}"
    )
    rows = zip(
        report.classes, report.support, report.precision, report.recall, report.f1, strict=True
    )
    cells = [[name, str(count), *(_share(x) for x in shares)] for name, count, *shares in rows]
    _table([["class", "pictures", "precision", "recall", "F1"], *cells])
    if len(report.classes) > MOST:
        return
    click.echo("confusion: a row for what pictures are, a column for what they were taken for")
    numbers = [str(number) for number in range(1, len(report.classes) + 1)]
    _table(
        [
            ["", *numbers],
            *(
                [f"{number} {name}", *map(str, row)]
                for number, name, row in zip(
                    numbers, report.classes, report.confusion.tolist(), strict=True
                )
            ),
        ]
    )


def _share(x: float) -> str:
    return "-" if np.isnan(x) else f"{x:.1%}"


def _table(rows: Sequence[Sequence[str]]) -> None:
    """Columns; all but the first to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]
        click.echo("  " + "  ".join(cells).rstrip())
