"""Plans in files: the same answers, refused where they do not fit, harmless when damaged."""

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minincep as mi
from minincep.models.network import Network
from minincep.models.registry import list_models
from minincep.plan import bounds, store
from minincep.predict import compile_for, describe
from minincep_kernels import Array, cache
from minincep_kernels.program import native
from minincep_kernels.program.step import STEP
from tests.plan.graphs import network, normal

ROOT = Path(__file__).parents[2]
SIZE = (75, 82)
X = normal(3, *SIZE, 3)


def small(name: str = "inception_resnet_v2", seed: int = 0) -> Network:
    net = network(name, width=0.05, num_classes=3, seed=seed)
    net.labels = ["hen", "egg", "nest"]
    return net


def saved(net: Network, folder: Path, size: tuple[int, int] = SIZE, **options: Any) -> Path:
    """A weights file and its plan beside it; -> the plan."""
    weights, path = folder / "net.h5", folder / "net.h5.plan"
    mi.save(net, weights)
    store.save(
        path,
        lambda allocate: compile_for(net, size, 2, (), allocate=allocate, **options),
        describe(net),
        weights,
    )
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(small(), tmp_path_factory.mktemp("stored"))


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy of weights and plan that may be damaged."""
    for file in (original, original.with_suffix("")):
        shutil.copy2(file, tmp_path)
    return tmp_path / original.name


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# ------------------------------------------------------------------ the same answers


@pytest.mark.parametrize("name", list_models())
def test_a_stored_plan_answers_with_the_same_bits(name: str, tmp_path: Path) -> None:
    net = small(name)
    plan = store.load(saved(net, tmp_path))
    fresh = compile_for(net, SIZE, 2, ())
    found, wanted = plan.run_endpoints(X), fresh.run_endpoints(X)
    assert list(found) == list(wanted)
    for key, y in wanted.items():
        np.testing.assert_array_equal(found[key], y)
    assert np.std(found[""]) > 0
    assert plan.program.paths == fresh.program.paths
    assert plan.description == describe(net)
    assert plan.description.labels == ("hen", "egg", "nest")


def test_a_tuned_plan_is_stored_as_it_is(tmp_path: Path) -> None:
    net = small()
    plan = store.load(saved(net, tmp_path, tune=True))
    np.testing.assert_array_equal(plan(X), compile_for(net, SIZE, 2, ())(X))


def test_weights_are_packed_into_the_file_and_mapped_from_it(original: Path) -> None:
    plan = store.load(original)
    weights = plan.program.weights
    assert not weights.flags.owndata
    assert not weights.flags.writeable
    assert weights.ctypes.data % 64 == 0
    content = original.read_bytes()
    stored = np.frombuffer(content, np.float32, weights.size, store.START.size)
    np.testing.assert_array_equal(weights, stored)


def test_the_file_can_be_replaced_while_it_is_mapped(path: Path) -> None:
    plan = store.load(path)
    wanted = plan(X)
    saved(small(seed=1), path.parent)
    np.testing.assert_array_equal(plan(X), wanted)
    assert not np.array_equal(store.load(path)(X), wanted)


# ------------------------------------------------------------------ another CPU, minincep, state


def refused(path: Path, message: str, weights: Path | None = None) -> None:
    with pytest.raises(mi.PlanError, match=message) as caught:
        store.load(path, weights)
    assert str(caught.value).startswith(str(path))


def test_another_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.load(path)
    monkeypatch.setattr(mi, "__version__", "9.9")
    refused(path, rf"made by minincep {re.escape('0.')}[\d.]+, this is 9\.9")


def test_other_sources(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_sources", lambda: "other")
    refused(path, "before the source files of minincep were changed")


@pytest.mark.parametrize(
    ("index", "message"),
    [(1, r"another CPU: \S+ \(.*\), and this is abacus \("), (2, "not all of its instructions")],
)
def test_another_cpu(path: Path, index: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = native.target()
    target[index] = "abacus"
    monkeypatch.setattr(native, "target", lambda: target)
    refused(path, message)


def test_another_cpu_by_environment(path: Path) -> None:
    code = f"""
from pathlib import Path
from minincep.plan import store
from minincep_kernels.errors import PlanError
try:
    store.load(Path({str(path)!r}))
except PlanError as error:
    print(error)
