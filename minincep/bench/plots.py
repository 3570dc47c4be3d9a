"""Pictures of a record, as SVG and PNG: rooflines, ladders, and where the time of a network goes.

Matplotlib draws them, and is imported only here: nothing else of minincep needs it.
"""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minincep.bench.record import Record, Row
from minincep.bench.summary import (
    BEST,
    COLORS,
    KINDS,
    Bar,
    Block,
    bandwidths,
    bars,
    blocks,
    effective,
    groups,
    times,
)
from minincep.io.files import NewFile
from minincep_kernels.errors import UserError
from minincep_kernels.roofline import Roof

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")
MISSING = "no plots are drawn without matplotlib: pip install 'minincep[plot]'"
LONGEST = 28  # letters of a name that fit beside a bar
MARKERS = "osD^vPXhp*"  # a second sign, for who does not see the colours
APART = 1.25  # from the name of a roof to the next, on an axis of operations a byte
FAR = 4  # times the longest bar: a peak beyond that would leave no room for the bars
NAMED = 0.25  # of the height, for the names above the peak
INK, QUIET = "#1a1a1a", "#6b6b6b"
STYLE: Any = {"text.parse_math": False, "svg.hashsalt": "minincep", "font.size": 12}


class PlotError(UserError, ImportError):
    """Pictures are wanted, and what draws them is not installed."""


