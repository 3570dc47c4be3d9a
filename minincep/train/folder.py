"""The folder of a training: what is in it, and who may write there.

settings.toml    what was asked for; --config takes it
log.jsonl        steps and epochs, a line of JSON each
checkpoint.h5    from where --resume goes on
best.h5, last.h5 weights files: of the best epoch on the pictures for validation; of the last
skipped.csv      pictures that could not be read
curves.*, confusion.*, at the end
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from minincep.io.errors import ResultError
from minincep.io.files import writing
from minincep.train import checkpoint
from minincep.train.checkpoint import Checkpoint
from minincep.train.log import Log
from minincep.train.settings import Settings
from minincep.train.trainer import BEST, CHECKPOINT, LAST

SETTINGS, LOG, SKIPPED = "settings.toml", "log.jsonl", "skipped.csv"
OURS = (SETTINGS, CHECKPOINT, BEST, LAST, SKIPPED)


def look(folder: Path, *, resume: bool) -> Checkpoint | None:
    """The checkpoint to go on from; None if there is none, and training is to begin.

    Raises
    ------
    ResultError
        If something is in the folder that is not to go on, or nothing of `minincep train`.
    WeightError
        If the checkpoint is damaged.
    """
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise ResultError(f"{folder} is a file, not a folder: choose another")
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
        empty = LOG in names and not (folder / LOG).stat().st_size
    names = {name for name in names if not name.startswith(".")} - ({LOG} if empty else set())
    if not resume:
        if names & {*OURS, LOG}:
            raise ResultError(
                f"{folder} holds a training: --resume goes on with it; or choose an empty folder"
            )
        if names:
            raise ResultError(f"{folder} is not empty: choose another folder")
        return None
    if not names & {SETTINGS, CHECKPOINT}:
        raise ResultError(f"{folder} holds no training to resume")
    if CHECKPOINT not in names:
        return None
    found = checkpoint.read(folder / CHECKPOINT)
    if not isinstance(found.header.get("settings"), dict):
        raise ResultError(
            f"{found.path} is of a Trainer in another program, which alone can resume it"
        )
    return found


def check_apart(folder: Path, settings: Settings) -> None:
    """Refuse a folder inside the pictures: it would be a class, of the pictures that are drawn.

    Raises
    ------
    ResultError
        If it is.
    """
    for data in filter(None, (settings.data, settings.validation_data)):
        if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(data)):
            raise ResultError(
                f"{folder} is among the pictures in {data}: choose a folder elsewhere"
            )


@contextlib.contextmanager
def opened(folder: Path, settings: Settings) -> Iterator[Log]:
    """Within the `with` block the folder is this program's; -> its log.

    Raises
    ------
    ResultError
        If another program trains there.
    OSError
        If it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with Log(folder / LOG, every=settings.log_every) as log:
        checkpoint.remove_leftovers(folder)
        settings.write(folder / SETTINGS)
        yield log
