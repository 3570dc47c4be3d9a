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
import multiprocessing
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import CONTENDERS, Contender, Floats, prepared

SIZES = {"inception_v4": 299, "inception_resnet_v2": 299, "inception_resnet_v1": 160}
TOLERANCE = 1e-3  # between outputs, in standard deviations; 16-bit engines are far above it
PAUSE = 0.2  # seconds; threads spin on for a while when a call is over


def serve(pipe: Any, contender: type[Contender], path: Path, threads: int, x: Floats) -> None:
    """The life of a contender's process: send one output, then time calls when told to."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # `load` alone decides about threads
        os.environ.pop(name, None)
    engine = contender()
    if contender.channels_first:
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    engine.load(path, threads, x)
    pipe.send((engine.run(x), peak_memory()))
    while True:
        times = []
        calls = pipe.recv()
        engine.run(x)  # untimed: the caches hold what the engine before has used
        for _ in range(calls):
            start = time.perf_counter()
            engine.run(x)
            times.append(time.perf_counter() - start)
        pipe.send(statistics.median(times))


def peak_memory() -> float | None:
    """Most memory that this process has held so far, in megabytes, where the system tells."""
    return memory("VmHWM")


def memory(field: str, process: int | str = "self") -> float | None:
    """A field of a process's status in megabytes: VmHWM is the peak, VmRSS what it holds now."""
    status = Path(f"/proc/{process}/status")
    found = re.search(rf"{field}:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 / 1e6 if found else None


class Player:
    """A contender in a process of its own, asleep between its turns.

    Attributes
    ----------
    output
        Its first answer.
    start
        What it took to get there: `seconds` from the start of the process, imports included, and
        `megabytes` of memory at most.
    """

    def __init__(self, contender: type[Contender], path: Path, threads: int, x: Floats) -> None:
        self.name = contender.name
        spawn = multiprocessing.get_context("spawn")
        self._pipe, far_end = spawn.Pipe()
        arguments = (far_end, contender, path, threads, x)
        self._process = spawn.Process(target=serve, args=arguments, daemon=True)
        start = time.perf_counter()
        self._process.start()
        far_end.close()  # only the child has it now, so its death shows here
        self.output: Floats
        self.output, megabytes = self._receive()
        self.start = {"seconds": time.perf_counter() - start, "megabytes": megabytes}
        time.sleep(PAUSE)

    def turn(self, calls: int) -> float:
        """Median seconds of a few calls; afterwards a pause until the threads sleep too."""
        self._pipe.send(calls)
        seconds = float(self._receive())
        time.sleep(PAUSE)
        return seconds

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            sys.exit(f"{self.name} failed; its own message is above")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def compare(players: Sequence[Player]) -> dict[str, float]:
    """Largest difference from the first's output, in its standard deviations; exit if too large."""
    first, *others = players
    exact = first.output.astype(np.float64)
    found = {}
    for other in others:
        same_shape = other.output.shape == exact.shape
        error = np.abs(other.output - exact).max() / exact.std() if same_shape else np.inf
        if not error <= TOLERANCE:  # nor is nan
            sys.exit(f"{other.name} and {first.name} differ by {error:.1e}: nothing was timed")
        found[other.name] = float(error)
    return found


def spread(values: list[float]) -> dict[str, Any]:
    """Median, least and largest, and the values themselves, a round each."""
    middle = statistics.median(values)
    return {"median": middle, "min": min(values), "max": max(values), "rounds": values}


def measure(
    paths: dict[type[Contender], Path], x: Floats, threads: int, repeats: int, calls: int
) -> dict[str, Any]:
    """Verify, warm up, then time: milliseconds a picture, and ratios to the first contender."""
    with ExitStack() as stack:
        started = (Player(contender, path, threads, x) for contender, path in paths.items())
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


def fingerprint(contenders: Sequence[type[Contender]]) -> dict[str, Any]:
    """The machine and the versions that the figures belong to."""
    from minincep_kernels.machine import available_cores

    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    model = re.search(r"model name\s*: (.+)", text)
    vectors = set(re.findall(r"\b(?:fma|avx\w*|amx\w*|asimd\w*|sve\w*)\b", text))
    versions = {package: version(package) for c in contenders for package in c.packages}
    return {
        "cpu": model[1] if model else platform.processor(),
        "vectors": sorted(vectors),
        "cores": available_cores(),
        "system": platform.platform(),
        "versions": versions | {"python": platform.python_version()},
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


def pictures(count: int, size: int) -> Floats:
    """Reference pictures, scaled: (count, size, size, 3)."""
    from minincep.io import reference  # here: an engine's process imports this file, not that one

    raw = np.stack([reference.picture(size, size, seed) for seed in range(count)])
    return reference.scaled(raw)


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
    machine = fingerprint(contenders)
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
        results.append(case | measure(able, x, threads, wanted.repeats, wanted.calls))
        report = {"machine": machine, "calls": wanted.calls, "results": results}
        part = wanted.output.with_suffix(".part")  # what is measured is kept, whatever comes
        part.write_text(json.dumps(report, indent=1) + "\n")
        os.replace(part, wanted.output)
    show(report)


if __name__ == "__main__":
    main()
