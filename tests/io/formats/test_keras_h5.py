"""Keras 2 HDF5 files: every value, and what is wrong with a file."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.io.formats.keras_h5 import arrays
from tools.sources.sample_states import KERAS, keras

SOURCES = Path(__file__).parents[2] / "data" / "sources"


@pytest.mark.parametrize("name", ["keras2.h5", "keras2_weights.h5", "keras3.h5"])
def test_every_array(name: str) -> None:
    with arrays(SOURCES / name) as found:
        assert set(found) == set(KERAS)
        for array, (dtype, shape) in KERAS.items():
            assert (found[array].dtype, found[array].shape) == (dtype, shape)
            assert found[array].size == 4 * np.prod(shape)
            np.testing.assert_array_equal(found[array].read(), keras(array, shape), strict=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3, np.int32), "holds int32, not floating-point"),
        (np.zeros(3, np.longdouble), "holds float128, not floating-point"),
        ("text", "holds object, not floating-point"),
        (np.array([b"ab"]), r"holds \|S2, not floating-point"),
        (np.zeros(3, [("a", "f4"), ("b", "f4")]), "not floating-point"),
        (np.zeros(3, "V2"), r"holds \|V2, not floating-point"),
        (np.array([1, np.nan], np.float32), "not finite"),
    ],
)
def test_what_is_no_weight(tmp_path: Path, value: object, message: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["conv/conv/kernel:0"] = value
    with arrays(tmp_path / "a.h5") as found:
        assert list(found) == ["conv/kernel"]
        with pytest.raises(WeightError, match=message):
            found["conv/kernel"].read()


def test_an_array_without_shape(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["conv/conv/kernel:0"] = h5py.Empty("f4")
    with pytest.raises(WeightError, match=r"^[^(]* has no shape"), arrays(tmp_path / "a.h5"):
        pass


def test_a_type_that_numpy_lacks(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space = h5py.h5s.create_simple((3,))
        h5py.h5d.create(file.id, b"kernel:0", h5py.h5t.UNIX_D32LE, space)
    with pytest.raises(WeightError, match="No NumPy equivalent"), arrays(tmp_path / "a.h5"):
        pass


def test_a_claim_of_terabytes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("conv/conv/kernel:0", (1 << 40,), "f4", chunks=(1 << 20,))
    with pytest.raises(WeightError, match="far more than it can hold"), arrays(tmp_path / "a.h5"):
        pass


def test_a_scalar(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["conv/conv/scale:0"] = np.float32(2.5)
    with arrays(tmp_path / "a.h5") as found:
        assert found["conv/scale"].read().shape == found["conv/scale"].shape == ()


def test_two_of_one_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["conv/conv/kernel:0"] = file["other/conv/kernel:0"] = np.zeros(3, np.float32)
    with pytest.raises(WeightError, match="called 'conv/kernel'"), arrays(tmp_path / "a.h5"):
        pass


@pytest.mark.parametrize(
    "link", [h5py.SoftLink("/other"), h5py.ExternalLink("/etc/passwd", "/other")]
)
def test_links(tmp_path: Path, link: object) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["conv"] = link
    with (
        pytest.raises(WeightError, match="conv is a link to another place, refused"),
        arrays(tmp_path / "a.h5"),
    ):
        pass


@pytest.mark.parametrize("twentieth", range(20))
def test_cut_short(tmp_path: Path, twentieth: int) -> None:
    content = (SOURCES / "keras2.h5").read_bytes()
    path = tmp_path / "a.h5"
    path.write_bytes(content[: len(content) * twentieth // 20])
    with pytest.raises(WeightError), arrays(path):
        pass
