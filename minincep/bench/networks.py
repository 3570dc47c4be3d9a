"""Whole networks: a picture classified or a training step, by minincep and by other engines.

The networks have random weights.  Each engine runs in a process of its own (`players`), all in
turns; what minincep gives is what the others are held against.  The steps of minincep's plan are
timed one by one, too: they say where the time goes.
"""

import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from minincep.bench import engines, learners
from minincep.bench.engines import Engine, Floats
from minincep.bench.journal import Journal
from minincep.bench.players import Player, difference, pictures
from minincep.bench.record import Row
from minincep.bench.verify import RefusedError
from minincep.bench.workloads import SIZES
from minincep.plan.profile import Profile
from minincep_kernels import machine
from minincep_kernels.errors import ConfigError
from minincep_kernels.roofline import Gauge, Roof

CALLS = 3  # in a turn
BACKWARD = 3  # forward, and two gradients of each product


@dataclass(frozen=True)
class Contest:
    """What engines are asked to do.

    Attributes
    ----------
    own
        How minincep does it.
    others
        The engines beside it, by the names under which they are asked for.
    tolerance
        Of results, between engines, in standard deviations; for a loss, relative.
    """

    op: str
    own: type[Engine]
    others: Mapping[str, type[Engine]]
    tolerance: float

    def engines(self, names: Sequence[str]) -> list[type[Engine]]:
        """Minincep, and the engines of these names.

        Raises
        ------
        ConfigError
            If there is no engine of a name, or it is not installed.
        """
        found = [self.own]
        for name in names:
            if name not in self.others:
                raise ConfigError(f"no engine {name!r}, only: {', '.join(self.others)}")
            found.append(self.others[name])
            for package in self.others[name].packages:
                try:
                    version(package)
                except PackageNotFoundError:
                    raise ConfigError(
                        f"{name} cannot run: {package} is not installed; pip install {package}"
                    ) from None
        return found

    def error(self, output: Floats, wanted: Floats) -> float:
        if self.op == "training":
            return float(abs(output[0] / wanted[0] - 1))
        return difference(output, wanted)


NETWORK = Contest("network", engines.Minincep, engines.ENGINES, 1e-3)
TRAINING = Contest("training", learners.Minincep, learners.LEARNERS, 1e-4)


@dataclass(frozen=True)
class Task:
    """A network, a batch and a number of threads."""

    model: str
    batch: int
    threads: int

    @property
    def label(self) -> str:
        pictures = f"{self.batch} picture{'s' * (self.batch > 1)}"
        return f"{self.model} {SIZES[self.model]}x{SIZES[self.model]}, {pictures}"


def rows(
    journal: Journal,
    contest: Contest,
    tasks: Sequence[Task],
    wanted: Sequence[type[Engine]],
    repeats: int,
) -> Iterator[list[Row]]:
    """Measure the tasks that the journal has not, one by one."""
    for task in tasks:
        place = (contest.op, task.label, task.threads)
        if not all(journal.has(*place, engine.name) for engine in wanted):
            found, roof = measured(contest, task, wanted, repeats)
            journal.keep(found, task.threads, roof)
            yield found


def measured(
    contest: Contest, task: Task, wanted: Sequence[type[Engine]], repeats: int
) -> tuple[list[Row], Roof]:
    """Verify, warm up, then time: a row for each engine, and for each step of minincep's plan.

    Raises
    ------
    RefusedError
        If an engine's result is another than minincep's.
    RemoteError
        If an engine fails.
    """
    x = pictures(task.batch, SIZES[task.model])
    gauge = Gauge(task.threads, machine.caches())
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        paths = _write(contest, task.model, Path(scratch), wanted)
        started = (Player(engine, path, task.threads, x) for engine, path in paths.items())
        players = [stack.enter_context(closing(player)) for player in started]
        errors = _compared(contest, players)
        seconds: dict[str, list[float]] = {player.name: [] for player in players}
        peak: list[float] = []
        for round_ in range(1 + repeats):
            gauge.take()
            turns = {player.name: player.turn(CALLS) for player in players}
            if round_:  # the first one warms up
                peak.append(gauge.samples[-1][0])
                for name, time in turns.items():
                    seconds[name].append(time)
        profile, weights = _profile(paths[contest.own], x, task, repeats)
    first = {player.name: player.start["seconds"] or 0.0 for player in players}
    made = _Rows(contest, task, profile, weights, gauge.roof)
    found = [
        made.of_engine(name, times, peak, first[name], errors[name])
        for name, times in seconds.items()
    ]
    if contest.op == "network":
        found += made.of_steps(peak[-1])
    return found, gauge.roof


