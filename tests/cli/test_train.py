"""`minincep train`: what it leaves behind, how it goes on, and what it says of mistakes."""

import contextlib
import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import minincep as mi
from minincep import cli
from minincep.cli.training import obeying_signals
from minincep.train import checkpoint
from minincep_kernels.machine import get_num_threads, num_threads
from tests.train import small

OPTIONS = [
    *("--model", "inception_resnet_v2", "--width", 0.03, "--blocks", "1,1,1", "--image-size", 75),
    *("--batch-size", 4, "--epochs", 2, "--workers", 0, "--threads", 1),
    *("--rate", 0.01, "--optimizer", "sgd", "--momentum", 0.9, "--average", 0.9),
]

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


@contextlib.contextmanager
def started(*arguments: object) -> "Iterator[subprocess.Popen[str]]":
    """Within the `with` block `minincep train` runs in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "minincep", "train", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.pictures(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    with started(source, *OPTIONS, "-o", folder) as process:
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    return folder


def lines(folder: Path) -> list[dict[str, object]]:
    """The log without speeds."""
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ("seconds", "images_per_second")}
        for line in found
    ]


def check_same(folder: Path, other: Path) -> None:
    for name in ("best.h5", "last.h5"):
        assert small.bits(mi.load(folder / name)) == small.bits(mi.load(other / name))
    assert lines(folder) == lines(other)
    assert {p.name for p in folder.iterdir()} == {p.name for p in other.iterdir()}


def test_leaves_all_there_is(whole: Path) -> None:
    drawn = [f"{name}.{kind}" for name in ("confusion", "curves") for kind in ("png", "svg")]
    files = ["best.h5", "checkpoint.h5", "confusion.csv", "last.h5", "log.jsonl", "settings.toml"]
    assert sorted(p.name for p in whole.iterdir()) == sorted([*files, *drawn])
    best = mi.load(whole / "best.h5")
    assert best.labels == ["blue", "green", "red"]
    assert (best.preprocessing.height, best.preprocessing.width) == (75, 75)
    assert best.source == "minincep train: inception_resnet_v2 from scratch"
    assert [line["step"] for line in lines(whole)] == [1, 2, 3, 3, 4, 5, 6, 6]


def test_tells_of_epochs_and_classes(source: Path, tmp_path: Path, run: Run) -> None:
    status, output, errors = run("train", source, *OPTIONS, "-o", tmp_path / "a")
    assert (status, errors) == (0, "")
    text = output.splitlines()
    assert text[0].startswith("epoch 1/2: loss ")
    assert "; validation: loss " in text[0]
    assert text[1].startswith("epoch 2/2: loss ")
    assert text[2].startswith("best weights, of epoch ")
    assert text[3].startswith("3 pictures: accuracy ")
    assert [line.split()[:2] for line in text[5:8]] == [["blue", "1"], ["green", "1"], ["red", "1"]]
    assert "confusion" in output


def test_the_settings_repeat_it(whole: Path, tmp_path: Path, run: Run) -> None:
    status, _, errors = run("train", "--config", whole / "settings.toml", "-o", tmp_path / "again")
    assert (status, errors) == (0, "")
    check_same(tmp_path / "again", whole)
    assert (tmp_path / "again/settings.toml").read_text() == (whole / "settings.toml").read_text()


def test_options_go_before_the_file(source: Path, whole: Path, tmp_path: Path, run: Run) -> None:
    config = ["--config", whole / "settings.toml"]
    assert run("train", *config, "--epochs", 1, "--seed", 3, "-o", tmp_path / "a")[0] == 0
    found = tomllib.loads((tmp_path / "a/settings.toml").read_text())
    assert (found["epochs"], found["seed"], found["batch_size"]) == (1, 3, 4)


def wait_for(folder: Path, count: int) -> None:
    """Until the log has so many lines."""
    path = folder / "log.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_interrupted_and_resumed(
    source: Path, whole: Path, tmp_path: Path, run: Run, number: int, status: int
) -> None:
    folder = tmp_path / "run"
    options = [*OPTIONS, "--workers", 1, "--checkpoint-minutes", 0]
    with started(source, *options, "-o", folder) as process:
        wait_for(folder, 2)
        process.send_signal(number)
        _, errors = process.communicate()
    assert process.returncode == status
    if number != signal.SIGKILL:
        first, second = errors.strip().splitlines()
        assert (
            first == "minincep: ending after this step, with a checkpoint; once more to end at once"
        )
        assert second.startswith("minincep: stopped in epoch ")
        assert second.endswith(f"; go on with: minincep train --resume -o {folder}")
    assert not (folder / "last.h5").exists()
    (folder / f".best.h5.{'a' * 32}").touch()  # as if it was killed while it wrote
    status, _, errors = run("train", "--resume", "-o", folder, "--workers", 0)
    assert (status, errors) == (0, "")
    check_same(folder, whole)


def test_a_second_interruption_ends_at_once(source: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "run"
    with started(source, *OPTIONS, "--epochs", 1000, "-o", folder) as process:
        wait_for(folder, 5)
        process.send_signal(signal.SIGSTOP)  # so that both are there before it goes on
        before = len(lines(folder))
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate()
    assert process.returncode in (130, 143)
    assert "go on with" not in errors  # which the first alone would end with
    assert len(lines(folder)) <= before + 1  # of a step that was as good as done
    checkpoint.read(folder / "checkpoint.h5")  # whole, also if it was being written
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_resumed_before_the_first_checkpoint(
    source: Path, whole: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "settings.toml").write_bytes((whole / "settings.toml").read_bytes())
    assert run("train", "--resume", "-o", folder)[0] == 0
    check_same(folder, whole)


def test_resumed_after_its_end_for_more_epochs(source: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "run"
    assert run("train", source, *OPTIONS, "--epochs", 1, "-o", folder)[0] == 0
    assert run("train", "--resume", "-o", folder)[0] == 0
    assert len(lines(folder)) == 4
    status, output, _ = run("train", "--resume", "--epochs", 2, "-o", folder)
    assert (status, output.splitlines()[0][:9]) == (0, "epoch 2/2")
    assert len(lines(folder)) == 8


def test_one_training_a_folder(source: Path, whole: Path, tmp_path: Path, run: Run) -> None:
    before = {path: path.read_bytes() for path in whole.iterdir()}
    status, output, errors = run("train", source, *OPTIONS, "-o", whole)
    assert (status, output) == (2, "")
    assert errors == (
        f"minincep: {whole} holds a training: --resume goes on with it; or choose an empty folder\n"
    )
    assert {path: path.read_bytes() for path in whole.iterdir()} == before
    (tmp_path / "thesis.txt").touch()
    assert "is not empty" in run("train", source, *OPTIONS, "-o", tmp_path)[2]
    assert "holds no training" in run("train", "--resume", "-o", tmp_path)[2]
    assert "is a file" in run("train", source, *OPTIONS, "-o", tmp_path / "thesis.txt")[2]


def test_not_among_the_pictures(tmp_path: Path, run: Run) -> None:
    """The next training would take the folder for a class, of the curves that are drawn there."""
    source = small.pictures(tmp_path / "source")
    (tmp_path / "link").symlink_to(source)
    given = ["--validation-data", source]
    for data, folder in [(source, source / "run"), (source, tmp_path / "link/red/run")]:
        status, _, errors = run("train", data, *OPTIONS, "-o", folder)
        assert (status, folder.exists()) == (2, False)
        assert errors.endswith(f"among the pictures in {data}: choose a folder elsewhere\n")
    other = small.pictures(tmp_path / "other")
    assert "among" in run("train", other, *OPTIONS, *given, "-o", source / "run")[2]


def test_a_trainer_s_folder_is_not_resumed(source: Path, tmp_path: Path, run: Run) -> None:
    """Its program alone knows the settings."""
    small.trainer(source, tmp_path, epochs=1).run()
    status, _, errors = run("train", "--resume", "-o", tmp_path)
    assert status == 2
    assert errors.startswith(f"minincep: {tmp_path}/checkpoint.h5 is of a Trainer in another")


def test_classes_of_a_resumed_training_are_those_of_the_pictures(
    source: Path, whole: Path, tmp_path: Path, run: Run
) -> None:
    found = checkpoint.read(whole / "checkpoint.h5")
    found.header["network"] |= {"labels": 5, "source": "\x1b[31mred"}
    shutil.copytree(whole, tmp_path / "run")
    checkpoint.write(tmp_path / "run/checkpoint.h5", found.header, found.arrays)
    assert run("train", "--resume", "-o", tmp_path / "run", "--epochs", 3)[0] == 0
    last = mi.load(tmp_path / "run/last.h5")
    assert (last.labels, last.source) == (["blue", "green", "red"], "\ufffd[31mred")


def test_stops_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise OSError(errno.EIO, "the terminal is gone")

    stopped: list[bool] = []
    with obeying_signals(lambda: stopped.append(True)) as came, monkeypatch.context() as patched:
        patched.setattr(os, "write", fails)
        signal.raise_signal(signal.SIGTERM)
    assert (stopped, came) == ([True], [signal.SIGTERM])


def test_resumed_with_other_settings(source: Path, whole: Path, tmp_path: Path, run: Run) -> None:
    status, _, errors = run("train", "--resume", "--batch-size", 8, "-o", whole)
    assert status == 2
    assert errors.startswith("minincep: batch_size was 4 and is 8 now, which is another training")
    other = small.pictures(tmp_path / "other", 5)
    status, _, errors = run("train", other, "--resume", "-o", whole)
    assert status == 2
    assert "is of another training, pictures to learn from differs" in errors
    status, _, errors = run("train", "--resume", "--weights", "eggs", "-o", whole)
    assert status == 2
    assert errors.startswith("minincep: weights was None and is 'eggs' now, which is another")
    status, _, errors = run("train", "--resume", "--recipe", "paper", "-o", whole)
    assert status == 2


def test_a_damaged_checkpoint(source: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "run"
    assert run("train", source, *OPTIONS, "--epochs", 1, "-o", folder)[0] == 0
    weight = checkpoint.read(folder / "checkpoint.h5").arrays["network/logits/weight"].tobytes()
    content = (folder / "checkpoint.h5").read_bytes()
    (folder / "checkpoint.h5").write_bytes(content.replace(weight, b"x" + weight[1:]))
    status, _, errors = run("train", "--resume", "-o", folder)
    assert status == 2
    assert errors.startswith(f"minincep: {folder}/checkpoint.h5")
    assert errors.count("\n") == 1


def test_transfer(source: Path, whole: Path, tmp_path: Path, run: Run) -> None:
    """The head alone is trained; classes that are the same keep their head at the start."""
    options = ["--weights", whole / "best.h5", "--head-only", "--epochs", 1, "--workers", 0]
    options += ["--batch-size", 4, "--threads", 1]
    status, _, errors = run("train", source, *options, "-o", tmp_path / "same")
    assert (status, errors) == (0, "")
    before, after = mi.load(whole / "best.h5"), mi.load(tmp_path / "same/last.h5")
    for name, array in before.arrays().items():
        equal = np.array_equal(array, after.arrays()[name])
        assert equal == (not name.startswith("logits/")), name
    assert after.source.startswith("minincep train, from minincep train: inception_resnet_v2")

    other = small.pictures(tmp_path / "other")
    (other / "blue").rename(other / "cyan")
    status, _, _ = run("train", other, *options, "--seed", 1, "-o", tmp_path / "new")
    assert status == 0
    assert mi.load(tmp_path / "new/last.h5").labels == ["cyan", "green", "red"]
    assert not np.allclose(
        mi.load(tmp_path / "new/last.h5").arrays()["logits/weight"],
        before.arrays()["logits/weight"],
        atol=0.02,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--freeze", "mixd*"], "the pattern 'mixd*' matches no weight"),
        (["--weights", "eggs"], "says what the network is: leave out width, blocks"),
        (
            ["--model", "inception_resnet_v1", "--aux", 0.4],
            "inception_resnet_v1 has no auxiliary head for pictures of 75 x 75",
        ),
        (["--batch-size", 16], "15 pictures to learn from make no batch of 16"),
        (["--momentum", 0.5, "--optimizer", "adam"], "no setting 'momentum'"),
        (["--schedule", "step"], "schedule step needs at"),
        (["--validation", 0.95], "validation must be from 0 to 0.9, got 0.95"),
        (["--image-size", 60], "image_size must be from 75"),
        (["--config", "no.toml"], "no.toml cannot be read"),
    ],
)
def test_mistakes(
    source: Path, tmp_path: Path, run: Run, options: Sequence[object], message: str
) -> None:
    status, output, errors = run("train", source, *OPTIONS, *options, "-o", tmp_path / "a")
    assert (status, output) == (2, "")
    assert message in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_data_that_will_not_do(source: Path, tmp_path: Path, run: Run) -> None:
    def refused(*arguments: object) -> str:
        status, output, errors = run("train", *arguments, *OPTIONS, "-o", tmp_path / "a")
        assert (status, output, errors.count("\n")) == (2, "", 1)
        assert not (tmp_path / "a").exists()
        return errors

    assert "no data" in refused()
    assert "neither a folder" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "make a folder for each class" in refused(tmp_path / "empty")
    (tmp_path / "one").mkdir()
    (tmp_path / "one/blue").symlink_to(source / "blue")
    assert "one class only" in refused(tmp_path / "one")
    odd = small.pictures(tmp_path / "odd", 3)
    (odd / "blue").rename(odd / "violet")
    assert "the label 'violet'" in refused(source, "--validation-data", odd)
    single = small.pictures(tmp_path / "single", 1)
    assert "every class has one picture only" in refused(single)
    row = f"{single}/red/0.png,a\n"
    (tmp_path / "twice.csv").write_text(f"file,label\n{row}{row}")
    assert "twice.csv, line 3: " in refused(tmp_path / "twice.csv")


def test_pictures_that_cannot_be_read(tmp_path: Path, run: Run) -> None:
    source = small.pictures(tmp_path / "source")
    (source / "blue/0.png").write_bytes(b"no picture")
    (source / "red/notes.txt").touch()
    status, _, errors = run("train", source, *OPTIONS, "--epochs", 1, "-o", tmp_path / "a")
    assert status == 0
    assert errors == f"minincep: 2 files were left out: {tmp_path}/a/skipped.csv\n"
    table = (tmp_path / "a/skipped.csv").read_text().splitlines()
    assert table[0] == "file,reason"
    assert sum("0.png" in line for line in table) == 1
    assert sum("notes.txt,no picture by its name" in line for line in table) == 1


def test_pictures_none_of_which_can_be_read(source: Path, tmp_path: Path, run: Run) -> None:
    """Found before anything is learned, and before the folder is made; one that can be will do."""
    bad = small.pictures(tmp_path / "bad", 3)
    for path in bad.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:300])  # its header is whole
    options = [*OPTIONS, "--epochs", 1, "-o", tmp_path / "a"]
    status, output, errors = run("train", source, "--validation-data", bad, *options)
    assert (status, output) == (2, "")
    assert errors.startswith(
        f"minincep: none of the 9 pictures for validation can be read; {bad}/blue/0.png: damaged"
    )
    status, _, errors = run("train", bad, "--validation-data", source, *options)
    assert status == 2
    assert errors.startswith("minincep: none of the 9 pictures to learn from can be read; ")
    assert errors.count("\n") == 1
    assert not (tmp_path / "a").exists()
    shutil.copy(source / "red/0.png", bad / "red/2.png")
    status, output, _ = run("train", source, "--validation-data", bad, *options)
    assert status == 0
    assert "1 pictures: accuracy" in output


def test_names_do_not_change_the_terminal(tmp_path: Path, run: Run) -> None:
    """Nor the table of what was left out; there names are exact."""
    source = small.pictures(tmp_path / "source")
    (source / "blue/\x1b[2J\u202e.png").write_bytes(b"no picture")
    folder = tmp_path / "\x1b[31m"
    status, output, errors = run("train", source, *OPTIONS, "--epochs", 1, "-o", folder)
    assert status == 0
    assert errors == f"minincep: 1 files were left out: {tmp_path}/\ufffd[31m/skipped.csv\n"
    assert output.splitlines()[-1].startswith(f"in {tmp_path}/\ufffd[31m: ")
    with (folder / "skipped.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1][0] == f"{source}/blue/\x1b[2J\u202e.png"


def test_threads_are_afterwards_as_before(tmp_path: Path, run: Run) -> None:
    source = small.pictures(tmp_path / "source", 2)
    with num_threads(3):
        assert run("train", source, *OPTIONS, "--batch-size", 2, "-o", tmp_path / "a")[0] == 0
        assert get_num_threads() == 3
        assert run("train", "no pictures", *OPTIONS, "-o", tmp_path / "b")[0] == 2
        assert get_num_threads() == 3


def test_numbers_that_run_away(source: Path, tmp_path: Path, run: Run) -> None:
    options = [*OPTIONS, "--rate", 1000, "--warmup", 0, "--weight-decay", 10]
    status, _, errors = run("train", source, *options, "--epochs", 9, "-o", tmp_path / "a")
    assert status == 2
    assert "not finite" in errors or "loss is" in errors
    assert "try a lower rate" in errors
    assert errors.count("\n") == 1


def test_without_matplotlib(
    source: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, _, errors = run("train", source, *OPTIONS, "--epochs", 1, "-o", tmp_path / "a")
    assert status == 0
    assert "pip install matplotlib" in errors
    assert (tmp_path / "a/last.h5").exists()
    assert not (tmp_path / "a/curves.png").exists()
    monkeypatch.undo()


def test_no_validation(source: Path, tmp_path: Path, run: Run) -> None:
    options = [*OPTIONS, "--validation", 0, "--epochs", 1]
    status, output, _ = run("train", source, *options, "-o", tmp_path / "a")
    assert status == 0
    assert "validation:" not in output
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert "last.h5" in names
    assert not names & {"best.h5", "confusion.csv"}


def test_two_at_once(source: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "run"
    with started(source, *OPTIONS, "--epochs", 1000, "-o", folder):
        wait_for(folder, 5)
        status, _, errors = run("train", "--resume", "-o", folder)
    assert status == 2
    assert "another training writes" in errors


def test_a_full_disk_leaves_the_old_checkpoint(source: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "run"
    assert run("train", source, *OPTIONS, "--epochs", 1, "-o", folder)[0] == 0
    before = (folder / "checkpoint.h5").read_bytes()
    size = len(before) - 1000
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, -1)); "
        "from minincep.cli import main; main()"
    )
    arguments = ["train", "--resume", "--epochs", "2", "-o", str(folder)]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr == (
        f"minincep: {folder}/checkpoint.h5 cannot be written: File too large; make room, or "
        "choose another place\n"
    )
    assert (folder / "checkpoint.h5").read_bytes() == before
    assert [name for name in os.listdir(folder) if name.startswith(".")] == []
    assert run("train", "--resume", "-o", folder)[0] == 0
