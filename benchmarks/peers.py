"""Time minincep beside ONNX Runtime, on the same weights and the same pictures.

    pip install -e '.[benchmark]'
    python benchmarks/peers.py DIR --models inception_v4 --threads 1,2 --batch 1,8 -o results.json

DIR holds the networks with reference weights, written by `tools/reference/make.py onnx DIR`.
Outputs are compared before anything is timed: where they disagree, the run stops with exit
status 1.  The engines take turns, each in a process of its own that sleeps meanwhile (threads that
spin in one process would steal the cores of the other).  Read the ratios, not the times: both
sides of a ratio come from the same round, and above 1 minincep is the faster one.

To add an engine, write a class like `OnnxRuntime` and put it into `CONTENDERS`.
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
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from minincep.io import reference

Floats = npt.NDArray[np.float32]
DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
SIZES = {"inception_v4": 299, "inception_resnet_v2": 299, "inception_resnet_v1": 160}
TOLERANCE = 1e-4  # between outputs, in standard deviations
PAUSE = 0.05  # seconds; threads spin on for some milliseconds when a call is over


class Contender:
    """An engine.  It is made in a process of its own, and imports what it needs in `load`."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]  # whose versions the report states
    channels_first: ClassVar[bool]
    file: ClassVar[str] = "{model}.onnx"  # what `load` reads, in DIR or absolute

    def load(self, path: Path, threads: int) -> None:
        """Make ready to run a network on this many threads."""
        raise NotImplementedError

    def run(self, x: Floats) -> Floats:
        """(N, H, W, 3), or (N, 3, H, W) with channels first -> logits or embeddings (N, K)."""
        raise NotImplementedError


class Minincep(Contender):
    """The network as a user calls it."""

    name = "minincep"
    packages = ("minincep", "numpy", "numba")
    channels_first = False
    file = str(DATA / "reference_{model}.h5")

    def load(self, path: Path, threads: int) -> None:
        import minincep as mi
        from minincep.io.verify import reference_network

        self._no_grad, self._tensor = mi.no_grad, mi.Tensor
        self._network = reference_network(path)
        mi.set_num_threads(threads)

    def run(self, x: Floats) -> Floats:
        with self._no_grad():
            return np.asarray(self._network(self._tensor(x)).data)


class OnnxRuntime(Contender):
    """ONNX Runtime on the CPU, with all the graph optimisations that are its default."""

    name = "ONNX Runtime"
    packages = ("onnxruntime",)
    channels_first = True

    def load(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        cpu = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(path), options, providers=cpu)

    def run(self, x: Floats) -> Floats:
        return np.asarray(self._session.run(None, {"input": x})[0])


CONTENDERS: tuple[type[Contender], ...] = (Minincep, OnnxRuntime)


def serve(pipe: Any, contender: type[Contender], path: Path, threads: int, x: Floats) -> None:
    """The life of a contender's process: send one output, then time calls when told to."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # `load` alone decides about threads
        os.environ.pop(name, None)
    engine = contender()
    engine.load(path, threads)
    if contender.channels_first:
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    pipe.send(engine.run(x))
    while True:
        times = []
        for _ in range(pipe.recv()):
            start = time.perf_counter()
            engine.run(x)
            times.append(time.perf_counter() - start)
        pipe.send(statistics.median(times))


class Player:
    """A contender in a process of its own, asleep between its turns."""

    def __init__(self, contender: type[Contender], path: Path, threads: int, x: Floats) -> None:
        self.name = contender.name
        spawn = multiprocessing.get_context("spawn")
        self._pipe, far_end = spawn.Pipe()
        arguments = (far_end, contender, path, threads, x)
        self._process = spawn.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        far_end.close()  # only the child has it now, so its death shows here
        self.output: Floats = self._receive()

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
    milliseconds = {n: spread([1e3 * t / len(x) for t in ts]) for n, ts in times.items()}
    return {"differences": differences, "milliseconds": milliseconds, "ratios": ratios}


def fingerprint(contenders: Sequence[type[Contender]]) -> dict[str, Any]:
    """The machine and the versions that the figures belong to."""
    from minincep_kernels.machine import available_cores

    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    cpu = model[1] if model else platform.processor()
    versions = {package: version(package) for c in contenders for package in c.packages}
    versions["python"] = platform.python_version()
    return {"cpu": cpu, "cores": available_cores(), "versions": versions}


def show(report: dict[str, Any]) -> None:
    """A table of medians, with least and largest in brackets."""
    line = "{:<20}{:>6}{:>8}  {:<14}{:>26}{:>20}".format
    print(line("network", "batch", "threads", "engine", "ms a picture", "ratio of times"))
    for result in report["results"]:
        for name, ms in result["milliseconds"].items():
            ratio = result["ratios"].get(name, {"median": 1.0, "min": 1.0, "max": 1.0})
            texts = [f"{v['median']:.2f} ({v['min']:.2f}-{v['max']:.2f})" for v in (ms, ratio)]
            print(line(result["model"], result["batch"], result["threads"], name, *texts))


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(argv: list[str] | None = None, contenders: Sequence[type[Contender]] = CONTENDERS) -> None:
    parser = argparse.ArgumentParser(description="Time minincep beside other engines.")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the ONNX files are")
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
    results = []
    for model, batch, threads in itertools.product(models, wanted.batch, wanted.threads):
        case = {"model": model, "size": SIZES[model], "batch": batch, "threads": threads}
        print(case, file=sys.stderr)
        size = (SIZES[model], SIZES[model])
        x = reference.scaled(np.stack([reference.picture(*size, seed) for seed in range(batch)]))
        results.append(case | measure(files[model], x, threads, wanted.repeats, wanted.calls))
    report = {"machine": machine, "calls": wanted.calls, "results": results}
    show(report)
    part = wanted.output.with_suffix(".part")
    part.write_text(json.dumps(report, indent=1) + "\n")
    os.replace(part, wanted.output)


if __name__ == "__main__":
    main()
