"""docs/training.md is true: its fragments run, its commands parse, its table is the program's."""

import dataclasses
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import minincep as mi
from minincep import train
from minincep.cli.train import command as train_command
from minincep.models import Network
from minincep.models.preprocessing import Preprocessing
from minincep.models.registry import ARCHITECTURES
from minincep.train.settings import Settings
from tests.train import small

DOCS = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What a fragment starts with: a folder of pictures, and a size of networks for tests."""
    monkeypatch.chdir(tmp_path)
    small.pictures(tmp_path / "pictures")
    usual = ARCHITECTURES["inception_resnet_v2"]
    reduced = dataclasses.replace(usual, preprocessing=Preprocessing(75, 75))
    monkeypatch.setitem(ARCHITECTURES, "inception_resnet_v2", reduced)
    return {"small": small.CONFIG}


@pytest.mark.usefixtures("one_thread")
def test_trainer(names: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks("python")[0], "training.md", "exec"), names)
    trainer = names["trainer"]
    assert isinstance(trainer, train.Trainer)
    assert trainer.state.epoch == 3
    assert mi.load("run/best.h5").labels == ["blue", "green", "red"]
    assert "Epoch(" in capsys.readouterr().out


@pytest.mark.usefixtures("one_thread")
def test_loop(names: dict[str, object]) -> None:
    loop = blocks("python")[1]
    exec(compile(loop, "training.md", "exec"), names)
    losses, net = names["losses"], names["net"]
    assert isinstance(losses, list)
    assert np.mean(losses[-2:]) < np.mean(losses[:2])
    assert isinstance(net, Network)
    assert small.bits(mi.load("mine.h5")) == small.bits(net)
    code = [line for line in loop.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(code) <= 20


def test_commands() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines]
    assert len(commands) >= 4
    for program, name, *options in commands:
        assert (program, name) == ("minincep", "train")
        train_command.make_context("train", options)


def table() -> str:
    """What the documentation is to say of each setting."""
    rows = ["| setting | default | what it is |", "| --- | --- | --- |"]
    for field in dataclasses.fields(Settings):
        default = "" if field.default in (None, (), "") else str(field.default).lower()
        choices = ", ".join(field.metadata["choices"])
        rows.append(
            f"| `{field.name}` | {default} | {field.metadata['help']}"
            f"{f' One of {choices}.' if choices else ''} |"
        )
    return "\n".join(rows)


def test_settings() -> None:
    assert table() in DOCS
