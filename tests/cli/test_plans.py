"""Stored plans on the command line: found, used, refused; the same answers with and without."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import minincep as mi
from minincep import cli
from minincep.io import reference
from minincep.models.preprocessing import Preprocessing
from minincep.plan import store

MAIN = [sys.executable, "-m", "minincep"]
ENDPOINTS = "Mixed_6a,PreLogitsFlatten"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, their plan, and nine pictures."""
    folder = tmp_path_factory.mktemp("plans")
    network = mi.create_model("inception_resnet_v2", num_classes=3, width=0.1, blocks=(1, 1, 1))
    network.labels = ["hen", "egg", "nest"]
    network.preprocessing = Preprocessing(75, 80)
    mi.save(network, folder / "net.h5")
    for seed in range(9):
        Image.fromarray(reference.picture(90, 80, seed)).save(folder / f"{seed}.png")
    run("compile", folder / "net.h5", "--endpoints", "Mixed_6a")
    return folder


@pytest.fixture
def weights(folder: Path, tmp_path: Path) -> Path:
    """A copy of the weights, with their plan, that may be damaged."""
    for name in ("net.h5", "net.h5.plan"):
        shutil.copy2(folder / name, tmp_path)
    return tmp_path / "net.h5"


def run(*arguments: object, status: int = 0, **environ: str) -> tuple[str, str]:
    result = subprocess.run(
        [*MAIN, *map(str, arguments)], capture_output=True, text=True, env=os.environ | environ
    )
    assert result.returncode == status, result.stderr
    return result.stdout, result.stderr


ALL = """
import contextlib, io, json, sys
from minincep import cli

answers = []
for arguments in json.loads(sys.argv[1]):
    sys.argv, output, errors = ["minincep", *arguments], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            cli.main()
        except SystemExit as error:
            assert not error.code, errors.getvalue()
    answers.append((output.getvalue(), errors.getvalue()))
print(json.dumps(answers))
"""


def run_in_one_process(commands: Sequence[Sequence[object]]) -> list[list[str]]:
    """Standard output and standard error of each, one after the other: starting takes a second."""
    arguments = json.dumps([[*map(str, command)] for command in commands])
    result = subprocess.run(
        [sys.executable, "-c", ALL, arguments], capture_output=True, text=True, check=True
    )
    answers: list[list[str]] = json.loads(result.stdout)
    return answers


def classified(folder: Path, weights: Path, *options: object) -> tuple[str, str]:
    return run("classify", folder, "--weights", weights, "--json", *options)