def draw(record: Record, folder: Path) -> list[Path]:
    """Draw all that a record holds into a folder, which is made if it is not there.

    Raises
    ------
    PlotError
        If matplotlib is not installed.
    OSError
        If a file cannot be written.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise PlotError(MISSING) from None
    pictures = {}
    with mpl.rc_context(STYLE):
        for name, figure in _figures(record):
            for kind in FORMATS:
                content = io.BytesIO()
                # Without a date, the same record gives the same file.
                metadata = {"Date": None} if kind == "svg" else None
                figure.savefig(content, format=kind, dpi=160, metadata=metadata)
                pictures[f"{name}.{kind}"] = content.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    for file, picture in pictures.items():
        with NewFile(folder / file) as new:
            new.write(picture)
    return [folder / file for file in pictures]


def _figures(record: Record) -> "Iterator[tuple[str, Figure]]":
    """All pictures with their names."""
    tables = groups(record.rows)
    for (op, threads, cache), rows in tables.items():
        if any(row.flops and row.bytes for row in rows):
            name = _file_name("roofline", op, cache, threads)
            yield name, roofline(rows, record.roof.get(threads), _title(op, threads, cache))
    for op, cache in dict.fromkeys((op, cache) for op, _, cache in tables):
        panels = [
            (_count(threads), bars(rows), record.roof.get(threads))
            for (other, threads, state), rows in tables.items()
            if (other, state) == (op, cache)
        ]
        title = f"The ladder of {_short(op)}, caches {_short(cache)}: all layers of the networks"
        yield _file_name("ladder", op, cache), ladder(panels, title)
    for (model, threads), parts in blocks(record.rows).items():
        title = f"{_short(model, 60)}, {_count(threads)}"
        yield _file_name("blocks", model, threads), network(parts, title)


def roofline(rows: Sequence[Row], roof: Roof | None, title: str) -> "Figure":
    """A point a layer and variant, and a large one a variant, under what the machine can do."""
    from matplotlib.colors import to_rgba

    points = [row for row in rows if row.flops and row.bytes]
    totals = [bar for bar in bars(points) if bar.kind != "best"]
    many = len(totals) > 11  # names beside the picture
    figure, (axes,) = _figure(13.3, max(7.2, 1.5 + 0.42 * len(totals)) if many else 7.2)
    axes.set(xscale="log", yscale="log")
    most = max((row.flops * times(row) for row in points), default=1.0)
    for index, bar in enumerate(totals):
        own = [row for row in points if row.variant == bar.variant]
        color = COLORS[index % len(COLORS)]
        marker = MARKERS[(index + index // len(COLORS)) % len(MARKERS)]  # no pair comes twice
        axes.scatter(
            [row.flops / row.bytes for row in own],
            [row.gflops for row in own],
            s=[10 + 110 * (row.flops * times(row) / most) ** 0.5 for row in own],
            marker=marker,
            facecolors=[to_rgba(color, 0.0 if effective(row) else 0.45) for row in own],
            edgecolors=to_rgba(color, 0.8),
            linewidths=0.9,
        )
        axes.scatter(
            bar.intensity,
            bar.gflops,
            s=170,
            marker=marker,
            color=color,
            edgecolors=INK,
            linewidths=1.5,
            zorder=4,
            label=f"{_short(bar.variant)}\n{bar.gflops:.3g}{' effective' * bar.effective}, "
            f"{_percent(bar.share)} of the roof",
        )
    ridges = [roof.flops / speed for speed in bandwidths(roof).values()] if roof else []
    peak = [roof.flops / 1e9] if roof else []
    axes.set_xlim(*_limits([row.flops / row.bytes for row in points] + ridges))
    low, high = _limits([row.gflops for row in points] + peak)
    if roof:
        high = max(high, low * (peak[0] / low) ** (1 / (1 - NAMED)))
    axes.set_ylim(low, high)
    if roof:
        _draw_roof(axes, roof)
    axes.set_xlabel("operations for each byte that must be moved (flops/byte)")
    axes.set_ylabel("GFLOP/s")
    axes.grid(which="major", alpha=0.25, lw=0.6)
    _plain_ticks(axes)
    _caption(figure, f"Roofline: {title}", _note(totals))
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles[::-1],
        labels[::-1],
        loc="outside right upper",
        frameon=False,
        title="Large: GFLOP/s over all layers\nSmall: a layer each",
        alignment="left",
        fontsize=10 if many else 12,
        labelspacing=0.6 if many else 0.9,
    )
    return figure


def _draw_roof(axes: "Axes", roof: Roof) -> None:
    """The peak, and the bandwidths as diagonals below it, each named where it ends."""
    left, right = axes.get_xlim()
    peak = roof.flops / 1e9
    axes.plot([left, right], [peak, peak], color=INK, lw=1.6, zorder=1)
    axes.annotate(
        f"FMA peak\n{peak:.0f} GFLOP/s",
        (1, peak),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=INK,
        fontsize=11,
    )
    beside = 0.0
    for name, bandwidth in sorted(bandwidths(roof).items(), key=lambda pair: -pair[1]):
        ridge = roof.flops / bandwidth
        axes.plot([left, ridge], [left * bandwidth / 1e9, peak], color=QUIET, lw=1.2, zorder=1)
        beside = max(ridge, beside * APART)
        axes.annotate(
            f"{_short(name)} {bandwidth / 1e9:.0f} GB/s",
            (beside, peak),
            xytext=(0, 5),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="bottom",
            color=QUIET,
            fontsize=11,
        )


def ladder(panels: Sequence[tuple[str, Sequence[Bar], Roof | None]], title: str) -> "Figure":
    """A bar a rung, the foot of the ladder at the bottom; a panel a number of threads.

    Parameters
    ----------
    panels
        Title, bars, and what the machine can do.
    """
    everything = [bar for _, totals, _ in panels for bar in totals]
    every = {bar.variant: bar for bar in sorted(everything, key=lambda bar: bar.effective)}
    every = {bar.variant: every[bar.variant] for bar in everything}  # in their order again
    colors = _colors(every.values())
    order = sorted(every, key=lambda name: ("beside", "rung", "best").index(every[name].kind))
    gaps = {"beside": 0.0, "rung": 0.4, "best": 0.8}
    places = {name: order.index(name) + gaps[every[name].kind] for name in order}
    figure, all_axes = _figure(4 + 4.65 * len(panels), 2 + 0.6 * len(every), len(panels))
    for axes, (heading, totals, roof) in zip(all_axes, panels, strict=True):
        axes.set_title(heading, loc="left", fontsize=12)
        peak = roof.flops / 1e9 if roof else 0.0
        if 0 < peak < FAR * max(bar.gflops for bar in totals):
            axes.axvline(peak, color=INK, lw=1.2, ls="--", zorder=3)
            axes.set_title(f"{heading} (dashed: FMA peak {peak:.0f})", loc="left", fontsize=12)
        for bar in totals:
            place = places[bar.variant]
            axes.barh(place, bar.gflops, height=0.66, color=colors[bar.variant])
            axes.plot([bar.low, bar.high], [place, place], color=INK, lw=1.8)
            axes.annotate(
                f"{bar.gflops:.3g}{_step(bar)}\n{_percent(bar.share)} of the roof",
                (1.02, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=11,
            )
        axes.set_yticks([])
        axes.set_ylim(min(places.values()) - 0.6, max(places.values()) + 0.6)
        axes.set_xlim(0)
        axes.set_xlabel("GFLOP/s")
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].set_yticks([places[name] for name in every], [_name(b) for b in every.values()])
    all_axes[0].tick_params(left=False)
    words = "×: over the rung below. Black line: all layers at their quartiles of time."
    _caption(figure, title, f"{words}\n{_note(every.values())}".strip())
    return figure


def network(parts: Sequence[Block], title: str) -> "Figure":
    """A bar a block of a network, from its input at the top, by kind of step."""
    figure, (axes,) = _figure(13.3, 2 + 0.34 * len(parts))
    total = sum(sum(part.seconds.values()) for part in parts)
    for index, kind in enumerate(KINDS):
        color = COLORS[(index + 1) % len(COLORS)]
        widths = [1e3 * part.seconds.get(kind, 0.0) for part in parts]
        starts = [
            1e3 * sum(part.seconds.get(other, 0.0) for other in KINDS[:index]) for part in parts
        ]
        if any(widths):
            axes.barh(range(len(parts)), widths, left=starts, height=0.74, color=color, label=kind)
    ends = [1e3 * sum(part.seconds.values()) for part in parts]
    for index, end in enumerate(ends):
        share = end / (1e3 * total) if total else 0.0
        axes.annotate(
            f"{end:.3g} ms, {_percent(share)}",
            (end, index),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=11,
        )
    axes.set_xlim(0, 1.16 * max(ends, default=1.0))
    axes.set_yticks(range(len(parts)), [_short(part.name) for part in parts])
    axes.set_ylim(len(parts) - 0.4, -0.6)
    axes.set_xlabel("milliseconds, each step by itself")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(left=False)
    axes.legend(frameon=False, loc="best")
    _caption(figure, f"{title}: {1e3 * total:.3g} ms", "")
    return figure


def _name(bar: Bar) -> str:
    """A rung's name, and below it what must be known of its bar."""
    notes = ["effective"] * bar.effective
    if bar.kind == "beside":
        notes.append("beside the ladder")
    if bar.taken < 0.9995:
        notes.append(f"takes {_percent(bar.taken)} of the flops")
    return _short(bar.variant) + ("\n" + ", ".join(notes) if notes else "")


