"""Weights files of Keras 3: every value under its layer's name, and what is wrong with a file."""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.io.formats.keras_v3 import arrays
from tools.sources.sample_rule import expected
from tools.sources.sample_states import KERAS, keras

SOURCES = Path(__file__).parents[2] / "data" / "sources"


def test_every_array() -> None:
    with arrays(SOURCES / "keras3.weights.h5") as found:
        assert set(found) == set(KERAS)
        for array, (dtype, shape) in KERAS.items():
            assert (found[array].dtype, found[array].shape) == (dtype, shape)
            np.testing.assert_array_equal(found[array].read(), keras(array, shape), strict=True)


def test_bfloat16() -> None:
    with arrays(SOURCES / "keras3_bfloat16.weights.h5") as found:
        assert {name: stored.size for name, stored in found.items()} == {
            "dense/kernel": 40,
            "dense/bias": 10,
        }
        for name, stored in found.items():
            assert stored.dtype == "bfloat16"
            drawn = expected(name.replace("dense", "predictions"), "bfloat16", stored.shape)
            np.testing.assert_array_equal(stored.read(), np.abs(drawn), strict=True)


Groups = Mapping[str, Mapping[str, tuple[int, ...]]]


def write(path: Path, groups: Groups, **names: str) -> Path:
    with h5py.File(path, "w") as file:
        for group, variables in groups.items():
            for number, shape in variables.items():
                file[f"{group}/{number}"] = np.ones(shape, np.float32)
        for group, name in names.items():
            file[f"layers/{group}/vars"].attrs["name"] = name
    return path


def names(path: Path) -> list[str]:
    with arrays(path) as found:
        return sorted(found)


@pytest.mark.parametrize(
    ("shapes", "kinds"),
    [
        ([(3, 3, 2, 4)], ["kernel"]),
        ([(2, 4), (4,)], ["kernel", "bias"]),
        ([(4,)] * 3, ["beta", "moving_mean", "moving_variance"]),
        ([(4,)] * 4, ["gamma", "beta", "moving_mean", "moving_variance"]),
        ([(4,)] * 2, ["0", "1"]),
        ([(4,)] * 5, ["0", "1", "2", "3", "4"]),
        ([(2, 4), (2, 4)], ["0", "1"]),
        ([(4,), (2, 4)], ["0", "1"]),
        ([()], ["0"]),
    ],
)
def test_what_the_variables_are(
    tmp_path: Path, shapes: list[tuple[int, ...]], kinds: list[str]
) -> None:
    variables = {str(number): shape for number, shape in enumerate(shapes)}
    path = write(tmp_path / "a.h5", {"layers/conv2d_5/vars": variables}, conv2d_5="conv2d_8")
    with arrays(path) as found:
        assert [found[f"conv2d_8/{kind}"].shape for kind in kinds] == shapes


def test_variables_that_are_not_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {"layers/a/vars": {"0": (2, 2), "2": (2,), "x": ()}})
    assert names(path) == ["layers/a/0", "layers/a/2", "layers/a/x"]


def test_ten_and_more_are_in_order(tmp_path: Path) -> None:
    variables = {str(number): (number,) for number in range(12)}
    with arrays(write(tmp_path / "a.h5", {"layers/a/vars": variables})) as found:
        assert found["layers/a/11"].shape == (11,)


def test_groups_whose_layers_have_no_names(tmp_path: Path) -> None:
    groups = {
        "layers/conv2d_5/vars": {"0": (2, 2)},
        "layers/functional/layers/conv2d_5/vars": {"0": (2, 2)},
        "_layer_checkpoint_dependencies/dense/vars": {"0": (2, 2)},
    }
    assert names(write(tmp_path / "a.h5", groups)) == [
        "_layer_checkpoint_dependencies/dense/kernel",
        "layers/conv2d_5/kernel",
        "layers/functional/layers/conv2d_5/kernel",
    ]


def test_state_of_other_things(tmp_path: Path) -> None:
    groups: Groups = {
        "layers/dense/vars": {"0": (2, 2)},
        "layers/dropout/seed_generator/vars": {"0": (2,)},
        "optimizer/vars": {"0": ()},
        "metrics/mean/vars": {"0": ()},
        "vars": {"0": (3,)},
    }
    assert names(write(tmp_path / "a.h5", groups)) == ["layers/dense/kernel"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"model_weights/a/a": {"kernel:0": (2, 2)}}, "no variables of layers as Keras 3"),
        ({"layers/a": {"kernel": (2, 2)}}, "'layers/a/kernel' is no place where Keras 3"),
        (
            {"layers/a/vars": {"0": (2, 2)}, "layers/b/vars": {"0": (2, 2)}},
            "two arrays are called 'same/kernel'",
        ),
    ],
)
def test_other_files(
    tmp_path: Path, groups: Mapping[str, Mapping[str, tuple[int, ...]]], message: str
) -> None:
    same = {"a": "same", "b": "same"} if "layers/b/vars" in groups else {}
    path = write(tmp_path / "a.h5", groups, **same)
    with pytest.raises(WeightError, match=message), arrays(path):
        pass


def test_a_name_that_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {"layers/a/vars": {"0": (2, 2)}})
    with h5py.File(path, "r+") as file:
        file["layers/a/vars"].attrs["name"] = [1, 2]
    with pytest.raises(WeightError, match="attribute name must be one str"), arrays(path):
        pass


def test_links(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {"layers/a/vars": {"0": (2, 2)}})
    with h5py.File(path, "r+") as file:
        file["layers/b"] = h5py.ExternalLink("other.h5", "/")
    with pytest.raises(WeightError, match="layers/b is a link to another place"), arrays(path):
        pass


@pytest.mark.parametrize("twentieth", range(20))
def test_cut_short(tmp_path: Path, twentieth: int) -> None:
    content = (SOURCES / "keras3.weights.h5").read_bytes()
    path = tmp_path / "a.h5"
    path.write_bytes(content[: len(content) * twentieth // 20])
    with pytest.raises(WeightError), arrays(path):
        pass
