"""Vectors for kernels written in Python: a Numba type, and functions on it, an instruction each.

`vectors` says how long a vector is, and has the same for kernels written out as LLVM code.  Memory
is a flat array of float32 or an address (`vectors.is_flat`).
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from minincep_kernels.jit import inlined
from minincep_kernels.vectors import (
    INT,
    LANES,
    VECTOR,
    address,
    all_lanes,
    is_flat,
    load_first_lanes,
    load_vector,
    store_first_lanes,
    store_vector,
)


class Vector(types.Type):  # type: ignore[misc]  # Numba has no types
    """`LANES` float32 numbers."""

    def __init__(self) -> None:
        super().__init__(f"float32x{LANES}")


_vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)


@intrinsic  # type: ignore[untyped-decorator]
def address_of(typing: Any, array: Any, offset: Any) -> Any:
    """The address of array[offset], a whole number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(address(context, builder, signature.args[0], *arguments), INT)

    return (types.int64(array, types.int64), generate) if is_flat(array) else None


@intrinsic  # type: ignore[untyped-decorator]
def load(typing: Any, array: Any, offset: Any) -> Any:
    """array[offset : offset + LANES] as a vector; nothing checks the bounds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return load_vector(builder, address(context, builder, signature.args[0], *arguments))

    return (_vector(array, types.int64), generate) if is_flat(array) else None


@intrinsic  # type: ignore[untyped-decorator]
def load_first(typing: Any, array: Any, offset: Any, count: Any) -> Any:
    """array[offset : offset + count] as a vector, zeros behind, count being at most LANES."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, offset, count = arguments
        pointer = address(context, builder, signature.args[0], array, offset)
        return load_first_lanes(builder, count, pointer)

    return (_vector(array, types.int64, types.int64), generate) if is_flat(array) else None


@intrinsic  # type: ignore[untyped-decorator]
def store(typing: Any, array: Any, offset: Any, value: Any) -> Any:
    """array[offset : offset + LANES] = value; nothing checks the bounds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, offset, value = arguments
        store_vector(builder, value, address(context, builder, signature.args[0], array, offset))
        return context.get_dummy_value()

    return (types.void(array, types.int64, value), generate) if is_flat(array) else None


@intrinsic  # type: ignore[untyped-decorator]
def store_first(typing: Any, array: Any, offset: Any, count: Any, value: Any) -> Any:
    """array[offset : offset + count] = value[:count], count being at most LANES."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, offset, count, value = arguments
        pointer = address(context, builder, signature.args[0], array, offset)
        store_first_lanes(builder, count, value, pointer)
        return context.get_dummy_value()

    signature = types.void(array, types.int64, types.int64, value)
    return (signature, generate) if is_flat(array) else None


@intrinsic  # type: ignore[untyped-decorator]
def get(typing: Any, array: Any, offset: Any) -> Any:
    """One number, array[offset]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(address(context, builder, signature.args[0], *arguments))

    return (types.float32(array, types.int64), generate) if is_flat(array) else None


@intrinsic  # type: ignore[untyped-decorator]
def put(typing: Any, array: Any, offset: Any, number: Any) -> Any:
    """array[offset] = number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, offset, number = arguments
        builder.store(number, address(context, builder, signature.args[0], array, offset))
        return context.get_dummy_value()

    signature = types.void(array, types.int64, types.float32)
    return (signature, generate) if is_flat(array) else None


@intrinsic  # type: ignore[untyped-decorator]
def put_place(typing: Any, table: Any, index: Any, place: Any) -> Any:
    """table[index] = place, in a table of addresses that is itself an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, index, place = arguments
        builder.store(place, builder.gep(builder.inttoptr(table, ir.PointerType(INT)), [index]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def splat(typing: Any, number: Any) -> Any:
    """One number in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return all_lanes(builder, arguments[0])

    return _vector(types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def add(typing: Any, a: Any, b: Any) -> Any:
    """A + b, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments)

    return _vector(a, b), generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply(typing: Any, a: Any, b: Any) -> Any:
    """A b, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fmul(*arguments)

    return _vector(a, b), generate


@intrinsic  # type: ignore[untyped-decorator]
def maximum(typing: Any, a: Any, b: Any) -> Any:
    """The larger of both, lane by lane; a where a is not a number, b where b is not."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = arguments
        return builder.select(
            builder.or_(builder.fcmp_unordered("uno", b, b), builder.fcmp_ordered("<", a, b)), b, a
        )

    return _vector(a, b), generate


@inlined
def store_up_to(array: Any, offset: int, count: int, value: Any) -> None:
    """Store a vector of which only `count` numbers are there, `count` being 1 or more."""
    if count >= LANES:
        store(array, offset, value)
    else:
        store_first(array, offset, count, value)