def _percent(share: float) -> str:
    return f"{share:.0%}" if share > 0.0995 else f"{share:.1%}"


def _step(bar: Bar) -> str:
    return "" if bar.step is None else f", ×{bar.step:.2f}"


def _colors(totals: Iterable[Bar]) -> dict[str, str]:
    """Those that the variants have in the roofline, too."""
    names = [bar.variant for bar in totals if bar.kind != "best"]
    return {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)} | {BEST: INK}


def _note(totals: Iterable[Bar]) -> str:
    """What must be said of some bars."""
    words = []
    if any(bar.effective for bar in totals):
        words.append("Effective: the operations of direct convolution are counted.")
    if any(bar.kind == "rung" and bar.taken < 0.9995 for bar in totals):
        words.append("Layers that a rung does not take run on the rung below.")
    return "\n".join(words)


def _title(op: str, threads: int, cache: str) -> str:
    return f"{_short(op)}, {_count(threads)}, caches {_short(cache)}"


def _count(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def _short(name: str, longest: int = LONGEST) -> str:
    """A name as a label: not too long, and of letters that every font has."""
    plain = "".join(c if c.isprintable() and ord(c) < 0x180 else "?" for c in name)
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def _file_name(*parts: object) -> str:
    """The name of a file, whatever a record calls its operations."""
    return "_".join(re.sub(r"[^A-Za-z0-9]+", "_", str(part))[:40] for part in parts)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Ends of a logarithmic axis, with some room."""
    known = [value for value in values if value > 0] or [1.0]
    return min(known) / 2, max(known) * 2


def _plain_ticks(axes: "Axes") -> None:
    """10 and 100 instead of powers."""
    from matplotlib.ticker import FuncFormatter

    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)


def _figure(width: float, height: float, panels: int = 1) -> "tuple[Figure, list[Axes]]":
    """A figure that belongs to no window, with panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.subplots(1, panels)
    return figure, figure.axes


def _caption(figure: "Figure", title: str, note: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=15, fontweight="bold")
    if note:
        figure.supxlabel(note, x=0.01, ha="left", fontsize=11, color=QUIET)
