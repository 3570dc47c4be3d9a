"""What is drawn at the end of a training: curves, and the confusion matrix.

Matplotlib does it, and is imported only here: a training does without it.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minincep.io.files import NewFile
from minincep.io.text import table
from minincep.train.evaluate import Report
from minincep.train.log import Epoch, Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("png", "svg")
MISSING = "no curves are drawn without matplotlib: pip install matplotlib, then resume the training"
LABELLED = 30  # classes whose names fit beside a matrix
NUMBERED = 15  # classes whose counts fit into its cells

# Told apart by people who do not see all colours, too.
TRAINING, VALIDATION, RATE = "#7a99c2", "#c2410c", "#4d4d4d"


def available() -> bool:
    """Whether matplotlib can be imported."""
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError:
        return False
    return True


def draw_curves(steps: Sequence[Step], epochs: Sequence[Epoch], path: Path) -> list[Path]:
    """Loss, accuracy and rate over the epochs, as files of all `KINDS` beside `path`.

    Raises
    ------
    OSError
        If one cannot be written.
    """
    figure = _figure(8, 7)
    loss, accuracy, rate = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [4, 4, 1.5]}
    )
    at = [step.epoch for step in steps]
    done = [epoch.epoch for epoch in epochs]
    loss.plot(at, [s.loss for s in steps], color=TRAINING, lw=0.6, alpha=0.5)
    accuracy.plot(at, [s.accuracy for s in steps], color=TRAINING, lw=0.6, alpha=0.5)
    loss.plot(done, [e.loss for e in epochs], color=TRAINING, marker="o", ms=3, label="training")
    accuracy.plot(done, [e.accuracy for e in epochs], color=TRAINING, marker="o", ms=3)
    measured = [e for e in epochs if e.validation_loss is not None]
    if measured:
        done = [e.epoch for e in measured]
        style: dict[str, Any] = {"color": VALIDATION, "marker": "o", "ms": 3}
        loss.plot(done, [e.validation_loss for e in measured], label="validation", **style)
        accuracy.plot(done, [e.validation_accuracy for e in measured], **style)
        best = [e for e in measured if e.best][-1:]
        for epoch in best:
            accuracy.annotate(
                f"best: {epoch.validation_accuracy:.1%}, epoch {epoch.epoch}",
                (epoch.epoch, epoch.validation_accuracy or 0),
                xytext=(0, -28),
                textcoords="offset points",
                ha="center",
                arrowprops={"arrowstyle": "->", "color": VALIDATION},
            )
    rate.plot(at, [step.rate for step in steps], color=RATE, lw=1)
    for axes, name in [(loss, "loss"), (accuracy, "accuracy"), (rate, "learning rate")]:
        axes.set_ylabel(name)
        axes.grid(alpha=0.3, lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    accuracy.set_ylim(-0.02, 1.02)
    accuracy.yaxis.set_major_formatter("{x:.0%}")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    rate.set_xlabel("epoch")
    loss.legend(frameon=False)
    return _write(figure, path)


def draw_confusion(report: Report, path: Path) -> list[Path]:
    """Which classes were taken for which, as files of all `KINDS` beside `path`.

    Raises
    ------
    OSError
        If one cannot be written.
    """
    count = len(report.classes)
    side = min(3 + 0.4 * count, 12)
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    shares = report.confusion / np.maximum(report.support, 1)[:, None]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if count <= NUMBERED:
        for row, column in np.ndindex(report.confusion.shape):
            color = "white" if shares[row, column] > 0.6 else "black"
            number = f"{report.confusion[row, column]}"
            axes.text(column, row, number, ha="center", va="center", color=color, fontsize=9)
    if count <= LABELLED:
        names = [_short(name) for name in report.classes]
        axes.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(count), names)
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    axes.set_title(f"{report.accuracy:.1%} of {report.count} pictures are right")
    figure.colorbar(image, shrink=0.8, label="share of the class", format="{x:.0%}")
    return _write(figure, path)


def _short(name: str) -> str:
    """A class's name as a label: not too long, and no formula, which a dollar would begin."""
    return (name if len(name) <= 24 else f"{name[:23]}…").replace("$", r"\$")


def write_csv(report: Report, path: Path) -> None:
    """Write the confusion matrix as a table, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    counts = zip(report.classes, report.confusion.tolist(), strict=True)
    rows = [["is \\ taken for", *report.classes], *([name, *row] for name, row in counts)]
    with NewFile(path) as new:
        new.write(table(rows).encode())


def _figure(width: float, height: float) -> "Figure":
    """A figure that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _write(figure: "Figure", path: Path) -> list[Path]:
    written = []
    for kind in KINDS:
        target = path.with_suffix(f".{kind}")
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=120)
        with NewFile(target) as new:
            new.write(content.getvalue())
        written.append(target)
    return written
