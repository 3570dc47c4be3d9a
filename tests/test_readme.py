"""The README is true: its Python block runs, and its commands exist."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import minincep as mi
from minincep import cli
from minincep.io import reference
from minincep.models import Network

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.usefixtures("one_thread")
def test_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small: dict[str, Any] = {"width": 0.05, "blocks": (1, 1, 1)}
    mi.save(mi.create_model("inception_resnet_v1", **small), "facenet.h5")
    mi.save(mi.create_model("inception_resnet_v2", num_classes=5, **small), "mine.h5")
    for seed, name in enumerate(["cat.jpg", "a.jpg", "b.jpg"]):
        Image.fromarray(reference.picture(100, 90, seed)).save(name)
    (block,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    net, loss = names["net"], names["loss"]
    assert isinstance(loss, mi.Tensor)
    assert np.isfinite(loss.item())
    assert isinstance(net, Network)
    assert all(p.grad is not None for p in net.parameters().values())


def test_commands_exist() -> None:
    commands = re.findall(r"^minincep (\w+)", "\n".join(blocks("sh")), re.MULTILINE)
    assert len(commands) >= 5
    assert set(commands) <= set(cli.COMMANDS)
