"""Plans in files: compiled once, and then there in a moment.

A file holds all that answers take: the packed weights as the kernels read them, which are not read
but mapped into memory; the steps; and what the weights file says of classes and pictures, so that
this file need not be opened.

    64 bytes        MAGIC, floats of weights, bytes of header, steps (uint64 each), SHA-256
    weights         float32, from byte 64 on
    header          JSON
    steps           array of `STEP`

All little-endian.  The lengths add up to the length of the file, and the SHA-256 is that of
lengths, header and steps.  The weights have none: to read them all would cost the time that the
file saves.  A wrong weight makes a wrong answer; a wrong step would read or write anywhere, so each
is also checked (`bounds`), once: a mark beside the compiled kernels says that it was.  Nothing is
unpickled and nothing in the file is run.

A file serves one CPU, and one state of the sources and of the weights file; for any other, `load`
says why not.  The weights come first since they are packed straight into the file, layer by layer,
when steps and header are not known yet.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import mmap
import os
import struct
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

import minincep_kernels
from minincep.models.preprocessing import Preprocessing
from minincep.plan.plan import Plan
from minincep.plan.program import Place, Program
from minincep_kernels import Array, cache
from minincep_kernels.errors import PlanError
from minincep_kernels.program import native
from minincep_kernels.program.step import STEP

MAGIC = b"MINPLAN1"
START = struct.Struct("<8sQQQ32s")  # 64 bytes, so that the weights begin on a cache line
SUFFIX = ".plan"
LONGEST = 1 << 26  # bytes of header: a damaged file must not make us read without end

DAMAGE = (KeyError, TypeError, ValueError, AttributeError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Description:
    """What answers take, beside numbers: what a weights file says of its network.

    Attributes
    ----------
    embedding
        End point that describes a picture; empty for the answer itself.
    """

    architecture: str
    config: Mapping[str, Any]
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None
    source: str
    embedding: str


@dataclass(frozen=True)
class WeightsFile:
    """A state of a file of weights."""

    path: str
    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """The present state.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        status = path.stat()
        return cls(str(path), status.st_size, status.st_mtime_ns, _file_hash(path))

    def is_state_of(self, path: Path) -> bool:
        """Whether a file is still so: by its time, or if that is another, by its content."""
        if not path.is_file():
            return False
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns):
            return True
        return status.st_size == self.size and _file_hash(path) == self.sha256


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class StoredPlan(Plan):
    """A plan from a file.

    Attributes
    ----------
    description
        What the answers mean, and how pictures are prepared.
    """

    description: Description

    def __init__(self, program: Program, description: Description) -> None:
        super().__init__(program)
        self.description = description


def save(
    path: Path,
    make: Callable[[Callable[[int], Array]], Plan],
    description: Description,
    weights: Path,
) -> None:
    """Write a plan to a file, whole or not at all.

    Parameters
    ----------
    make
        Compiles the plan, with the `allocate` that it is given.
    weights
        The file that the network is from.

    Raises
    ------
    OSError
        If a file cannot be read, or written.
    PlanError
        If the network cannot become a plan.
    """
    state = WeightsFile.of(weights)
    target = Path(os.path.realpath(path))  # a link to a file stays one
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb+") as file:
            plan = make(functools.partial(_mapped, file))
            program = plan.program
            header = json.dumps(
                {
                    **_made_by(),
                    "image_size": plan.image_size,
                    "batch_size": plan.batch_size,
                    "memory": program.memory,
                    "scratch": program.scratch,
                    "input": dataclasses.astuple(program.input),
                    "outputs": {
                        name: [dataclasses.astuple(place), shape]
                        for name, (place, shape) in program.outputs.items()
                    },
                    "paths": program.paths,
                    "description": dataclasses.asdict(description),
                    "weights": dataclasses.asdict(
                        dataclasses.replace(state, path=_relative(weights, target.parent))
                    ),
                }
            ).encode()
            lengths = (len(program.weights), len(header), len(program.steps))
            steps = program.steps.tobytes()
            file.seek(START.size + 4 * len(program.weights))
            file.write(header + steps)
            file.seek(0)
            file.write(START.pack(MAGIC, *lengths, _digest(lengths, header, steps)))
            file.flush()
            os.fsync(file.fileno())  # nobody would notice weights that never reached the disk
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _mapped(file: Any, floats: int) -> Array:
    """Memory for packed weights that is a part of the file."""
    size = START.size + 4 * floats
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)  # a full disk says so now, and not by a signal
    else:
        file.truncate(size)
    memory = mmap.mmap(file.fileno(), size)
    return np.frombuffer(memory, np.float32, floats, START.size)


def _relative(path: Path, folder: Path) -> str:
    try:
        return os.path.relpath(path, folder)
    except ValueError:  # on another drive of Windows
        return str(path.absolute())


def _digest(lengths: tuple[int, ...], header: bytes, steps: bytes) -> bytes:
    return hashlib.sha256(repr(lengths).encode() + header + steps).digest()


