"""Time a training step of minincep beside PyTorch's: forward, loss, backward, update.

    pip install -e '.[benchmark]' timm facenet-pytorch safetensors   # see tools/reference/README.md
    python benchmarks/training.py --threads 1,2 -o benchmarks/results/training.json
    python benchmarks/readme_table.py

`minincep.bench.learners` says what they train, and how; all on the same pictures.  Before anything
is timed, the losses of the first step are compared: where they disagree, the run stops with exit
status 1.

They take turns as in `peers.py`, each in a process of its own that sleeps meanwhile.  Where a
process's arrays lie in memory is luck, holds until it ends, and makes some per cent: so all are
started anew several times.  Read the ratios: both sides of a ratio come from the same round, and
above 1 minincep is the faster one.
Memory is that of the whole process, imports included.
"""

import argparse
import itertools
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from benchmarks.peers import numbers, spread
from minincep.bench.engines import Engine, Floats
from minincep.bench.fingerprint import fingerprint
from minincep.bench.learners import CompiledPyTorch, Minincep, PyTorch, write_weights
from minincep.bench.players import Player, memory, pictures
from minincep.bench.remote import RemoteError
from minincep.bench.workloads import SIZES

TOLERANCE = 1e-4  # between the losses of the first step


class Pupil(Player):
    """A learner in a process of its own, asleep between its turns."""

    def memory(self) -> dict[str, float | None]:
        """Megabytes: most so far, and now."""
        pid = self._process.pid
        assert pid is not None
        return {"peak": memory("VmHWM", pid), "resident": memory("VmRSS", pid)}


def compare(pupils: Sequence[Pupil]) -> dict[str, float]:
    """Losses of the first step; exit if they are apart."""
    losses = {pupil.name: float(pupil.output[0]) for pupil in pupils}
    name, exact = next(iter(losses.items()))
    for other, loss in losses.items():
        if not abs(loss - exact) <= TOLERANCE * abs(exact):  # nor is nan
            sys.exit(f"losses of {other} and {name} are {loss} and {exact}: nothing was timed")
    return losses


def measure(
    paths: dict[type[Engine], Path], x: Floats, threads: int, starts: int, repeats: int, calls: int
) -> dict[str, Any]:
    """Verify, warm up, then time: seconds a step, ratios to the first learner, memory."""
    played = [_play(paths, x, threads, repeats, calls) for _ in range(starts)]
    rounds = [times for start in played for times in start["rounds"]]
    held = [start["memory"] for start in played]
    ours, *others = rounds[0]
    peaks = {name: _most(memory[name]["peak"] for memory in held) for name in rounds[0]}
    return {
        "first loss": played[0]["losses"],
        "seconds": {name: spread([times[name] for times in rounds]) for name in rounds[0]},
        "ratios": {
            name: spread([times[name] / times[ours] for times in rounds]) for name in others
        },
        "memory": {
            name: {"peak": peak, "resident": _most(memory[name]["resident"] for memory in held)}
            for name, peak in peaks.items()
        },
        "memory ratios": {name: ratio(peaks[name], peaks[ours]) for name in others},
    }


def _play(
    paths: dict[type[Engine], Path], x: Floats, threads: int, repeats: int, calls: int
) -> dict[str, Any]:
    """One start of all learners: the times of each round, losses of the first step, memory."""
    with ExitStack() as stack:
        started = (Pupil(learner, path, threads, x) for learner, path in paths.items())
        pupils = [stack.enter_context(closing(pupil)) for pupil in started]
        losses = compare(pupils)
        for pupil in pupils:
            pupil.turn(calls)
        resident = {p.name: p.memory()["resident"] for p in pupils}
        rounds = [{p.name: p.turn(calls) for p in pupils} for _ in range(repeats)]
        held = {p.name: {**p.memory(), "resident": resident[p.name]} for p in pupils}
    return {"losses": losses, "rounds": rounds, "memory": held}


def _most(megabytes: Iterable[float | None]) -> float | None:
    return max((known for known in megabytes if known is not None), default=None)


def ratio(theirs: float | None, ours: float | None) -> float | None:
    return theirs / ours if theirs and ours else None


def show(report: dict[str, Any]) -> None:
    """A table of medians, with least and largest in brackets."""
    line = "{:<20}{:>6}{:>8}  {:<17}{:>22}{:>20}{:>10}{:>10}".format
    titles = ("network", "batch", "threads", "engine", "s a step", "ratio of times")
    print(line(*titles, "peak MB", "then MB"))
    alone = {"median": 1.0, "min": 1.0, "max": 1.0}
    for result in report["results"]:
        for name, seconds in result["seconds"].items():
            spreads = seconds, result["ratios"].get(name, alone)
            texts = [f"{v['median']:.3f} ({v['min']:.3f}-{v['max']:.3f})" for v in spreads]
            held = result["memory"][name]
            texts += [f"{held[key] or math.nan:.0f}" for key in ("peak", "resident")]
            print(line(result["model"], result["batch"], result["threads"], name, *texts))


LEARNERS: tuple[type[Engine], ...] = (Minincep, PyTorch)


def main(argv: list[str] | None = None, learners: Sequence[type[Engine]] = LEARNERS) -> None:
    parser = argparse.ArgumentParser(description="Time a training step beside PyTorch's.")
    parser.add_argument("--models", default=",".join(SIZES), help="names, comma between")
    parser.add_argument("--threads", type=numbers, default=[1, 2], help="numbers, comma between")
    parser.add_argument("--batch", type=numbers, default=[8], help="numbers, comma between")
    parser.add_argument("--starts", type=int, default=3, help="new processes, so many times")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of one turn each, a start")
    parser.add_argument("--calls", type=int, default=2, help="steps in a turn")
    parser.add_argument("--compiled", action="store_true", help="PyTorch by torch.compile, too")
    parser.add_argument("-o", "--output", type=Path, required=True, help="report, a JSON file")
    wanted = parser.parse_args(argv)
    models = wanted.models.split(",")
    learners = [*learners, *([CompiledPyTorch] if wanted.compiled else [])]
    machine = fingerprint(package for learner in learners for package in learner.packages)
    if max(wanted.threads) > machine["cores"]:
        parser.error(f"--threads: there are {machine['cores']} cores")
    if min(wanted.starts, wanted.repeats, wanted.calls) < 1:
        parser.error("--starts, --repeats and --calls must be at least 1")
    if unknown := [model for model in models if model not in SIZES]:
        parser.error(f"--models: no {unknown[0]!r}, only: {', '.join(SIZES)}")
    if not wanted.output.parent.is_dir():
        parser.error(f"there is no {wanted.output.parent}")
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for model in models:
            write_weights(model, folder)
        for model, batch, threads in itertools.product(models, wanted.batch, wanted.threads):
            case = {"model": model, "size": SIZES[model], "batch": batch, "threads": threads}
            print(case, file=sys.stderr)
            paths = {learner: folder / learner.file.format(model=model) for learner in learners}
            x = pictures(batch, SIZES[model])
            counts = wanted.starts, wanted.repeats, wanted.calls
            try:
                results.append(case | measure(paths, x, threads, *counts))
            except RemoteError as error:
                sys.exit(str(error))
            report = {
                "machine": machine,
                "starts": wanted.starts,
                "calls": wanted.calls,
                "results": results,
            }
            part = wanted.output.with_suffix(".part")  # what is measured is kept, whatever comes
            part.write_text(json.dumps(report, indent=1) + "\n")
            os.replace(part, wanted.output)
    show(report)


if __name__ == "__main__":
    main()
