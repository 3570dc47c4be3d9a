"""Pictures for training and for validation: shares, seeds, and what is split already."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from minincep.train.data import DataSet, Example, image_folder
from minincep.train.split import read_split, split
from minincep_kernels.errors import ConfigError


def data_set(**counts: int) -> DataSet:
    examples = [
        Example(Path(name) / f"{i}.png", label)
        for label, (name, count) in enumerate(counts.items())
        for i in range(count)
    ]
    return DataSet(tuple(counts), tuple(examples))


def pictures(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    return root


def test_each_class_is_split_in_proportion() -> None:
    data = data_set(a=100, b=50, c=10)
    training, validation = split(data, 0.2, seed=0)
    assert validation.counts() == (20, 10, 2)
    assert training.counts() == (80, 40, 8)
    assert sorted([*training.examples, *validation.examples], key=str) == sorted(
        data.examples, key=str
    )
    assert training.classes == validation.classes == data.classes


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_small_classes_are_on_both_sides(share: float) -> None:
    training, validation = split(data_set(a=1, b=2, c=3, d=40), share, seed=1)
    assert min(training.counts()) == 1
    assert validation.counts()[0] == 0
    assert all(count >= 1 for count in validation.counts()[1:])


def test_the_seed_decides_and_the_order_does_not() -> None:
    data = data_set(a=30, b=30)
    first = split(data, 0.3, seed=5)
    assert split(data, 0.3, seed=5) == first
    assert split(data, 0.3, seed=6) != first
    backwards = DataSet(data.classes, data.examples[::-1])
    for part, other in zip(first, split(backwards, 0.3, seed=5), strict=True):
        assert set(part.examples) == set(other.examples)


def test_another_class_changes_nothing_for_the_rest() -> None:
    def names(data: DataSet) -> set[Path]:
        return {example.path for example in data.examples if example.path.parent.name == "b"}

    one, other = split(data_set(b=40, c=40), 0.25, 0), split(data_set(a=9, b=40, c=40), 0.25, 0)
    assert names(one[1]) == names(other[1])


def test_classes_are_drawn_apart() -> None:
    """Not the same places of every class, which may be pictures of the same thing."""
    _, validation = split(data_set(a=40, b=40), 0.25, 0)
    by_class: list[set[str]] = [set(), set()]
    for example in validation.examples:
        by_class[example.label].add(example.path.name)
    assert by_class[0] != by_class[1]


def test_pictures_are_chosen_evenly() -> None:
    chosen: Counter[str] = Counter()
    for seed in range(200):
        _, validation = split(data_set(a=10, b=10), 0.3, seed)
        chosen.update(e.path.name for e in validation.examples if e.label == 0)
    assert min(chosen.values()) > 30  # 60 expected
    assert max(chosen.values()) < 90


def test_pictures_too_few_to_validate_with() -> None:
    """Of one class, but not of all of them, there may be one picture only."""
    assert len(split(data_set(a=1, b=2), 0.2, seed=0)[1]) == 1
    with pytest.raises(ConfigError, match="every class has one picture only, so that none is left"):
        split(data_set(a=1, b=1), 0.2, seed=0)
    assert len(split(data_set(a=1, b=1), 0, seed=0)[0]) == 2


def test_nothing_for_validation() -> None:
    training, validation = split(data_set(a=3, b=3), 0, seed=0)
    assert len(training) == 6
    assert len(validation) == 0


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_shares_out_of_range(share: float) -> None:
    with pytest.raises(ConfigError, match="share for validation"):
        split(data_set(a=3, b=3), share, seed=0)


def test_negative_seed() -> None:
    with pytest.raises(ConfigError, match="seed must not be negative"):
        split(data_set(a=3, b=3), 0.2, seed=-1)


def test_one_class(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"one class only \('egg'\)"):
        split(data_set(egg=3), 0.2, seed=0)
    pictures(tmp_path, "train/egg/1.png", "val/egg/1.png")
    with pytest.raises(ConfigError, match=r"train has one class only \('egg'\)"):
        read_split(tmp_path)


@pytest.mark.parametrize("name", ["val", "validation"])
def test_a_split_that_is_given(tmp_path: Path, name: str) -> None:
    pictures(tmp_path, "train/a/1.png", "train/b/1.png", "train/c/1.png", f"{name}/c/2.png")
    pictures(tmp_path, "test/a/9.png")
    training, validation = read_split(tmp_path, 0.5, 0)
    assert training == image_folder(tmp_path / "train")
    assert validation.classes == ("a", "b", "c")
    assert [(e.path.name, e.label) for e in validation.examples] == [("2.png", 2)]


def test_a_label_for_validation_only(tmp_path: Path) -> None:
    pictures(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "val/moth/1.png")
    with pytest.raises(ConfigError, match=r"val: the label 'moth' is not among the 2 classes"):
        read_split(tmp_path)


def test_trains_are_things_too(tmp_path: Path) -> None:
    """Beside other classes, `train` is one; without `val`, too."""
    pictures(tmp_path, "train/1.png", "val/1.png", "car/1.png")
    assert read_split(tmp_path, 0, 0)[0].classes == ("car", "train", "val")
    pictures(tmp_path / "other", "train/1.png", "test/1.png")
    assert read_split(tmp_path / "other", 0, 0)[0].classes == ("test", "train")


def test_two_folders_for_validation(tmp_path: Path) -> None:
    pictures(tmp_path, "train/a/1.png", "val/a/1.png", "validation/a/1.png")
    with pytest.raises(ConfigError, match="both val and validation"):
        read_split(tmp_path)


def test_a_folder_and_a_table(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"{name}/{i}.png" for name in "ab" for i in range(10)))
    (tmp_path / "t.csv").write_text(
        "file,label\n" + "".join(f"{name}/{i}.png,{name}\n" for name in "ba" for i in range(10))
    )
    folder, table = read_split(tmp_path, 0.3, 4), read_split(tmp_path / "t.csv", 0.3, 4)
    assert folder[1].counts() == (3, 3)
    for part, other in zip(folder, table, strict=True):
        assert part.examples == other.examples
