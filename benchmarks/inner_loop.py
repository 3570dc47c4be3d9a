"""Print the innermost loop of a kernel as machine code for this CPU: are there vectors in it?

python benchmarks/inner_loop.py gemm reordered
python benchmarks/inner_loop.py tile

The first compiles the kernels in the file of a variant, and shows the loop that works out the most
numbers a round.  The second shows the register tile, which `microkernel` writes, and which the
higher rungs share.
"""

import argparse
import inspect
import re
import sys

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core.registry import cpu_target

from minincep.bench import arrays, session
from minincep_kernels import machine
from minincep_kernels.jit import Kernel
from minincep_kernels.microkernel import ROWS, VECTORS
from minincep_kernels.registry import Variant
from minincep_kernels.shapes import (
    Conv2dShape,
    GemmShape,
    MomentsShape,
    NormalizeShape,
    Pool2dShape,
)
from minincep_kernels.vectors import ROUTINES

# Small ones: the code is the same for all.
SHAPES = {
    "gemm": GemmShape(32, 64, 32),
    "conv2d": Conv2dShape(1, 9, 9, 16, (3, 3), (1, 1), (0, 0, 0, 0), 64),
    "moments": MomentsShape(64, 32),
    "normalize": NormalizeShape(64, 32, True),
    "max_pool2d": Pool2dShape(1, 9, 9, 32, (3, 3), (2, 2), (0, 0, 0, 0)),
    "avg_pool2d": Pool2dShape(1, 9, 9, 32, (3, 3), (1, 1), (1, 1, 1, 1)),
}
# On x86 and on ARM; "ps" and ".4s" are vectors, "ss" and a bare register one number.
ARITHMETIC = re.compile(
    r"^\s+(v?(add|sub|mul|min|max|cmp|fn?m(add|sub)\d*)\w*[sp][sd]|f(add|sub|mul|mla|max|cmp)\w*)\s"
)
SINGLE = re.compile(r"^\s+(\w+s[sd]\s|f\w+\s+[sd]\d)")
LABEL = re.compile(r"^(\S+):")
JUMP = re.compile(r"^\s+(?:j\w+|b\.?\w*)\s+(\S+)$")


def assembly(variant: Variant) -> list[str]:
    """The machine code of each kernel in the file of a variant, in float32, for one thread."""
    shape = SHAPES[variant.op]
    with machine.num_threads(1):
        variant.forward(*arrays.drawn(variant.op, shape).values(), shape)
    found = []
    for kernel in vars(inspect.getmodule(inspect.unwrap(variant.forward))).values():
        if isinstance(kernel, Kernel):
            for signature in kernel._dispatcher("serial").nopython_signatures:
                # Compiled anew: what comes from the disk is numbers only.
                fresh = numba.njit(nogil=True, error_model="numpy")(kernel.function)
                fresh.compile(signature.args)
                found += fresh.inspect_asm().values()
    return found


def tile_assembly() -> str:
    """The machine code of the largest register tile."""
    module = ir.Module()
    (routine,) = (one for one in ROUTINES if one.name == f"tile_{ROWS}x{VECTORS}")
    routine.define(module).linkage = "external"
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    target = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=3
    )
    return str(target.emit_assembly(llvm.parse_assembly(str(module))))


def loops(text: str) -> list[list[str]]:
    """The innermost loops: from a label to the jump back to it, with no other label between."""
    found: list[list[str]] = []
    label, body = "", list[str]()
    for line in text.splitlines():
        if match := LABEL.match(line):
            label, body = match[1], []
        body.append(line.split("#")[0].rstrip())
        if (match := JUMP.match(body[-1])) and match[1] == label:
            found.append(body.copy())
    return found


def _numbers(line: str) -> int:
    """How many results an instruction works out, if it is arithmetic."""
    if not ARITHMETIC.match(line):
        return 0
    wide = {"zmm": 16, "ymm": 8, ".4s": 4}
    width = next((count for name, count in wide.items() if name in line), 4)
    return 1 if SINGLE.match(line) else width


def inner_loop(codes: list[str]) -> str:
    """Of all innermost loops the one that works out the most numbers; "" if there is none."""
    every = [loop for code in codes for loop in loops(code)]
    best = max(every, key=lambda loop: sum(map(_numbers, loop)), default=[])
    return "\n".join(line.replace("\t", "    ") for line in best if line)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print the innermost loop of a kernel.")
    parser.add_argument("op", choices=[*SHAPES, "tile"], help="operation, or the register tile")
    parser.add_argument("variant", nargs="?", help="such as naive")
    wanted = parser.parse_args(argv)
    if wanted.op == "tile":
        found = [tile_assembly()]
    else:
        known = {one.name: one for one in session.variants(wanted.op)}
        if wanted.variant not in known:
            parser.error(f"give a variant of {wanted.op}: {', '.join(known)}")
        found = assembly(known[wanted.variant])
    print(inner_loop(found) or sys.exit(f"the file of {wanted.variant} has no such loop: see tile"))


if __name__ == "__main__":
    main()