def _write(
    contest: Contest, model: str, folder: Path, wanted: Sequence[type[Engine]]
) -> dict[type[Engine], Path]:
    """The files of the engines."""
    learners.write_weights(model, folder)
    if contest.op == "network" and len(wanted) > 1:
        import minincep as mi
        from minincep.export import export

        export(mi.load(folder / f"{model}.h5"), folder / f"{model}.onnx", "onnx")
    return {engine: folder / engine.file.format(model=model) for engine in wanted}


def _compared(contest: Contest, players: Sequence[Player]) -> dict[str, float]:
    own = players[0].output
    errors = {player.name: contest.error(player.output, own) for player in players}
    for name, error in errors.items():
        if not error <= contest.tolerance:  # nor is nan
            raise RefusedError(
                f"{name} and minincep differ by {error:.1e}, {contest.tolerance:.0e} allowed"
            )
    return errors


def _profile(path: Path, x: Floats, task: Task, repeats: int) -> tuple[Profile, int]:
    """The steps of minincep's plan, and how many weights the network has."""
    import minincep as mi
    from minincep.plan.profile import profile

    with machine.num_threads(task.threads):
        network = mi.load(path)
        plan = mi.compile(network, image_size=x.shape[1], batch_size=len(x), tune=True)
        weights = sum(array.size for array in network.arrays().values())
        return profile(plan, x, repeats=repeats), weights


@dataclass(frozen=True)
class _Rows:
    """Makes rows of what was measured."""

    contest: Contest
    task: Task
    profile: Profile
    weights: int
    roof: Roof

    def of_engine(
        self, name: str, seconds: list[float], peak: list[float], first: float, error: float
    ) -> Row:
        """The row of a whole network."""
        steps, pictures = self.profile.steps, self.task.batch / self.profile.batch
        training = self.contest.op == "training"
        factor = pictures * (BACKWARD if training else 1)
        flops = factor * sum(step.flops for step in steps)
        own = name == self.contest.own.name and not training
        work = factor * sum(step.work for step in steps) if own else flops
        median = statistics.median(seconds)
        pixels = self.task.batch * 3 * SIZES[self.task.model] ** 2
        # A training step reads weights and momentum, and writes both.
        size = 4.0 * (pixels + self.weights * (4 if training else 1))
        return Row(
            op=self.contest.op,
            variant=name,
            below=None,
            shape=self._shape(),
            label=self.task.label,
            networks={self.task.model: 1},
            threads=self.task.threads,
            cache="warm",
            flops=flops,
            bytes=size,
            work=work,
            seconds=seconds,
            peak=peak,
            control=[],
            median=median,
            compile_seconds=max(0.0, first - median),
            error=error,
            tolerance=self.contest.tolerance,
            gflops=flops / median / 1e9,
            share_of_roof=self.roof.seconds(work, size) / median,
            bound=self.roof.bound(work, size),
        )

    def of_steps(self, peak: float) -> Iterator[Row]:
        """A row for each step of minincep's plan."""
        for step in self.profile.steps:
            yield Row(
                op="step",
                variant=step.method,
                below=None,
                shape=self._shape(),
                label=step.shape,
                networks={self.task.model: 1},
                threads=self.task.threads,
                cache="warm",
                flops=step.flops,
                bytes=step.bytes,
                work=step.work,
                seconds=[step.seconds],
                peak=[peak],
                control=[],
                median=step.seconds,
                compile_seconds=0.0,
                error=0.0,
                tolerance=0.0,
                gflops=step.gflops,
                share_of_roof=step.share_of_roof,
                bound=step.bound,
                path=step.path,
            )

    def _shape(self) -> dict[str, str | int]:
        model = self.task.model
        return {"model": model, "batch": self.task.batch, "size": SIZES[model]}