"""
    for cpu, message in [(None, ""), ("generic", "made for another CPU")]:
        environ = {key: value for key, value in os.environ.items() if key != "NUMBA_CPU_NAME"}
        environ |= {"NUMBA_CPU_NAME": cpu} if cpu else {}
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environ
        )
        assert result.returncode == 0, result.stderr
        assert message in result.stdout
        assert bool(message) == bool(result.stdout)


def test_weights_that_have_changed(path: Path) -> None:
    weights = path.with_suffix("")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for given in (None, weights):
        refused(path, "net.h5 has changed since the plan was made", given)
    weights.write_bytes(bytes(content) + b"more")
    refused(path, "has changed")


def test_weights_that_were_touched_or_copied(path: Path) -> None:
    weights = path.with_suffix("")
    os.utime(weights, (1, 1))
    store.load(path)
    store.load(path, weights)


def test_weights_that_are_gone(path: Path) -> None:
    """The plan has all that it takes; but it is not the plan of a file that is not there."""
    weights = path.with_suffix("")
    weights.unlink()
    store.load(path)
    refused(path, "has changed", weights)


# ------------------------------------------------------------------ written whole or not at all


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, mi.PlanError])
def test_interrupted(path: Path, error: type[BaseException]) -> None:
    before = names(path.parent), path.read_bytes()

    def make(allocate: Callable[[int], Array]) -> mi.Plan:
        allocate(10**6)[:] = 1
        raise error

    with pytest.raises(error):
        store.save(path, make, describe(small()), path.with_suffix(""))
    assert (names(path.parent), path.read_bytes()) == before


def test_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must say so, not send a signal when the mapped file is written."""
    before = names(path.parent), path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        saved(small(), path.parent)
    assert (names(path.parent), path.read_bytes()) == before


def test_a_folder_that_cannot_be_written(path: Path) -> None:
    with pytest.raises(OSError, match="below"):
        store.save(
            path / "below.plan",
            lambda allocate: compile_for(small(), SIZE, 1, (), allocate=allocate),
            describe(small()),
            path.with_suffix(""),
        )


def test_one_write_in_the_middle_of_another(path: Path) -> None:
    """The last to be ready is there in the end, and whole."""
    net = small()

    def make(allocate: Callable[[int], Array]) -> mi.Plan:
        plan = compile_for(net, SIZE, 2, (), allocate=allocate)
        saved(small(seed=1), path.parent)
        mi.save(net, path.with_suffix(""))
        return plan

    wanted = store.load(path)(X)
    store.save(path, make, describe(net), path.with_suffix(""))
    assert names(path.parent) == ["net.h5", "net.h5.plan"]
    np.testing.assert_array_equal(store.load(path)(X), wanted)


