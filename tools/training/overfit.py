"""Can each full network learn eight pictures by heart?  It must, if its gradients are right.

    python tools/training/overfit.py [NETWORK ...] [--threads N]

Eight rendered eggs, each a class of its own, one batch.  Label smoothing, dropout, weight decay and
auxiliary heads are off, so nothing keeps the loss from 0.  Needs minincep alone.  Exit status 1 if
a loss does not fall below 0.01.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import minincep as mi
from minincep.io.reference import scaled
from minincep.train.losses import classification_loss
from minincep.train.optim import SGD

sys.path.insert(0, str(Path(__file__).parents[2] / "examples/eggs"))

from render import render

SIZES = {"inception_v4": 299, "inception_resnet_v2": 299, "inception_resnet_v1": 160}
PICTURES = 8
BELOW = 0.01


def overfit(name: str, rate: float, steps: int, **config: Any) -> tuple[int, float]:
    """Train until the loss is low enough: -> (steps, the last loss)."""
    size = SIZES[name]
    eggs = np.stack([render(seed, seed % 2 == 1, size) for seed in range(PICTURES)])
    x, labels = mi.Tensor(scaled(eggs)), np.arange(PICTURES)
    network = mi.create_model(name, num_classes=PICTURES, dropout_rate=0.0, **config).train()
    optimizer = SGD(network.parameters(), momentum=0.9)
    loss = np.inf
    for step in range(1, steps + 1):
        start = time.perf_counter()
        cost, _ = classification_loss(network, x, labels, label_smoothing=0, auxiliary_weight=0)
        cost.backward()
        optimizer.step(rate)
        network.zero_grad()
        loss = cost.item()
        print(
            f"{name}: step {step}, loss {loss:.5f}, {time.perf_counter() - start:.1f} s", flush=True
        )
        if loss < BELOW:
            break
    return step, loss


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn eight pictures by heart.")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(SIZES))
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=100, help="at most")
    parser.add_argument("--threads", type=int)
    wanted = parser.parse_args()
    if unknown := set(wanted.networks) - SIZES.keys():
        parser.error(f"no network {', '.join(sorted(unknown))}, only: {', '.join(SIZES)}")
    if wanted.threads:
        mi.set_num_threads(wanted.threads)
    found = {n: overfit(n, wanted.rate, wanted.steps) for n in wanted.networks or SIZES}
    for name, (steps, loss) in found.items():
        print(f"{name}: loss {loss:.5f} after {steps} steps")
    if not all(loss < BELOW for _, loss in found.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
