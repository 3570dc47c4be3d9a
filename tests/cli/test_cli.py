"""The command line: answers, exit status, and no traceback for a user's mistake."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import minincep as mi
from minincep import cli
from minincep.io import reference
from minincep.models.preprocessing import Preprocessing

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "tests/data/reference_inception_resnet_v1.h5"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process: arguments -> exit status, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["minincep", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output, errors = capsys.readouterr()
        return int(caught.value.code or 0), output, errors

    return run


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = mi.create_model("inception_resnet_v2", num_classes=3, width=0.05, blocks=(1, 1, 1))
    network.labels = ["one", "two", "three"]
    network.preprocessing = Preprocessing(75, 75)
    path = tmp_path_factory.mktemp("weights") / "small.h5"
    mi.save(network, path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{seed}.png" for seed in (1, 2, 3)]
    for seed, path in enumerate(paths, 1):
        Image.fromarray(reference.picture(90, 80, seed)).save(path)
    return paths


def test_version_imports_nothing_heavy() -> None:
    code = """
import sys
sys.argv = ["minincep", "--version"]
from minincep.cli import main
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
heavy = {"numba", "h5py", "scipy", "PIL", "rich", "llvmlite"} & set(sys.modules)
assert not heavy, heavy
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert mi.__version__ in result.stdout


def test_help_lists_every_command(run: Run) -> None:
    status, output, _ = run("--help")
    assert status == 0
    for name in cli.COMMANDS:
        assert name in output
        status, text, _ = run(name, "--help")
        assert status == 0
        assert text.startswith("Usage: ")


def test_classify(run: Run, weights: Path, pictures: list[Path]) -> None:
    status, output, errors = run(
        "classify", *pictures, "--weights", weights, "--top", 2, "--json", "--batch-size", 2
    )
    assert (status, errors) == (0, "")
    answers = [json.loads(line) for line in output.splitlines()]
    assert [answer["image"] for answer in answers] == [str(path) for path in pictures]
    expected = mi.classify(weights, pictures, top=2)
    for answer, predictions in zip(answers, expected, strict=True):
        assert [row["label"] for row in answer["predictions"]] == [p.label for p in predictions]
        got = [row["probability"] for row in answer["predictions"]]
        np.testing.assert_allclose(got, [p.probability for p in predictions], rtol=1e-5)
    assert len({answer["predictions"][0]["probability"] for answer in answers}) == 3


def test_classify_for_people(run: Run, weights: Path, pictures: list[Path]) -> None:
    status, output, _ = run("classify", pictures[0], "--weights", weights)
    assert status == 0
    assert output.splitlines()[0] == str(pictures[0])
    assert len(output.splitlines()) == 4
    assert "%  " in output


def test_the_default_network_knows_its_eggs(run: Run) -> None:
    folder = ROOT / "examples/eggs/pictures"
    status, output, _ = run("classify", folder / "intact.jpg", folder / "broken.jpg", "--json")
    assert status == 0
    best = [json.loads(line)["predictions"][0] for line in output.splitlines()]
    assert [row["label"] for row in best] == ["intact egg", "broken egg"]
    assert min(row["probability"] for row in best) > 0.7


def test_bad_pictures_are_named_and_good_ones_answered(
    run: Run, weights: Path, pictures: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(pictures[1].read_bytes()[:200])
    absent = tmp_path / "absent.png"
    status, output, errors = run(
        "classify", pictures[0], broken, absent, pictures[2], "--weights", weights, "--json"
    )
    assert status == 2
    answers = {answer["image"]: answer for answer in map(json.loads, output.splitlines())}
    assert "predictions" in answers[str(pictures[0])]
    assert "predictions" in answers[str(pictures[2])]
    assert "damaged" in answers[str(broken)]["error"]
    assert f"{absent}: there is no such file" in errors
    assert f"{broken}: damaged picture" in errors


def test_embed(run: Run, weights: Path, pictures: list[Path]) -> None:
    status, output, _ = run("embed", *pictures, pictures[0], "--weights", weights, "--json")
    assert status == 0
    vectors = np.array([json.loads(line)["embedding"] for line in output.splitlines()])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)

    status, output, _ = run(
        "embed", *pictures, pictures[0], "--weights", weights, "--distances", "--json"
    )
    distances = np.array(json.loads(output)["distances"])
    assert distances[0, 3] < 1e-5 < distances[0, 1]
    np.testing.assert_allclose(
        distances, np.linalg.norm(vectors[:, None] - vectors[None], axis=2), atol=1e-5
    )
    odd = pictures[0].with_name("a[red]b[x].png")
    pictures[0].rename(odd)
    status, output, _ = run("embed", odd, *pictures[1:], "--weights", weights, "--distances")
    assert status == 0
    assert str(odd) in output
    assert f"{distances[0, 1]:.4f}" in output


