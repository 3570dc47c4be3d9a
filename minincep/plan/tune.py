"""Tuning: the sizes of chunks that are fastest on this machine, found by trying.

How much of a layer a thread does at a time changes which caches the filters and the pixels come
from, and nothing in the result.  (What does change it, the method of convolution, is chosen by
`minincep_kernels.program.layout.choose`, and never tuned: plans of one network agree to the last
bit.)

All steps try their first candidate in one run of the network, then all their second, and so on: so
each step finds the caches as it does in use, filled by the steps before.

Times are never quite the same twice, and the least of seven is often only the luckiest.  So a
candidate must be faster than what there is by more than luck explains, and in the end both whole
networks run against each other.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minincep.plan.plan import Plan
from minincep_kernels import Array
from minincep_kernels.microkernel import COLUMNS
from minincep_kernels.program.run import rows_of, scratch_of
from minincep_kernels.program.step import Kind

PRODUCTS = (Kind.POINTWISE, Kind.DIRECT, Kind.IMPLICIT, Kind.WINOGRAD)
FACTORS = ((1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (4.0, 1.0), (1.0, 0.5), (1.0, 2.0), (2.0, 0.5))
GAIN = 0.97  # of the time that there was: what a candidate must stay below
SCRATCH = 1 << 22  # floats: a limit of the scratch memory of each thread

# Steps that differ in these alone are one case: they get the same chunks.
PLACES = ("wait", "in_offset", "out_offset", "residual_offset", "filters", "bias")


def tune(plan: Plan, *, repeats: int = 5) -> Plan:
    """The same plan with the chunks that were fastest, on as many threads as are set now.

    Parameters
    ----------
    repeats
        Runs for each candidate; medians are compared.
    """
    program = plan.program
    generator = np.random.default_rng(0)
    shape = (plan.batch_size, *plan.image_size, 3)
    x = generator.uniform(-1, 1, shape).astype(np.float32)
    candidates = [_chunks(program.steps, program.batch, *factors) for factors in FACTORS]
    seconds = np.empty((len(candidates), repeats, len(program.steps)))
    trials = [_with_steps(plan, steps) for steps in candidates]
    for repeat in range(repeats):  # interleaved: a busy moment of the machine hits all of them
        for trial, row in zip(trials, seconds[:, repeat], strict=True):
            row[:] = trial.time_steps(x)
    medians = np.median(seconds, axis=1)

    best = program.steps.copy()
    for group in _cases(program.steps).values():
        total = medians[:, group].sum(axis=1)
        winner = int(np.argmin(total))
        if total[winner] < GAIN * total[0]:
            best[group] = candidates[winner][group]
    tuned = _with_steps(plan, best)
    before, after = (np.median(times) for times in _take_turns((plan, tuned), x, 3 * repeats))
    return tuned if after < before else plan


def _take_turns(plans: Sequence[Plan], x: Array, repeats: int) -> list[list[float]]:
    """Seconds of whole runs of each plan."""
    times: list[list[float]] = [[] for _ in plans]
    for _ in range(repeats):
        for plan, seconds in zip(plans, times, strict=True):
            start = time.perf_counter()
            plan(x)
            seconds.append(time.perf_counter() - start)
    return times


def _with_steps(plan: Plan, steps: Any) -> Plan:
    scratch = max(scratch_of(step) for step in steps)
    return Plan(replace(plan.program, steps=steps, scratch=scratch))


def _cases(steps: Any) -> dict[tuple[int, ...], list[int]]:
    """Numbers of the steps that are alike but for where things lie."""
    names = [name for name in steps.dtype.names if name not in PLACES]
    cases: dict[tuple[int, ...], list[int]] = {}
    for index, step in enumerate(steps):
        cases.setdefault(tuple(int(step[name]) for name in names), []).append(index)
    return cases


def _chunks(steps: Any, batch: int, down: float, across: float) -> Any:
    """The steps with chunks of so many times the rows and columns, where that is possible."""
    changed = steps.copy()
    for step in changed.view(np.recarray):
        if step.kind not in PRODUCTS:
            continue
        before = step.rows, step.columns
        columns = max(int(step.columns * across) // COLUMNS * COLUMNS, COLUMNS)
        step.columns = min(columns, -(-step.out_channels // COLUMNS) * COLUMNS)
        step.rows = min(max(int(step.rows * down), 1), rows_of(step, batch))
        if scratch_of(step) > SCRATCH:
            step.rows, step.columns = before
    return changed
