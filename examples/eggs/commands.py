"""The commands of minincep, as a user would type them; each is printed before it runs."""

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SETTINGS = Path(__file__).resolve().parent / "settings"


def run(*arguments: str | Path) -> str:
    """Run `minincep` in a process of its own, on one thread. -> what it prints.

    One thread a training and as many at once as there are cores: nothing waits.
    """
    words = [str(argument) for argument in (*arguments, "--threads", 1)]
    print("$", shlex.join(["minincep", *words]), flush=True)
    command = [sys.executable, "-m", "minincep", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(words)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def train(
    data: Path, output: Path, settings: str, *, seed: int, options: Sequence[str | Path] = ()
) -> Path:
    """Train as a file in `settings/` says. -> the weights after the last epoch.

    The pictures for validation only draw the curves: no choice is made by them.
    """
    config = SETTINGS / f"{settings}.toml"
    said = run("train", data, "-o", output, "--config", config, "--seed", str(seed), *options)
    lines = [line for line in said.splitlines() if line.startswith("epoch")]
    print(f"{output.name}, {lines[-1]}", flush=True)
    return output / "last.h5"


def evaluate(weights: Path, pictures: Path, count: int) -> dict[str, Any]:
    """Accuracy, confusion matrix, classes, and the numbers of the pictures that were wrong."""
    arguments = ("evaluate", weights, pictures, "--confused", str(count), "--json")
    found = json.loads(run(*arguments))
    name = weights.parent.name
    print(f"{name}: {found['accuracy']:.1%} of {found['pictures']} are right", flush=True)
    return {
        "accuracy": found["accuracy"],
        "classes": [row["label"] for row in found["classes"]],
        "confusion": found["confusion"],
        "wrong": sorted(int(Path(row["path"]).stem) for row in found["confused"]),
    }


def epochs(folder: Path) -> list[dict[str, Any]]:
    """What a training says of each epoch, from its log."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    return [event for event in events if event["kind"] == "epoch"]