def load(path: Path, weights: Path | None = None) -> StoredPlan:
    """Read a plan, and map its weights into memory.

    Do not write into a file that is mapped: replace it, as `save` does.

    Parameters
    ----------
    weights
        The weights file that it must be the plan of; by default the one that it was made of,
        if it is still there.

    Raises
    ------
    PlanError
        If the file is missing or damaged, or is for another CPU, another minincep, or another
        state of the weights file: the message says which.
    """
    try:
        with path.open("rb") as file:
            program, description, state, digest = _read(path, file)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read ({error.strerror or error})") from None
    made_of = weights or path.parent / state.path
    if (weights or made_of.is_file()) and not state.is_state_of(made_of):
        raise PlanError(f"{path}: {made_of} has changed since the plan was made of it")
    with _damage(path):
        if not _is_checked(digest):
            from minincep.plan import bounds  # imports the kernels, which takes a while

            bounds.check(program)
            _remember(digest)
        return StoredPlan(program, description)


def _is_checked(digest: bytes) -> bool:
    """Whether this user has seen before that steps and header with this checksum do no harm.

    It covers what the header says of sources and CPU, too.
    """
    for folder, private in cache.folders():
        with contextlib.suppress(OSError):
            if private:
                cache.refuse_foreign(folder)
            if (folder / _mark(digest)).is_file():
                return True
    return False


def _remember(digest: bytes) -> None:
    folder = cache.cache_folder()
    if folder is not None:
        with contextlib.suppress(OSError):
            (folder / _mark(digest)).touch()


def _mark(digest: bytes) -> str:
    return f"plan-{digest.hex()[:32]}.checked"


def _read(path: Path, file: Any) -> tuple[Program, Description, WeightsFile, bytes]:
    size = os.fstat(file.fileno()).st_size
    start = file.read(START.size)
    if start[: len(MAGIC)] != MAGIC or len(start) < START.size:
        raise PlanError(f"{path}: not a plan of this minincep; 'minincep compile' makes one")
    _, floats, header_size, count, digest = START.unpack(start)
    steps_size = count * STEP.itemsize
    if START.size + 4 * floats + header_size + steps_size != size or header_size > LONGEST:
        raise PlanError(f"{path}: damaged: it is not of the length that it should be")
    file.seek(START.size + 4 * floats)
    header, steps = file.read(header_size), file.read(steps_size)
    if _digest((floats, header_size, count), header, steps) != digest:
        raise PlanError(f"{path}: damaged: its checksum is another one")
    with _damage(path):
        content = json.loads(header)
        _check_origin(path, content)
        description = _description(content["description"])
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        table = np.frombuffer(steps, STEP)
        program = Program(
            table,
            np.frombuffer(memory, np.float32, floats, START.size),
            _whole(content["memory"]),
            _whole(content["scratch"]),
            _whole(content["batch_size"]),
            tuple(map(_printable, content["paths"])),
            _place(content["input"]),
            {
                name: (_place(place), tuple(map(_whole, shape)))
                for name, (place, shape) in content["outputs"].items()
            },
        )
        return program, description, WeightsFile(**content["weights"]), digest


def _description(content: dict[str, Any]) -> Description:
    labels = content["labels"]
    for text in (content["architecture"], content["source"], content["embedding"], *(labels or ())):
        _printable(text)
    classes = content["config"].get("num_classes")
    if classes is not None:
        _whole(classes)
    made = {
        "preprocessing": Preprocessing(**content["preprocessing"]),
        "labels": None if labels is None else tuple(labels),
    }
    return Description(**content | made)


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Name the file in what is raised for numbers and texts that make no sense."""
    try:
        yield
    except PlanError as error:
        if str(error).startswith(str(path)):
            raise
        raise PlanError(f"{path}: damaged: {_shown(error)}") from None
    except DAMAGE as error:
        raise PlanError(f"{path}: damaged ({_shown(error)})") from None


def _shown(error: Exception) -> str:
    """What an error says, which may have text from the file in it."""
    return "".join(char if char.isprintable() else "?" for char in f"{error!s:.500}")


def _place(numbers: list[Any]) -> Place:
    return Place(*map(_whole, numbers))


def _printable(text: Any) -> str:
    """Text without the control characters that could take over a terminal."""
    if not isinstance(text, str) or not text.isprintable():
        raise ValueError(f"{text!r:.80} is not plain text")
    return text


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise TypeError(f"{number!r:.80} is not a whole number")
    return number


def _made_by() -> dict[str, Any]:
    """What a plan depends on, beside the weights."""
    version = sys.modules["minincep"].__version__  # this package is in it, so it is there
    return {"minincep": version, "sources": _sources(), "target": native.target()}


def _check_origin(path: Path, content: Mapping[str, Any]) -> None:
    wanted = _made_by()
    if content["minincep"] != wanted["minincep"]:
        reason = f"made by minincep {content['minincep']}, this is {wanted['minincep']}"
    elif content["sources"] != wanted["sources"]:
        reason = "made before the source files of minincep were changed"
    elif content["target"] != wanted["target"]:
        cpu, mine = (
            f"{target[1]} ({target[0]})" for target in (content["target"], wanted["target"])
        )
        reason = f"made for another CPU: {cpu}, and this is {mine}"
        if cpu == mine:
            reason = f"made for another {cpu}: not all of its instructions are the same here"
    else:
        return
    raise PlanError(f"{path}: {reason}")


@functools.cache
def _sources() -> str | None:
    """Hash of the source files that decide what is in a plan."""
    mine, kernels = Path(__file__).parents[1], Path(minincep_kernels.__file__).parent
    rooms = (kernels, *(mine / room for room in ("autograd", "models", "nn", "plan")))
    return cache.source_hash(sorted(path for room in rooms for path in room.rglob("[!.]*.py")))
