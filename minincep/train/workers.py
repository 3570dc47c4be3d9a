"""Pictures are decoded in processes of their own, so that the network does not wait for them.

A worker is an ordinary Python process that imports NumPy and Pillow only.  It is told by a line of
JSON on its standard input how pictures are prepared, then by a line for each which one is next.  It
answers on its standard output: a line of JSON, and the picture's numbers after it.  So the user's
own program is not imported a second time, as `multiprocessing` would do it, and nothing is pickled.

A worker ends when its input ends; the system sees to that when the asking process is gone, however
it went.  It is in a session of its own, so that Ctrl-C on the terminal does not reach it.
"""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minincep.io.errors import ImageError
from minincep.io.images import open_image, prepare
from minincep.models.preprocessing import Preprocessing
from minincep.train.augment import Augmentation, read_augmented
from minincep_kernels.errors import UserError

Picture = npt.NDArray[np.float32]

COMMAND = ("-P", "-m", "minincep.train.workers")  # -P: nothing is imported from where we stand
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
NICENESS = 5  # the network goes first
TRIES = 2  # processes that may end over one picture


class WorkerError(UserError, RuntimeError):
    """Processes that decode pictures are ended by somebody."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a file becomes the input of the network."""

    preprocessing: Preprocessing
    augmentation: Augmentation | None

    def read(self, path: str | os.PathLike[str], numbers: Sequence[int]) -> Picture:
        """Decode and prepare: -> (H, W, 3); what is random in it depends on the numbers only.

        Raises
        ------
        ImageError
            If the file cannot be read.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd metadata, which changes nothing
                if self.augmentation is None:
                    return prepare(open_image(path), self.preprocessing)
                random = np.random.default_rng(numbers)
                return read_augmented(path, self.preprocessing, self.augmentation, random)
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from None

    def to_json(self) -> str:
        """In one line."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(line: str | bytes) -> "Recipe":
        """What `to_json` made."""
        found: dict[str, Any] = json.loads(line)
        varied = found["augmentation"]
        return Recipe(
            Preprocessing(**found["preprocessing"]),
            None if varied is None else Augmentation(**varied),
        )


class Worker:
    """A process that reads pictures, one at a time.  Started when it is first asked."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, path: Path, numbers: Sequence[int]) -> Picture:
        """As `Recipe.read`, in the process; a new one, if the old one is gone.

        Raises
        ------
        ImageError
            If the file cannot be read; or if processes end over it again and again.
        """
        task = json.dumps([os.fspath(path), list(numbers)]).encode() + b"\n"
        for _ in range(TRIES):
            process = self._process = self._process or self._started()
            assert process.stdin
            assert process.stdout
            try:
                process.stdin.write(task)
                process.stdin.flush()
                return _answer(process.stdout)
            except (EOFError, BrokenPipeError):
                self.close()
        raise WorkerError(
            f"{path}: {TRIES} processes that were to read this picture ended, the last with "
            f"{_cause(process.returncode)}: take fewer workers, or leave the picture out"
        )

    def _started(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
        process = subprocess.Popen(
            [sys.executable, *COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": path},
            start_new_session=True,
        )
        assert process.stdin
        with contextlib.suppress(BrokenPipeError):  # found when it is asked
            process.stdin.write(self._recipe.to_json().encode() + b"\n")
        return process

    def close(self) -> None:
        """End the process."""
        if process := self._process:
            self._process = None
            process.kill()
            with contextlib.suppress(BrokenPipeError):  # of what was not yet written
                process.communicate()


def _cause(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    hint = ", as the system sends when memory is short" if status == -signal.SIGKILL else ""
    return f"signal {signal.Signals(-status).name}{hint}"


def _answer(stream: Any) -> Picture:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise ImageError(answer["error"])
    x = np.empty(answer["shape"], np.float32)
    if stream.readinto(x.data.cast("B")) != x.nbytes:
        raise EOFError
    return x


def work() -> None:
    """Answer until there is nobody to ask: the whole life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows knows no sessions
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a library may print is no answer
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(lines,), daemon=True).start()
        recipe = Recipe.from_json(lines.get())
        while True:
            path, numbers = json.loads(lines.get())
            try:
                x = recipe.read(path, numbers)
            except ImageError as error:
                found: list[Any] = [{"error": str(error)}]
            else:
                found = [{"shape": x.shape}, np.ascontiguousarray(x).data]
            try:
                answers.write(json.dumps(found[0]).encode() + b"\n")
                answers.writelines(found[1:])
                answers.flush()
            except BrokenPipeError:
                os._exit(0)


def _listen(lines: "queue.SimpleQueue[bytes]") -> None:
    """Hear the end of the input at once, while a picture is being decoded, too."""
    for line in sys.stdin.buffer:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    work()
