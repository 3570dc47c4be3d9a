"""The worked example: the renderer keeps its promises, and the README what the training found."""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import minincep as mi
from minincep.io.hdf5 import checksum
from minincep.train.settings import read_config

sys.path.insert(0, str(Path(__file__).parents[2] / "examples/eggs"))
import baseline
import default
import readme_table
import render
import run
import tasks
from styles import FAMILIES, SEEN, UNSEEN, Family

ROOT = Path(__file__).parents[2]
EGGS = ROOT / "examples/eggs"
WEIGHTS = ROOT / "minincep/weights/eggs.h5"
FRESH_SEED = 77  # neither trained nor tested on by `default.py`
SEEDS = range(3)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((EGGS / "report.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def transfer() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((EGGS / "transfer.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_renderer_is_deterministic(family: Family) -> None:
    pictures, labels = render.data_set(6, 5, 64, family)
    again, same_labels = render.data_set(6, 5, 64, family)
    np.testing.assert_array_equal(pictures, again)
    np.testing.assert_array_equal(labels, same_labels)
    assert labels.sum() == 3
    scene = render.scene_seeds(6, 5)[4]
    np.testing.assert_array_equal(pictures[4], render.render(scene, bool(labels[4]), 64, family))


@pytest.mark.parametrize("seed", range(8))
def test_broken_eggs_are_the_intact_ones_later(seed: int) -> None:
    before, after = (render.render(seed, broken, 96).astype(int) for broken in (False, True))
    change = np.abs(after - before).max(2)
    assert np.median(change) <= 1
    assert (change > 20).sum() >= 5  # a hairline is small


@pytest.mark.parametrize("kind", render.DAMAGES)
def test_every_damage_occurs(kind: str) -> None:
    assert kind in {render.damage(seed) for seed in range(40)}


def test_data_sets_of_different_seeds_share_no_scene() -> None:
    one, other = render.scene_seeds(10_000, 1), render.scene_seeds(10_000, 2)
    assert not set(one) & set(other)
    assert len({render.render(s, False, 32).tobytes() for s in one[:4] + other[:4]}) == 8


def test_no_two_sets_of_pictures_share_a_seed() -> None:
    sets = [*tasks.TESTS.values(), tasks.TRANSFER_TEST]
    for seed in SEEDS:
        for make in (tasks.default_training, tasks.pretraining, tasks.farm):
            sets += make(seed).values()
    seeds = [pictures.seed for pictures in sets]
    assert len(seeds) == len(set(seeds)) == 3 + 3 * len(SEEDS) * 2
    assert FRESH_SEED not in seeds
    assert max(seeds) < 3000  # from there on, settings were tried out


def test_the_two_tasks_share_no_class_and_no_style() -> None:
    many, farm = tasks.pretraining(0)["train"], tasks.farm(0)["train"]
    assert not {s.label for s in many.scenes()} & {s.label for s in farm.scenes()}
    assert (many.family, farm.family, tasks.TRANSFER_TEST.family) == (SEEN, UNSEEN, UNSEEN)
    assert farm.count == 200


@pytest.mark.parametrize("task", ["damage", "broken", "pairs"])
def test_pictures_lie_in_the_folder_of_their_class(task: str, tmp_path: Path) -> None:
    pictures = tasks.Pictures(task, 6, 3, UNSEEN)
    with ProcessPoolExecutor(1) as pool:
        pictures.write(tmp_path / "set", pool)
    scenes = list(pictures.scenes())
    found = sorted((tmp_path / "set").rglob("*.png"), key=lambda path: path.name)
    assert [path.parent.name for path in found] == [scene.label for scene in scenes]
    for path, scene, damage in zip(found, scenes, pictures.damages(), strict=True):
        picture = render.render(scene.seed, scene.broken, tasks.SIZE, UNSEEN)
        np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
        assert bool(damage) == scene.broken == (scene.label != "intact egg")
        assert task != "damage" or damage == scene.label
    seeds = [scene.seed for scene in scenes]
    assert len(set(seeds)) == (3 if task == "pairs" else 6)


def test_tests_are_what_the_renderer_calls_a_data_set() -> None:
    """So that figures of different versions are of the same pictures."""
    for pictures in tasks.TESTS.values():
        scenes = list(pictures.scenes())
        assert [s.seed for s in scenes] == render.scene_seeds(pictures.count, pictures.seed)
        labels = render.shuffled_labels(pictures.count, pictures.seed)
        assert [s.broken for s in scenes] == labels.astype(bool).tolist()


def test_what_was_found_is_counted_by_damage() -> None:
    damages = ["", "hairline", "cracks", "hole", "opening", "hole", ""]
    assert default.found([0, 1, 3], damages) == {
        "hairline": 0.0,
        "cracks": 1.0,
        "hole": 0.5,
        "opening": 1.0,
    }


@pytest.mark.parametrize("path", sorted((EGGS / "settings").iterdir()), ids=lambda p: p.name)
def test_settings_are_good_and_used(path: Path) -> None:
    read_config(path)
    assert path.stem in {"default", "pretrained", *run.WAYS}


def test_seen_and_unseen_styles_share_nothing() -> None:
    for seen, unseen in zip(SEEN.choices(), UNSEEN.choices(), strict=True):
        assert seen
        assert unseen
        assert not set(seen) & set(unseen)
    styles = {
        family.name: {render.style(s, family) for s in range(50)} for family in (SEEN, UNSEEN)
    }
    assert not styles["seen"] & styles["unseen"]
    assert min(len(chosen) for chosen in styles.values()) > 30


def test_a_linear_classifier_finds_what_is_linear() -> None:
    """The yardstick itself: were it blind, the task would look hard."""
    random = np.random.default_rng(0)
    labels = np.arange(200) % 2
    images = random.integers(0, 200, (200, 16, 16, 3)).astype(np.uint8)
    images[labels == 1, :8] += 40
    half = images[:100], labels[:100]
    ridge = baseline.Ridge(baseline.pixels(half[0], 8), half[1])
    assert ridge.accuracy(baseline.pixels(images[100:], 8), labels[100:], 1.0) > 0.95


def test_the_report_is_of_a_hard_task(report: dict[str, Any]) -> None:
    assert len(report["seeds"]) == 3
    assert report["test pictures"] >= 1000
    for row in report["linear"].values():
        assert max(row["tests"]) < 0.8
    for result in report["seeds"]:
        for row in result["tests"].values():
            counts = np.array(row["confusion"])
            assert counts.sum() == report["test pictures"]
            assert row["accuracy"] == pytest.approx(np.trace(counts) / counts.sum())


def test_transfer_is_worth_it(transfer: dict[str, Any]) -> None:
    assert [result["seed"] for result in transfer["seeds"]] == list(SEEDS)
    for result in transfer["seeds"]:
        for way in run.WAYS:
            counts = np.array(result[way]["confusion"])
            assert counts.sum() == transfer["test pictures"]
            assert result[way]["accuracy"] == pytest.approx(np.trace(counts) / counts.sum())
        assert result["whole"]["accuracy"] > result["scratch"]["accuracy"]
    for way, row in transfer["ways"].items():
        values = [result[way]["accuracy"] for result in transfer["seeds"]]
        assert row == run.spread(values)


def test_the_readmes_say_what_the_reports_say(
    report: dict[str, Any], transfer: dict[str, Any]
) -> None:
    for path, name, table in readme_table.tables():
        readme = path.read_text(encoding="utf-8")
        assert readme_table.rewritten(readme, name, table) == readme
    before = readme_table.table(report), readme_table.transfer_table(transfer)
    report["seeds"][0]["tests"]["unseen"]["accuracy"] -= 0.1
    transfer["seeds"][0]["whole"]["accuracy"] -= 0.1
    assert readme_table.table(report) != before[0]
    assert readme_table.transfer_table(transfer) != before[1]


def test_a_readme_needs_its_marks() -> None:
    with pytest.raises(ValueError, match="README needs the lines"):
        readme_table.rewritten("no marks", "eggs", "a table")


def test_the_weights_are_small_and_of_the_report(report: dict[str, Any]) -> None:
    assert WEIGHTS.stat().st_size == report["bytes"] <= 4 << 20
    assert checksum(mi.load(WEIGHTS).arrays()) == report["sha256"]
    assert (EGGS / "pictures/samples.jpg").stat().st_size <= 150_000


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_network_is_as_good_as_reported(report: dict[str, Any], family: Family) -> None:
    pictures, labels = render.data_set(100, FRESH_SEED, 96, family)
    answers = mi.classify(WEIGHTS, list(pictures), top=1)
    named = [render.LABELS[label] for label in labels]
    right = np.mean([row[0].label == name for row, name in zip(answers, named, strict=True)])
    assert right >= report["seeds"][0]["tests"][family.name]["accuracy"] - 0.05
