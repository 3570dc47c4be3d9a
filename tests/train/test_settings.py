"""Settings: each checked, explained where it is wrong, and the same when read from a file."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import minincep as mi
from minincep.io.known import DEFAULT
from minincep.train import settings
from minincep.train.build import make_augmentation, make_network
from minincep.train.optim import OPTIMIZERS
from minincep.train.schedule import SCHEDULES
from minincep.train.settings import RECIPES, Settings
from minincep_kernels.errors import ConfigError

FULL = Settings(
    data='/a "b"/\\ä\t\x7f\U0001f95a',
    model="inception_v4",
    blocks=(1, 2, 1),
    freeze=("mixed_5*", "*/beta"),
    at=(1, 2.5),
    dropout=0.1,
    epochs=3,
    turns=True,
    rate=1e-5,
    seed=2**32 - 1,
)


@pytest.mark.parametrize("before", [Settings(), FULL])
def test_a_config_file_reads_the_same(tmp_path: Path, before: Settings) -> None:
    before.write(tmp_path / "settings.toml")
    found = settings.read_config(tmp_path / "settings.toml")
    assert settings.from_items(found) == before
    assert found == before.items()


def test_names_are_those_of_the_program() -> None:
    assert set(settings.MODELS) == set(mi.list_models())
    assert set(settings.OPTIMIZERS) == set(OPTIMIZERS)
    assert set(settings.RATES) == set(settings.DECAYS) == set(OPTIMIZERS)
    assert set(settings.SCHEDULES) == set(SCHEDULES)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_settings(name: str) -> None:
    found = settings.from_sources(recipe=name, config=None, given={})
    assert all(getattr(found, key) == value for key, value in RECIPES[name].items())


def test_the_paper() -> None:
    """Szegedy et al. 2016, section 4."""
    paper = settings.from_sources(recipe="paper", config=None, given={})
    assert (paper.optimizer, paper.rms_decay, paper.epsilon) == ("rmsprop", 0.9, 1.0)
    assert (paper.rate, paper.schedule, paper.factor, paper.every) == (
        0.045,
        "exponential",
        0.94,
        2,
    )


def test_the_first_source_wins(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text("rate = 0.5\nepochs = 7\n")
    found = settings.from_sources(recipe="paper", config=config, given={"rate": 0.25})
    assert (found.rate, found.epochs, found.batch_size) == (0.25, 7, 32)
    assert settings.from_sources(recipe=None, config=None, given={}).batch_size == 16


@pytest.mark.parametrize(
    ("given", "rate"),
    [({}, 1e-3), ({"weights": "x.h5"}, 1e-4), ({"optimizer": "sgd"}, 0.02), ({"rate": 3}, 3.0)],
)
def test_the_rate_suits(given: dict[str, Any], rate: float) -> None:
    assert settings.from_sources(recipe=None, config=None, given=given).rate == pytest.approx(rate)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"rates": 1}, "no setting 'rates'; the nearest is rate"),
        ({"label-smoothing": 1}, "the nearest is label_smoothing"),
        ({"epochs": 1.5}, "epochs must be a whole number, got 1.5"),
        ({"epochs": True}, "epochs must be a whole number, got True"),
        ({"epochs": None}, "epochs must be a whole number, got None"),
        ({"rate": "fast"}, "rate must be a number, got 'fast'"),
        ({"rate": float("nan")}, "rate must be from 0 to 1000, got nan"),
        ({"rate": -1}, "rate must be from 0 to 1000, got -1"),
        ({"clip_norm": float("inf")}, r"clip_norm must be from 1e-12 to 1.79\d*e\+308, got inf"),
        ({"schedule": "step", "at": [1, float("inf")]}, "at must be from .* got inf"),
        ({"turns": 1}, "turns must be true or false, got 1"),
        ({"optimizer": "addam"}, "optimizer must be one of sgd, .* did you mean adam"),
        ({"freeze": "a"}, "freeze must be a list, got 'a'"),
        ({"freeze": [1]}, "freeze must be text, got 1"),
        ({"blocks": [1, 2]}, "blocks must be three whole numbers"),
        ({"blocks": [1, 2, 0.5]}, "blocks must be a whole number, got 0.5"),
        ({"schedule": "step"}, "schedule step needs at"),
        ({"batch_size": 1}, "batch_size must be from 2 to 4096, got 1"),
        ({"seed": 10**400}, r"seed must be from 0 to 4.29497e\+09, got 10{79}$"),
        ({"x" * 1000: 1}, "no setting 'x{79}; the nearest"),
        ({"freeze": "x" * 1000}, "freeze must be a list, got 'x{79}$"),
        ({"data": "caf\udce9"}, r"data must be text in UTF-8, got 'caf\\udce9': rename it"),
    ],
)
def test_says_what_is_wrong(items: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings.from_items(items)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rate = ", "not TOML"),
        (b"\xff", "not TOML"),
        (b"a = " + b"[" * 100_000, "not TOML"),
        (b"colour = 1", "no setting 'colour'"),
        (b"[rate]\nx = 1", "rate must be a number"),
        (b"#" * (1 << 21), "no config file"),
    ],
)
def test_names_the_config_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^{path}: .*{message}"):
        settings.read_config(path)


def test_no_config_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        settings.read_config(tmp_path / "mine.toml")


def test_no_such_recipe() -> None:
    with pytest.raises(ConfigError, match="no recipe 'x', only: small, paper"):
        settings.from_sources(recipe="x", config=None, given={})


def test_resumed_with_more_epochs_only() -> None:
    before = FULL.items()
    found = settings.resumed(before, {"epochs": 9, "workers": 3, "rate": 1e-5})
    assert found == dataclasses.replace(FULL, epochs=9, workers=3)
    with pytest.raises(ConfigError, match="batch_size was 16 and is 8 now"):
        settings.resumed(before, {"batch_size": 8})


def test_resumed_with_the_same_weights_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.h5").touch()
    (tmp_path / "link.h5").symlink_to("a.h5")
    before = Settings(weights="a.h5").with_whole_paths().items()
    for same in ("a.h5", "link.h5", str(tmp_path / "a.h5")):
        settings.resumed(before, {"weights": same})
    settings.resumed({"weights": "eggs"}, {"weights": str(DEFAULT)})
    (tmp_path / "b.h5").touch()
    for then, now in [(before, "b.h5"), ({}, "a.h5"), (before, "eggs"), ({"weights": "eggs"}, "b")]:
        with pytest.raises(
            ConfigError, match=f"weights was .* and is '{now}' now, .* leave it out"
        ):
            settings.resumed(then, {"weights": now})


def test_paths_are_whole_and_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("eggs", "pictures"):
        (tmp_path / name).mkdir()
    known = Settings(data="pictures", weights="eggs").with_whole_paths()
    assert (known.data, known.weights) == (str(tmp_path / "pictures"), "eggs")
    assert Settings(weights="pictures").with_whole_paths().weights == str(tmp_path / "pictures")


def test_every_setting_is_explained() -> None:
    for field in dataclasses.fields(Settings):
        assert len(field.metadata["help"]) > 10


def test_how_pictures_are_cut() -> None:
    small = Settings(model="inception_resnet_v1", width=0.02, blocks=(1, 1, 1), crop=0.5)
    how = make_network(small, ("a", "b")).preprocessing
    assert (how.height, how.width, how.crop) == (160, 160, 0.5)
    small = dataclasses.replace(small, image_size=96, crop=None)
    assert make_network(small, ("a", "b")).preprocessing.height == 96
    light = make_augmentation(Settings(turns=True))
    assert light is not None
    varied = make_augmentation(Settings(turns=True, area=0.7))
    assert varied == dataclasses.replace(light, area=(0.7, light.area[1]))
    assert make_augmentation(Settings(augment="none", area=0.7)) is None
