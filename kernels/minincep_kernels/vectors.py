"""Vectors of float32 in Numba: as many numbers as one register of this CPU holds.

LLVM, the compiler behind Numba, knows the type `<16 x float>`; Python does not.  This file lends
it to kernels written out as LLVM code (`microkernel`, `winograd`), as methods of `Emitter`; kernels
written in Python find the same in `intrinsics`.

`LANES` is the width of the CPU that Numba compiles for, which is this machine's unless the user
has set NUMBA_CPU_NAME.  Every other number in the kernels follows from it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

INT = ir.IntType(64)
FLOAT = ir.FloatType()
POINTER = ir.PointerType(FLOAT)


if numba.config.CPU_NAME is not None and numba.config.CPU_FEATURES is None:
    # Numba would add this machine's features, such as AVX-512, to the CPU that the user named.
    numba.config.CPU_FEATURES = ""


def _assembly(lanes: int, operation: str) -> str:
    """What LLVM makes of one operation on vectors, for the CPU that Numba compiles for."""
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    vector = f"<{lanes} x float>"
    source = f"""
        declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})
        define {vector} @f({vector} %a, {vector} %b, {vector} %c) {{
          %r = {operation}
          ret {vector} %r
        }}"""
    target = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    return str(target.emit_assembly(llvm.parse_assembly(source)))


def _registers() -> tuple[int, int, bool]:
    """Numbers in a vector register, how many there are, and whether one can multiply and add."""
    lanes, count = 4, 16
    for register, wider, more in (("ymm", 8, 16), ("zmm", 16, 32)):
        if register in _assembly(wider, f"fadd <{wider} x float> %a, %b"):
            lanes, count = wider, more
    vector = f"<{lanes} x float>"
    operation = f"call {vector} @llvm.fma.v{lanes}f32({vector} %a, {vector} %b, {vector} %c)"
    assembly = _assembly(lanes, operation)
    return lanes, count, "fmadd" in assembly or "fmla" in assembly


LANES, REGISTERS, FUSED = _registers()
COLUMNS_SLACK = 2 * LANES  # floats that a vector may reach beyond the last channel
VECTOR = ir.VectorType(FLOAT, LANES)
ZERO = ir.Constant(VECTOR, [0.0] * LANES)


def whole(number: int) -> ir.Constant:
    """A constant for addresses and counts."""
    return ir.Constant(INT, number)


def padded(count: int) -> int:
    """The next multiple of LANES."""
    return -(-count // LANES) * LANES


class Emitter:
    """Writes the LLVM code of one function over vectors.

    Attributes
    ----------
    function
        The function that is being written.
    builder
        llvmlite's builder, at the place where the next instruction goes.
    """

    def __init__(self, function: ir.Function) -> None:
        self.function = function
        self.builder = ir.IRBuilder(function.append_basic_block())

    def at(self, pointer: ir.Value, offset: ir.Value | int) -> ir.Value:
        """The address so many floats further."""
        offset = whole(offset) if isinstance(offset, int) else offset
        return self.builder.gep(pointer, [offset])

    def opaque(self, number: ir.Value) -> ir.Value:
        """The same number, of which LLVM is to know nothing: an empty piece of assembly."""
        kind = ir.FunctionType(number.type, [number.type])
        return self.builder.call(ir.InlineAsm(kind, "", "=r,0"), [number])

    def load(self, pointer: ir.Value) -> ir.Value:
        return load_vector(self.builder, pointer)

    def load_first(self, count: ir.Value, pointer: ir.Value) -> ir.Value:
        return load_first_lanes(self.builder, count, pointer)

    def prefetch(self, pointer: ir.Value, *, level: int) -> None:
        """Ask for a cache line in a cache level, 1 to 3, to read it later; any address will do."""
        byte = ir.PointerType(ir.IntType(8))
        number = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            self.function.module,
            ir.FunctionType(ir.VoidType(), [byte, number, number, number]),
            "llvm.prefetch.p0",
        )
        read, locality, data = (ir.Constant(number, n) for n in (0, 4 - level, 1))
        self.builder.call(function, [self.builder.bitcast(pointer, byte), read, locality, data])

    def store(self, value: ir.Value, pointer: ir.Value) -> None:
        store_vector(self.builder, value, pointer)

    def store_first(self, count: ir.Value, value: ir.Value, pointer: ir.Value) -> None:
        store_first_lanes(self.builder, count, value, pointer)

    def splat(self, number: ir.Value | float) -> ir.Value:
        """One number in all lanes."""
        if not isinstance(number, ir.Value):
            return ir.Constant(VECTOR, [number] * LANES)
        return all_lanes(self.builder, number)

    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fadd(a, b)

    def subtract(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fsub(a, b)

    def multiply(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fmul(a, b)

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """A b + c, rounded once where the CPU can."""
        if not FUSED:  # LLVM would call a function for each number
            return self.builder.fadd(self.builder.fmul(a, b), c)
        name = f"llvm.fma.v{LANES}f32"
        module = self.function.module
        fma = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(VECTOR, [VECTOR] * 3), name
        )
        return self.builder.call(fma, [a, b, c])

    def at_least(self, x: ir.Value, floor: ir.Value) -> ir.Value:
        """The larger of both; where x is not a number, x."""
        return self.builder.select(self.builder.fcmp_ordered("<", x, floor), floor, x)

    def loop(
        self,
        count: ir.Value,
        state: Sequence[ir.Value],
        body: Callable[[ir.Value, list[ir.Value]], Sequence[ir.Value]],
    ) -> list[ir.Value]:
        """Emit ``for i in range(count): state = body(i, state)``, count being at least 1.

        The state stays in registers, as far as they reach.
        """
        before = self.builder.block
        top = self.function.append_basic_block()
        self.builder.branch(top)
        self.builder.position_at_end(top)
        index = self.builder.phi(INT)
        index.add_incoming(whole(0), before)
        phis = []
        for value in state:
            phis.append(self.builder.phi(value.type))
            phis[-1].add_incoming(value, before)
        after = list(body(index, phis))
        following = self.builder.add(index, whole(1))
        index.add_incoming(following, self.builder.block)
        for phi, value in zip(phis, after, strict=True):
            phi.add_incoming(value, self.builder.block)
        done = self.function.append_basic_block()
        self.builder.cbranch(self.builder.icmp_signed("<", following, count), top, done)
        self.builder.position_at_end(done)
        return after

    def either(
        self,
        condition: ir.Value,
        then: Callable[[], Sequence[ir.Value]],
        otherwise: Callable[[], Sequence[ir.Value]],
    ) -> list[ir.Value]:
        """Emit ``values = then() if condition else otherwise()``."""
        ways = []
        with self.builder.if_else(condition) as branches:
            for branch, values in zip(branches, (then, otherwise), strict=True):
                with branch:
                    result = values()
                    ways.append((result, self.builder.block))
        merged = []
        for pair in zip(*(values for values, _ in ways), strict=True):
            merged.append(self.builder.phi(pair[0].type))
            for value, (_, block) in zip(pair, ways, strict=True):
                merged[-1].add_incoming(value, block)
        return merged


@dataclass(frozen=True)
class Routine:
    """A function over vectors, written out as LLVM code, that kernels call by its number.

    Numba optimises a function anew in every function that calls it, and in those that call that.
    Routines are written once, in the outermost one, and reach the others as a table of addresses.

    Attributes
    ----------
    name, kinds
        Name, and types of the arguments.
    write
        Writes the body.
    """

    name: str
    kinds: tuple[ir.Type, ...]
    write: Callable[[Emitter], None]

    @property
    def kind(self) -> ir.FunctionType:
        return ir.FunctionType(ir.VoidType(), self.kinds)

    def define(self, module: ir.Module) -> ir.Function:
        """Write the function into this module, unless it is there."""
        name = f"minincep_{self.name}"
        if name in module.globals:
            return module.globals[name]
        function = ir.Function(module, self.kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        emit = Emitter(function)
        self.write(emit)
        emit.builder.ret_void()
        return function


ROUTINES: list[Routine] = []


def enlist(routines: Iterable[Routine]) -> int:
    """Add routines to those that there are: -> the number of the first."""
    first = len(ROUTINES)
    ROUTINES.extend(routines)
    return first


def table_of(*families: str) -> Any:
    """A function for kernels that writes the routines of some families: () -> the address of a
    table of them.  To be called in the outermost function: each other function that calls it has
    a table and routines of its own, which cost time to compile.

    Parameters
    ----------
    families
        How the names of the routines begin.  The table has empty places for all others, which cost
        time to compile.
    """

    @intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
    def table(typing: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            module = builder.module
            name = f"minincep_routines_{'_'.join(families)}"
            if name in module.globals:  # it was called in this function before
                return builder.ptrtoint(module.globals[name], INT)
            pointer = ir.PointerType(ir.IntType(8))
            functions = [
                routine.define(module).bitcast(pointer)
                if routine.name.startswith(families)
                else ir.Constant(pointer, None)
                for routine in ROUTINES
            ]
            kind = ir.ArrayType(pointer, len(functions))
            table = ir.GlobalVariable(module, kind, name)
            table.linkage = "internal"
            table.global_constant = True
            table.initializer = ir.Constant(kind, functions)
            return builder.ptrtoint(table, INT)

        return types.int64(), generate

    return table


all_routines = table_of("tile", "winograd_input", "winograd_output")  # those of plans


def call_routine(
    builder: ir.IRBuilder, table: ir.Value, first: int, number: ir.Value, arguments: list[ir.Value]
) -> None:
    """Call the routine of a number, counted from the first of its sort; all have the same types."""
    kind = ROUTINES[first].kind.as_pointer()
    place = builder.add(table, builder.mul(builder.add(number, whole(first)), whole(8)))
    builder.call(builder.load(builder.inttoptr(place, kind.as_pointer())), arguments)


def load_vector(builder: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    value = builder.load(builder.bitcast(pointer, VECTOR.as_pointer()))
    value.align = 4  # of one float: nothing promises more
    return value


def store_vector(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value) -> None:
    builder.store(value, builder.bitcast(pointer, VECTOR.as_pointer())).align = 4


def store_first_lanes(
    builder: ir.IRBuilder, count: ir.Value, value: ir.Value, pointer: ir.Value
) -> None:
    """Store the first `count` lanes, and leave what lies behind them alone."""
    mask = _first(builder, count)
    pointer = builder.bitcast(pointer, VECTOR.as_pointer())
    kinds = [VECTOR, pointer.type, ir.IntType(32), mask.type]
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), kinds),
        f"llvm.masked.store.v{LANES}f32.p0",
    )
    builder.call(function, [value, pointer, ir.Constant(ir.IntType(32), 4), mask])


def load_first_lanes(builder: ir.IRBuilder, count: ir.Value, pointer: ir.Value) -> ir.Value:
    """Load the first `count` lanes, and zeros for the others, which are not read."""
    mask = _first(builder, count)
    pointer = builder.bitcast(pointer, VECTOR.as_pointer())
    kinds = [pointer.type, ir.IntType(32), mask.type, VECTOR]
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(VECTOR, kinds),
        f"llvm.masked.load.v{LANES}f32.p0",
    )
    return builder.call(function, [pointer, ir.Constant(ir.IntType(32), 4), mask, ZERO])


def _first(builder: ir.IRBuilder, count: ir.Value) -> ir.Value:
    """For each lane, whether it is one of the first `count`."""
    lane = ir.Constant(ir.VectorType(INT, LANES), list(range(LANES)))
    return builder.icmp_signed("<", lane, all_lanes(builder, count))


def all_lanes(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    kind = ir.VectorType(number.type, LANES)
    first = ir.Constant(ir.IntType(32), 0)
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), number, first)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), everywhere)


def address(context: Any, builder: ir.IRBuilder, kind: Any, memory: Any, offset: Any) -> ir.Value:
    """Address of an element of memory, as LLVM code sees it; `is_flat` says what memory is."""
    if isinstance(kind, types.Array):
        data = builder.bitcast(context.make_array(kind)(context, builder, memory).data, POINTER)
    else:
        data = builder.inttoptr(memory, POINTER)
    return builder.gep(data, [offset])


def is_flat(kind: Any) -> bool:
    """Whether this is the Numba type of what the functions here take for memory.

    That is a flat array of float32, or an address, a whole number.  In the inner loops of a program
    it is an address: Numba counts references to arrays, wherever they are passed on.
    """
    if isinstance(kind, types.Array):
        return bool(kind.dtype == types.float32 and kind.ndim == 1 and kind.layout == "C")
    return kind in (types.int64, types.uint64)
