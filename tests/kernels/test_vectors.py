"""Vectors: one instruction each, at any place in memory, on any CPU that Numba compiles for."""

import platform
from collections.abc import Callable
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
from numba.core.errors import TypingError

import minincep_kernels.transpose  # noqa: F401  (enlists its routine)
from minincep_kernels import Array
from minincep_kernels.intrinsics import (
    add,
    address_of,
    load,
    load_first,
    maximum,
    multiply,
    splat,
    store,
    store_first,
    store_up_to,
)
from minincep_kernels.jit import Kernel, kernel
from minincep_kernels.vectors import LANES, padded, table_of
from tests.kernels import scripts
from tests.kernels.guarded import at_the_end, check_in_child, needs_fork

CANARY = -77.0
transposes, nothing = table_of("transpose"), table_of("nothing")
OFFSETS = [(0, 0), (1, 0), (0, 3), (5, 7)]


@kernel
def move(x: Array, offset: int, out: Array, out_offset: int) -> None:
    store(out, out_offset, load(x, offset))


@kernel
def move_first(x: Array, offset: int, count: int, out: Array, out_offset: int) -> None:
    store_first(out, out_offset, count, load(x, offset))


@kernel
def move_up_to(x: Array, offset: int, count: int, out: Array, out_offset: int) -> None:
    store_up_to(out, out_offset, count, load(x, offset))


@kernel
def take_first(x: Array, offset: int, count: int, out: Array, out_offset: int) -> None:
    store(out, out_offset, load_first(x, offset, count))


@kernel
def sums(a: Array, b: Array, out: Array) -> None:
    store(out, 0, add(load(a, 0), load(b, 0)))


@kernel
def products(a: Array, b: Array, out: Array) -> None:
    store(out, 0, multiply(load(a, 0), load(b, 0)))


@kernel
def larger(a: Array, b: Array, out: Array) -> None:
    store(out, 0, maximum(load(a, 0), load(b, 0)))


@kernel
def spread(number: float, out: Array) -> None:
    store(out, 1, splat(np.float32(number)))


@kernel
def addresses(x: Array, out: Array) -> None:
    for i in range(out.size):
        out[i] = address_of(x, i)


@kernel
def tables(out: Array) -> None:
    out[0], out[1], out[2] = transposes(), transposes(), nothing()


def numbers(count: int) -> Array:
    return np.arange(1, count + 1, dtype=np.float32)


def canaries() -> Array:
    return np.full(3 * LANES, CANARY, np.float32)


@pytest.mark.parametrize(("offset", "out_offset"), OFFSETS)
def test_load_and_store(offset: int, out_offset: int) -> None:
    x, out = numbers(3 * LANES), canaries()
    move.serial(x, offset, out, out_offset)
    wanted = canaries()
    wanted[out_offset : out_offset + LANES] = x[offset : offset + LANES]
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("count", range(LANES + 1))
@pytest.mark.parametrize(("offset", "out_offset"), OFFSETS)
def test_store_first(offset: int, out_offset: int, count: int) -> None:
    x, out = numbers(3 * LANES), canaries()
    move_first.serial(x, offset, count, out, out_offset)
    wanted = canaries()
    wanted[out_offset : out_offset + count] = x[offset : offset + count]
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("count", [-1, *range(LANES + 2)])
@pytest.mark.parametrize(("offset", "out_offset"), OFFSETS)
def test_load_first(offset: int, out_offset: int, count: int) -> None:
    """Zeros for the others, whatever lies there; all lanes, where there are more numbers."""
    x, out = numbers(3 * LANES), canaries()
    x[offset + max(count, 0) :] = np.nan
    if count > LANES:
        x[offset + LANES] = np.nan
    take_first.serial(x, offset, count, out, out_offset)
    wanted = canaries()
    wanted[out_offset : out_offset + LANES] = 0
    here = min(max(count, 0), LANES)
    wanted[out_offset : out_offset + here] = x[offset : offset + here]
    np.testing.assert_array_equal(out, wanted)


@needs_fork
def test_load_first_reads_nothing_else() -> None:
    def work() -> None:
        for count in range(LANES + 1):
            x, out = at_the_end(numbers(count + 1)), canaries()
            take_first.serial(x, 1, count, out, 0)
            np.testing.assert_array_equal(out[:count], x[1:])

    take_first.serial(numbers(LANES), 0, 1, canaries(), 0)  # compiles it, if nothing has
    check_in_child(work)


@needs_fork
def test_who_reads_on_is_found_out() -> None:
    """That the test above would see it."""
    move.serial(numbers(LANES), 0, canaries(), 0)
    with pytest.raises(AssertionError, match="killed by SIG"):
        check_in_child(lambda: move.serial(at_the_end(numbers(LANES)), 1, canaries(), 0))


