"""What is told of a training while it runs, and the file that keeps it: a line of JSON each."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from minincep.io.errors import ResultError
from minincep.io.files import writing
from minincep.io.text import to_json
from minincep_kernels.errors import ConfigError


@dataclass(frozen=True)
class Step:
    """One update of the weights.

    Attributes
    ----------
    step
        Updates so far.
    epoch
        Epochs so far, a fraction.
    loss, accuracy
        Of the pictures of this step, as they were trained on.
    rate
        Learning rate.
    images_per_second
        Pictures trained on, reading them included.
    """

    step: int
    epoch: float
    loss: float
    accuracy: float
    rate: float
    images_per_second: float


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes
    ----------
    step
        Updates so far.
    epoch
        Epochs that are done.
    loss, accuracy
        Means over the pictures as they were trained on.
    validation_loss, validation_accuracy
        Of the pictures for validation, if there are any.
    best
        Whether it is the best epoch so far.
    seconds
        Training and validation.
    """

    step: int
    epoch: int
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    best: bool
    seconds: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written."""

    path: Path
    step: int


Event = Step | Epoch | Saved


class Log:
    """A file of steps and epochs, which goes on where a checkpoint is.

    Only one program can have it open: so two trainings never share a folder.

    Parameters
    ----------
    every
        Keep every so many steps.

    Raises
    ------
    ResultError
        If another program writes it.
    OSError
        If it cannot be written.
    """

    def __init__(self, path: Path, *, every: int = 1) -> None:
        self._path = path
        self._every = every
        with writing(path):
            self._file = path.open("a+b", buffering=0)  # a line that failed is not tried again
        try:
            _lock(self._file.fileno())
        except OSError:
            self._file.close()
            raise ResultError(
                f"another training writes {path} now: let it end, or choose another folder"
            ) from None

    def go_on(self, *, step: int, epoch: int) -> None:
        """Forget what came after so many steps and epochs: it will be done again."""
        self._file.seek(0)
        end = 0
        for line in self._file.readall().splitlines(keepends=True):
            found = _parsed(line)  # None where a program has ended within a line
            if found and found["kind"] == "step" and found["step"] > step:
                break
            if found and found["kind"] == "epoch" and found["epoch"] > epoch:
                break
            end += len(line) if line.endswith(b"\n") else 0
        with writing(self._path):
            self._file.truncate(end)

    def __call__(self, event: Event) -> None:
        """Append a step or an epoch."""
        if isinstance(event, Saved) or (isinstance(event, Step) and event.step % self._every):
            return
        line = to_json({"kind": type(event).__name__.lower(), **asdict(event)})
        rest = line.encode() + b"\n"
        with writing(self._path):
            while rest:  # the last that fits on a disk may be less than a line
                rest = rest[self._file.write(rest) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def _lock(number: int) -> None:
    """Lock a file until this program closes it; processes that it starts do not inherit the lock.

    Raises
    ------
    OSError
        If another program has done so.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def read(path: Path) -> tuple[list[Step], list[Epoch]]:
    """The steps and the epochs of a log; lines that are none are passed over.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    steps, epochs = [], []
    for found in _lines(path):
        kind = found.pop("kind")
        try:
            if not all(value is None or isinstance(value, int | float) for value in found.values()):
                raise TypeError
            if kind == "step":
                steps.append(Step(**found))
            else:
                epochs.append(Epoch(**found))
        except TypeError:
            raise ConfigError(f"{path}: not a log of minincep") from None
    return steps, epochs


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            yield from filter(None, map(_parsed, file))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line of the log; None if it is not whole."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and found.get("kind") in ("step", "epoch")
    numbers = whole and all(isinstance(found.get(k), int | float) for k in ("step", "epoch"))
    return found if numbers and line.endswith(b"\n") else None
