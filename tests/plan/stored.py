"""Stored plans to test, and what refuses them."""

from pathlib import Path
from typing import Any

import pytest

import minincep as mi
from minincep.models.network import Network
from minincep.plan import store
from minincep.predict import compile_for, describe
from tests.plan.graphs import network, normal

ROOT = Path(__file__).parents[2]
SIZE = (75, 82)
X = normal(3, *SIZE, 3)


def small(name: str = "inception_resnet_v2", seed: int = 0) -> Network:
    net = network(name, width=0.05, num_classes=3, seed=seed)
    net.labels = ["hen", "egg", "nest"]
    return net


def saved(net: Network, folder: Path, size: tuple[int, int] = SIZE, **options: Any) -> Path:
    """A weights file and its plan beside it; -> the plan."""
    weights, path = folder / "net.h5", folder / "net.h5.plan"
    mi.save(net, weights)
    store.save(
        path,
        lambda allocate: compile_for(net, size, 2, (), allocate=allocate, **options),
        describe(net),
        weights,
    )
    return path


def refused(path: Path, message: str, weights: Path | None = None) -> None:
    with pytest.raises(mi.PlanError, match=message) as caught:
        store.load(path, weights)
    assert str(caught.value).startswith(str(path))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())
