"""Does a program stay inside its memory?  For programs that come from a file.

The compiled function checks nothing, so a wrong number in a step would read or write anywhere.
Here every address that a step can reach, for as many pictures as there is room for, is worked out
from its numbers and compared with what there is.  What a step computes is not looked at: a program
that passes may answer nonsense, but can do no harm.
"""

import math
from collections.abc import Mapping

from minincep.plan.program import Place, Program
from minincep_kernels.errors import PlanError
from minincep_kernels.microkernel import COLUMNS
from minincep_kernels.program.run import scratch_of
from minincep_kernels.program.step import PLACES, STEP, ZEROS, Kind
from minincep_kernels.vectors import COLUMNS_SLACK, padded
from minincep_kernels.winograd import TILES

LARGEST = 1 << 40  # that an offset can be, and
MOST = 1 << 31  # any other number of a step: the product of two does not overflow

POSITIVE = (
    *("height", "width", "channels", "out_height", "out_width", "out_channels"),
    *("kernel_height", "kernel_width", "stride_height", "stride_width", "rows", "columns"),
)
MOST_SCRATCH = 1 << 26  # floats of each thread
MOST_SPARE = 1 << 10  # floats of memory behind the last value

OFFSETS = ("in_offset", "out_offset", "residual_offset", "filters", "bias")

CONVOLUTIONS = (Kind.POINTWISE, Kind.DIRECT, Kind.IMPLICIT, Kind.WINOGRAD)
EACH_PIXEL = (Kind.POINTWISE, Kind.COPY, Kind.L2_NORMALIZE, Kind.SOFTMAX)

Step = Mapping[str, int]


def check(program: Program) -> None:
    """Refuse a program that could reach what is not its own.

    Raises
    ------
    PlanError
        If it could; the message says which step, and why.
    """
    table = program.steps
    if table.dtype != STEP or table.ndim != 1 or len(table) != len(program.paths) or not len(table):
        raise PlanError("the steps are not a table of steps")
    if not (0 < program.batch <= MOST and 0 < program.memory <= LARGEST):
        raise PlanError("the batch size or the memory is out of range")
    if len(program.weights) < ZEROS:
        raise PlanError("there are no zeros before the weights")
    _check_place("input", program.input, program)
    places = [program.input, *(place for place, _ in program.outputs.values())]
    for name, (place, shape) in program.outputs.items():
        _check_place(f"output {name!r}", place, program)
        if math.prod(shape) != place.height * place.width * place.channels:
            raise PlanError(f"output {name!r} has another shape than its place")
    for index, row in enumerate(table.tolist()):  # Python's numbers, which do not overflow
        step = dict(zip(STEP.names or (), row, strict=True))
        wrong = _wrong(step, index, program)
        if not wrong and not 0 <= scratch_of(step) <= program.scratch <= MOST_SCRATCH:
            wrong = f"it takes {scratch_of(step)} floats of scratch memory"
        if wrong:
            raise PlanError(f"step {index} ({program.paths[index]}): {wrong}")
        places += [_place(step, "in", ""), _place(step, "out", "out_")]
    ends = [p.offset + program.batch * p.height * p.width * p.pitch for p in places]
    if program.memory > max(ends) + MOST_SPARE:
        raise PlanError(f"it asks for {program.memory} floats and uses no more than {max(ends)}")


def _place(step: Step, side: str, prefix: str) -> Place:
    """What a step reads or writes."""
    size = [step[f"{prefix}{name}"] for name in ("height", "width", "channels")]
    return Place(step[f"{side}_offset"], step[f"{side}_pitch"], *size)


def _check_place(name: str, place: Place, program: Program) -> None:
    numbers = (place.offset, place.pitch, place.height, place.width, place.channels)
    if not all(0 <= number <= LARGEST for number in numbers):
        raise PlanError(f"{name}: a number is out of range")
    pixels = program.batch * place.height * place.width
    # All of the last pixel, too: `Place.view` reshapes whole pixels.
    whole = place.offset + pixels * place.pitch <= program.memory
    if not (whole and pixels and 0 < place.channels <= place.pitch):
        raise PlanError(f"{name} lies outside of the memory")


