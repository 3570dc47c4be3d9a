"""Does `minincep bench compare` tell a slower kernel from a noisy machine?

    python benchmarks/trials.py [--pairs 20] [--repeats 60] [--threads 1]

Each trial is two runs of `minincep bench`, in processes of their own, and their comparison.  In
half of the trials both run the same kernel; in the other half, the new one keeps the core busy for
5 % longer.  What should come out: no difference, and slower.  A kernel that is the same in all runs
is measured, too, and should never differ.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SHAPE = (1225, 256, 320)  # rows, columns, depth: of mixed_6a in Inception-ResNet-v2
LABEL = "1225x320 @ 320x256"
KERNEL = """
import time

from minincep_kernels.gemm import {rung}
from minincep_kernels.registry import variant
from minincep_kernels.shapes import GemmShape

@variant("gemm", name="trial", supports=lambda shape: shape == GemmShape{shape})
def forward(a, b, shape):
    start = time.perf_counter()
    c = {rung}.forward(a, b, shape)
    now = time.perf_counter()
    end = now + {percent} / 100 * (now - start)
    while time.perf_counter() < end:
        pass
    return c
"""


def run(plugin: Path, record: Path, rung: str, options: argparse.Namespace) -> None:
    """One run of the benchmark."""
    minincep(
        *("gemm", "--shapes", LABEL, "--variants", rung, "--plugin", str(plugin)),
        *("--repeats", str(options.repeats), "--threads", str(options.threads)),
        *("--save", str(record)),
    )


def minincep(*arguments: str) -> str:
    command = [sys.executable, "-m", "minincep", "bench", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def trial(folder: Path, percent: int, options: argparse.Namespace) -> dict[str, Any]:
    """Two runs, the second with a kernel that is so much slower: -> the verdict on each kernel."""
    rung = "register_tile" if options.threads == 1 else "parallel"
    records = []
    for number, slowed in enumerate((0, percent)):
        plugin, record = (folder / f"{number}{suffix}" for suffix in (".py", ".json"))
        plugin.write_text(KERNEL.format(rung=rung, shape=SHAPE, percent=slowed))
        record.unlink(missing_ok=True)
        run(plugin, record, rung, options)
        records.append(str(record))
    found = json.loads(minincep("compare", *records, "--json"))
    return {row["variant"]: row for row in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=20, help="trials of each sort")
    parser.add_argument("--repeats", type=int, default=60, help="turns of each kernel in a run")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    right = {0: 0, 5: 0}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(1, options.pairs + 1):
            for percent, wanted in ((0, "same"), (5, "slower")):
                found = trial(Path(scratch), percent, options)
                mine, other = found.pop("trial"), next(iter(found.values()))
                right[percent] += (mine["verdict"], other["verdict"]) == (wanted, "same")
                shown = [
                    f"{v['verdict']} {v['ratio'] - 1:+.1%} (p {v['p']:.0e})" for v in (mine, other)
                ]
                print(
                    f"{number:3}  {percent} % slower: {shown[0]:28}  the same kernel: {shown[1]}",
                    flush=True,
                )
    print(f"identical: no difference in {right[0]} of {options.pairs}")
    print(f"5 % slower: found in {right[5]} of {options.pairs}, nothing else")


if __name__ == "__main__":
    main()
