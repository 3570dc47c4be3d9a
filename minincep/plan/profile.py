"""Where the time of a plan goes, step by step, beside what the machine could do at most."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minincep.plan.plan import Plan
from minincep_kernels import Array, machine
from minincep_kernels.conv2d.tiled import work
from minincep_kernels.program.layout import Method
from minincep_kernels.program.step import Kind
from minincep_kernels.roofline import Gauge, Roof
from minincep_kernels.shapes import Conv2dShape
from minincep_kernels.winograd import TILES


@dataclass(frozen=True)
class StepTime:
    """One step of a plan.

    Attributes
    ----------
    path
        Path of the layer.
    shape
        What goes in and comes out, in words.
    method
        How it is done.
    seconds
        Median over the repeats.
    flops
        Operations of a direct convolution; 0 for other steps.
    work
        Operations that are really done: fewer with Winograd's method, its transforms not counted.
    bytes
        What must be read and written at least once: pixels, filters, result.
    roof
        What the machine can do at most.
    """

    path: str
    shape: str
    method: str
    seconds: float
    flops: float
    work: float
    bytes: float
    roof: Roof

    @property
    def gflops(self) -> float:
        """Operations of a direct convolution in a second, in billions: effective ones."""
        return self.flops / self.seconds / 1e9

    @property
    def share_of_roof(self) -> float:
        """The least time that the machine needs for this work, over the time that it took."""
        return self.roof.seconds(self.work, self.bytes) / self.seconds

    @property
    def bound(self) -> str:
        """Which roof is the lower one: compute or bandwidth."""
        return self.roof.bound(self.work, self.bytes)


@dataclass(frozen=True)
class Profile:
    """The steps of a plan with their times, and what the machine can do at most."""

    steps: list[StepTime]
    roof: Roof
    threads: int
    batch: int

    @property
    def total_seconds(self) -> float:
        return sum(step.seconds for step in self.steps)


def profile(plan: Plan, x: Array, *, repeats: int = 10) -> Profile:
    """Time each step of a plan by itself, `repeats` times, on prepared pictures (N, H, W, 3).

    The filters of a step come from memory, as they do when the whole network runs, if the network
    is larger than the caches.  What the machine can do is measured between the repeats.

    Raises
    ------
    DTypeError, ShapeError
        As when the plan is called.
    """
    threads = machine.get_num_threads()
    gauge = Gauge(threads)
    plan(x)
    times = []
    for _ in range(repeats):
        times.append(plan.time_steps(x))
        gauge.take()
    seconds, limits = np.median(times, axis=0), gauge.roof
    batch = min(len(x), plan.at_once)
    rows = zip(plan.program.steps, plan.program.paths, seconds, strict=True)
    steps = [_describe(step, path, float(time), batch, limits) for step, path, time in rows]
    return Profile(steps, limits, threads, batch)


def _shape(number: dict[str, int], batch: int) -> Conv2dShape:
    """The shape of a convolution's step, padded below and at the right as far as its windows go."""
    kernel = (number["kernel_height"], number["kernel_width"])
    stride = (number["stride_height"], number["stride_width"])
    below = (number["out_height"] - 1) * stride[0] + kernel[0] - number["top"] - number["height"]
    right = (number["out_width"] - 1) * stride[1] + kernel[1] - number["left"] - number["width"]
    sides = (number["top"], below, number["left"], right)
    size = (number["height"], number["width"], number["channels"])
    return Conv2dShape(batch, *size, kernel, stride, sides, number["out_channels"])


def _describe(step: Any, path: str, seconds: float, batch: int, limits: Roof) -> StepTime:
    number = {name: int(step[name]) for name in step.dtype.names}
    kind = Kind(number["kind"])
    pixels_in = batch * number["height"] * number["width"]
    pixels = batch * number["out_height"] * number["out_width"]
    moved = pixels_in * number["channels"] + pixels * number["out_channels"]
    method = kind.name.lower().replace("_", " ")
    flops = done = 0.0
    if kind in (Kind.POINTWISE, Kind.DIRECT, Kind.IMPLICIT, Kind.WINOGRAD):
        shape = _shape(number, batch)
        flops, done = shape.flops, work(Method(kind, number["tile"]), shape)
        products = shape.kernel[0] * shape.kernel[1]
        if kind == Kind.WINOGRAD:
            tile = TILES[number["tile"]]
            products = tile.products
            method += " {}x{}".format(*tile.outputs)
        moved += products * shape.channels * shape.out_channels
        if number["residual_offset"] >= 0:
            moved += pixels * number["out_channels"]
    window = f"{number['kernel_height']}x{number['kernel_width']}/{number['stride_height']}"
    words = f"{number['height']}x{number['width']}x{number['channels']} {window} "
    words += f"-> {number['out_height']}x{number['out_width']}x{number['out_channels']}"
    return StepTime(path, words, method, seconds, flops, done, 4.0 * moved, limits)