def _wrong(step: Step, index: int, program: Program) -> str:
    """What is wrong with a step, or nothing."""
    for name, number in step.items():
        if abs(number) > (LARGEST if name in OFFSETS else MOST):
            return f"{name} is {number}"
    if step["kind"] not in list(Kind):
        return f"there is no kind {step['kind']}"
    for name in POSITIVE:
        if step[name] < 1:
            return f"{name} is {step[name]}"
    if not 0 <= step["wait"] <= index:
        return "it waits for steps that come later"
    if step["relu"] not in (0, 1):
        return f"relu is {step['relu']}"
    batch = program.batch
    pixels = batch * step["height"] * step["width"]
    out_pixels = batch * step["out_height"] * step["out_width"]
    if max(pixels, out_pixels) > MOST:
        return "it has too many pixels"
    if not _inside(step["in_offset"], step["in_pitch"], pixels, step["channels"], program):
        return "the input lies outside of the memory"
    if not _inside(
        step["out_offset"], step["out_pitch"], out_pixels, step["out_channels"], program
    ):
        return "the output lies outside of the memory"
    if step["residual_offset"] >= 0 and not _inside(
        *(step["residual_offset"], step["residual_pitch"], out_pixels, step["out_channels"]),
        program,
    ):
        return "the residual lies outside of the memory"
    if step["kind"] in EACH_PIXEL and pixels != out_pixels:
        return "the input has another number of pixels than the output"
    if step["kind"] == Kind.GLOBAL_AVERAGE and out_pixels != batch:
        return "a mean of all pixels is one pixel"
    if step["kind"] in CONVOLUTIONS:
        return _wrong_convolution(step, program)
    if step["channels"] != step["out_channels"] or step["columns"] < step["out_channels"]:
        return "the channels do not fit"
    if step["kind"] == Kind.AVERAGE_POOL and step["bias"] >= 0:
        return _wrong_bias(step, program)
    return ""


def _inside(offset: int, pitch: int, pixels: int, channels: int, program: Program) -> bool:
    """Whether so many pixels lie in the memory, and what a vector reads beyond the last one."""
    end = offset + (pixels - 1) * pitch + channels + COLUMNS_SLACK
    return offset >= 0 and pitch >= channels and end <= program.memory


def _wrong_convolution(step: Step, program: Program) -> str:
    if step["columns"] % COLUMNS and step["columns"] < step["out_channels"]:
        return "a chunk begins inside a panel of filters"
    kernel = (step["kernel_height"], step["kernel_width"])
    stride = (step["stride_height"], step["stride_width"])
    products = math.prod(kernel)
    if step["kind"] == Kind.POINTWISE and (kernel, stride) != ((1, 1), (1, 1)):
        return "a pointwise convolution is 1 x 1"
    if step["kind"] == Kind.DIRECT:
        down = (step["out_height"] - 1) * stride[0] + kernel[0]
        across = (step["out_width"] - 1) * stride[1] + kernel[1]
        if down > step["height"] or across > step["width"]:
            return "a filter reaches over the edge"
    if step["kind"] == Kind.WINOGRAD:
        if not 0 <= step["tile"] < len(TILES):
            return f"there is no tile {step['tile']}"
        tile = TILES[step["tile"]]
        products = tile.products
        if kernel != (tile.down.taps, tile.across.taps) or stride != (1, 1):
            return "the tile does not fit the filter"
        if max(step["channels"], step["out_channels"]) + COLUMNS > ZEROS:
            return "it has too many channels for a Winograd tile"
        if tile.products > PLACES:
            return "the tile has too many products"
    size = products * step["channels"] * padded(step["out_channels"])
    if step["filters"] < 0 or step["filters"] + size > len(program.weights):
        return "the filters lie outside of the weights"
    return _wrong_bias(step, program)


def _wrong_bias(step: Step, program: Program) -> str:
    end = step["bias"] + padded(step["out_channels"]) + COLUMNS_SLACK
    if step["bias"] < 0 or end > len(program.weights):
        return "the bias lies outside of the weights"
    return ""
