"""Processes that decode: they start light, end with the program, and are replaced if they end."""

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minincep.io import reference
from minincep.io.errors import ImageError
from minincep.models.preprocessing import Preprocessing
from minincep.train import workers
from minincep.train.augment import INCEPTION, LIGHT
from minincep.train.data import DataSet, Example
from minincep.train.loader import Loader
from minincep.train.workers import Recipe, Worker, WorkerError

HOW = Preprocessing(20, 24)
LONG = 600  # seconds, after which a test that hangs fails


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "x.jpg"
    Image.fromarray(reference.picture(50, 60)).save(path)
    return path


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(Recipe(HOW, INCEPTION))
    yield worker
    worker.close()


def started(worker: Worker) -> "subprocess.Popen[bytes]":
    assert worker._process
    return worker._process


@pytest.mark.parametrize("augmentation", [None, INCEPTION, LIGHT])
@pytest.mark.parametrize("scaling", ["symmetric", "whitening"])
def test_a_process_reads_as_we_do(picture: Path, augmentation: None, scaling: str) -> None:
    recipe = Recipe(Preprocessing(20, 24, scaling=scaling), augmentation)
    worker = Worker(recipe)
    for number in range(5):
        numbers = [number, 2**40, 0]
        np.testing.assert_array_equal(worker.read(picture, numbers), recipe.read(picture, numbers))
    worker.close()


@pytest.mark.parametrize("augmentation", [None, INCEPTION])
def test_recipes_travel_in_one_line(augmentation: None) -> None:
    recipe = Recipe(Preprocessing(20, 24, crop=1 / 3), augmentation)
    assert "\n" not in recipe.to_json()
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_files_that_cannot_be_read(tmp_path: Path, picture: Path, worker: Worker) -> None:
    """The worker says so and goes on; odd names travel as well."""
    recipe = Recipe(HOW, INCEPTION)
    names = ["none.jpg", "a\nb.jpg", "\udcff.jpg", "n" * 300, ""]
    for name in names:
        with pytest.raises(ImageError) as here:
            recipe.read(tmp_path / name, [0])
        with pytest.raises(ImageError) as there:
            worker.read(tmp_path / name, [0])
        assert str(here.value) == str(there.value)
    odd = picture.rename(tmp_path / "\udcff\n.jpg")
    process = started(worker)
    assert worker.read(odd, [0]).shape == (20, 24, 3)
    assert started(worker) is process


@pytest.mark.parametrize("augmentation", [None, INCEPTION])
def test_odd_metadata_is_no_damage(tmp_path: Path, augmentation: None) -> None:
    """Pillow warns of it, which a program may have made an error."""
    image, path = Image.new("RGB", (30, 30), "red"), tmp_path / "x.jpg"
    image.save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\0half")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="Corrupt EXIF"), Image.open(path) as opened:
            opened.getexif()
        found = Recipe(HOW, augmentation).read(path, [0])
    image.save(path)
    np.testing.assert_array_equal(found, Recipe(HOW, augmentation).read(path, [0]))


def test_workers_are_light() -> None:
    """Nothing that takes long to import, and one thread."""
    code = (
        "import minincep.train.workers, json, sys; "
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = set(json.loads(found.stdout))
    assert {"PIL", "numpy"} <= loaded
    assert not loaded & {"numba", "llvmlite", "h5py", "scipy", "click", "rich", "multiprocessing"}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")
def test_workers_have_one_thread_of_low_priority(picture: Path, worker: Worker) -> None:
    worker.read(picture, [0])
    pid = started(worker).pid
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0) or (
        os.getpriority(os.PRIO_PROCESS, pid) == 19
    )
    status = Path(f"/proc/{pid}/status").read_text()
    assert "\nThreads:\t2\n" in status  # that which decodes, that which listens
    assert os.getpgid(pid) != os.getpgid(0)  # Ctrl-C does not reach it, while it starts either


