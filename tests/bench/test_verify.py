"""Exact results agree with the kernels, and what is wrong is refused with its place."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minincep.bench import session
from minincep.bench.verify import Case, RefusedError
from minincep.bench.workloads import Workload, shapes
from minincep_kernels import Array
from minincep_kernels.registry import Variant
from tests.bench.test_workloads import OPS


def conv2d() -> Workload:
    return shapes("conv2d")[0]


def wrong(change: Callable[[Array], Any], op: str = "conv2d") -> Variant:
    """The naive variant, with something done to its result."""
    naive = next(one for one in session.variants(op) if one.name == "naive")
    return Variant(op, "wrong", lambda _: True, lambda *a: change(naive.forward(*a)))


@pytest.mark.parametrize("op", OPS)
def test_all_variants_are_right_on_all_shapes(op: str) -> None:
    for workload in shapes(op, batch=2):
        case = Case(workload)
        able = [one for one in session.variants(op) if one.supports(workload.shape)]
        assert able
        for variant in able:
            checked = case.verify(variant)
            assert 0 <= checked.error <= variant.tolerance
            assert checked.first_seconds > 0


def test_arrays_of_a_shape_are_always_the_same() -> None:
    one, other = Case(conv2d()), Case(conv2d())
    assert all(map(np.array_equal, one.arrays.values(), other.arrays.values()))
    assert one.arrays["x"].dtype == np.float32


def put(place: tuple[int, ...], value: float) -> Callable[[Array], Array]:
    def change(y: Array) -> Array:
        y[place] = value
        return y

    return change


def test_one_wrong_number_is_found() -> None:
    case = Case(conv2d())
    exact = float(case.exact[0][0, 0, 6, 3])
    message = (
        r"^conv2d variant 'wrong' on 9x7x3 3x3 padded -> 5 is wrong at picture 0, row 0, column 6, "
        r"channel 3: got (\S+), wanted (\S+) \(2\.0e-03 standard deviations off, 1\.0e-05 allow"
    )
    with pytest.raises(RefusedError, match=message) as refusal:
        case.verify(wrong(put((0, 0, 6, 3), exact + 0.01)))
    numbers = re.match(message, str(refusal.value))
    assert numbers is not None
    assert [float(n) for n in numbers.groups()] == pytest.approx([exact + 0.01, exact], abs=1e-6)
    assert case.verify(wrong(put((0, 0, 6, 3), exact))).error < 1e-5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_none_is_found(value: float) -> None:
    with pytest.raises(RefusedError, match=rf"row 8, column 0, channel 4: got {value}, wanted"):
        Case(conv2d()).verify(wrong(put((0, 8, 0, 4), value)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[:, :8], r"gives float32 of shape \(1, 8, 7, 5\), wanted float32 of shape"),
        (lambda y: y.astype(float), r"gives float64 of shape \(1, 9, 7, 5\), wanted float32"),
        (lambda y: y.tolist(), "gives list, not a NumPy array"),
        (lambda y: None, "gives NoneType, not a NumPy array"),
        (lambda y: (y, y), "gives 2 results, wanted 1"),
    ],
)
def test_results_of_another_kind_are_refused(change: Callable[[Array], Any], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        Case(conv2d()).verify(wrong(change))


def test_of_two_results_the_wrong_one_is_named() -> None:
    def swap(results: Any) -> Any:
        results[1][2] += 1
        return results

    with pytest.raises(RefusedError, match="is wrong in variance at channel 2: got"):
        Case(shapes("moments")[0]).verify(wrong(swap, "moments"))


def test_a_changed_input_is_refused_and_put_back() -> None:
    case = Case(conv2d())
    before = case.arrays["filters"].copy()

    def forward(x: Array, filters: Array, shape: Any) -> Array:
        filters[0, 0] = 0
        return case.exact[0].astype(np.float32)

    with pytest.raises(RefusedError, match="changes its input filters: copy it first"):
        case.verify(Variant("conv2d", "wrong", lambda _: True, forward))
    assert np.array_equal(case.arrays["filters"], before)
