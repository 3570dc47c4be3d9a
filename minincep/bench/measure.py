"""Time variants: one after the other, round by round, beside what the machine can do.

A shared machine is never the same twice, so

- the variants take turns, in another order in each round, and what the machine does to one of them
  it does to all;
- a turn is long enough for the clock, several calls if need be;
- before each round, the arrays move: where they happen to lie, and what else falls on the same
  lines of a cache, makes some per cent, for a whole run if they stayed (Mytkowicz et al. 2009,
  "Producing wrong data without doing anything obviously wrong!", ASPLOS);
- beside each turn, the peak of multiply-adds is measured, for the roof of that very moment, and a
  control, NumPy on the same arrays: `compare` divides by it;
- the first call, which compiles, is not counted;
- on several threads, the variants that use the BLAS have a process of their own, since its threads
  and those of OpenMP look for more work for a while when a call is over, and keep each other from
  the cores.

A turn begins with a call that does not count, so that the caches hold the arrays; or, flushed, each
call begins with caches that hold something else.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from minincep.bench.record import Row
from minincep.bench.stage import Elsewhere, Settings, Stage
from minincep.bench.workloads import Workload
from minincep_kernels import machine
from minincep_kernels.registry import Variant
from minincep_kernels.roofline import Gauge, Roof


class Bench:
    """Measures on so many threads.

    Parameters
    ----------
    stages
        Where variants are timed that use the BLAS (True), and that do not (False).

    Attributes
    ----------
    gauge
        What has been seen of the machine so far.
    """

    def __init__(
        self, gauge: Gauge, settings: Settings, stages: Mapping[bool, Stage | Elsewhere]
    ) -> None:
        self.gauge = gauge
        self.threads = gauge.threads
        self._settings = settings
        self._stages = stages
        self._generator = np.random.default_rng(settings.seed)

    def rows(
        self,
        workload: Workload,
        variants: Sequence[Variant],
        watch: Callable[[list[Row]], None] = lambda rows: None,
    ) -> list[Row]:
        """Verify and time the variants that support a shape.

        Parameters
        ----------
        watch
            Is told after each round what the rows are so far.

        Raises
        ------
        RefusedError
            If one of them is wrong.
        RemoteError
            If a process ends that times them.
        """
        able = [variant for variant in variants if variant.supports(workload.shape)]
        stages = list(dict.fromkeys(self._stages[variant.uses_blas] for variant in able))
        with machine.num_threads(self.threads):
            for stage in stages:
                stage.enter(workload)
            contenders = [
                _Contender(variant, self._stages[variant.uses_blas], self._settings)
                for variant in able
            ]
            first = len(self.gauge.samples)
            for _ in range(self._settings.roofs):
                self.gauge.take()
            roof = self.gauge.roof_since(first)
            rows: list[Row] = []
            for round_ in range(max((one.entry.repeats for one in contenders), default=0)):
                for stage in stages:
                    stage.move()
                self._round([one for one in contenders if round_ < one.entry.repeats])
                medians = {one.variant.name: statistics.median(one.seconds) for one in contenders}
                rows = [one.row(workload, self.threads, roof, medians) for one in contenders]
                watch(rows)
        return rows

    def _round(self, contenders: "list[_Contender]") -> None:
        for index in self._generator.permutation(len(contenders)):
            contenders[index].take_turn()


class _Contender:
    """A variant on a shape, and what it has shown."""

    def __init__(self, variant: Variant, stage: Stage | Elsewhere, settings: Settings) -> None:
        self.variant = variant
        self.entry = stage.verify(variant.name)
        self.seconds: list[float] = []
        self._peak: list[float] = []
        self._control: list[float] = []
        self._stage, self._flushed = stage, settings.flushed

    def take_turn(self) -> None:
        turn = self._stage.turn(self.variant.name)
        self.seconds.append(turn.seconds)
        self._peak.append(turn.peak)
        self._control.append(turn.control)

    def row(self, workload: Workload, threads: int, roof: Roof, medians: dict[str, float]) -> Row:
        shape, variant = workload.shape, self.variant
        roof = replace(roof, flops=max(self._peak))  # that of these very moments
        median = medians[variant.name]
        work = float(variant.work(shape) if variant.work else shape.flops)
        cached = not self._flushed
        below = medians.get(variant.below or "")
        return Row(
            op=workload.op,
            variant=variant.name,
            below=variant.below,
            shape={name: _plain(value) for name, value in asdict(shape).items()},
            label=workload.label,
            networks=dict(workload.networks),
            threads=threads,
            cache="warm" if cached else "flushed",
            flops=float(shape.flops),
            bytes=float(shape.bytes),
            work=work,
            seconds=list(self.seconds),
            peak=list(self._peak),
            control=list(self._control),
            median=median,
            compile_seconds=max(0.0, self.entry.first_seconds - median),
            error=self.entry.error,
            tolerance=variant.tolerance,
            gflops=shape.flops / median / 1e9,
            share_of_roof=roof.seconds(work, shape.bytes, cached=cached) / median,
            bound=roof.bound(work, shape.bytes, cached=cached),
            speedup_over_below=below / median if below else None,
        )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
