"""classify, embed, features from Python: what they refuse, and that they agree with each other."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minincep as mi
from minincep.autograd.ops import global_avg_pool2d, multiply
from minincep.io import reference
from minincep.io.hdf5 import DEFAULT
from minincep.models import Network
from minincep.models.preprocessing import Preprocessing
from minincep.predict import prepare_picture, prepared_ahead, ready
from tests.plan.graphs import written

PICTURES = [reference.picture(90, 120, seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def network() -> Network:
    return mi.load()


@pytest.mark.usefixtures("one_thread")
def test_batches_do_not_matter(network: Network) -> None:
    one = mi.classify(network, PICTURES, top=2, batch_size=1)
    all_at_once = mi.classify(network, PICTURES, top=2, batch_size=3)
    assert one == all_at_once  # to the last bit
    assert len({predictions[0].probability for predictions in one}) == len(PICTURES)
    for predictions in one:
        assert sum(p.probability for p in predictions) == pytest.approx(1)
    np.testing.assert_array_equal(
        mi.embed(network, PICTURES, batch_size=1), mi.embed(network, PICTURES)
    )


def test_pictures_are_decoded_ahead_but_not_far(network: Network) -> None:
    taken = []

    def pictures() -> Iterator[Any]:
        for number in range(20):
            taken.append(number)
            yield PICTURES[number % 3]

    waiting = prepared_ahead(network, pictures(), 4)
    _, first = next(waiting)
    assert len(taken) == 5
    np.testing.assert_array_equal(first.result(), prepare_picture(network, PICTURES[0]))
    assert sum(1 for _ in waiting) == 19
    with pytest.raises(mi.ImageError, match="there is no such file"):
        mi.embed(network, [*PICTURES, "absent.png", *PICTURES])
    assert not [thread for thread in threading.enumerate() if "decoder" in thread.name]


def test_a_network_that_a_plan_cannot_run_is_run_op_by_op(network: Network) -> None:
    wanted = mi.classify(network, PICTURES)
    found = mi.features(
        mi.load().astype(np.float64),
        np.stack([prepare_picture(network, picture) for picture in PICTURES]).astype(np.float64),
        endpoints=["Predictions"],
    )["Predictions"]
    assert found.dtype == np.float64
    for row, predictions in zip(found, wanted, strict=True):
        assert predictions[0].probability == pytest.approx(row.max(), abs=1e-5)
    own = written(lambda x: global_avg_pool2d(multiply(x, x)))
    with pytest.raises(mi.PlanError, match="multiply"):
        mi.compile(own)
    vectors = mi.embed(own, PICTURES)
    assert vectors.shape == (3, 3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_grey_levels_from_0_to_255_are_named(network: Network, dtype: Any) -> None:
    x = np.stack([picture[:80, :80] for picture in PICTURES]).astype(dtype)
    for call in (
        lambda: mi.features(network, x, endpoints=["Logits"]),
        lambda: ready(network).classify(x),
        lambda: ready(network).embed(x),
        lambda: ready(network, eager=True).classify(x),
    ):
        with pytest.raises(mi.ImageError, match="0 to 255: prepare each picture"):
            call()


def test_whitened_pictures_may_be_large(monkeypatch: pytest.MonkeyPatch, network: Network) -> None:
    monkeypatch.setattr(network, "preprocessing", Preprocessing(80, 80, scaling="whitening"))
    dot = np.zeros((80, 80, 3), np.uint8)
    dot[40, 40] = 255
    assert prepare_picture(network, dot).max() > 70
    assert mi.classify(network, [dot])[0][0].probability >= 0.5
    with pytest.raises(mi.ImageError, match="from 0 to 255, which looks like grey levels"):
        mi.features(network, dot[None].astype(np.float32), endpoints=["Logits"])


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((1, 3, 80, 80), np.float32), mi.ShapeError, "channels first, transpose it"),
        (np.zeros((80, 80, 3), np.float32), mi.ShapeError, "add the batch axis"),
        (np.zeros((0, 80, 80, 3), np.float32), mi.ShapeError, "takes pictures"),
        (np.zeros((1, 80, 80, 3)), mi.DTypeError, "float64"),
        (np.zeros((1, 80, 80, 3), np.uint8), mi.DTypeError, "uint8"),
        ([[1.0]], mi.DTypeError, "list"),
    ],
)
def test_arrays_that_are_no_prepared_pictures(
    network: Network, x: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        mi.features(network, x, endpoints=["Logits"])
    for eager in (False, True):
        with pytest.raises(error, match=message):
            ready(network, eager=eager).classify(x)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((80, 80, 3), np.float32),
        np.zeros((80, 80, 3), np.int64),
        np.zeros((3, 80, 80), np.uint8),
        np.zeros((80, 80), np.uint8),
        np.zeros((80, 80, 4), np.uint8),
        np.zeros((1, 80, 80, 3), np.uint8),
        np.zeros((0, 80, 3), np.uint8),
    ],
    ids=lambda picture: f"{picture.shape}-{picture.dtype}",
)
def test_arrays_that_are_no_pictures(network: Network, picture: Any) -> None:
    for call in (mi.classify, mi.embed):
        with pytest.raises(mi.ImageError, match=r"\(H, W, 3\) of uint8, RGB, 0 to 255, got"):
            call(network, [picture])


def test_features_of_a_weights_file() -> None:
    x = np.zeros((1, 80, 80, 3), np.float32)
    assert mi.features(DEFAULT, x, endpoints=["Logits"])["Logits"].shape == (1, 2)
    with pytest.raises(mi.WeightError, match="there is no such file"):
        mi.features("absent.h5", x, endpoints=["Logits"])


def test_an_unknown_end_point(network: Network) -> None:
    with pytest.raises(mi.ConfigError, match="no end point 'Mixed_6z'; the nearest is 'Mixed_6"):
        mi.features(network, np.zeros((1, 80, 80, 3), np.float32), endpoints=["Mixed_6z"])


def test_every_public_name_is_there() -> None:
    for name in dir(mi):
        assert getattr(mi, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mi.nothing  # noqa: B018
