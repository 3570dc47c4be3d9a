"""Time minincep beside other engines, on the same weights and the same pictures, in float32.

    pip install -e '.[benchmark]'
    python benchmarks/peers.py DIR CACHE --threads 1,2 --batch 1,8 -o benchmarks/results/peers.json

DIR holds the networks with reference weights, written by `tools/reference/make.py onnx DIR`; in
CACHE are kept the files that some engines want instead.  A PyTorch for the CPU alone, installed
first, saves gigabytes.
`readme_table.py` puts the results into the README.

Outputs are compared before anything is timed: where they disagree, the run stops with exit
status 1.  The engines take turns, each in a process of its own that sleeps meanwhile (threads that
spin in one process would steal the cores of the other).  Read the ratios, not the times: both
sides of a ratio come from the same round, and above 1 minincep is the faster one.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import CONTENDERS, Contender, prepared
from minincep.bench.engines import Floats
from minincep.bench.fingerprint import fingerprint
from minincep.bench.players import Player, difference, pictures
from minincep.bench.remote import RemoteError
from minincep.bench.workloads import SIZES

TOLERANCE = 1e-3  # between outputs, in standard deviations; 16-bit engines are far above it


def compare(players: Sequence[Player]) -> dict[str, float]:
    """Largest difference from the first's output, in its standard deviations; exit if too large."""
    first, *others = players
    found = {}
    for other in others:
        error = difference(other.output, first.output)
        if not error <= TOLERANCE:  # nor is nan
            sys.exit(f"{other.name} and {first.name} differ by {error:.1e}: nothing was timed")
        found[other.name] = error
    return found


def spread(values: list[float]) -> dict[str, Any]:
    """Median, least and largest, and the values themselves, a round each."""
    middle = statistics.median(values)
    return {"median": middle, "min": min(values), "max": max(values), "rounds": values}


def _laid_out(x: Floats, contender: type[Contender]) -> Floats:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if contender.channels_first else x


def measure(
    paths: dict[type[Contender], Path], x: Floats, threads: int, repeats: int, calls: int
) -> dict[str, Any]:
    """Verify, warm up, then time: milliseconds a picture, and ratios to the first contender."""
    with ExitStack() as stack:
        started = (
            Player(contender, path, threads, _laid_out(x, contender))
            for contender, path in paths.items()
        )
        players = [stack.enter_context(closing(player)) for player in started]
        differences = compare(players)
        rounds = [{p.name: p.turn(calls) for p in players} for _ in range(1 + repeats)]
    times = {name: [turns[name] for turns in rounds[1:]] for name in rounds[0]}  # [0] warms up
    ours = times[players[0].name]
    ratios = {n: spread([t / o for t, o in zip(times[n], ours, strict=True)]) for n in differences}
    return {
        "differences": differences,
        "milliseconds": {n: spread([1e3 * t / len(x) for t in ts]) for n, ts in times.items()},
        "ratios": ratios,
        "fastest other": min(ratios, key=lambda name: ratios[name]["median"]),
        "first answer": {player.name: player.start for player in players},
    }


def show(report: dict[str, Any]) -> None:
    """A table of medians, with least and largest in brackets."""
    line = "{:<20}{:>6}{:>8}  {:<14}{:>26}{:>20}{:>9}{:>8}".format
    titles = ("network", "batch", "threads", "engine", "ms a picture", "ratio of times")
    print(line(*titles, "start, s", "MB"))
    for result in report["results"]:
        for name, ms in result["milliseconds"].items():
            ratio = result["ratios"].get(name, {"median": 1.0, "min": 1.0, "max": 1.0})
            texts = [f"{v['median']:.2f} ({v['min']:.2f}-{v['max']:.2f})" for v in (ms, ratio)]
            first = result["first answer"][name]
            texts += [f"{first['seconds']:.1f}", f"{first['megabytes'] or 0:.0f}"]
            print(line(result["model"], result["batch"], result["threads"], name, *texts))


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(argv: list[str] | None = None, contenders: Sequence[type[Contender]] = CONTENDERS) -> None:
    parser = argparse.ArgumentParser(description="Time minincep beside other engines.")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the ONNX files are")
    parser.add_argument("cache", type=Path, metavar="CACHE", help="where converted files are kept")
    parser.add_argument("--models", default=",".join(SIZES), help="names, comma between")
    for option in ("--threads", "--batch"):
        parser.add_argument(option, type=numbers, default=[1], help="numbers, comma between")
    parser.add_argument("--repeats", type=int, default=7, help="rounds of one turn each")
    parser.add_argument("--calls", type=int, default=5, help="calls in a turn")
    parser.add_argument("-o", "--output", type=Path, required=True, help="report, a JSON file")
    wanted = parser.parse_args(argv)
    machine = fingerprint(package for c in contenders for package in c.packages)
    models = wanted.models.split(",")
    if max(wanted.threads) > machine["cores"]:
        parser.error(f"--threads: there are {machine['cores']} cores")
    files = {m: {c: wanted.directory / c.file.format(model=m) for c in contenders} for m in models}
    needed = [wanted.output.parent, *(path for paths in files.values() for path in paths.values())]
    if missing := [path for path in needed if not path.exists()]:
        parser.error(f"there is no {missing[0]}")
    for model, paths in files.items():
        for contender, source in paths.items():
            paths[contender] = prepared(contender, source, wanted.cache, SIZES[model])
    results = []
    for model, batch, threads in itertools.product(models, wanted.batch, wanted.threads):
        case = {"model": model, "size": SIZES[model], "batch": batch, "threads": threads}
        able = {c: path for c, path in files[model].items() if batch == 1 or c.batches}
        case["absent"] = [c.name for c in contenders if c not in able]
        print(case, file=sys.stderr)
        x = pictures(batch, SIZES[model])
        try:
            results.append(case | measure(able, x, threads, wanted.repeats, wanted.calls))
        except RemoteError as error:
            sys.exit(str(error))
        report = {"machine": machine, "calls": wanted.calls, "results": results}
        part = wanted.output.with_suffix(".part")  # what is measured is kept, whatever comes
        part.write_text(json.dumps(report, indent=1) + "\n")
        os.replace(part, wanted.output)
    show(report)


if __name__ == "__main__":
    main()
