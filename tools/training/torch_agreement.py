"""Does training agree with PyTorch's?  Same weights, same batches, the same losses step by step.

    python tools/training/torch_agreement.py compare [CASE ...] [--exact] [--fault NAME]
    python tools/training/torch_agreement.py store            # tests/data/training/torch_steps.h5

Run it in the environment of `tools/reference/README.md`, with minincep installed there, too.  A
case is a full network (`inception_v4`), or a reduced one with an optimiser (`inception_v4/adam`);
by default all of them are compared.  timm's and facenet-pytorch's networks are trained as they are,
with gamma in batch norm, but dropout is off.

Rounding grows from step to step: two trainings in float32 drift apart, whoever computes them.
`--exact` trains both sides in float64 as well, which tells rounding from mistakes.  minincep's
float32 is then held against PyTorch's float64, not against its float32, which has drifted, too.

`--fault` puts a mistake into PyTorch's side, of those that are easily made.  The comparison has to
notice it; with it, exit status 0 means that it did.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from tools.training import cases, torch_side
from tools.training.cases import FULL, REDUCED, TINY, Case, Difference, Result, difference, fall

STORED = Path(__file__).resolve().parents[2] / "tests/data/training/torch_steps.h5"
LEAST_FALL = 0.3


@dataclasses.dataclass(frozen=True)
class Limits:
    """What passes: of losses at the first and the last step, and of `Difference`'s others."""

    first: float
    last: float
    statistics: float
    channels: float
    weights: float

    def passed(self, found: Difference) -> bool:
        return (
            found.losses[0] <= self.first
            and found.losses[-1] <= self.last
            and found.statistics[0] <= self.statistics
            and found.channels[0] <= self.channels
            and found.weights[0] <= self.weights
        )


FLOAT32 = Limits(1e-4, 1e-2, 1e-2, 3e-2, 1.5e-1)
FLOAT64 = Limits(1e-12, 1e-8, 1e-7, 1e-7, 1e-6)


def describe(found: Difference) -> str:
    statistics, channels, weights = (
        f"{error:.1e} ({path})" for error, path in (found.statistics, found.channels, found.weights)
    )
    return (
        f"loss {found.losses[0]:.1e} at step 1, {found.losses[-1]:.1e} at step "
        f"{len(found.losses)}, at most {max(found.losses):.1e}; running statistics {statistics}, "
        f"of a channel {channels}; weights {weights}"
    )


def compare(name: str, case: Case, exact: bool, fault: Callable[..., None] | None) -> bool:
    """Train on both sides, print what came of it: -> whether they agree."""
    mistake = fault or (lambda *_: None)

    def line(label: str, ours: Result, theirs: Result) -> Difference:
        found = difference(ours, theirs)
        print(f"  {label}: {describe(found)}", flush=True)
        return found

    theirs, ours = torch_side.train(case, torch.float32, mistake), cases.train(case)
    lower = min(fall(theirs.losses), fall(ours.losses))
    print(f"{name}: loss {ours.losses[0]:.4f} to {ours.losses[-1]:.4f}, {lower:.0%} lower")
    found = line("float32", ours, theirs)
    passed = lower >= LEAST_FALL or fault is not None  # else a comparison of nothing much
    if exact:
        theirs64 = torch_side.train(case, torch.float64, mistake)
        line("PyTorch's float32 against its float64", theirs, theirs64)
        found = line("minincep's float32 against that", ours, theirs64)
        passed &= FLOAT64.passed(line("float64", cases.train(case, np.float64), theirs64))
    passed &= FLOAT32.passed(found)
    print(f"  {'agrees' if passed else 'DIFFERS'}", flush=True)
    return passed


def store(path: Path) -> None:
    """Write what the tests compare with: PyTorch's float64, and the error of its float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs["witness"] = f"torch {torch.__version__}"
        for name, case in TINY.items():
            exact, single = (torch_side.train(case, t) for t in (torch.float64, torch.float32))
            group = file.create_group(name)
            group.attrs["case"] = as_json(case)
            found = difference(single, exact)
            group.attrs["float32_error"] = max(found.losses), found.channels[0], found.weights[0]
            values = {"losses": np.array(exact.losses), "samples": cases.samples(exact)}
            for dataset, array in values.items():
                group.create_dataset(dataset, data=array, compression="gzip", shuffle=True)
            print(f"{name}: {len(values['samples'])} numbers, float32: {describe(found)}")


def as_json(case: Case) -> str:
    return json.dumps(dataclasses.asdict(case))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare training with PyTorch's.")
    commands = parser.add_subparsers(dest="command", required=True)
    comparing = commands.add_parser("compare", help="train on both sides")
    comparing.add_argument("cases", nargs="*", metavar="CASE")
    comparing.add_argument("--exact", action="store_true", help="in float64, too")
    comparing.add_argument("--fault", choices=torch_side.FAULTS, help="a mistake to be noticed")
    comparing.add_argument("--steps", type=int, help="instead of 20")
    comparing.add_argument("--rate", type=float, help="the learning rate")
    commands.add_parser("store", help="make the data of the tests")
    wanted = parser.parse_args(argv)
    if wanted.command == "store":
        store(STORED)
        return
    known = FULL | REDUCED
    if unknown := set(wanted.cases) - known.keys():
        parser.error(f"no case {', '.join(sorted(unknown))}, only: {', '.join(known)}")
    fault = torch_side.FAULTS[wanted.fault] if wanted.fault else None
    given: dict[str, Any] = {"steps": wanted.steps, "rate": wanted.rate}
    changes = {key: value for key, value in given.items() if value is not None}
    passed = [
        compare(name, dataclasses.replace(known[name], **changes), wanted.exact, fault)
        for name in wanted.cases or known
    ]
    if any(passed) if wanted.fault else not all(passed):
        sys.exit(1)


if __name__ == "__main__":
    main()
