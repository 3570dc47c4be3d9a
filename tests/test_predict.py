"""classify, embed, features from Python: what they refuse, and that they agree with each other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minincep as mi
from minincep.io import reference
from minincep.models import Network
from minincep.predict import prepare_picture

PICTURES = [reference.picture(90, 120, seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def network() -> Network:
    return mi.load()


@pytest.mark.usefixtures("one_thread")
def test_batches_do_not_matter(network: Network) -> None:
    one = mi.classify(network, PICTURES, top=2, batch_size=1)
    all_at_once = mi.classify(network, PICTURES, top=2, batch_size=3)
    for a, b in zip(one, all_at_once, strict=True):
        assert [p.label for p in a] == [p.label for p in b]
        np.testing.assert_allclose(
            [p.probability for p in a], [p.probability for p in b], rtol=1e-4
        )
        assert sum(p.probability for p in a) == pytest.approx(1)
    np.testing.assert_allclose(
        mi.embed(network, PICTURES, batch_size=1), mi.embed(network, PICTURES), atol=1e-5
    )


def test_features_lead_to_the_answer(network: Network) -> None:
    x = np.stack([prepare_picture(network, picture) for picture in PICTURES])
    found = mi.features(network, x, endpoints=["PreLogitsFlatten", "Predictions"])
    rows = found["PreLogitsFlatten"]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(mi.embed(network, PICTURES), unit, atol=1e-5)
    best = mi.classify(network, PICTURES, top=1)
    assert [b[0].index for b in best] == found["Predictions"].argmax(axis=1).tolist()


def test_training_mode_is_refused(network: Network) -> None:
    before = {name: array.copy() for name, array in network.arrays().items()}
    network.train()
    try:
        for call in (mi.classify, mi.embed):
            with pytest.raises(mi.ConfigError, match="training mode"):
                call(network, PICTURES)
        with pytest.raises(mi.ConfigError, match="training mode"):
            mi.features(network, np.zeros((1, 80, 80, 3), np.float32), endpoints=["Logits"])
    finally:
        network.eval()
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"batch_size": 0}, "batch_size"), ({"batch_size": -1}, "batch_size"), ({"top": 0}, "top")],
)
def test_numbers_out_of_range(network: Network, arguments: Any, message: str) -> None:
    with pytest.raises(mi.ConfigError, match=message):
        mi.classify(network, PICTURES, **arguments)


def test_one_picture_must_be_in_a_list(network: Network, tmp_path: Path) -> None:
    with pytest.raises(mi.ImageError, match="must be a list"):
        mi.classify(network, str(tmp_path / "cat.jpg"))
    with pytest.raises(mi.ConfigError, match="must be a list"):
        mi.features(network, np.zeros((1, 80, 80, 3), np.float32), endpoints="Logits")


def test_every_public_name_is_there() -> None:
    for name in dir(mi):
        assert getattr(mi, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mi.nothing  # noqa: B018
