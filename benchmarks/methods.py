"""Is `layout.choose` right?  Time every method of convolution on every layer of the networks.

    python benchmarks/methods.py --threads 1 [--models inception_v4,...] [-o FILE]

Each layer runs as it does in a plan: filters packed before, and so many copies of them, one after
the other, that they come from memory each time.  All methods that can compute a layer take turns.

What counts is the last line of each network: the time with the methods that `choose` takes, over
the time with the best one of each layer, known afterwards.  1.05 would mean that a perfect choice
is worth 5 %.
"""

import argparse
import json
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import minincep as mi
from minincep.plan.passes import apply_all
from minincep.plan.trace import trace
from minincep_kernels import Array, machine
from minincep_kernels.conv2d.gradients import fields
from minincep_kernels.conv2d.tiled import METHODS
from minincep_kernels.program.layout import Method, choose
from minincep_kernels.program.run import scratch_of
from minincep_kernels.program.runner import Runner, aligned
from minincep_kernels.program.step import STEP, ZEROS, Kind
from minincep_kernels.shapes import Conv2dShape
from minincep_kernels.vectors import COLUMNS_SLACK, padded

SIZES = {"inception_v4": 299, "inception_resnet_v2": 299, "inception_resnet_v1": 160}
FILTERS = 1 << 24  # floats of all copies of a layer's filters, and
COPIES = 16  # at most so many
SLOWEST = 1 << 32  # multiplications of all copies: a method is not timed for minutes


def layers(model: str, size: int, **config: Any) -> Counter[tuple[Conv2dShape, bool]]:
    """The convolutions of a network's plan: shape, whether it adds a residual, how many."""
    graph = apply_all(trace(mi.create_model(model, **config), (size, size), ()))
    found: Counter[tuple[Conv2dShape, bool]] = Counter()
    for node in graph.nodes:
        if node.op == "conv2d":
            height, width, channels = (1, 1, *node.inputs[0].shape)[-3:]
            kernel_height, kernel_width, _, filters = node.arrays["filters"].shape
            shape = Conv2dShape(
                *(1, height, width, channels, (kernel_height, kernel_width)),
                *(node.static["stride"], node.static["padding"], filters),
            )
            found[shape, len(node.inputs) == 2] += 1
    return found


class Trial:
    """One layer by one method, as a program of copies."""

    def __init__(self, method: Method, shape: Conv2dShape) -> None:
        size = method.packed_floats(shape.filters) + padded(shape.out_channels) + COLUMNS_SLACK
        self._copies = max(min(FILTERS // size, COPIES, SLOWEST // shape.flops), 1)
        steps = np.zeros(self._copies, STEP)
        chunks = method.fields(shape, machine.get_num_threads())
        for copy, step in enumerate(steps):
            for name, number in {**fields(shape), **chunks}.items():
                step[name] = number
            step["filters"] = ZEROS + copy * size
            step["bias"] = step["filters"] + method.packed_floats(shape.filters)
        self._weights = aligned(ZEROS + self._copies * size)
        self._weights[ZEROS:] = 0.01
        self._x: Array = aligned(int(np.prod(shape.input)) + COLUMNS_SLACK)
        self._y: Array = aligned(int(np.prod(shape.output)) + COLUMNS_SLACK)
        self._run = Runner(steps, scratch_of(steps[0]))
        self.seconds()

    def seconds(self) -> float:
        """Time one layer."""
        start = time.perf_counter()
        self._run(0, self._copies, 1, self._weights, self._x, self._y)
        return (time.perf_counter() - start) / self._copies


def measure(shape: Conv2dShape, residual: bool, repeats: int) -> dict[str, float]:
    """Median seconds of each method that can compute a layer."""
    trials = {
        name: Trial(method, shape)
        for name, method in METHODS.items()
        if method.supports(shape) and not (residual and method.kind == Kind.WINOGRAD)
    }
    times: dict[str, list[float]] = {name: [] for name in trials}
    for _ in range(repeats):
        for name, trial in trials.items():
            times[name].append(trial.seconds())
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def compare(model: str, size: int, repeats: int, **config: Any) -> dict[str, Any]:
    """All distinct layers of a network, printed and as a result."""
    names = {method: name for name, method in METHODS.items()}
    rows, chosen_total, best_total = [], 0.0, 0.0
    for (shape, residual), count in layers(model, size, **config).items():
        times = measure(shape, residual, repeats)
        chosen = names[choose(shape, residual=residual)]
        best = min(times, key=lambda name: times[name])
        chosen_total += count * times[chosen]
        best_total += count * times[best]
        rows.append({"shape": str(shape), "count": count, "chosen": chosen, "seconds": times})
        remark = "" if best == chosen else f"  {best} takes {times[best] / times[chosen]:.2f} of it"
        size_in = f"{shape.height}x{shape.width}x{shape.channels}"
        kernel = f"{shape.kernel[0]}x{shape.kernel[1]}/{shape.stride[0]}"
        print(
            f"{count:3} x {size_in:13} {kernel:6} {shape.out_channels:5}  {chosen:18} "
            f"{times[chosen] * 1e3:8.3f} ms{remark}",
            flush=True,
        )
    ratio = chosen_total / best_total
    print(f"{model}: {chosen_total * 1e3:.1f} ms, {ratio:.3f} times that of the best choice")
    return {"model": model, "size": size, "chosen over best": ratio, "layers": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default=",".join(SIZES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    machine.set_num_threads(options.threads)
    models = options.models.split(",")
    if unknown := set(models) - set(SIZES):
        parser.error(f"there is no network {', '.join(sorted(unknown))}")
    results = [compare(model, SIZES[model], options.repeats) for model in models]
    if options.output:
        report = {"threads": options.threads, "results": results}
        options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
