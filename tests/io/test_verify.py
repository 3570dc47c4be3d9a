"""A check that cannot be passed by saying nothing, and reference files that are damaged."""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from minincep.autograd import Tensor, no_grad
from minincep.io.errors import WeightError
from minincep.io.verify import (
    EAGER,
    PLANNED,
    Row,
    first_failure,
    read_cases,
    reference_network,
    verify,
)
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError
from tests import small_reference

pytestmark = pytest.mark.usefixtures("one_thread")

CASE = f"cases/{small_reference.CASE}"
FIRST = f"{CASE}/endpoints/000"  # Conv2d_1a_3x3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    small_reference.write(tmp_path / "small.h5")
    return tmp_path / "small.h5"


def verified(path: Path) -> list[Row]:
    [case] = read_cases(path)
    return verify(reference_network(path), case)


def test_a_whole_reference_agrees(path: Path) -> None:
    rows = verified(path)
    assert [row.endpoint for row in rows] == reference_network(path).endpoint_names()
    assert first_failure(rows) is None


def test_a_row_passes_by_its_rule() -> None:
    """Below so many times the reference's own error, and below a limit; both are needed."""
    for rule in (EAGER, PLANNED):
        error = rule.limit / rule.factor / 2
        assert Row("x", rule.factor * error, error, rule).passed
        assert not Row("x", 1.01 * rule.factor * error, error, rule).passed
        assert Row("x", 0.99 * rule.limit, 1.0, rule).passed
        assert not Row("x", rule.limit, 1.0, rule).passed
        assert not Row("x", float("nan"), 1.0, rule).passed
    assert EAGER.factor < PLANNED.factor
    assert EAGER.limit < PLANNED.limit


def test_another_way_to_run(path: Path) -> None:
    [case] = read_cases(path)
    network = reference_network(path)

    def double(x: Array, names: Collection[str]) -> dict[str, Array]:
        with no_grad():
            found = network.run_endpoints(Tensor(x), names)
        return {name: y.data * (2 if name == "Mixed_6a" else 1) for name, y in found.items()}

    rows = verify(network, case, double, PLANNED)
    assert [row.endpoint for row in rows if not row.passed] == ["Mixed_6a"]
    assert {row.rule for row in rows} == {PLANNED}


# Every end point of the network, once.


def no_end_points(file: h5py.File) -> None:
    file[f"{CASE}/endpoints"].clear()


def without_the_first(file: h5py.File) -> None:
    del file[FIRST]


def another_name(file: h5py.File) -> None:
    file[FIRST].attrs["name"] = "Conv2d_1b_3x3"


def one_twice(file: h5py.File) -> None:
    file.copy(FIRST, f"{CASE}/endpoints/999")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_end_points, "missing 'Conv2d_1a_3x3', 'Conv2d_2a_3x3', "),
        (without_the_first, "missing 'Conv2d_1a_3x3'$"),
        (another_name, "missing 'Conv2d_1a_3x3'; unknown 'Conv2d_1b_3x3'$"),
        (one_twice, "twice 'Conv2d_1a_3x3'$"),
    ],
)
def test_the_end_points_must_be_those_of_the_network(
    path: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(WeightError, match=f"case 'self_75x75' .*{message}"):
        verified(path)


def test_a_network_in_training_mode_is_refused(path: Path) -> None:
    [case] = read_cases(path)
    network = reference_network(path)
    next(module for at, module in network.modules() if at == "block8").train()
    with pytest.raises(ConfigError, match=re.escape("network.eval()")):
        verify(network, case)


# Damage.


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ("/", "architecture", "inception_v5"),
        ("/", "config", "{"),
        ("/", "config", "[1]"),
        ("/", "config", '{"blocks": 7}'),
        ("/", "config", "[" * 60_000),
        ("/", "config", np.zeros(3)),
        (CASE, "height", 10**6),
        (CASE, "height", 74),
        (CASE, "width", 4097),
        (CASE, "width", "75"),
        (CASE, "image_seed", -1),
        (CASE, "image_seed", 2**32),
        (FIRST, "shape", "1 37 37 4"),
        (FIRST, "shape", "1374"),
        (FIRST, "shape", 7),
        (FIRST, "shape", [1, 1, 1, 1]),  # has no such positions
        (FIRST, "std", "many"),
        (FIRST, "std", 0.0),
        (FIRST, "std", np.inf),
        (FIRST, "float32_error", np.nan),
        (FIRST, "float32_error", -1.0),
    ],
)
def test_a_damaged_attribute(path: Path, place: str, name: str, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        file[place].attrs[name] = value
    refused(path)


@pytest.mark.parametrize("place", ["/", CASE, FIRST])
def test_an_attribute_is_missing(path: Path, place: str) -> None:
    with h5py.File(path) as file:
        names = list(file[place].attrs)
    for name in names:
        with h5py.File(path, "r+") as file:
            kept = file[place].attrs[name]
            del file[place].attrs[name]
        if name != "format":
            refused(path)
        with h5py.File(path, "r+") as file:
            file[place].attrs[name] = kept


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("cases", np.zeros(3)),
        (CASE, np.zeros(3)),
        (f"{CASE}/endpoints", np.zeros(3)),
        (FIRST, np.zeros(3)),
        (f"{FIRST}/index", np.arange(0)),
        (f"{FIRST}/index", np.arange(3)),
        (f"{FIRST}/index", np.zeros((37 * 37 * 4, 1), int)),
        (f"{FIRST}/values", np.zeros(3)),
        (f"{FIRST}/values", np.full(37 * 37 * 4, np.nan)),
        (f"{FIRST}/values", "text"),
        ("statistics/conv2d_1a_3x3/batch_norm/running_mean", ["a", "b", "c", "d"]),
        ("statistics/conv2d_1a_3x3/batch_norm/running_mean", np.zeros(5)),
    ],
)
def test_a_damaged_part(path: Path, place: str, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[place]
        file[place] = value
    refused(path)


@pytest.mark.parametrize("position", [-1, 37 * 37 * 4])
def test_a_position_outside(path: Path, position: int) -> None:
    with h5py.File(path, "r+") as file:
        file[f"{FIRST}/index"][5] = position
    refused(path)


def test_positions_and_values_without_end(path: Path) -> None:
    """A compressed file of a few kilobytes can hold gigabytes of zeros; none of it is read."""
    with h5py.File(path, "r+") as file:
        for name, kind in [("index", np.int32), ("values", np.float64)]:
            del file[f"{FIRST}/{name}"]
            file.create_dataset(f"{FIRST}/{name}", (10**13,), kind, chunks=(1000,))
    refused(path)


def test_no_cases(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["cases"].clear()
    refused(path)


@pytest.mark.parametrize("value", [np.zeros(3), ["minincep-reference"], 7, h5py.Empty("f")])
def test_another_format(path: Path, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = value
    with pytest.raises(WeightError, match="not a reference file"):
        read_cases(path)


def refused(path: Path) -> None:
    with pytest.raises(WeightError, match=re.escape(f"{path}: damaged reference file (")):
        verified(path)
