"""Transfer learning, the worked example: few pictures of one's own, and a network that knows eggs.

    python examples/eggs/run.py -o eggs_run

A farm has 400 pictures of its own belt, 200 to learn from and 200 to look at: is an egg broken?
For each of three seeds, `minincep train` learns

- from scratch, on the 200;
- first something else, on many pictures in other styles: how are these broken eggs broken?
- from there the head alone, for the farm's question, on the 200;
- from there the whole network, on the same 200.

Each is then tested by `minincep evaluate` on 1000 pictures in the farm's styles that no training
has seen. Nothing is downloaded: the pictures are rendered.
"""

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import commands
import tasks
from tasks import Pictures

WAYS = ("scratch", "head", "whole")
QUICK = ("--epochs", "1")


def draw(folder: Path, parts: dict[str, Pictures], pool: ProcessPoolExecutor) -> Path:
    """Render sets of pictures, each into its part of the folder."""
    for part, pictures in parts.items():
        pictures.write(folder / part, pool)
    print(f"rendered {sum(p.count for p in parts.values())} pictures: {folder}", flush=True)
    return folder


def smaller(parts: dict[str, Pictures]) -> dict[str, Pictures]:
    """A sixteenth of the pictures, but 64 at least."""
    return {name: dataclasses.replace(p, count=max(p.count // 16, 64)) for name, p in parts.items()}


class Seed:
    """The trainings of a seed, each in a folder of its own, and their tests."""

    def __init__(self, seed: int, folder: Path, options: Sequence[str]) -> None:
        self.seed, self.folder, self.options = seed, folder, options

    def train(self, way: str, data: str, *start: str | Path) -> Path:
        """Train, one of the files in `settings/`. -> the weights."""
        where = self.folder / f"{way}-{self.seed}"
        options = (*self.options, *start)
        return commands.train(self.data(data), where, way, seed=self.seed, options=options)

    def data(self, name: str) -> Path:
        return self.folder / f"{name}-{self.seed}"

    def test(self, weights: Path, pictures: Path | None = None) -> dict[str, Any]:
        result = commands.evaluate(weights, pictures or self.folder / "test", 0)
        del result["wrong"]
        return result

    def scratch(self) -> dict[str, Any]:
        """From nothing."""
        return {"scratch": self.test(self.train("scratch", "farm"))}

    def transfer(self) -> dict[str, Any]:
        """Something else first; then the head, then all of it."""
        pretrained = self.train("pretrained", "many")
        head = self.train("head", "farm", "--weights", pretrained)
        whole = self.train("whole", "farm", "--weights", head)
        own = self.test(pretrained, self.data("many") / "val")
        return {"pretrained": own, "head": self.test(head), "whole": self.test(whole)}


def spread(values: list[float]) -> dict[str, float]:
    """Mean, lowest and highest."""
    return {"mean": float(np.mean(values)), "lowest": min(values), "highest": max(values)}


def draw_curves(folder: Path, seeds: list[int], path: Path) -> None:
    """Accuracy on the 200 pictures for validation, epoch by epoch, from the logs."""
    from matplotlib.figure import Figure

    figure = Figure((8, 4), layout="constrained")
    axes = figure.subplots()
    colours = {"scratch": "#7a99c2", "head": "#e0a030", "whole": "#c2410c"}
    names = {"scratch": "from scratch", "head": "transfer: the head", "whole": "the whole network"}
    for seed in seeds:
        logs = {way: commands.epochs(folder / f"{way}-{seed}") for way in WAYS}
        starts = {"scratch": 0, "head": 0, "whole": len(logs["head"])}
        for way, log in logs.items():
            axes.plot(
                [starts[way] + epoch["epoch"] for epoch in log],
                [epoch["validation_accuracy"] for epoch in log],
                color=colours[way],
                label=names[way] if seed == seeds[0] else None,
                lw=1.2,
            )
    axes.set_xlabel("epoch")
    axes.set_ylabel("right, of 200 pictures for validation")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.grid(alpha=0.3, lw=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=100)


def show(report: dict[str, Any]) -> None:
    """Print the report for people."""
    print("\nright, of the test pictures:")
    for result in report["seeds"]:
        cells = ", ".join(f"{way} {result[way]['accuracy']:.1%}" for way in WAYS)
        print(f"seed {result['seed']}: {cells}")
    for way, row in report["ways"].items():
        low, high = row["lowest"], row["highest"]
        print(f"{way:7}: mean {row['mean']:.1%}, {low:.1%} to {high:.1%}")
    print(f"{report['minutes']} minutes on {report['cores']} cores", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="an empty folder")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument(
        "--quick", action="store_true", help="does it run? The figures mean nothing"
    )
    options = parser.parse_args()
    folder, seeds = options.output, [int(seed) for seed in options.seeds.split(",")]
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty")

    cores = len(os.sched_getaffinity(0))
    cut, quick = (smaller, QUICK) if options.quick else (lambda parts: parts, ())
    with ProcessPoolExecutor(cores) as pool:
        draw(folder, cut({"test": tasks.TRANSFER_TEST}), pool)
        for seed in seeds:
            draw(folder / f"many-{seed}", cut(tasks.pretraining(seed)), pool)
            draw(folder / f"farm-{seed}", cut(tasks.farm(seed)), pool)
    with ThreadPoolExecutor(cores) as pool:
        all_seeds = [Seed(seed, folder, quick) for seed in seeds]
        transfers = [pool.submit(each.transfer) for each in all_seeds]  # the longest first
        scratches = [pool.submit(each.scratch) for each in all_seeds]
        parts = zip(seeds, scratches, transfers, strict=True)
        results = [{"seed": seed, **a.result(), **b.result()} for seed, a, b in parts]
    report = {
        "what": "is an egg broken? From few pictures, from scratch and by transfer",
        "pictures": tasks.farm(0)["train"].count,
        "pretraining pictures": tasks.pretraining(0)["train"].count,
        "test pictures": tasks.TRANSFER_TEST.count,
        "epochs": {
            way: len(commands.epochs(folder / f"{way}-{seeds[0]}")) for way in ("pretrained", *WAYS)
        },
        "seeds": results,
        "ways": {way: spread([r[way]["accuracy"] for r in results]) for way in WAYS},
        "cores": cores,
        "minutes": round((time.monotonic() - start) / 60, 1),
    }
    (folder / "transfer.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    try:
        draw_curves(folder, seeds, folder / "transfer.png")
    except ImportError:
        print("no curves are drawn without matplotlib")
    show(report)


if __name__ == "__main__":
    main()
