"""Training beside PyTorch: losses, running statistics and weights after a few steps are the same.

`tools/training/torch_agreement.py store` has trained reduced networks of timm and facenet-pytorch
with each optimiser, in float64, and says how far its float32 was from that.
"""

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from tools.training import cases
from tools.training.cases import TINY, Case

STORED = Path(__file__).parents[1] / "data/training/torch_steps.h5"


def stored(name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Losses (steps,) and samples of all arrays after the last step."""
    with h5py.File(STORED) as file:
        group = file[name]
        case = json.loads(group.attrs["case"])
        assert case == json.loads(json.dumps(dataclasses.asdict(TINY[name]))), "made for another"
        return group["losses"][()], group["samples"][()]


def test_every_case_is_stored() -> None:
    with h5py.File(STORED) as file:
        names = {f"{network}/{kind}" for network in file for kind in file[network]}
    assert names == TINY.keys()


@pytest.mark.parametrize("name", TINY)
def test_training_in_float64_is_that_of_pytorch(name: str, one_thread: None) -> None:
    losses, samples = stored(name)
    ours = cases.train(TINY[name], np.float64)
    np.testing.assert_allclose(ours.losses, losses, rtol=1e-11)
    np.testing.assert_allclose(cases.samples(ours), samples, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in TINY if name.endswith("/sgd")])
def test_training_in_float32_is_that_of_pytorch(name: str, one_thread: None) -> None:
    losses, samples = stored(name)
    ours = cases.train(TINY[name])
    np.testing.assert_allclose(ours.losses[0], losses[0], rtol=2e-5)
    np.testing.assert_allclose(ours.losses, losses, rtol=1e-3)
    np.testing.assert_allclose(cases.samples(ours), samples, rtol=1e-2, atol=1e-3)


def test_a_wrong_decay_of_running_statistics_shows(
    monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    name = "inception_resnet_v1/sgd"
    monkeypatch.setattr(cases, "KEEP", 0.9001)
    losses, samples = stored(name)
    ours = cases.train(TINY[name], np.float64)
    np.testing.assert_allclose(ours.losses, losses, rtol=1e-11)  # batch statistics do not change
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(cases.samples(ours), samples, rtol=1e-8, atol=1e-10)


def test_a_wrong_learning_rate_shows(one_thread: None) -> None:
    name = "inception_resnet_v1/sgd"
    case: Case = dataclasses.replace(TINY[name], rate=TINY[name].rate * 1.0001)
    losses, _ = stored(name)
    ours = cases.train(case, np.float64)
    assert ours.losses[0] == pytest.approx(losses[0], rel=1e-11)
    assert ours.losses[1] != pytest.approx(losses[1], rel=1e-11)
