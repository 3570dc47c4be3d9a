"""Batches: the same for any number of workers and from any place on, whatever the files hold."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minincep.io import reference
from minincep.io.errors import ImageError
from minincep.io.images import open_image, prepare
from minincep.models.preprocessing import Preprocessing
from minincep.train.augment import INCEPTION
from minincep.train.data import DataSet, Example, image_folder
from minincep.train.loader import Batch, Loader, _Readers
from minincep_kernels.errors import ConfigError

HOW = Preprocessing(20, 24)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """21 pictures of three classes, of different modes, kinds and sizes."""
    folder = tmp_path_factory.mktemp("set")
    modes = {"jpg": "RGB", "png": "RGBA", "gif": "P", "tiff": "CMYK", "webp": "RGB", "bmp": "L"}
    for seed in range(21):
        kind = list(modes)[seed % len(modes)]
        path = folder / "abc"[seed % 3] / f"{seed:02}.{kind}"
        path.parent.mkdir(exist_ok=True)
        pixels = reference.picture(30 + 9 * (seed % 5), 70 - 11 * (seed % 4), seed)
        Image.fromarray(pixels).convert(modes[kind]).save(path)
    return image_folder(folder)


@pytest.fixture(scope="module")
def damaged(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Those and nine files that cannot be read, four of them in a row."""
    folder = tmp_path_factory.mktemp("damaged")
    jpeg = next(e.path for e in data.examples if e.path.suffix == ".jpg").read_bytes()
    content = {
        "half.jpg": jpeg[: len(jpeg) // 2],
        "text.jpg": b"not a picture",
        "zero.png": b"",
        "program.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    }
    for name, found in content.items():
        (folder / name).write_bytes(found)
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    (folder / "folder.png").mkdir()
    names = [*content, "huge.png", "folder.png", "gone.png", "a\nb.png", "\udcff.png"]
    bad = [Example(folder / name, 1) for name in names]
    good = list(data.examples)
    return DataSet(data.classes, (*good[:2], *bad[:5], *good[2:-1], *bad[5:], good[-1]))


def batches(data: DataSet, workers: int, first: int = 0, **options: int) -> list[Batch]:
    choice: dict[str, Any] = {"batch_size": 4, "seed": 7, "workers": workers, **options}
    with Loader(data, HOW, augmentation=INCEPTION, shuffle=True, **choice) as loader:
        return [batch for epoch in (0, 1) for batch in loader.epoch(epoch, first)]


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        a.x.tobytes() == b.x.tobytes()
        and a.labels.tolist() == b.labels.tolist()
        and a.indices.tolist() == b.indices.tolist()
        for a, b in zip(one, other, strict=True)
    )


def test_batches_do_not_depend_on_the_workers(data: DataSet) -> None:
    one = batches(data, 0)
    assert [batch.x.shape for batch in one] == 2 * [*5 * [(4, 20, 24, 3)], (1, 20, 24, 3)]
    assert one[0].x.dtype == np.float32
    assert one[0].labels.dtype == one[0].indices.dtype == np.int64
    assert same(batches(data, 1), one)
    assert same(batches(data, 3, prefetch=1), one)
    assert not same(batches(data, 0, seed=8), one)


def test_an_epoch_goes_on_from_any_batch(data: DataSet) -> None:
    one = batches(data, 0)
    for workers in (0, 2):
        for first in (1, 5):
            assert same(batches(data, workers, first), one[first:6] + one[6 + first :])
        assert batches(data, workers, 6) == []


def test_every_epoch_has_each_picture_once_in_another_order(data: DataSet) -> None:
    found = batches(data, 0)
    orders = [np.concatenate([b.indices for b in part]).tolist() for part in (found[:6], found[6:])]
    assert orders[0] != orders[1]
    assert all(sorted(order) == list(range(21)) for order in orders)
    for batch in found:
        assert [data.examples[i].label for i in batch.indices] == batch.labels.tolist()


def test_a_picture_varies_with_epoch_and_seed(data: DataSet) -> None:
    """And not with its place in the batch, nor with the size of the batch."""

    def pictures(found: list[Batch]) -> dict[int, bytes]:
        return {int(i): x.tobytes() for b in found for i, x in zip(b.indices, b.x, strict=True)}

    found = batches(data, 0)
    first, second = pictures(found[:6]), pictures(found[6:])
    assert all(first[i] != second[i] for i in range(21))
    other = pictures(batches(data, 0, seed=8)[:6])
    assert all(first[i] != other[i] for i in range(21))
    assert pictures(batches(data, 0, batch_size=21)[:1]) == first


def test_without_augmentation_pictures_are_as_for_an_answer(data: DataSet) -> None:
    with Loader(data, HOW, batch_size=8) as loader:
        (one, two, three), again = loader.epoch(0), list(loader.epoch(1))
    assert same([one, two, three], again)
    assert np.concatenate([b.indices for b in again]).tolist() == list(range(21))
    for example, x in zip(data.examples[:8], one.x, strict=True):
        np.testing.assert_array_equal(x, prepare(open_image(example.path), HOW))


def test_the_last_batch(data: DataSet) -> None:
    for size, drop_last, expected in [(4, False, 6), (4, True, 5), (7, True, 3), (21, True, 1)]:
        loader = Loader(data, HOW, batch_size=size, drop_last=drop_last, workers=0)
        sizes = [len(batch.x) for batch in loader.epoch(0)]
        assert len(loader) == len(sizes) == expected
        assert set(sizes[:-1]) <= {size}
        assert sum(sizes) == (21 // size * size if drop_last else 21)


def test_pictures_that_cannot_be_read_are_left_out(damaged: DataSet, data: DataSet) -> None:
    """Their batches are smaller; all others are as they would have been."""
    one = batches(damaged, 0, batch_size=3)
    for workers in (1, 3):
        assert same(batches(damaged, workers, batch_size=3), one)
        assert same(batches(damaged, workers, 4, batch_size=3), one[4:10] + one[14:])
    assert len(one) == 20
    for epoch in (one[:10], one[10:]):
        found = sorted(int(i) for batch in epoch for i in batch.indices)
        assert [damaged.examples[i] for i in found] == list(data.examples)
        assert sum(len(batch.x) for batch in epoch) == 21


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_may_be_empty(damaged: DataSet, workers: int) -> None:
    with Loader(damaged, HOW, batch_size=2, workers=workers) as loader:
        found = list(loader.epoch(0))
    assert [len(batch.x) for batch in found[:5]] == [2, 0, 0, 1, 2]
    assert found[1].x.shape == (0, 20, 24, 3)
    assert found[1].labels.dtype == np.int64


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_is_listed_once(damaged: DataSet, workers: int) -> None:
    with Loader(damaged, HOW, batch_size=4, workers=workers) as loader:
        for epoch in range(2):
            list(loader.epoch(epoch))
        found = {path.name: reason for path, reason in loader.skipped}
        assert len(loader.skipped) == len(found) == 9
    reasons = ["damaged", "not a picture", "not a picture", "not a picture", "too large"]
    reasons += ["is a folder", "no such file", "no such file", "no such file"]
    for name, reason in zip(found, reasons, strict=True):  # in the order of the data set
        assert reason in found[name]
        assert name in found[name]


@pytest.mark.parametrize(("workers", "drop_last"), [(0, False), (1, False), (0, True)])
def test_nothing_can_be_read(tmp_path: Path, workers: int, drop_last: bool) -> None:
    """Said at the end of an epoch, for its last batches alone are no proof."""
    data = DataSet(("a",), tuple(Example(tmp_path / f"{i}.png", 0) for i in range(5)))
    with Loader(data, HOW, batch_size=2, workers=workers, drop_last=drop_last) as loader:
        count, epoch = len(loader), loader.epoch(0)
        assert [len(next(epoch).x) for _ in range(count)] == [0] * count
        tried = 4 if drop_last else 5
        with pytest.raises(ImageError, match=rf"none of {tried} pictures .*0\.png: there"):
            next(epoch)
        assert len(list(loader.epoch(0, 1))) == count - 1


def test_workers_read_ahead_by_so_much(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    ask = _Readers.ask

    def spy(self: _Readers, path: Path, numbers: list[int]) -> object:
        asked.append(path)
        return ask(self, path, numbers)

    monkeypatch.setattr(_Readers, "ask", spy)
    with Loader(data, HOW, batch_size=2, workers=2, prefetch=3) as loader:
        epoch = loader.epoch(0)
        for count in range(1, 4):
            next(epoch)
            assert len(asked) == 2 * (3 + count)  # the batch that is out and three ahead
        epoch.close()
        assert len(list(loader.epoch(0))) == 11


def test_an_epoch_may_be_left_early(data: DataSet) -> None:
    with Loader(data, HOW, batch_size=2, workers=2) as loader:
        one = next(loader.epoch(0))
        both: Iterator[tuple[Batch, Batch]] = zip(loader.epoch(0), loader.epoch(0), strict=True)
        assert all(same([a], [b]) for a, b in both)
        assert same([one], [next(loader.epoch(0))])
    assert same([one], [next(loader.epoch(0))])  # new workers
    loader.close()
    loader.close()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 2, "seed": -1}, "seed must be at least 0"),
        ({"batch_size": 2, "workers": -1}, "workers must be at least 0"),
        ({"batch_size": 2, "prefetch": 0}, "prefetch must be at least 1"),
        ({"batch_size": 22, "drop_last": True}, "there are 21 pictures, at least 22 are needed"),
    ],
)
def test_options_out_of_range(data: DataSet, wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Loader(data, HOW, **wrong)  # type: ignore[arg-type]


def test_no_pictures() -> None:
    with pytest.raises(ConfigError, match="there are 0 pictures"):
        Loader(DataSet(("a", "b"), ()), HOW, batch_size=2)


def test_a_program_without_a_main_guard(data: DataSet, tmp_path: Path) -> None:
    """Its workers do not run it again; and it need not close them."""
    program = tmp_path / "numpy_free.py"
    program.write_text(
        "from minincep.models.preprocessing import Preprocessing\n"
        "from minincep.train.data import image_folder\n"
        "from minincep.train.loader import Loader\n"
        "print('once')\n"
        f"data = image_folder({str(data.examples[0].path.parent.parent)!r})\n"
        "loader = Loader(data, Preprocessing(20, 24), batch_size=8, workers=2)\n"
        "print([len(batch.x) for batch in loader.epoch(0)])\n"
        "epoch = loader.epoch(1)\n"
        "next(epoch)\n"
    )
    result = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("once\n[8, 8, 5]\n", "")
    assert result.returncode == 0