@pytest.mark.parametrize("count", [1, LANES - 1, LANES, LANES + 1])
def test_store_up_to(count: int) -> None:
    x, out = numbers(LANES), canaries()
    move_up_to.serial(x, 0, count, out, 1)
    wanted = canaries()
    wanted[1 : 1 + min(count, LANES)] = x[:count]
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize(
    ("function", "wanted"), [(sums, np.add), (products, np.multiply), (larger, np.maximum)]
)
def test_lane_by_lane(function: Kernel, wanted: Callable[[Array, Array], Array]) -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, LANES)).astype(np.float32)
    out = np.empty(LANES, np.float32)
    function.serial(a, b, out)
    np.testing.assert_array_equal(out, wanted(a, b))


@pytest.mark.parametrize(
    ("a", "b"), [(np.nan, 1), (1, np.nan), (np.nan, np.nan), (-np.inf, np.nan), (-np.inf, np.inf)]
)
def test_maximum_as_numpy_has_it(a: float, b: float) -> None:
    out = np.empty(LANES, np.float32)
    larger.serial(np.full(LANES, a, np.float32), np.full(LANES, b, np.float32), out)
    np.testing.assert_array_equal(out, np.full(LANES, np.maximum(a, b)))


def test_splat() -> None:
    out = canaries()
    spread.serial(2.5, out)
    wanted = canaries()
    wanted[1 : 1 + LANES] = 2.5
    np.testing.assert_array_equal(out, wanted)


def test_address_of() -> None:
    x, out = numbers(8), np.zeros(5, np.int64)
    addresses.serial(x, out)
    np.testing.assert_array_equal(out, x.ctypes.data + 4 * np.arange(5))


def test_tables_of_routines() -> None:
    """The same families have one table, however often a kernel asks."""
    out = np.zeros(3, np.int64)
    tables.serial(out)
    assert out[0] == out[1]
    assert 0 not in out
    assert out[2] != out[0]


@pytest.mark.parametrize("x", [np.zeros(LANES), np.zeros((1, LANES), np.float32)])
def test_only_flat_float32(x: Array) -> None:
    """Another array would be read as if it were one."""
    with pytest.raises(TypingError):
        move.serial(x, 0, canaries(), 0)


@pytest.mark.parametrize("count", [0, 1, LANES - 1, LANES, LANES + 1])
def test_padded(count: int) -> None:
    wanted = next(n for n in range(count, count + LANES) if n % LANES == 0)
    assert padded(count) == wanted


# ------------------------------------------------------------------ other CPUs

MULTIPLY = """
import json
import numpy as np
from minincep_kernels import vectors
from minincep_kernels.jit import Kernel, kernel
from minincep_kernels.microkernel import COLUMNS, ROWS, pack, tile
from minincep_kernels.vectors import all_routines

@kernel
def multiply(rows, a, b, columns, depth, out):
    tile(all_routines(), rows, a, 0, depth, (1, 1), (0, 0), depth, b, columns, 0, out, 0, columns,
         -1, 0, columns, np.float32(-np.inf), 0, 0)

random = np.random.default_rng(0)
depth = 5
for rows in (1, ROWS):
    for columns in (vectors.LANES - 1, COLUMNS):
        a = random.integers(-9, 9, (rows, depth)).astype(np.float32)
        b = random.integers(-9, 9, (depth, columns)).astype(np.float32)
        bias = random.integers(-9, 9, columns).astype(np.float32)
        weights = np.concatenate([bias, pack(b, columns), np.zeros(COLUMNS, np.float32)])
        out = np.empty((rows, columns), np.float32)
        multiply.serial(rows, a.ravel(), weights, columns, depth, out.reshape(-1))
        assert (out == a @ b + bias).all(), (rows, columns)
(code,) = multiply._dispatcher("serial").inspect_asm().values()
found = {name: name in code for name in ("xmm", "ymm", "zmm", "vfmadd")}
print(json.dumps([vectors.LANES, vectors.REGISTERS, vectors.FUSED, ROWS, found]))
"""

X86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="names of CPUs of another make"
)
FEATURES = llvm.get_host_cpu_features()


@X86
@pytest.mark.parametrize(
    ("cpu", "lanes", "registers", "fused", "needs"),
    [
        ("nehalem", 4, 16, False, "sse4.2"),
        ("sandybridge", 8, 16, False, "avx"),
        ("haswell", 8, 16, True, "fma"),
        ("skylake-avx512", 16, 32, True, "avx512f"),
    ],
)
def test_code_for_another_cpu(
    cpu: str, lanes: int, registers: int, fused: bool, needs: str, tmp_path: Path
) -> None:
    """What the CPU has, all of it, and nothing that it has not."""
    if not FEATURES.get(needs):
        pytest.skip(f"this machine has no {needs}")
    report = scripts.run(tmp_path, MULTIPLY, NUMBA_CPU_NAME=cpu)
    *values, rows, found = report.values
    assert values == [lanes, registers, fused]
    assert found == {"xmm": True, "ymm": lanes >= 8, "zmm": lanes == 16, "vfmadd": fused}
    assert 2 * rows + 3 <= registers  # sums, a row of filters and a pixel
