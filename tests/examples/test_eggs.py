"""The worked example: the renderer keeps its promises, and the README what the training found."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minincep as mi
from minincep.io.hdf5 import checksum

sys.path.insert(0, str(Path(__file__).parents[2] / "examples/eggs"))
import baseline
import readme_table
import render
import train
from styles import FAMILIES, SEEN, UNSEEN, Family

ROOT = Path(__file__).parents[2]
EGGS = ROOT / "examples/eggs"
WEIGHTS = ROOT / "minincep/weights/eggs.h5"
FRESH_SEED = 77  # neither trained nor tested on by `train.py`


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((EGGS / "report.json").read_text(encoding="utf-8"))
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


def test_training_and_test_seeds_differ() -> None:
    assert train.TEST_SEED + len(FAMILIES) <= train.FIRST_TRAIN_SEED
    assert not train.TEST_SEED <= FRESH_SEED < train.TEST_SEED + len(FAMILIES)
    assert FRESH_SEED < train.FIRST_TRAIN_SEED


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


def test_the_readme_says_what_the_report_says(report: dict[str, Any]) -> None:
    readme = readme_table.README.read_text(encoding="utf-8")
    assert readme_table.rewritten(readme, report) == readme
    report["seeds"][0]["tests"]["unseen"]["accuracy"] -= 0.1
    assert readme_table.rewritten(readme, report) != readme


def test_the_readme_needs_its_marks(report: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="README needs the lines"):
        readme_table.rewritten("no marks", report)


def test_the_weights_are_small_and_of_the_report(report: dict[str, Any]) -> None:
    assert WEIGHTS.stat().st_size == report["bytes"] <= 4 << 20
    assert checksum(mi.load(WEIGHTS).arrays()) == report["sha256"]
    assert (EGGS / "pictures/samples.jpg").stat().st_size <= 150_000


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_network_is_as_good_as_reported(report: dict[str, Any], family: Family) -> None:
    pictures, labels = render.data_set(100, FRESH_SEED, 96, family)
    answers = mi.classify(WEIGHTS, list(pictures), top=1)
    right = np.mean([row[0].index == y for row, y in zip(answers, labels, strict=True)])
    assert right >= report["seeds"][0]["tests"][family.name]["accuracy"] - 0.05