def test_where_the_program_stands_does_not_matter(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: Worker
) -> None:
    """Files of the user beside it are not imported, though they may be called like ours."""
    (tmp_path / "json.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "minincep.py").write_text("raise RuntimeError('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", ".")])
    assert worker.read(picture, [0]).shape == (20, 24, 3)


def test_workers_import_from_where_we_do(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: Worker
) -> None:
    """Such as a minincep that is not installed, but found by a program that knows where."""
    (tmp_path / "found_by_path_only.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    code = "import found_by_path_only; from minincep.train import workers; workers.work()"
    monkeypatch.setattr(workers, "COMMAND", ("-P", "-c", code))
    assert worker.read(picture, [0]).shape == (20, 24, 3)


def test_a_worker_that_is_killed_is_replaced(picture: Path, worker: Worker) -> None:
    expected = worker.read(picture, [3])
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = started(worker)
        process.send_signal(number)
        process.wait()
        np.testing.assert_array_equal(worker.read(picture, [3]), expected)
        assert started(worker) is not process


def test_an_epoch_outlives_its_workers(picture: Path) -> None:
    data = DataSet(("a",), (Example(picture, 0),) * 40)
    with Loader(data, HOW, batch_size=4, workers=2, augmentation=INCEPTION, prefetch=2) as loader:
        expected = [batch.x.tobytes() for batch in loader.epoch(0)]
        found = []
        for batch in loader.epoch(0):
            found.append(batch.x.tobytes())
            if len(found) in (2, 5):
                assert loader._readers
                worker = loader._readers._idle.get()  # one that is at rest, or as soon as it is
                started(worker).kill()
                loader._readers._idle.put(worker)
    assert found == expected


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit(3)", "2 processes .* ended, the last with exit status 3: take"),
        ("import os; os.kill(os.getpid(), 9)", "signal SIGKILL, as .* when memory is short"),
        ("import os; os.write(1, b'{\"shape\": [20,')", "exit status 0"),
        ("import os; os.write(1, b'{\"shape\": [20, 24, 3]}\\nabc')", "exit status 0"),
    ],
)
def test_workers_that_end_again_and_again(
    picture: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    monkeypatch.setattr(workers, "COMMAND", ("-c", f"input(); {code}"))
    with pytest.raises(WorkerError, match=message) as caught:
        worker.read(picture, [0])
    assert "x.jpg" in str(caught.value)
    data = DataSet(("a",), (Example(picture, 0),) * 3)
    with Loader(data, HOW, batch_size=2) as loader, pytest.raises(WorkerError):
        next(loader.epoch(0))


def test_what_a_library_prints_is_no_answer(
    picture: Path,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    code = (
        "import os; from minincep.train import workers, augment\n"
        "read = workers.read_augmented\n"
        "workers.read_augmented = lambda *all: (print('hello', flush=True), read(*all))[1]\n"
        "workers.work()"
    )
    monkeypatch.setattr(workers, "COMMAND", ("-c", code))
    assert worker.read(picture, [0]).shape == (20, 24, 3)
    worker.close()
    assert capfd.readouterr() == ("", "hello\n")


PROGRAM = """
import sys, time
from pathlib import Path
from minincep.models.preprocessing import Preprocessing
from minincep.train.data import DataSet, Example
from minincep.train.loader import Loader

data = DataSet(("a",), (Example(Path(sys.argv[1]), 0),) * 1000)
with Loader(data, Preprocessing(20, 24), batch_size=2, workers=3) as loader:
    for batch in loader.epoch(0):
        print("batch", flush=True)
"""


def interrupted(picture: Path, signals: Callable[["subprocess.Popen[bytes]"], None]) -> bytes:
    """What is written to standard error, which ends when the last process has ended."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, picture],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,  # as a shell does it: the terminal's Ctrl-C goes to the group
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with program:
        signals(program)
        return program.communicate(timeout=LONG)[1]


def after_a_batch(number: signal.Signals) -> Callable[["subprocess.Popen[bytes]"], None]:
    def send(program: "subprocess.Popen[bytes]") -> None:
        assert program.stdout
        assert program.stdout.readline() == b"batch\n"
        os.killpg(program.pid, number)

    return send


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="POSIX only")
def test_workers_end_with_a_program_that_is_killed(picture: Path, tmp_path: Path) -> None:
    """Nothing is left to write to its standard error, though a picture is being decoded."""
    large = tmp_path / "large.png"
    Image.new("RGB", (3000, 3000), "red").save(large)
    for path in (picture, large):
        assert interrupted(path, after_a_batch(signal.SIGKILL)) == b""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="POSIX only")
def test_ctrl_c_is_told_once(picture: Path) -> None:
    errors = interrupted(picture, after_a_batch(signal.SIGINT))
    assert errors.count(b"Traceback") == 1  # this program's own; minincep's catches it
    assert errors.strip().endswith(b"KeyboardInterrupt")