def test_two_processes_at_once(path: Path) -> None:
    weights = path.with_suffix("")
    wanted = store.load(path)(X)
    path.unlink()
    command = [sys.executable, "-m", "minincep", "compile", str(weights), "--image-size"]
    command += [f"{SIZE[0]}x{SIZE[1]}", "--batch-size", "2"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        process.communicate(timeout=300)
        assert process.returncode == 0
    assert names(path.parent) == ["net.h5", "net.h5.plan"]
    np.testing.assert_array_equal(store.load(path)(X), wanted)


# ------------------------------------------------------------------ damaged and hostile files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a plan"),
        (b"MINPLAN1", "not a plan"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "not a plan"),
        (b"MINPLAN9" + bytes(100), "not a plan of this minincep"),
        (b"MINPLAN1" + bytes(100), "not of the length"),
        (b"MINPLAN1" + bytes(56), "checksum"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(content)
    refused(path, message)


def test_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "absent.plan", "No such file")
    refused(tmp_path, "Is a directory")


def sections(path: Path) -> tuple[int, bytes, Array]:
    """Where the header begins, the header, and the steps, which may be changed."""
    content = path.read_bytes()
    _, floats, size, _, _ = store.START.unpack(content[: store.START.size])
    begin = store.START.size + 4 * floats
    return begin, content[begin : begin + size], np.frombuffer(content[begin + size :], STEP).copy()


def sealed(path: Path, header: bytes, steps: Array) -> None:
    """Write other header and steps with a checksum that is right, as an attacker would."""
    content = path.read_bytes()
    _, floats, _, _, _ = store.START.unpack(content[: store.START.size])
    begin = store.START.size + 4 * floats
    lengths = (floats, len(header), len(steps))
    digest = hashlib.sha256(repr(lengths).encode() + header + steps.tobytes()).digest()
    start = store.START.pack(store.MAGIC, *lengths, digest)
    path.write_bytes(start + content[store.START.size : begin] + header + steps.tobytes())


def test_sealing_as_an_attacker_would(path: Path) -> None:
    before = path.read_bytes()
    _, header, steps = sections(path)
    sealed(path, header, steps)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kind", 99, "there is no kind 99"),
        ("kind", -1, "there is no kind -1"),
        ("wait", 10**6, "waits for steps that come later"),
        ("wait", -1, "waits for steps that come later"),
        ("relu", 2, "relu is 2"),
        ("in_offset", -8, "the input lies outside"),
        ("in_offset", 1 << 30, "the input lies outside"),
        ("in_offset", 1 << 62, "in_offset is"),
        ("in_pitch", 1, "the input lies outside"),
        ("in_pitch", 1 << 30, "the input lies outside"),
        ("height", 1 << 31, "too many pixels"),
        ("out_offset", -8, "the output lies outside"),
        ("out_offset", 1 << 30, "the output lies outside"),
        ("out_channels", 0, "out_channels is 0"),
        ("residual_offset", 1 << 30, "the residual lies outside"),
        ("filters", -1, "the filters lie outside"),
        ("filters", 1 << 30, "the filters lie outside"),
        ("bias", -1, "the bias lies outside"),
        ("bias", 1 << 30, "the bias lies outside"),
        ("rows", 0, "rows is 0"),
        ("columns", 0, "columns is 0"),
        ("columns", 1, "begins inside a panel"),
        ("stride_height", 0, "stride_height is 0"),
        ("kernel_height", 500, ""),
        ("stride_width", 500, ""),
        ("out_height", 500, ""),
    ],
)
def test_a_field_that_would_do_harm(path: Path, field: str, value: int, message: str) -> None:
    """In the first step, a convolution without padding."""
    _, header, steps = sections(path)
    steps[0][field] = value
    sealed(path, header, steps)
    refused(path, rf"damaged: step 0 \(conv2d_1a_3x3\): .*{message}")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("memory", 16),
        ("memory", 1 << 62),
        ("memory", "much"),
        ("memory", True),
        ("scratch", 16),
        ("scratch", -1),
        ("scratch", 1 << 40),
        ("batch_size", 0),
        ("batch_size", 3),
        ("batch_size", 2.0),
        ("input", [0, 3, 75, 82]),
        ("input", [-16, 3, 75, 82, 3]),
        ("input", [0, 2, 75, 82, 3]),
        ("input", [1 << 40, 3, 75, 82, 3]),
        ("outputs", {"": [[0, 3, 1, 1, 3], [4]]}),
        ("outputs", {"": [[1 << 30, 3, 1, 1, 3], [3]]}),
        ("outputs", []),
        ("paths", ["one"]),
        ("paths", ["\x1b[2J"] * 60),
        ("description", {}),
        ("weights", {}),
        ("target", None),
        ("sources", None),
    ],
)
def test_a_header_that_makes_no_sense(path: Path, place: str, value: Any) -> None:
    _, header, steps = sections(path)
    content = json.loads(header)
    assert place in content
    sealed(path, json.dumps(content | {place: value}).encode(), steps)
    refused(path, "damaged|before the source files")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("labels", ["\x1b]0;gone\x07"]),
        ("labels", [1]),
        ("source", "\x1b[2J"),
        ("architecture", 7),
        ("config", None),
        ("config", {"num_classes": "many"}),
        ("preprocessing", {"height": 10**9, "width": 75}),
        ("preprocessing", None),
    ],
)
def test_a_description_that_makes_no_sense(path: Path, name: str, value: Any) -> None:
    _, header, steps = sections(path)
    content = json.loads(header)
    assert name in content["description"]
    content["description"][name] = value
    sealed(path, json.dumps(content).encode(), steps)
    refused(path, "damaged")


@pytest.mark.parametrize("header", [b"", b"{", b"[]", b"7", b"[" * 100_000, b"\xff\xfe"])
def test_a_header_that_is_none(path: Path, header: bytes) -> None:
    _, _, steps = sections(path)
    sealed(path, header, steps)
    refused(path, "damaged")


