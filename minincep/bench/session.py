"""A run: some variants on some shapes, and the file that grows meanwhile."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from minincep.bench.fingerprint import fingerprint
from minincep.bench.measure import Bench, Settings
from minincep.bench.record import Record, RecordError, Row, load, save
from minincep.bench.verify import Case
from minincep.bench.workloads import Workload
from minincep_kernels import registry
from minincep_kernels.errors import VariantError
from minincep_kernels.registry import Variant

# The module that registers the variants of an operation.
HOMES = {
    "gemm": "minincep_kernels.gemm",
    "conv2d": "minincep_kernels.conv2d",
    "batch_norm": "minincep_kernels.norm",
    "max_pool2d": "minincep_kernels.pool",
}


def variants(op: str, names: Sequence[str] = ()) -> list[Variant]:
    """The variants of these names, or all; the ladder first, from its foot up.

    Raises
    ------
    VariantError
        If there is none of a name.
    """
    importlib.import_module(HOMES[op])
    known = registry.variants(op)
    for name in names:
        if name not in known:
            raise VariantError(f"{op} has no variant {name!r}, only {', '.join(known)}")
    ordered = {variant.name: variant for variant in registry.ladder(op)} | known
    return [variant for name, variant in ordered.items() if not names or name in names]


class Session:
    """Measures, and writes what is measured, shape by shape.

    Parameters
    ----------
    op
        The operation.
    path
        Where the record is kept; None keeps it in memory.
    resume
        Go on with a record that is there already.

    Attributes
    ----------
    record
        What was measured so far.

    Raises
    ------
    RecordError
        If the file is there already and `resume` is false, or it is of another machine or way to
        measure.
    """

    def __init__(
        self, op: str, settings: Settings, path: Path | None, *, resume: bool = False
    ) -> None:
        self._settings, self._path = settings, path
        self.record = Record(fingerprint(), {"op": op, **asdict(settings)})
        if path is not None and path.exists():
            if not resume:
                raise RecordError(f"{path} is there already: give another name, or --resume")
            old = load(path)
            if old.machine != self.record.machine or old.settings != self.record.settings:
                raise RecordError(
                    f"{path} was measured on another machine, with other versions or otherwise: "
                    "give another name"
                )
            self.record = old

    def run(
        self,
        workloads: Sequence[Workload],
        variants: Sequence[Variant],
        threads: Sequence[int],
        watch: Callable[[list[Row]], None],
    ) -> Iterator[list[Row]]:
        """Give the rows of each shape and number of threads as soon as they are there.

        Parameters
        ----------
        watch
            Is told after each round what the rows are so far.
        """
        done = {(row.label, row.threads, row.variant) for row in self.record.rows}
        benches = [Bench(number, self._settings) for number in threads]
        for workload in workloads:
            case: Case | None = None
            for bench in benches:
                place = (workload.label, bench.threads)
                left = [one for one in variants if (*place, one.name) not in done]
                if any(one.supports(workload.shape) for one in left):
                    case = case or Case(workload)
                    rows = bench.rows(case, left, watch)
                    self._keep(rows, bench)
                    yield rows

    @property
    def where(self) -> str:
        """Where the record is, to be told to the user."""
        return f" in {self._path}" if self._path is not None else ""

    def _keep(self, rows: list[Row], bench: Bench) -> None:
        self.record.rows += rows
        self.record.roof[bench.threads] = bench.gauge.roof
        if self._path is not None:
            save(self.record, self._path)
