"""Train the small network that comes with minincep: is an egg in the picture broken?

    python examples/eggs/train.py -o minincep/weights/eggs.h5 --seeds 0,1,2 \
        --report examples/eggs/report.json --sheet examples/eggs/pictures/samples.jpg
    python examples/eggs/readme_table.py

Each seed renders its own pictures (`render.py`), and trains a reduced Inception-ResNet-v2 on them
with minincep's own engine. All are tested on the same pictures of seeds that none has seen, in the
styles of the training and in styles that the training never uses; a linear classifier on pixels
stands beside. The first seed's network is written. A result depends on the seed only, up to the
rounding of the machine's matrix product.

A picture of a real egg is another matter: nobody has tested that here.
"""

import argparse
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import minincep as mi
from minincep.io.hdf5 import checksum
from minincep.io.images import scaled
from minincep.models import Network
from minincep.models.preprocessing import Preprocessing

sys.path.insert(0, str(Path(__file__).parent))
import baseline
import render
from styles import FAMILIES, SEEN, Family

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]

SIZE = 96  # pixels
TEST_SEED, FIRST_TRAIN_SEED = 500, 1000  # `render` keeps the pictures of two seeds apart
BATCH = 32
RATE = 3e-3


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


def batches(count: int, random: np.random.Generator) -> Iterator[npt.NDArray[np.intp]]:
    """Indices of a shuffled epoch, `BATCH` at a time; a last part that is too small is left out.

    Neighbours, the same eggs before and after, stay together: what tells them apart is the damage.
    """
    order = (2 * random.permutation(count // 2)[:, None] + (0, 1)).ravel()
    for first in range(0, count - BATCH + 1, BATCH):
        yield order[first : first + BATCH]


def varied(images: Images, random: np.random.Generator) -> Images:
    """Each picture turned, mirrored and tinted at random: belts have no up, lamps any colour."""
    result = np.empty_like(images)
    for index, image in enumerate(images):
        image = np.rot90(image, int(random.integers(4)))
        image = image[:, ::-1] if random.random() < 0.5 else image
        grey = image.mean(2, keepdims=True, dtype=np.float32)
        tinted = grey + (image - grey) * random.uniform(0.3, 1.4)
        tinted *= random.uniform(0.7, 1.2) * random.uniform(0.8, 1.2, 3)
        result[index] = np.clip(tinted, 0, 255)
    return result


def train(network: Network, images: Images, labels: Labels, *, epochs: int, seed: int) -> None:
    """Label smoothing 0.1, AdamW, learning rate with a warm-up and half a cosine."""
    random = np.random.default_rng(seed)
    optimiser = Adam(network, decay=0.01)
    total = epochs * (len(images) // BATCH)
    network.train()
    for epoch in range(epochs):
        losses, start = [], time.perf_counter()
        for index in batches(len(images), random):
            x = mi.Tensor(scaled(varied(images[index], random), "symmetric"))
            loss = mi.ops.softmax_cross_entropy(network(x), labels[index], label_smoothing=0.1)
            network.zero_grad()
            loss.backward()
            done = optimiser.steps / total
            optimiser.step(RATE * min(1, done * 20) * (1 + math.cos(math.pi * done)) / 2)
            losses.append(loss.item())
        seconds = time.perf_counter() - start
        print(
            f"seed {seed}, epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.4f}, {seconds:.0f} s",
            flush=True,
        )
    network.eval()


def answers(network: Network, images: Images) -> Labels:
    """The class that the network gives each picture. -> (N,)."""
    best = mi.classify(network, list(images), top=1, batch_size=BATCH)
    return np.array([row[0].index for row in best])


def tests(count: int) -> dict[str, tuple[Images, Labels]]:
    """`count` pictures in seen styles and as many in unseen ones, all of unseen seeds."""
    return {
        name: render.data_set(count, TEST_SEED + i, SIZE, family)
        for i, (name, family) in enumerate(FAMILIES.items())
    }


def training_pictures(count: int, seed: int, family: Family = SEEN) -> tuple[Images, Labels]:
    """What the network of a seed learns from: each scene intact, then broken."""
    seeds = render.scene_seeds(count // 2, FIRST_TRAIN_SEED + seed)
    pictures = [render.render(s, broken, SIZE, family) for s in seeds for broken in (False, True)]
    return np.stack(pictures), np.tile(np.array([0, 1], np.int64), len(seeds))


def test_results(network: Network, count: int) -> dict[str, Any]:
    """Accuracy, confusion matrix, and what share of each damage was found, for each family."""
    results = {}
    for i, (name, (images, labels)) in enumerate(tests(count).items()):
        got = answers(network, images)
        counts: Counts = np.zeros((2, 2), np.int64)
        np.add.at(counts, (labels, got), 1)
        seeds = render.scene_seeds(count, TEST_SEED + i)
        damages = np.array(
            [render.damage(s) if y else "" for s, y in zip(seeds, labels, strict=True)]
        )
        results[name] = {
            "accuracy": float(np.trace(counts) / counts.sum()),
            "confusion": counts.tolist(),
            "found": {kind: float(got[damages == kind].mean()) for kind in render.DAMAGES},
        }
    return results


def one_seed(seed: int, pictures: int, epochs: int, test: int, path: Path) -> dict[str, Any]:
    """Train and test the network of a seed, on one thread, and write it."""
    mi.set_num_threads(1)
    start = time.perf_counter()
    network = mi.create_model(
        "inception_resnet_v2",
        num_classes=2,
        width=0.2,
        blocks=(1, 2, 1),
        dropout_rate=0.2,
        batch_norm_decay=0.98,
        seed=seed,
    )
    network.labels = render.LABELS
    network.preprocessing = Preprocessing(SIZE, SIZE)
    network.source = f"examples/eggs/train.py, seed {seed}: rendered pictures"
    images, labels = training_pictures(pictures, seed)
    train(network, images, labels, epochs=epochs, seed=seed)
    mi.save(network, path)
    minutes = round((time.perf_counter() - start) / 60, 1)
    return {"seed": seed, "minutes": minutes, "tests": test_results(mi.load(path), test)}


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def spread(values: list[float]) -> dict[str, float]:
    """Mean, lowest and highest."""
    return {"mean": float(np.mean(values)), "lowest": min(values), "highest": max(values)}


def show(report: dict[str, Any]) -> None:
    """Print the report for people."""
    for result in report["seeds"]:
        for name, row in result["tests"].items():
            print(f"seed {result['seed']}, {name} styles: {row['accuracy']:.1%} right")
            for label, counts in zip(report["labels"], row["confusion"], strict=True):
                print(f"  {label:12} taken for intact {counts[0]:5}, for broken {counts[1]:5}")
            print("  found: " + ", ".join(f"{k} {v:.0%}" for k, v in row["found"].items()))
    for name, row in report["networks"].items():
        low, high = row["lowest"], row["highest"]
        print(f"networks, {name} styles: mean {row['mean']:.1%}, {low:.1%} to {high:.1%}")
    for features, row in report["linear"].items():
        for name, accuracy in zip(report["networks"], row["tests"], strict=True):
            print(f"linear classifier on {features}, {name} styles: {accuracy:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="weights of the first")
    parser.add_argument("--report", type=Path, help="JSON file with all the figures")
    parser.add_argument("--sheet", type=Path, help="picture of test pictures")
    parser.add_argument("--seeds", default="0", help="such as 0,1,2; each is a training")
    parser.add_argument("--train", type=int, default=4096, help="pictures to train on")
    parser.add_argument("--test", type=int, default=1000, help="pictures to test on, per family")
    parser.add_argument("--epochs", type=int, default=16)
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]

    # One thread a training, and as many trainings at once as there are seeds: nothing waits.
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(len(seeds), mp_context=spawn) as pool,
    ):
        sizes = options.train, options.epochs, options.test
        paths = [Path(folder) / f"{seed}.h5" for seed in seeds]
        jobs = [pool.submit(one_seed, s, *sizes, p) for s, p in zip(seeds, paths, strict=True)]
        families = tests(options.test)
        linear = baseline.linear_classifiers(
            training_pictures(options.train, seeds[0]), list(families.values())
        )
        results = [job.result() for job in jobs]
        weights = paths[0].read_bytes()
        digest = checksum(mi.load(paths[0]).arrays())

    report = {
        "what": "rendered pictures of eggs on a belt: is at least one broken?",
        "labels": list(render.LABELS),
        "training pictures": options.train,
        "epochs": options.epochs,
        "test pictures": options.test,
        "styles": {name: family.styles() for name, family in FAMILIES.items()},
        "bytes": len(weights),
        "sha256": digest,
        "seeds": results,
        "networks": {
            name: spread([r["tests"][name]["accuracy"] for r in results]) for name in families
        },
        "linear": linear,
    }
    show(report)
    write(options.output, weights)
    if options.report:
        write(options.report, (json.dumps(report, indent=1) + "\n").encode())
    if options.sheet:
        chosen = np.concatenate([images[:16] for images, _ in families.values()])
        render.contact_sheet(chosen).save(options.sheet, quality=85)


if __name__ == "__main__":
    main()