def test_steps_are_checked_once(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark says so; it holds for these steps, and nobody else can have made it."""
    marks = tmp_path / "marks"
    marks.mkdir(mode=0o755)
    private = True
    monkeypatch.setattr(cache, "folders", lambda: [(marks, private)])
    monkeypatch.setattr(cache, "cache_folder", lambda: marks)
    checked = []
    monkeypatch.setattr(bounds, "check", lambda program: checked.append(len(program.steps)))
    store.load(path)
    store.load(path)
    assert len(checked) == len(names(marks)) == 1
    _, header, steps = sections(path)
    steps[0]["kind"] = 99
    sealed(path, header, steps)
    store.load(path)
    assert len(checked) == len(names(marks)) == 2
    marks.chmod(0o777)
    store.load(path)
    assert len(checked) == 3
    private = False  # chosen by the user
    store.load(path)
    assert len(checked) == 3


def test_memory_that_nobody_has(path: Path) -> None:
    _, header, steps = sections(path)
    content = json.loads(header) | {"memory": 1 << 40}
    sealed(path, json.dumps(content).encode(), steps)
    refused(path, "damaged|memory")


FUZZ = """
import faulthandler, hashlib, json, random, sys
from pathlib import Path
import numpy as np
faulthandler.enable()
sys.path.insert(0, {root!r})
from minincep.plan import store
from minincep_kernels.errors import PlanError
from minincep_kernels.machine import set_num_threads
from minincep_kernels.program import native
from minincep_kernels.program.step import STEP
from tests.plan.test_store import X, sealed, sections

set_num_threads(1)
path = Path({path!r})
original = path.read_bytes()
wanted = store.load(path)(X)
begin, header, steps = sections(path)
random.seed({seed})
outcomes = {{"refused": 0, "answered": 0}}

def check(same):
    try:
        plan = store.load(path)
    except PlanError:
        outcomes["refused"] += 1
        return
    # A step that writes beside its memory is seen by what is beside it.
    room = np.full(plan.program.memory + 2 * 65536, 7.5, np.float32)
    plan._memory = room[65536:-65536]
    plan._memory[:] = 0
    found = plan(X)
    assert (room[:65536] == 7.5).all() and (room[-65536:] == 7.5).all()
    assert not same or np.array_equal(found, wanted)
    outcomes["answered"] += 1

# Damage: of single bytes, and of the end.
places = [*range(store.START.size), *random.sample(range(begin, len(original)), 400)]
for place in places:
    content = bytearray(original)
    content[place] ^= 1 << random.randrange(8)
    path.write_bytes(content)
    check(same=True)
for length in [*range(0, 70), *random.sample(range(len(original)), 50), len(original) - 1]:
    path.write_bytes(original[:length])
    check(same=True)
path.write_bytes(original + b"more")
check(same=True)
damaged = dict(outcomes)
path.write_bytes(original)
check(same=True)

# Malice: numbers of steps, under a checksum that is right.
numbers = [-(1 << 63), -1, 0, 1, 2, 3, 7, 16, 1000, 1 << 31, 1 << 40, (1 << 63) - 1]
for _ in range(1500):
    changed = steps.copy()
    for _ in range(random.choice([1, 1, 2, 5])):
        step, name = random.randrange(len(steps)), random.choice(STEP.names)
        old = int(steps[step][name])
        near = [old - 1, old + 1, 2 * old, old // 2, -old, int(random.choice(steps)[name])]
        changed[step][name] = random.choice([*numbers, *near, *near])
    path.write_bytes(original)
    sealed(path, header, changed)
    check(same=False)
print(json.dumps([damaged, outcomes]))
"""


def test_no_damage_and_no_malice_does_harm(path: Path) -> None:
    """Each file is refused or answered, in a process of its own: the alternative is a crash."""
    result = subprocess.run(
        [sys.executable, "-c", FUZZ.format(root=str(ROOT), path=str(path), seed=0)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    damaged, outcomes = json.loads(result.stdout)
    assert damaged["answered"] == 0
    assert outcomes["refused"] > 500
    assert outcomes["answered"] > 100


# ------------------------------------------------------------------ our own plans are in bounds


@pytest.mark.parametrize("size", [(75, 75), (160, 133), (299, 299)])
@pytest.mark.parametrize("name", list_models())
def test_plans_stay_inside_their_memory(name: str, size: tuple[int, int]) -> None:
    config: dict[str, Any] = {"inception_v4": {"aux_logits": size == (299, 299)}}.get(name, {})
    net = network(name, width=0.3, num_classes=5, **config)
    ends = [end for end in net.endpoint_names() if end != "AuxLogits" or config["aux_logits"]]
    for endpoints in ((), ends):
        plan = mi.compile(net, image_size=size, batch_size=3, endpoints=endpoints)
        bounds.check(plan.program)
