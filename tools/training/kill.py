"""Kill a training again and again, and see that it ends as if nothing had happened.

    python tools/training/kill.py FOLDER --kills 50 --writing 10

A training runs once without interruption.  Then the same one is killed (SIGKILL) at random moments,
some of them while a checkpoint is being written, and resumed each time, until there were so many
kills; then it is left to end.  Weights, best and last, and the log must be the same, bit for bit
(the log without speeds), the folder must hold nothing else, and no process may be left over.

It makes small random pictures and a reduced network, and takes some minutes.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minincep.io.hdf5 import load

SETTINGS = {
    "model": "inception_resnet_v2",
    "width": 0.1,
    "blocks": "1,1,1",
    "image-size": 75,
    "batch-size": 8,
    "average": 0.9,
    "dropout": 0.3,
    "epochs": 120,  # more than a fast machine gets through between so many kills
    "workers": 2,
    "accumulate": 2,
    "checkpoint-minutes": 0,
    "threads": 1,
}
MARK = "MININCEP_KILL"
UNLIKE = ("images_per_second", "seconds")


def pictures(folder: Path) -> None:
    """Noise of two colours, in folders."""
    random = np.random.default_rng(0)
    for name, colour in (("cold", (40, 80, 200)), ("warm", (200, 80, 40))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(25):
            noise = random.integers(0, 160, (90, 100, 3)) + np.array(colour) // 2
            image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
            image.save(folder / name / f"{number:02}.png")


def command(data: Path, folder: Path, *, resume: bool) -> list[str]:
    """The command line of a training."""
    start = [sys.executable, "-m", "minincep", "train", "-o", str(folder)]
    if resume:
        return [*start, "--resume"]
    options = [part for k, v in SETTINGS.items() for part in (f"--{k}", str(v))]
    return [*start, str(data), *options]


def run_and_kill(
    data: Path, folder: Path, random: np.random.Generator, *, writing: bool
) -> tuple[bool, bool]:
    """Start or go on, and kill; -> whether it had ended, whether a checkpoint was being written."""
    resume = (folder / "settings.toml").exists()
    with (folder.parent / "output.txt").open("ab") as output:
        process = subprocess.Popen(
            command(data, folder, resume=resume),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    until = time.monotonic() + random.uniform(0.3, 6)
    seen, wanted = 0, int(random.integers(1, 6))
    before: set[str] = set()
    while process.poll() is None:
        if writing:
            parts = {p.name for p in folder.glob(".checkpoint.h5.*")}
            seen += len(parts - before)
            before |= parts
            if seen >= wanted and parts:
                break
        else:
            if time.monotonic() > until:
                break
            time.sleep(0.001)
    ended = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return ended, any(folder.glob(".checkpoint.h5.*"))


def left_over() -> list[str]:
    """Processes that a training of this program started, and that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={os.environ[MARK]}".encode() in (path / "environ").read_bytes().split(
                b"\0"
            ):
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:80])
        except OSError:  # gone meanwhile, or somebody else's
            continue
    return found


def log_of(folder: Path) -> list[dict[str, Any]]:
    """Lines of the log without speeds."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in UNLIKE} for line in lines]


def same(one: Path, other: Path) -> bool:
    """Whether two trainings ended alike, bit for bit."""
    alike = True
    for name in ("best.h5", "last.h5"):
        ours, theirs = load(one / name).arrays(), load(other / name).arrays()
        equal = all(ours[k].tobytes() == theirs[k].tobytes() for k in theirs)
        print(f"{name}: {'the same' if equal else 'DIFFERENT'}")
        alike &= equal and ours.keys() == theirs.keys()
    logs = log_of(one) == log_of(other)
    print(f"log: {'the same' if logs else 'DIFFERENT'}")
    files = {p.name for p in one.iterdir()} == {p.name for p in other.iterdir()}
    print(f"files: {'the same' if files else 'DIFFERENT'}")
    return alike and logs and files


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--writing", type=int, default=10, help="of them, within a checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ[MARK] = str(os.getpid())  # what it starts can be told by it; it has none itself
    options.folder.mkdir(parents=True)
    data = options.folder / "data"
    pictures(data)
    whole, killed = options.folder / "whole", options.folder / "killed"
    subprocess.run(command(data, whole, resume=False), check=True, stdout=subprocess.DEVNULL)
    random = np.random.default_rng(options.seed)
    kills = writing = 0
    while kills < options.kills:
        inside = options.kills - kills <= options.writing - writing or bool(random.integers(2))
        ended, hit = run_and_kill(data, killed, random, writing=inside)
        if ended:
            raise SystemExit(
                f"the training ended after {kills} kills: give it more epochs, in SETTINGS"
            )
        kills, writing = kills + 1, writing + hit
        steps = len((killed / "log.jsonl").read_bytes().splitlines()) if killed.exists() else 0
        where = "inside the writing of a checkpoint" if hit else "anywhere"
        print(f"kill {kills}, {where}: the log has {steps} lines", flush=True)
    subprocess.run(command(data, killed, resume=True), check=True, stdout=subprocess.DEVNULL)
    time.sleep(1)
    print(f"{kills} kills, {writing} of them inside the writing of a checkpoint")
    processes = left_over()
    print(f"processes left over: {len(processes)}", *processes, sep="\n  ")
    if not same(killed, whole) or processes:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
