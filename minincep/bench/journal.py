"""A record that grows while it is measured: whatever ends the run, the file has what was done."""

from pathlib import Path
from typing import Any

from minincep.bench.record import Record, RecordError, Row, load, save
from minincep_kernels.roofline import Roof


class Journal:
    """Keeps rows, in a file if there is one.

    Parameters
    ----------
    machine
        The fingerprint.
    settings
        How it is measured.
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

    record: Record

    def __init__(
        self,
        machine: dict[str, Any],
        settings: dict[str, Any],
        path: Path | None,
        *,
        resume: bool = False,
    ) -> None:
        self._path = path
        self.record = Record(machine, settings)
        if path is None or not path.exists():
            return
        if not resume:
            raise RecordError(f"{path} is there already: give another name, or --resume")
        old = load(path)
        if old.machine != machine or old.settings != settings:
            raise RecordError(
                f"{path} was measured on another machine, with other versions or otherwise: give "
                "another name"
            )
        self.record = old

    def has(self, op: str, label: str, threads: int, variant: str) -> bool:
        """Whether there is a row of this."""
        return any(
            (row.op, row.label, row.threads, row.variant) == (op, label, threads, variant)
            for row in self.record.rows
        )

    def keep(self, rows: list[Row], threads: int, roof: Roof) -> None:
        """Add rows, and what is known of the machine by now."""
        self.record.rows += rows
        self.record.roof[threads] = roof
        if self._path is not None:
            save(self.record, self._path)

    @property
    def where(self) -> str:
        """Where the record is, to be told to the user."""
        return f" in {self._path}" if self._path is not None else ""
