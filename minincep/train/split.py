"""Pictures to learn from, and pictures to measure with."""

import os
import zlib
from pathlib import Path

import numpy as np

from minincep.train.data import DataSet, given_parts, image_folder, read, with_classes
from minincep_kernels.errors import ConfigError


def split(data: DataSet, share: float, seed: int) -> tuple[DataSet, DataSet]:
    """A share of each class for validation, the rest for training: (training, validation).

    A class of two or more pictures has at least one on each side; one of a single picture is for
    training.  Which pictures are chosen depends on the seed, the names of the class and of its
    files only.

    Raises
    ------
    ConfigError
        If the share is not in [0, 1), the seed is negative, there are not two classes at least, or
        no class has two pictures to share out.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"the share for validation must be at least 0 and below 1, got {share}")
    if seed < 0:
        raise ConfigError(f"the seed must not be negative, got {seed}")
    check_classes(data)
    of_class: list[list[int]] = [[] for _ in data.classes]
    for i, example in enumerate(data.examples):
        of_class[example.label].append(i)
    chosen: set[int] = set()
    for name, members in zip(data.classes, of_class, strict=True):
        members.sort(key=lambda i: data.examples[i].path.as_posix())
        count = min(max(round(share * len(members)), 1), len(members) - 1) if share else 0
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        chosen.update(members[i] for i in random.permutation(len(members))[: max(count, 0)])
    if share and not chosen:
        raise ConfigError(
            "every class has one picture only, so that none is left to validate with: add some, "
            "name others to validate with, or set the share for validation to 0"
        )
    training = tuple(e for i, e in enumerate(data.examples) if i not in chosen)
    validation = tuple(e for i, e in enumerate(data.examples) if i in chosen)
    return DataSet(data.classes, training, data.skipped), DataSet(data.classes, validation)


def read_split(
    path: str | os.PathLike[str], share: float = 0.2, seed: int = 0
) -> tuple[DataSet, DataSet]:
    """Pictures of a folder or a table for training and for validation.

    A folder that holds `train` and `val` (or `validation`) is taken as it is; anything else is
    read by `read` and split.

    Raises
    ------
    ConfigError
        As `read` and `split`; or if a label has pictures for validation only.
    """
    root = Path(path)
    given = given_parts(root) if root.is_dir() else None
    if given is None:
        return split(read(root), share, seed)
    training, validation = (image_folder(place) for place in given)
    check_classes(training, str(given[0]))
    return training, with_classes(validation, training.classes, str(given[1]))


def check_classes(data: DataSet, where: str = "the data set") -> None:
    """Raise ConfigError if there is nothing to tell apart."""
    if len(data.classes) < 2:
        names = ", ".join(repr(name) for name in data.classes)
        raise ConfigError(
            f"{where} has one class only ({names}): a network learns to tell at least two apart"
        )
