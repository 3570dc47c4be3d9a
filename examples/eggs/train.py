"""Train the small network that comes with minincep: intact or broken egg?

    python examples/eggs/train.py -o eggs.h5

It renders its own pictures (`render.py`), trains a reduced Inception-ResNet-v2 on them with
minincep's own engine, and tests it on rendered pictures of seeds that it has not seen.  The result
depends on the seed only, up to the rounding of the machine's matrix product.

A picture of a real egg is another matter: nobody has tested that here.
"""

import argparse
import math
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

import minincep as mi
from minincep.io.images import scaled
from minincep.models import Network
from minincep.models.preprocessing import Preprocessing

sys.path.insert(0, str(Path(__file__).parent))
import render

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

SIZE = 96  # pixels
TRAIN_SEED, TEST_SEED = 1, 2  # `render` keeps the pictures of two seeds apart
BATCH = 32


class Adam:
    """Kingma and Ba 2015, "Adam", algorithm 1, with decoupled weight decay (AdamW)."""

    def __init__(self, network: Network, decay: float) -> None:
        self.parameters = network.parameters()
        self.decay = decay
        self.steps = 0
        self.mean = {path: np.zeros_like(p.data) for path, p in self.parameters.items()}
        self.square = {path: np.zeros_like(p.data) for path, p in self.parameters.items()}

    def step(self, rate: float) -> None:
        self.steps += 1
        for path, parameter in self.parameters.items():
            gradient = parameter.grad
            assert gradient is not None
            self.mean[path] += 0.1 * (gradient - self.mean[path])
            self.square[path] += 0.001 * (gradient**2 - self.square[path])
            mean = self.mean[path] / (1 - 0.9**self.steps)
            square = self.square[path] / (1 - 0.999**self.steps)
            if path.endswith("/weight"):
                parameter.data *= 1 - rate * self.decay
            parameter.data -= rate * mean / (np.sqrt(square) + 1e-8)


def rendered(count: int, seed: int) -> tuple[Images, Labels]:
    """Pictures and labels, rendered on all cores; the same as `render.data_set`."""
    parts = 8
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(render.data_set, count // parts, seed * parts + part, SIZE)
            for part in range(parts)
        ]
        results = [job.result() for job in jobs]
    return np.concatenate([r[0] for r in results]), np.concatenate([r[1] for r in results])


def batches(count: int, random: np.random.Generator) -> Iterator[npt.NDArray[np.intp]]:
    """Indices of a shuffled epoch, `BATCH` at a time; a last part that is too small is left out."""
    order = random.permutation(count)
    for first in range(0, count - BATCH + 1, BATCH):
        yield order[first : first + BATCH]


def turned(images: Images, random: np.random.Generator) -> Images:
    """Each picture turned and mirrored at random: an egg on a belt has no up or down."""
    result = np.empty_like(images)
    for index, image in enumerate(images):
        image = np.rot90(image, int(random.integers(4)))
        result[index] = image[:, ::-1] if random.random() < 0.5 else image
    return result


def train(network: Network, images: Images, labels: Labels, *, epochs: int, seed: int) -> None:
    """Label smoothing 0.1, AdamW, learning rate with a warm-up and half a cosine."""
    random = np.random.default_rng(seed)
    optimiser = Adam(network, decay=0.01)
    total = epochs * (len(images) // BATCH)
    network.train()
    console = Console()
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("training", total=total)
        for epoch in range(epochs):
            losses = []
            for index in batches(len(images), random):
                x = mi.Tensor(scaled(turned(images[index], random), "symmetric"))
                loss = mi.ops.softmax_cross_entropy(network(x), labels[index], label_smoothing=0.1)
                network.zero_grad()
                loss.backward()
                done = optimiser.steps / total
                optimiser.step(3e-3 * min(1, done * 20) * (1 + math.cos(math.pi * done)) / 2)
                losses.append(loss.item())
                progress.advance(task)
            console.print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.4f}")
    network.eval()


def confusion(network: Network, images: Images, labels: Labels) -> npt.NDArray[np.int64]:
    """How many pictures of each class (rows) were taken for each class (columns)."""
    counts = np.zeros((2, 2), np.int64)
    answers = mi.classify(network, list(images), top=1, batch_size=BATCH)
    for label, (best,) in zip(labels, answers, strict=True):
        counts[label, best.index] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--train", type=int, default=2560, help="pictures to train on")
    parser.add_argument("--test", type=int, default=1024, help="pictures to test on")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    images, labels = rendered(arguments.train, TRAIN_SEED)
    network = mi.create_model(
        "inception_resnet_v2",
        num_classes=2,
        width=0.2,
        blocks=(1, 2, 1),
        dropout_rate=0.2,
        batch_norm_decay=0.98,
        seed=arguments.seed,
    )
    network.labels = render.LABELS
    network.preprocessing = Preprocessing(SIZE, SIZE)
    network.source = f"examples/eggs/train.py --seed {arguments.seed}: rendered pictures"
    train(network, images, labels, epochs=arguments.epochs, seed=arguments.seed)
    mi.save(network, arguments.output)

    counts = confusion(network, *rendered(arguments.test, TEST_SEED))
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes")
    accuracy = np.trace(counts) / counts.sum()
    print(f"accuracy on {counts.sum()} unseen rendered pictures: {accuracy:.1%}")
    for label, row in zip(render.LABELS, counts, strict=True):
        print(f"  {label:12} taken for intact {row[0]:5}, for broken {row[1]:5}")


if __name__ == "__main__":
    main()
