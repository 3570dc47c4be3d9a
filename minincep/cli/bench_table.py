"""The tables of `minincep bench`: live on a terminal, a line for each row elsewhere."""

import math
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

if TYPE_CHECKING:
    from minincep.bench.record import Row

COLUMNS = (
    *("shape", "variant", "threads", "caches", "ms", "least", "most", "GFLOP/s"),
    *("of roof", "bound by", "over below", "error"),
)
LEFT = (0, 1, 3, 9)
COMMON = (0, 2, 3)  # to all rows of a shape
ERROR = 11  # is within what is allowed, and not for 80 columns


class Table:
    """Shows rows as they come; nothing if the results go to a machine."""

    def __init__(self, labels: Sequence[str], variants: Sequence[str], silent: bool) -> None:
        self._widths = [max(map(len, names)) for names in (labels, variants)]
        self._silent = silent
        self._live: Any = None

    def __enter__(self) -> Self:
        if not self._silent and sys.stdout.isatty():
            from rich.live import Live

            # Drawn between turns only: a thread that draws would take a core now and then.
            self._live = Live(auto_refresh=False, transient=True)
            self._live.start()
        elif not self._silent:
            click.echo(self._line(COLUMNS))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, rows: "list[Row]") -> None:
        """Show the shape that is being measured."""
        if self._live is not None:
            self._live.update(_grid(rows), refresh=True)

    def add(self, rows: "list[Row]") -> None:
        """Show a shape that is done."""
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(), refresh=True)
            self._live.console.print(_grid(rows))
        elif not self._silent:
            for row in rows:
                if row.path is None:  # `minincep profile` shows the steps of a network
                    click.echo(self._line(_cells(row)))

    def _line(self, cells: Sequence[str]) -> str:
        widths = [*self._widths, *map(len, COLUMNS[2:])]
        padded = [
            cell.ljust(width) if index in LEFT else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()


def _grid(rows: "list[Row]") -> Any:
    """A shape, and its rows: what all have in common stands above."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table as Grid

    shown = [row for row in rows if row.path is None]
    best = min((row.median for row in shown), default=0.0)
    grid = Grid(box=None, pad_edge=False)
    for index, name in enumerate(COLUMNS):
        if index not in (*COMMON, ERROR):
            grid.add_column(name, justify="left" if index in LEFT else "right", no_wrap=True)
    title = ""
    for row in shown:
        cells = [escape(cell) for cell in _cells(row)]
        title = ", ".join(cells[index] for index in COMMON[:2])
        title += f" thread{'s' * (row.threads > 1)}, {row.cache} caches"
        own = [cell for index, cell in enumerate(cells) if index not in (*COMMON, ERROR)]
        grid.add_row(*own, style="bold" if row.median == best else None)
    return Group(f"[bold]{title}[/bold]", grid)


def _cells(row: "Row") -> list[str]:
    return [
        row.label,
        row.variant,
        str(row.threads),
        row.cache,
        *(_digits(1e3 * x) for x in (row.median, min(row.seconds), max(row.seconds))),
        f"{row.gflops:.1f}",
        f"{row.share_of_roof:.0%}",
        row.bound,
        f"{row.speedup_over_below:.2f}" if row.speedup_over_below else "",
        f"{row.error:.0e}",
    ]


def _digits(x: float) -> str:
    """Four digits, or more before the point."""
    return f"{x:.{max(0, 3 - math.floor(math.log10(x)))}f}" if x < 1000 else f"{x:.0f}"


def ranking(rows: "Sequence[Row]") -> None:
    """Print how the variants stand, over all shapes: each time over the least of its shape."""
    places: dict[tuple[Any, ...], list[Row]] = {}
    for row in (row for row in rows if row.path is None):
        places.setdefault((row.label, row.op, row.threads, row.cache), []).append(row)
    for op, threads, cache in dict.fromkeys(setting[1:] for setting in places):
        ratios: dict[str, list[float]] = {}
        for (_, *setting), group in places.items():
            if setting == [op, threads, cache]:
                least = min(row.median for row in group)
                for row in group:
                    ratios.setdefault(row.variant, []).append(row.median / least)
        if len(ratios) < 2:
            continue
        means = {name: math.exp(sum(map(math.log, r)) / len(r)) for name, r in ratios.items()}
        click.echo(
            f"\n{op}, {threads} thread{'s' * (threads > 1)}, {cache} caches: times over the least "
            "of each shape, geometric mean"
        )
        width = max(map(len, means))
        for place, name in enumerate(sorted(means, key=lambda name: means[name]), 1):
            firsts = sum(ratio == 1 for ratio in ratios[name])
            click.echo(
                f"{place:3}  {name.ljust(width)}  {means[name]:8.2f}  fastest on {firsts} of its "
                f"{len(ratios[name])} shapes"
            )