def test_what_compile_says_and_writes(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "elsewhere.plan"
    text, errors = run(
        *("compile", folder / "net.h5", "--image-size", "80X75", "--batch-size", 3),
        *("-o", output, "--tune"),
    )
    assert errors == ""
    assert text.startswith(f"{output}: inception_resnet_v2 for 80 x 75 pixels, ")
    plan = store.load(output)
    assert (plan.image_size, plan.batch_size) == ((80, 75), 3)
    assert plan.endpoints == ("PreLogitsFlatten",)
    assert plan.description.preprocessing == Preprocessing(75, 80)
    assert [entry.name for entry in tmp_path.iterdir()] == ["elsewhere.plan"]


def test_the_same_bits_with_and_without_in_any_batch_on_any_threads(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "net.h5", tmp_path)
    wanted = classified(folder, tmp_path / "net.h5")
    answers = [json.loads(line)["predictions"][0] for line in wanted[0].splitlines()]
    assert len({answer["probability"] for answer in answers}) == 9
    commands = [
        [
            *("classify", folder, "--weights", weights, "--json"),
            *("--batch-size", batch, "--threads", threads),
        ]
        for weights in (folder / "net.h5", folder / "net.h5.plan", tmp_path / "net.h5")
        for batch in (1, 8)
        for threads in (1, 2)
    ]
    assert run_in_one_process(commands) == [list(wanted)] * 12


def test_embed_and_features_use_it(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "net.h5", tmp_path)
    found: dict[str, Any] = {}
    for weights in (folder / "net.h5.plan", tmp_path / "net.h5"):
        output = tmp_path / f"{weights.name}.features.h5"
        text, errors = run("embed", folder, "--weights", weights, "--json")
        assert errors == ""
        features = ("--endpoints", ENDPOINTS, "-o", output)
        assert run("features", folder, "--weights", weights, *features)[1] == ""
        with h5py.File(output) as file:
            arrays = [file[name][()] for name in ENDPOINTS.split(",")]
        found[weights.name] = (text, arrays)
    (text, arrays), (other, others) = found.values()
    assert text == other
    for a, b in zip(arrays, others, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(np.std(b)))


def test_python_takes_the_same(folder: Path) -> None:
    pictures = sorted(folder.glob("*.png"))
    wanted = mi.classify(mi.load(folder / "net.h5"), pictures)
    plan = store.load(folder / "net.h5.plan")
    for source in (folder / "net.h5", folder / "net.h5.plan", plan):
        assert mi.classify(source, pictures) == wanted
        assert mi.embed(source, pictures).shape == (
            9,
            plan.run_endpoints(np.zeros((1, 75, 80, 3), np.float32))["PreLogitsFlatten"].shape[1],
        )


def test_weights_are_not_opened(weights: Path, folder: Path) -> None:
    """The plan has all that it takes: the file beside it is only looked at from outside."""
    wanted = classified(folder, folder / "net.h5")
    status = weights.stat()
    content = bytearray(weights.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    weights.write_bytes(content)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert classified(folder, weights) == wanted


def test_little_is_imported() -> None:
    """Reading HDF5, drawing tables and the networks take time, and a stored plan needs none."""
    code = """
import sys
import minincep.cli.classify, minincep.cli.pictures, minincep.predict
heavy = {"h5py", "rich", "minincep.autograd", "minincep.models.network", "minincep.plan.lower"}
print(heavy & set(sys.modules) or "none")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr) == ("none", "")


# ------------------------------------------------------------------ plans that do not fit


@pytest.mark.parametrize("kind", ["changed", "damaged", "cpu", "size"])
def test_a_plan_that_does_not_fit_is_named_once_and_not_used(
    weights: Path, folder: Path, kind: str
) -> None:
    plan = weights.with_name("net.h5.plan")
    environ: dict[str, Any] = {}
    if kind == "changed":
        network = mi.load(weights)
        network.labels = ["cat", "dog", "cow"]
        mi.save(network, weights)
    elif kind == "damaged":
        plan.write_bytes(plan.read_bytes()[:-1])
    elif kind == "cpu":
        environ["NUMBA_CPU_NAME"] = "generic"
    else:
        run("compile", weights, "--image-size", "90x75")
    reason = {
        "changed": f"{weights} has changed since the plan was made",
        "damaged": "damaged: it is not of the length",
        "cpu": "made for another CPU",
        "size": "is for pictures of 90 x 75 pixels, not 75 x 80",
    }[kind]
    text, errors = run(
        "classify", folder / "0.png", "--weights", weights, "--json", "--threads", 1, **environ
    )
    assert errors.count("\n") == 1
    assert str(plan) in errors
    assert reason in errors
    assert "compiling in memory, 'minincep compile' makes a new one" in errors
    (best, *_) = json.loads(text)["predictions"]
    if kind == "changed":
        assert best["label"] in ("cat", "dog", "cow")
    if kind in ("changed", "damaged"):  # named itself, it is refused
        errors = run("classify", folder / "0.png", "--weights", plan, status=2)[1]
        assert errors.count("\n") == 1
        assert reason in errors
        run("compile", weights)
        assert run("classify", folder / "0.png", "--weights", weights)[1] == ""


def test_an_end_point_that_it_has_not(weights: Path, folder: Path, tmp_path: Path) -> None:
    options = ("--endpoints", "Mixed_7a", "-o", tmp_path / "x.h5")
    errors = run("features", folder / "0.png", "--weights", weights, *options)[1]
    assert "has no end point Mixed_7a; compiling in memory" in errors
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["Mixed_7a"].shape[0] == 1


def test_forced_kernels_do_not_use_it(weights: Path, folder: Path) -> None:
    options = ("--json", "--kernels", "conv2d=naive")
    text, errors = run("classify", folder / "0.png", "--weights", weights, *options)
    assert errors == ""
    other = classified(folder, weights)[0].splitlines()[0]
    found, wanted = json.loads(text), json.loads(other)
    assert found != wanted
    assert [p["label"] for p in found["predictions"]] == [p["label"] for p in wanted["predictions"]]
    plan = weights.with_name("net.h5.plan")
    errors = run("classify", folder / "0.png", "--weights", plan, *options, status=2)[1]
    assert "give the weights file" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["net.h5", "--image-size", "big"],
            "'big' is not a size in pixels, such as 299 or 331x203",
        ),
        (["net.h5", "--image-size", "1x2x3"], "is not a size"),
        (["net.h5", "--image-size", "0"], "is not a size"),
        (["net.h5", "--image-size", "74"], "at least 75 x 75"),
        (["net.h5", "--batch-size", "0"], "--batch-size"),
        (["net.h5", "--endpoints", "Mixed_6z"], "no end point 'Mixed_6z'"),
        (["net.h5", "-o", "no/x.plan"], "no is not a folder; make it first"),
        (["net.h5", "-o", "taken"], "taken"),
        (["absent.h5"], "absent.h5: there is no such file"),
        ([], "Missing argument"),
    ],
)
def test_mistakes(
    weights: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(weights.parent)
    monkeypatch.setattr(sys, "argv", ["minincep", "compile", *arguments])
    Path("taken").mkdir()
    before = sorted(weights.parent.iterdir())
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert sorted(weights.parent.iterdir()) == before


# ------------------------------------------------------------------ profile


@pytest.mark.parametrize("name", ["net.h5", "net.h5.plan"])
def test_profile(folder: Path, name: str) -> None:
    options = (folder / name, "--repeats", 2, "--threads", 1)
    text, errors = run("profile", *options)
    assert errors == ""
    header, *rows, total = text.splitlines()
    assert header.split()[:4] == ["layer", "shape", "method", "ms"]
    assert len(rows) == len(store.load(folder / "net.h5.plan").program.steps)
    assert rows[0].startswith("conv2d_1a_3x3")
    assert total.endswith(" ms for 1 picture on 1 thread, each step by itself")

    answer = json.loads(run("profile", *options, "--json", "--top", 3)[0])
    assert answer["threads"] == answer["batch"] == 1
    seconds = [step["seconds"] for step in answer["steps"]]
    assert len(seconds) == 3
    assert seconds == sorted(seconds, reverse=True)
    assert 0 < sum(seconds) <= answer["total_seconds"]
    assert {"path", "shape", "method", "flops", "bytes", "bound"} <= set(answer["steps"][0])


def test_profile_refuses_what_the_plan_is_not_for(folder: Path) -> None:
    plan = folder / "net.h5.plan"
    for option in (("--image-size", 90), ("--batch-size", 2)):
        errors = run("profile", plan, *option, status=2)[1]
        assert "is for 75 x 80 pixels and batches of 1" in errors
