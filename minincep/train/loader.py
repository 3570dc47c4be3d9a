"""Batches of pictures, decoded and varied ahead of the network.

What a batch holds depends on the seed, the epoch and its place in it: not on the number of workers,
nor on where a run was interrupted.  (And on the versions of NumPy and Pillow.)
"""

import contextlib
import itertools
import queue
import weakref
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from minincep.io.errors import ImageError
from minincep.models.preprocessing import Preprocessing
from minincep.train.augment import Augmentation
from minincep.train.data import DataSet
from minincep.train.workers import Picture, Recipe, Worker
from minincep_kernels.errors import ConfigError

Indices = npt.NDArray[np.int64]

ORDER, VARIATION = 0, 1  # what a random generator is for: no two share their numbers


@dataclass(frozen=True)
class Batch:
    """Some pictures: x (N, H, W, 3), their labels (N,), and their places in the data set (N,)."""

    x: npt.NDArray[np.float32]
    labels: Indices
    indices: Indices


class Loader:
    """Reads the pictures of a data set, batch by batch.

    A picture that cannot be read is left out of its batch, which is smaller then, and may be empty.
    So the batches of an epoch are always as many, and each has the pictures that it would have had.

    Parameters
    ----------
    data
        Which pictures.
    preprocessing
        What the network wants; without augmentation it alone decides.
    batch_size
        Pictures in a batch; the last one of an epoch may have fewer.
    seed
        For the order and the augmentation.
    augmentation
        How pictures are varied, for training.
    shuffle
        A new order for each epoch, rather than that of the data set.
    drop_last
        Leave out a last batch that is not full.
    workers
        Processes that decode; 0 decodes in this one, when a batch is asked for.
    prefetch
        Batches that are read ahead by the workers, at most.

    Attributes
    ----------
    skipped
        Path and reason of each picture that could not be read, found so far.

    Raises
    ------
    ConfigError
        If a number is out of range, or there are no pictures, or not enough for a batch.
    """

    skipped: list[tuple[Path, str]]

    def __init__(
        self,
        data: DataSet,
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        workers: int = 1,
        prefetch: int = 4,
    ) -> None:
        limits = {"batch_size": (batch_size, 1), "seed": (seed, 0), "workers": (workers, 0)}
        for name, (value, least) in (limits | {"prefetch": (prefetch, 1)}).items():
            if value < least:
                raise ConfigError(f"{name} must be at least {least}, got {value}")
        least = batch_size if drop_last else 1
        if len(data) < least:
            raise ConfigError(
                f"there are {len(data)} pictures, at least {least} are needed: add some, or take "
                "a smaller batch_size"
            )
        self.data, self.preprocessing, self.batch_size = data, preprocessing, batch_size
        self.seed, self.shuffle, self.drop_last = seed, shuffle, drop_last
        self.workers, self.prefetch = workers, prefetch
        self.skipped = []
        self._bad: set[int] = set()
        self._recipe = Recipe(preprocessing, augmentation)
        self._readers: _Readers | None = None

    def __len__(self) -> int:
        """How many batches an epoch has."""
        full, rest = divmod(len(self.data), self.batch_size)
        return full + bool(rest and not self.drop_last)

    def epoch(self, number: int, first: int = 0) -> Generator[Batch, None, None]:
        """The batches of an epoch, from `first` on, counted from 0.

        Raises
        ------
        ImageError
            At the end, if not one of the pictures could be read.
        WorkerError
            If workers are ended by somebody, again and again.
        """
        order, size = np.arange(len(self.data)), self.batch_size
        if self.shuffle:
            order = np.random.default_rng([self.seed, ORDER, number]).permutation(order)
        parts = [order[i * size : (i + 1) * size] for i in range(first, len(self))]
        any_read = False
        with contextlib.closing(self._read(number, parts)) as batches:
            for batch in batches:
                any_read |= bool(len(batch.x))
                yield batch
        if parts and not first and not any_read:
            tried = sum(len(part) for part in parts)
            raise ImageError(f"none of {tried} pictures can be read; {self.skipped[0][1]}")

    def _read(self, epoch: int, parts: list[Indices]) -> Generator[Batch, None, None]:
        if not self.workers:
            for part in parts:
                yield self._batch(part, (_tried(self._recipe, *self._task(epoch, i)) for i in part))
            return
        readers = self._readers = self._readers or _Readers(self._recipe, self.workers)
        waiting: deque[tuple[Indices, list[Future[Picture | ImageError]]]] = deque()

        def ask(some: Iterable[Indices]) -> None:
            for part in some:
                waiting.append((part, [readers.ask(*self._task(epoch, i)) for i in part]))

        rest = iter(parts)
        ask(itertools.islice(rest, self.prefetch))
        try:
            while waiting:
                part, futures = waiting[0]
                batch = self._batch(part, (future.result() for future in futures))
                waiting.popleft()
                futures.clear()  # and with them the pictures, which are in the batch now
                ask(itertools.islice(rest, 1))
                yield batch
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()

    def _task(self, epoch: int, index: int) -> tuple[Path, list[int]]:
        return self.data.examples[index].path, [self.seed, VARIATION, epoch, int(index)]

    def _batch(self, indices: Indices, pictures: Iterable[Picture | ImageError]) -> Batch:
        height, width = self.preprocessing.height, self.preprocessing.width
        good: list[int] = []
        x = np.empty((len(indices), height, width, 3), np.float32)
        for index, picture in zip(indices.tolist(), pictures, strict=True):
            if not isinstance(picture, ImageError):
                x[len(good)] = picture
                good.append(index)
            elif index not in self._bad:
                self._bad.add(index)
                self.skipped.append((self.data.examples[index].path, str(picture)))
        labels = [self.data.examples[index].label for index in good]
        return Batch(x[: len(good)], np.array(labels, np.int64), np.array(good, np.int64))

    def close(self) -> None:
        """End the workers; a new epoch would start new ones."""
        if self._readers:
            self._readers.close()
            self._readers = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Readers:
    """Workers, and a thread for each that waits for its answers."""

    def __init__(self, recipe: Recipe, count: int) -> None:
        workers = [Worker(recipe) for _ in range(count)]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(count, "reader")
        self.close = weakref.finalize(self, _ended, self._threads, workers)

    def ask(self, path: Path, numbers: list[int]) -> Future[Picture | ImageError]:
        """Have a picture read by the next worker that is free."""
        return self._threads.submit(_by_any, self._idle, path, numbers)


def _by_any(
    idle: "queue.SimpleQueue[Worker]", path: Path, numbers: list[int]
) -> Picture | ImageError:
    worker = idle.get()
    try:
        return _tried(worker, path, numbers)
    finally:
        idle.put(worker)


def _tried(reader: Recipe | Worker, path: Path, numbers: list[int]) -> Picture | ImageError:
    """A picture; the error, rather than raised, if it cannot be read."""
    try:
        return reader.read(path, numbers)
    except ImageError as error:
        return error


def _ended(threads: ThreadPoolExecutor, workers: list[Worker]) -> None:
    threads.shutdown(cancel_futures=True)
    for worker in workers:
        worker.close()
