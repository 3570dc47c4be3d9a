"""Make the weights that come along with minincep: is an egg in the picture broken?

    python examples/eggs/default.py -o eggs_default --weights minincep/weights/eggs.h5 \
        --report examples/eggs/report.json --sheet examples/eggs/pictures/samples.jpg
    python examples/eggs/readme_table.py

Each of three seeds renders its own pictures, and `minincep train` learns from them, with
`settings/default.toml`. All are tested on the same pictures that none has seen, in the styles of
the training and in styles that the training never uses; a linear classifier stands beside. The
first seed's network is the one that comes along.

A picture of a real egg is another matter: nobody has tested that here.
"""

import argparse
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import baseline
import commands
import minincep as mi
import render
import run
import tasks
from minincep.io.hdf5 import checksum


def found(wrong: list[int], damages: list[str]) -> dict[str, float]:
    """What share of the broken eggs was found, by how they are broken."""
    missed = [damages[i] for i in wrong]
    return {kind: 1 - missed.count(kind) / damages.count(kind) for kind in render.DAMAGES}


def test(weights: Path, folder: Path) -> dict[str, Any]:
    """Accuracy, confusion matrix, and what share of each damage was found, for each family."""
    results = {}
    for name, pictures in tasks.TESTS.items():
        result = commands.evaluate(weights, folder / name, pictures.count)
        result["found"] = found(result.pop("wrong"), pictures.damages())
        results[name] = result
    return results


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    """Train and test the network of a seed."""
    data, output = folder / f"pictures-{seed}", folder / f"default-{seed}"
    weights = commands.train(data, output, "default", seed=seed)
    return {"seed": seed, "tests": test(weights, folder / "tests")}


def loaded(folder: Path) -> tuple[baseline.Images, baseline.Labels]:
    """All pictures of a folder, in the order of their numbers, and which are broken."""
    paths = sorted(folder.glob("*/*.png"), key=lambda path: path.name)
    labels = [render.LABELS.index(path.parent.name) for path in paths]
    return np.stack([np.asarray(Image.open(path)) for path in paths]), np.array(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="an empty folder")
    parser.add_argument("--weights", type=Path, help="copy the first seed's weights there")
    parser.add_argument("--report", type=Path, help="JSON file with all the figures")
    parser.add_argument("--sheet", type=Path, help="picture of test pictures")
    parser.add_argument("--seeds", default="0,1,2", help="each is a training")
    options = parser.parse_args()
    folder, seeds = options.output, [int(seed) for seed in options.seeds.split(",")]

    with ProcessPoolExecutor() as pool:
        run.draw(folder / "tests", tasks.TESTS, pool)
        for seed in seeds:
            run.draw(folder / f"pictures-{seed}", tasks.default_training(seed), pool)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(one_seed, seeds, repeat(folder)))
    paths = [folder / f"default-{seed}/last.h5" for seed in seeds]
    tests = {name: loaded(folder / "tests" / name) for name in tasks.TESTS}
    linear = baseline.linear_classifiers(
        loaded(folder / f"pictures-{seeds[0]}/train"), list(tests.values())
    )
    report = {
        "what": "rendered pictures of eggs on a belt: is at least one broken?",
        "training pictures": tasks.default_training(0)["train"].count,
        "epochs": len(commands.epochs(paths[0].parent)),
        "test pictures": tasks.TESTS["seen"].count,
        "styles": {name: pictures.family.styles() for name, pictures in tasks.TESTS.items()},
        "bytes": paths[0].stat().st_size,
        "sha256": checksum(mi.load(paths[0]).arrays()),
        "seeds": results,
        "networks": {
            name: run.spread([r["tests"][name]["accuracy"] for r in results]) for name in tests
        },
        "linear": linear,
    }
    print(json.dumps(report["networks"], indent=1))
    if options.weights:
        shutil.copyfile(paths[0], options.weights)
    if options.report:
        options.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.sheet:
        chosen = np.concatenate([images[:16] for images, _ in tests.values()])
        render.contact_sheet(chosen).save(options.sheet, quality=85)


if __name__ == "__main__":
    main()
