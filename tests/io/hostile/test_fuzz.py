"""Spoiled files of all formats; and what the watch over the readers sees, if one does wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.io.hostile.watched import TOOLS, run_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and counts by Linux")

KINDS = {
    *("keras_h5", "keras_v3", "keras_zip", "minincep_plan", "minincep_weights", "onnx"),
    *("safetensors", "tf_checkpoint", "tf_checkpoint_v1", "tf_graph", "torch_stream", "torch_zip"),
}


def test_some_hundreds_of_files() -> None:
    """20,000 and more are for `python tools/sources/fuzz.py`."""
    result = subprocess.run(
        [sys.executable, TOOLS / "fuzz.py", "--files", "600", "--json"],
        capture_output=True,
        text=True,
    )
    found = json.loads(result.stdout or "{}")
    assert found.get("findings") == [], result.stderr
    assert result.returncode == 0
    assert set(found["kinds"]) == KINDS
    for kind, counts in found["kinds"].items():
        assert counts["accepted"] + counts["refused"] + counts.get("hdf5", 0) == 50, kind
        assert counts["refused"] >= 10, kind
        assert counts["accepted"] >= 1, kind


DEEDS = {
    "nothing": ("pass", "accepted "),
    "refuse": ("raise WeightError(f'{path}: damaged')", "refused "),
    "read": ("open(path).read()", "accepted "),
    "system": ("os.system('true')", "forbidden os.system"),
    "eval": ("eval('1')", "forbidden compile"),
    "exec": ("exec((lambda: 1).__code__)", "forbidden exec"),
    "import": ("import wave", "forbidden import"),
    "marshal": ("marshal.loads(b'N')", "forbidden marshal.loads"),
    "pickle": ("pickle.loads(b'cos\\nsystem\\n.')", "forbidden pickle.find_class"),
    "call": ("subprocess.call(['true'])", "forbidden "),
    "socket": ("socket.socket().close()", "forbidden socket"),
    "elsewhere": ("open('/etc/passwd').close()", "forbidden open '/etc/passwd'"),
    "write": ("open(path, 'r+').close()", "forbidden open"),
    "write_too": ("os.close(os.open(path, os.O_RDWR))", "forbidden open"),
    "leave": ("open(path.with_name('new'), 'w').close()", "left behind "),
    "leave_folder": ("os.mkdir('new')", "left behind "),
    "bug": ("raise KeyError(path)", "error Traceback"),
    "warning": ("warnings.warn('x')", "error Traceback"),
    "os_error": ("raise OSError(f'{path}')", "message not for users"),
    "no_file": ("raise WeightError('damaged')", "message names no file"),
    "control": ("raise WeightError(f'{path}: \\x1b[31m')", "message cannot be printed"),
    "long": ("raise WeightError(f'{path}: ' + 9999 * 'x')", "message 10,0"),
    "memory": ("np.ones(8 << 20)", "memory "),
    "too_much": ("np.empty(1 << 40)", "error Traceback"),
    "hdf5": (
        "raise WeightError(f'{path}: no (memory allocation failed for chunk)')",
        "hdf5 ",
    ),
    "header": (
        "raise WeightError(f'{path}: no (memory allocation failed for on disk image buffer)')",
        "refused ",
    ),
    "hidden": (
        "try: np.empty(1 << 40)\n    except MemoryError: raise WeightError(f'{path}: no')",
        "memory MemoryError",
    ),
}
READERS = """
import json, marshal, os, pickle, socket, subprocess, sys, warnings
from pathlib import Path
import numpy as np
from tools.sources import fuzz_child
from minincep.io.errors import WeightError

path = Path(sys.argv[1])
os.chdir(path.parent / "empty")
readers = {{}}
{definitions}
watch = fuzz_child.Watch(path.parent)
watch.install()
fuzz_child.limit_memory()
fuzz_child.limit_time(3)
for name, read in readers.items():
    result = fuzz_child.outcome(watch, read, path)
    print(json.dumps([name, f"{{result['outcome']}} {{result['detail']}}"]), flush=True)
