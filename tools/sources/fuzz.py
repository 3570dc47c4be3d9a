"""Spoiled files of every format: each is refused in words, or gives arrays of its shapes.

    python -m tools.sources.fuzz --files 20000
    python -m tools.sources.fuzz --reproduce own.h5 17     # what came of this one, and its files

It starts from the files in tests/data/sources, a weights file and a plan of minincep.  Half of the
changes are in headers and metadata, the rest anywhere; where a format has checksums, half of the
files are sealed again.  `fuzz_child.py` reads them, in processes with limits of memory and time,
and notes what a reader must not do: run, compile or import something, open a socket or a file
elsewhere, write, leave a file behind, take much memory.  Linux only.

In the table, hdf5 are files that were refused after the HDF5 library had tried to take much memory.
"""

import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.sources import fuzz_samples

CHILD = Path(__file__).with_name("fuzz_child.py")
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "tests/data/sources"
LONGEST_WAIT = 600  # seconds for one file, if it waits rather than computes
GOOD = ("accepted", "refused", "hdf5")


@dataclass
class Tally:
    """What came of the files of one format."""

    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    peak: int = 0


@dataclass
class Run:
    """A run over many files, by some children at once."""

    seed: int
    folder: Path
    own: Path
    kept: Path | None
    waiting: "collections.deque[tuple[str, str, int]]"
    tallies: dict[str, Tally] = field(default_factory=lambda: collections.defaultdict(Tally))
    findings: list[dict[str, Any]] = field(default_factory=list)

    def work(self, index: int) -> None:
        """Feed children until no file is waiting; one that dies is replaced."""
        child = None
        while True:
            try:
                kind, name, number = self.waiting.popleft()
            except IndexError:
                break
            child = child or Child(self, index)
            result = child.ask(name, number)
            tally = self.tallies[kind]
            tally.outcomes[result["outcome"]] += 1
            tally.peak = max(tally.peak, result.get("peak", 0))
            if result["outcome"] not in GOOD:
                self.findings.append({"kind": kind, "name": name, "number": number, **result})
                if self.kept:
                    shutil.copytree(
                        child.work, self.kept / f"{name}-{self.seed}-{number}", dirs_exist_ok=True
                    )
            if child.dead:
                child = None
        if child:
            child.close()


class Child:
    """A process that reads files."""

    def __init__(self, run: Run, index: int) -> None:
        self.work = run.folder / f"files{index}"
        empty = run.folder / f"empty{index}"
        self.work.mkdir(exist_ok=True)
        empty.mkdir(exist_ok=True)
        self._errors = (run.folder / f"stderr{index}").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, CHILD, str(run.seed), self.work, empty, SAMPLES, run.own],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ
            | {"HOME": str(empty), "TMPDIR": str(empty), "NUMBA_NUM_THREADS": "1"}
            | {"PYTHONPATH": str(ROOT)},
        )
        self.dead = False
        if not self._answer():
            raise RuntimeError(f"the child did not start: {self._said()}")

    def ask(self, name: str, number: int) -> dict[str, Any]:
        """What came of one file."""
        assert self._process.stdin
        self._errors.seek(0)
        self._errors.truncate()
        self._process.stdin.write(f"{name}\t{number}\n")
        self._process.stdin.flush()
        line = self._answer()
        if line:
            result: dict[str, Any] = json.loads(line)
            return result
        self.dead = True
        status = self._process.wait()
        signals = {-27: "hang", -9: "hang"}  # SIGPROF, and our own kill
        return {
            "outcome": signals.get(status, "crash"),
            "detail": f"status {status}\n{self._said()}",
        }

    def _answer(self) -> str:
        assert self._process.stdout
        timer = threading.Timer(LONGEST_WAIT, self._process.kill)
        timer.start()
        try:
            return self._process.stdout.readline()
        finally:
            timer.cancel()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-3000:]

    def close(self) -> None:
        """No more files."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Exit status 1 if there is a finding, or a file of which nothing is known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", help="only these formats")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep files that are findings")
    parser.add_argument("--reproduce", nargs=2, metavar=("NAME", "NUMBER"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "own"
        own.mkdir()
        fuzz_samples.make_own(own)
        kinds = collections.defaultdict(list)
        for sample in fuzz_samples.load([SAMPLES, own]):
            if not arguments.kind or sample.kind in arguments.kind:
                kinds[sample.kind].append(sample.name)
        if arguments.reproduce:
            name, number = arguments.reproduce
            [kind] = [kind for kind, names in kinds.items() if name in names]
            waiting = [(kind, name, int(number))]
        else:
            waiting = [
                (kind, names[number // len(kinds) % len(names)], number)
                for number in range(arguments.files)
                for kind, names in [list(kinds.items())[number % len(kinds)]]
            ]
        expected = len(waiting)
        run = Run(arguments.seed, Path(folder), own, arguments.keep, collections.deque(waiting))
        threads = [
            threading.Thread(target=run.work, args=(index,))
            for index in range(min(arguments.processes, len(waiting)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    report(run, arguments.json)
    read = sum(tally.outcomes.total() for tally in run.tallies.values())
    sys.exit(bool(run.findings) or read < expected)


def report(run: Run, as_json: bool) -> None:
    """A line for each format, then the findings."""
    if as_json:
        tallies = {
            kind: {**tally.outcomes, "peak": tally.peak} for kind, tally in run.tallies.items()
        }
        print(json.dumps({"kinds": tallies, "findings": run.findings}))
        return
    for finding in run.findings:
        print(f"{finding['kind']} {finding['name']} {finding['number']}: {finding['outcome']}")
        print("    " + finding["detail"].strip().replace("\n", "\n    "))
    print("format              files  refused  hdf5  accepted  findings      peak")
    for kind, tally in sorted(run.tallies.items()):
        counts = tally.outcomes
        wrong = counts.total() - sum(counts[outcome] for outcome in GOOD)
        print(
            f"{kind:18} {counts.total():6} {counts['refused']:8} {counts['hdf5']:5} "
            f"{counts['accepted']:9} {wrong:9} {tally.peak / (1 << 20):6.1f} MB"
        )


if __name__ == "__main__":
    main()