def test_info(run: Run, weights: Path) -> None:
    status, output, _ = run("info")
    assert status == 0
    assert "inception_v4" in output
    status, output, _ = run("info", weights, "--arrays", "--endpoints")
    assert status == 0
    for piece in ("inception_resnet_v2", "3: one, two, three", "logits/weight", "Block8"):
        assert piece in output


def test_verify_passes_and_fails(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, output, _ = run("verify", REFERENCE, "--case", "facenet_pytorch_160x160")
    assert status == 0
    assert "agree" in output
    assert "Repeat_1/block17_7" in output

    path = tmp_path / "other.h5"
    path.write_bytes(REFERENCE.read_bytes())
    with h5py.File(path, "r+") as file:
        entries = file["cases/facenet_pytorch_160x160/endpoints"]
        entry = next(e for e in entries.values() if e.attrs["name"] == "Mixed_6a")
        entry["values"][100] += 1e-3 * entry.attrs["std"]
    status, output, _ = run("verify", path, "--case", "facenet_pytorch_160x160", "--failed")
    assert status == 1
    assert "first end point that diverges: Mixed_6a" in output
    assert "Mixed_7a" not in output


def test_convert(run: Run, tmp_path: Path) -> None:
    source, output = tmp_path / "in.h5", tmp_path / "out.h5"
    with h5py.File(source, "w") as file:
        file["block1_conv1/block1_conv1/kernel:0"] = np.zeros((3, 3, 3, 64), np.float32)
    status, _, errors = run("convert", source, "-o", output)
    assert status == 2
    assert "no source of weights that is known" in errors
    assert not output.exists()
    output.write_text("precious")
    status, _, errors = run("convert", source, "-o", output)
    assert status == 2
    assert "--force" in errors
    assert output.read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify"], "Missing argument"),
        (["embed"], "Missing argument"),
        (["features", "--endpoints", "Logits", "-o", "x.h5"], "Missing argument"),
        (
            ["features", "absent.png", "--endpoints", "Logitz", "-o", "x.h5"],
            "no end point 'Logitz'; the nearest is 'Logits'",
        ),
        (["clasify"], "No such command"),
        (["classify", "x.png", "--weights", "absent.h5"], "absent.h5: there is no such file"),
        (["classify", "absent.png"], "absent.png: there is no such file"),
        (["classify", "absent.png", "--top", "0"], "--top"),
        (["classify", "absent.png", "--threads", "none"], "--threads"),
        (["classify", "absent.png", "--kernels", "naive"], "write OP=NAME"),
        (["classify", "absent.png", "--kernels", "conv2d=magic"], "no variant 'magic'"),
        (["classify", "absent.png", "--kernels", "fft=naive"], "no operation 'fft'"),
        (["info", "absent.h5"], "absent.h5: there is no such file"),
        (["convert", "absent.h5", "-o", "x.h5"], "absent.h5: there is no such file"),
        (["convert", "absent.h5", "-o", "no/x.h5"], "is not a folder"),
        (["verify", "absent.h5"], "absent.h5: there is no such file"),
        (["verify", REFERENCE, "--case", "none"], "no case 'none'"),
    ],
)
def test_mistakes(
    run: Run,
    arguments: list[object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, errors = run(*arguments)
    assert status == 2
    assert message in errors
    assert "Traceback" not in errors


def test_an_unwritable_npy(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    status, _, errors = run("embed", pictures[0], "-o", tmp_path / "no/x.npy")
    assert status == 2
    assert "or its folder is not" in errors
    (tmp_path / "taken.npy").mkdir()
    status, _, errors = run("embed", pictures[0], "-o", tmp_path / "taken.npy")
    assert status == 2
    assert "taken.npy" in errors
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "taken.npy"])


def test_an_older_npy_is_kept(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "old.npy").write_text("precious")
    status, _, errors = run("embed", pictures[0], "-o", tmp_path / "old.npy")
    assert status == 2
    assert "is there already" in errors
    assert (tmp_path / "old.npy").read_text() == "precious"


def test_resume_refuses_rows_of_another_run(
    run: Run, pictures: list[Path], weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "rows.h5"
    assert run("embed", pictures[0], "-o", path)[0] == 0
    before = path.read_bytes()
    status, _, errors = run("embed", pictures[1], "-o", path, "--resume", "--weights", weights)
    assert status == 2
    assert "embeddings has rows of shape" in errors
    assert path.read_bytes() == before


def test_embedding_network_cannot_classify(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "face.h5"
    mi.save(mi.create_model("inception_resnet_v1", width=0.05, blocks=(1, 1, 1)), path)
    status, _, errors = run("classify", pictures[0], "--weights", path)
    assert status == 2
    assert "use embed" in errors
    status, _, errors = run("verify", path)
    assert status == 2
    assert "not a reference file" in errors


def test_a_forced_kernel_runs_or_is_refused(run: Run, weights: Path, pictures: list[Path]) -> None:
    command = ("classify", pictures[0], "--weights", weights, "--json")
    answers = []
    for wishes in (
        ["conv2d=naive"],
        ["conv2d=im2col"],
        ["conv2d=pointwise"],
        ["conv2d=im2col_gemm"],
        ["conv2d=im2col_gemm", "gemm=blocked"],
    ):
        options = [word for wish in wishes for word in ("--kernels", wish)]
        status, output, _ = run(*command, *options)
        assert status == 0
        answers.append(json.loads(output)["predictions"][0]["probability"])
    assert max(answers) - min(answers) < 1e-5
    status, _, errors = run(*command, "--kernels", "gemm=blocked")
    assert status == 2
    assert "nothing asked for gemm" in errors
    assert "force conv2d=im2col_gemm with it" in errors


def test_a_terminal_of_few_characters(weights: Path, pictures: list[Path]) -> None:
    command = [sys.executable, "-m", "minincep"]
    options = ["--weights", str(weights)]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LANG": "C"}
    for arguments in (
        ["classify", str(pictures[0]), *options],
        ["embed", str(pictures[0]), "--distances", *options],
        ["verify", str(REFERENCE), "--case", "facenet_pytorch_160x160"],
    ):
        result = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, env=environment
        )
        assert result.returncode == 0, result.stderr


def test_a_closed_pipe_is_no_traceback(weights: Path, pictures: list[Path]) -> None:
    command = f"{sys.executable} -c 'from minincep.cli import main; main()' embed "
    command += " ".join(map(str, pictures * 40)) + f" --weights {weights} | head -c 10"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert len(result.stdout) == 10
    assert result.stderr == ""


ODD = "a\x1b[31m\n\u202eb\udce9.png"
SHOWN = "a\ufffd[31m\ufffd\ufffdb\ufffd.png"


@pytest.fixture
def odd(pictures: list[Path], tmp_path: Path) -> Path:
    """A folder with a picture, and a file that is none, whose names would change the terminal."""
    folder = tmp_path / "odd"
    folder.mkdir()
    pictures[0].rename(folder / ODD)
    (folder / f"bad {ODD}").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize("command", ["classify", "embed", "features"])
def test_names_do_not_change_the_terminal(
    run: Run, weights: Path, odd: Path, tmp_path: Path, command: str
) -> None:
    more = ["--endpoints", "Mixed_5b", "-o", tmp_path / "a.h5"] if command == "features" else []
    status, output, errors = run(command, odd, "--weights", weights, *more)
    assert status == 2
    first, *rest = errors.splitlines()
    assert first == f"minincep: {odd}/bad {SHOWN}: not a picture of a kind that can be read"
    assert rest == ["minincep: 1 of 2 pictures could not be read"]
    if command != "features":
        assert output.startswith(f"{odd}/{SHOWN}")
        assert len(output.splitlines()) == {"classify": 4, "embed": 1}[command]
    assert "\x1b" not in output


def test_names_beside_distances(run: Run, weights: Path, odd: Path) -> None:
    _, output, _ = run("embed", odd, "--weights", weights, "--distances")
    assert output == f"   1 {odd}/{SHOWN}\n     0.0000\n"


def test_names_for_machines_are_exact(run: Run, weights: Path, odd: Path, tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    _, output, _ = run("classify", odd, "--weights", weights, "--json", "--csv", table)
    assert {json.loads(line)["image"] for line in output.splitlines()} == {
        f"{odd}/{ODD}",
        f"{odd}/bad {ODD}",
    }
    with table.open(newline="", errors="surrogateescape") as file:
        assert [row[0] for row in csv.reader(file)] == ["image", f"{odd}/{ODD}"]


def test_mistakes_do_not_change_the_terminal(run: Run, tmp_path: Path) -> None:
    (tmp_path / ODD).mkdir()
    _, _, errors = run("classify", tmp_path / ODD)
    hint = "no pictures in this folder; --recursive looks into the folders inside it"
    assert errors == f"minincep: {tmp_path}/{SHOWN}: {hint}\n"
    _, _, errors = run("embed", tmp_path, "-o", "a\x07\u202e")
    *usage, message = errors.splitlines()
    assert message == "Error: --output a\ufffd\ufffd: the name must end in .h5 or .npy"
    assert usage[0].startswith("Usage: ")


def test_a_report_of_mistakes_has_lines(run: Run, weights: Path, tmp_path: Path) -> None:
    """Those of the report, not one that a name has."""
    path = tmp_path / "a\nb.h5"
    path.write_bytes(weights.read_bytes())
    with h5py.File(path, "r+") as file:
        for name in ("weights/logits/weight", "weights/logits/bias"):
            del file[name]
    status, _, errors = run("info", path)
    assert status == 2
    assert errors.splitlines() == [
        f"minincep: {tmp_path}/a\ufffdb.h5: the weights do not fit the network:",
        "  missing: logits/weight",
        "  missing: logits/bias",
    ]


def test_a_terminal_of_few_letters(weights: Path, odd: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "minincep", "classify", odd, "--weights", weights],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert result.stdout.startswith(f"{odd}/{SHOWN.replace(chr(0xFFFD), '?')}\n")


def test_pictures_whose_names_are_formulas(
    run: Run, weights: Path, tmp_path: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table opens as text, its names lead to the pictures, and a run goes on with it."""
    folder = tmp_path / "formulas"
    folder.mkdir()
    for name, picture in zip(["=1+1.png", "+2.png", "3.png"], pictures, strict=True):
        picture.rename(folder / name)
    monkeypatch.chdir(folder)
    arguments = ["--weights", weights, "--csv", tmp_path / "a.csv", "--resume"]
    assert run("classify", "=1+1.png", "3.png", *arguments)[0] == 0
    assert run("classify", ".", *arguments)[0] == 0
    with (tmp_path / "a.csv").open(newline="") as file:
        names = [row[0] for row in csv.reader(file)]
    assert names == ["image", "./=1+1.png", "3.png", "./+2.png"]
    assert all(Path(name).is_file() for name in names[1:])


def test_labels_that_are_formulas(
    run: Run, weights: Path, tmp_path: Path, pictures: list[Path]
) -> None:
    network = mi.load(weights)
    network.labels = ["=cmd", "+1", "-a"]
    mi.save(network, tmp_path / "b.h5")
    arguments = [pictures[0], "--weights", tmp_path / "b.h5"]
    assert run("classify", *arguments, "--csv", tmp_path / "a.csv")[0] == 0
    with (tmp_path / "a.csv").open(newline="") as file:
        _, row = csv.reader(file)
    assert set(row[1::2]) == {"'=cmd", "'+1", "'-a"}
    _, output, _ = run("classify", *arguments, "--json")
    found = json.loads(output)["predictions"]
    assert {prediction["label"] for prediction in found} == {"=cmd", "+1", "-a"}