"""


def readers(deeds: dict[str, str]) -> str:
    """A script that watches functions with these bodies."""
    return READERS.format(
        definitions="\n".join(
            f"def read():\n    {body}\nreaders['{name}'] = read" for name, body in deeds.items()
        )
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"1234")
    return tmp_path / "file"


def test_what_a_reader_must_not_do_is_seen(file: Path) -> None:
    result = run_script(readers({name: body for name, (body, _) in DEEDS.items()}), file)
    assert result.returncode == 0, result.stderr
    seen = dict(map(json.loads, result.stdout.splitlines()))
    wrong = {name: seen[name] for name in DEEDS if not seen[name].startswith(DEEDS[name][1])}
    assert wrong == {}


@pytest.mark.parametrize(("body", "signal"), [("while True: pass", 27), ("os.abort()", 6)])
def test_a_hang_and_a_crash_end_the_process(file: Path, body: str, signal: int) -> None:
    result = run_script(readers({"deed": body}), file)
    assert result.returncode == -signal
    assert result.stdout == ""


ARRAYS = """
import contextlib, sys
from pathlib import Path
import numpy as np
from tools.sources import fuzz_child
from minincep.io.formats import detect
from minincep.io.formats.stored import Stored

path = Path(sys.argv[1])
path.write_bytes(bytes(1000))
detect.reader = lambda path: "keras_h5"
for array, size in [
    (np.zeros((2, 3), np.float32), 24),
    (np.zeros((3, 2), np.float32), 24),
    (np.zeros((2, 3)), 24),
    (np.zeros((3, 2), np.float32).T, 24),
    (np.zeros((2, 3), np.float32), 1 << 40),
]:
    stored = Stored((2, 3), "float32", size, lambda: array)
    detect.arrays = lambda path: contextlib.nullcontext({"x": stored})
    try:
        print(fuzz_child.read(path, "keras_h5"))
    except Exception as error:
        print(type(error).__name__)
"""


def test_arrays_are_what_the_file_says(tmp_path: Path) -> None:
    result = run_script(ARRAYS, tmp_path / "file")
    assert result.stdout.split() == ["1", *3 * ["AssertionError"], "WeightError"], result.stderr


CHILD = """
import json, sys
from pathlib import Path
from tools.sources import fuzz
fuzz.CHILD = Path(sys.argv[1])
run = fuzz.Run(0, Path(sys.argv[2]), Path(sys.argv[2]), None, fuzz.collections.deque(
    [("kind", "name", number) for number in range(4)]
))
run.work(0)
print(json.dumps([run.tallies["kind"].outcomes, run.findings]))
"""


def test_a_child_that_dies_is_replaced(tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        "import os, sys\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    number = int(line.split('\\t')[1])\n"
        "    if number == 1:\n"
        "        print('about to', file=sys.stderr)\n"
        "        os.abort()\n"
        "    if number == 2:\n"
        "        os.kill(os.getpid(), 27)\n"
        '    print(\'{"outcome": "refused", "detail": ""}\', flush=True)\n'
    )
    result = run_script(CHILD, child, tmp_path)
    outcomes, findings = json.loads(result.stdout)
    assert outcomes == {"refused": 2, "crash": 1, "hang": 1}
    assert [(found["number"], found["outcome"]) for found in findings] == [
        (1, "crash"),
        (2, "hang"),
    ]
    assert "about to" in findings[0]["detail"]


MUTATIONS = """
import collections, sys, time
from pathlib import Path
from tools.sources import fuzz_child, fuzz_samples
samples = fuzz_samples.load([Path(sys.argv[1])])
donors = [content for sample in samples for content in sample.files.values()]
now = time.time()
for sample in samples:
    made = [str(fuzz_child.spoiled(sample, f"0/{n}", donors)) for n in range(40)]
    now += 3600  # nor does the time of day show
    time.time = lambda: now
    again = [str(fuzz_child.spoiled(sample, f"0/{n}", donors)) for n in range(40)]
    assert made == again, sample.name
    assert len(set(made)) > 30, sample.name
    print(sample.kind, sum(len(places) for places in sample.numbers.values()))
"""


def test_mutations_follow_from_the_seed() -> None:
    """And where the numbers are is known, so that half of them are elsewhere."""
    result = run_script(MUTATIONS, TOOLS.parents[1] / "tests/data/sources")
    assert result.returncode == 0, result.stderr
    places: dict[str, int] = {}
    for line in result.stdout.splitlines():
        kind, count = line.split()
        places[kind] = places.get(kind, 0) + int(count)
    assert set(places) == KINDS - {"minincep_plan", "minincep_weights"}
    assert min(places.values()) > 0
