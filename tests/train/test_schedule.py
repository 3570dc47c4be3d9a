"""Schedules: as PyTorch's and TensorFlow's, at any fraction of an epoch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minincep.train.schedule import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    Schedule,
    Step,
    create_schedule,
)
from minincep_kernels.errors import ConfigError

FOLDER = Path(__file__).parents[1] / "data/training"
TORCH = dict(np.load(FOLDER / "torch.npz"))
TENSORFLOW = dict(np.load(FOLDER / "tensorflow.npz"))


# PyTorch's count steps: four make an epoch here.
@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("step", Step(0.5, 0.3, [3, 5, 8.25])),
        ("staircase", Exponential(0.5, 0.94, 2)),
        ("smooth", Exponential(0.5, 0.94, 2, staircase=False)),
        ("cosine", Cosine(0.5, 10)),
        ("warm-up", Constant(0.5, warmup_epochs=2.5)),
        ("warm-up and step", Step(0.5, 0.3, (1, 5), warmup_epochs=2.5)),
    ],
)
def test_agrees_with_pytorch(name: str, schedule: Schedule) -> None:
    wanted = TORCH[f"schedule/{name}"]
    found = [schedule(step / 4) for step in range(len(wanted))]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_the_schedule_of_the_papers_agrees_with_tensorflow() -> None:
    found = [Exponential(0.045)(epoch) for epoch in TENSORFLOW["schedule/epochs"]]
    np.testing.assert_allclose(found, TENSORFLOW["schedule/paper"], rtol=1e-14)


def test_stairs_of_any_length() -> None:
    schedule = Exponential(1.0, 0.5, 0.1)
    found = [schedule(step / 10) for step in range(20)]  # 0.3 / 0.1 is a little less than 3
    assert found == [0.5**step for step in range(20)]


def test_a_cosine_stays_at_its_end() -> None:
    assert [Cosine(1.0, 4)(epoch) for epoch in (0, 4, 5, 100)] == [1, 0, 0, 0]


def test_the_warm_up_is_a_factor() -> None:
    plain, warm = Cosine(1.0, 8), Cosine(1.0, 8, warmup_epochs=2)
    assert [warm(epoch) for epoch in (0, 2, 5)] == [0, plain(2), plain(5)]
    assert warm(0.5) == plain(0.5) / 4


def test_a_list_of_epochs_becomes_a_tuple() -> None:
    assert Step(0.1, 0.5, [1, 2]) == Step(0.1, 0.5, (1, 2))
    assert hash(Step(0.1, 0.5, [1, 2]))


@pytest.mark.parametrize("name", SCHEDULES)
def test_by_name(name: str) -> None:
    more = {"epochs": 3} if name == "cosine" else {}
    made = create_schedule(name, rate=0.25, warmup_epochs=0.5, **more)
    assert type(made) is SCHEDULES[name]
    assert made(0.25) == pytest.approx(0.125 * made.left(0.25))
    assert made.rate == 0.25


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("linear", {}, "there is no schedule 'linear', only: exponential, step, cosine, constant"),
        ("step", {"rate": 0.1, "gamma": 1}, "schedule 'step' has no setting 'gamma', only: rate"),
        ("cosine", {"rate": 0.1}, "schedule 'cosine' needs a number for 'epochs'"),
        ("constant", {}, "schedule 'constant' needs a number for 'rate'"),
        ("constant", {"rate": 0}, "^rate must be a finite number above 0, got 0"),
        ("constant", {"rate": np.nan}, "^rate must be"),
        ("constant", {"rate": "1"}, "^rate must be"),
        ("constant", {"rate": True}, "^rate must be"),
        ("constant", {"rate": 1, "warmup_epochs": -1}, "^warmup_epochs must be .* at least 0"),
        ("exponential", {"rate": 1, "decay": 0}, "^decay must be .* above 0 and of at most 1"),
        ("exponential", {"rate": 1, "decay": 1.1}, "^decay must be"),
        ("exponential", {"rate": 1, "every_epochs": 0}, "^every_epochs must be"),
        ("exponential", {"rate": 1, "staircase": "no"}, "^staircase must be True or False, got"),
        ("step", {"rate": 1, "factor": 0}, "^factor must be"),
        ("step", {"rate": 1, "at_epochs": 3}, "^at_epochs must be a list of numbers, got 3"),
        ("step", {"rate": 1, "at_epochs": "3"}, "^at_epochs must be a list"),
        ("step", {"rate": 1, "at_epochs": [2, 1]}, "^each of at_epochs, .* above 2, got 1"),
        ("step", {"rate": 1, "at_epochs": [np.inf]}, "^each of at_epochs"),
        ("cosine", {"rate": 1, "epochs": 0}, "^epochs must be"),
    ],
)
def test_settings_out_of_range(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_schedule(name, **settings)


@pytest.mark.parametrize("epoch", [-0.1, np.nan, np.inf, "1"])
def test_epochs_out_of_range(epoch: Any) -> None:
    with pytest.raises(ConfigError, match=r"^epoch must be a finite number of at least 0"):
        Constant(1.0)(epoch)
