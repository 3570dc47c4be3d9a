"""Plans in files that are damaged, or made to do harm: refused, and harmless."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minincep as mi
from minincep.models.registry import list_models
from minincep.plan import bounds, store
from minincep_kernels import Array, cache
from minincep_kernels.program.step import STEP
from tests.plan.graphs import network
from tests.plan.stored import ROOT, names, refused

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
        ("memory", 1 << 24),
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
from tests.plan.stored import X
from tests.plan.test_store_damage import sealed, sections

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
