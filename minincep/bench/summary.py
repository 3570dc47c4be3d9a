"""What a record comes to: ladders over all layers, and where the time of a network goes.

Pictures (`plots`) and the page (`html`) show the same numbers: these.
"""

import json
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from minincep.bench.record import Record, RecordError, Row
from minincep_kernels.roofline import Level, Roof

WHOLE = ("network", "training")  # operations whose rows are engines, not kernels
BEST = "the fastest for each layer"
STEP = "step"  # of a plan, as its profile gives them
KINDS = ("pointwise", "direct", "implicit", "Winograd", "pooling", "other")

# Told apart by people who do not see all colours, too, and on white as on black (Okabe and Ito
# 2008, "Color Universal Design"; the last three are added).
COLORS = (
    *("#8c8c8c", "#56b4e9", "#0072b2", "#009e73", "#e69f00"),
    *("#d55e00", "#cc79a7", "#7b5cc4", "#a07040", "#2ab5b0"),
)


def merge(records: Sequence[Record]) -> Record:
    """One record of all that one machine has shown; of a row measured again, the last.

    Of the roofs for a number of threads it has the medians, and of settings that differ all.

    Raises
    ------
    RecordError
        If they are of different machines.
    """
    machines = [
        f"{record.machine.get('cpu')} with {record.machine.get('cores')} cores"
        for record in records
    ]
    if machines.count(machines[0]) < len(machines):
        other = next(machine for machine in machines if machine != machines[0])
        raise RecordError(
            f"these records are of different machines, {_short(machines[0])} and {_short(other)}: "
            "make a report of each"
        )
    if len(records) == 1:
        return records[0]
    rows = {row.key: row for record in records for row in record.rows}
    threads = sorted({count for record in records for count in record.roof})
    settings: dict[str, Any] = {}
    for name in dict.fromkeys(name for record in records for name in record.settings):
        values = [record.settings[name] for record in records if name in record.settings]
        settings[name] = values[0] if values.count(values[0]) == len(values) else values
    return Record(
        records[-1].machine,
        settings,
        {n: _middle([record.roof[n] for record in records if n in record.roof]) for n in threads},
        list(rows.values()),
    )


def _short(text: str) -> str:
    """What a file says, for a message: not too long, and all of it printable."""
    return "".join(c if c.isprintable() else "?" for c in text[:80])


def _middle(roofs: Sequence[Roof]) -> Roof:
    levels: dict[str, list[Level]] = {}
    for level in (level for roof in roofs for level in roof.levels):
        levels.setdefault(level.name, []).append(level)
    return Roof(
        statistics.median(roof.flops for roof in roofs),
        statistics.median(roof.bandwidth for roof in roofs),
        tuple(
            Level(name, same[0].size, statistics.median(level.bandwidth for level in same))
            for name, same in levels.items()
        ),
    )


def bandwidths(roof: Roof) -> dict[str, float]:
    """Bytes a second, from the caches and from memory."""
    return {level.name: level.bandwidth for level in roof.levels} | {"memory": roof.bandwidth}


def times(row: Row) -> int:
    """Layers that have the shape; a shape that no network has counts once."""
    return sum(row.networks.values()) or 1


def effective(row: Row) -> bool:
    """Whether fewer operations are done than are counted."""
    return row.work < row.flops


def quartiles(row: Row) -> tuple[float, float]:
    """Seconds below which a quarter of the repeats is, and above which."""
    seconds = row.seconds if len(row.seconds) > 1 else 2 * row.seconds
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return low, high


@dataclass(frozen=True)
class Block:
    """A part of a network: a block, all blocks of one kind that follow each other, or a layer.

    Attributes
    ----------
    seconds
        By kind of step.
    """

    name: str
    seconds: dict[str, float]


@dataclass(frozen=True)
class Bar:
    """All layers of some networks with one variant, and with the rungs below where it must.

    Attributes
    ----------
    kind
        A rung of the ladder, a variant beside it, or, as `BEST`, all of them: what is fastest for
        each layer.
    gflops
        All operations over all time.
    low, high
        The same with every layer at its upper, and at its lower quartile of time.
    intensity
        All operations over all bytes.
    share
        Of the roof: the least time of all layers over their time.
    taken
        Share of the operations that are in layers that the variant takes itself.
    covered
        Share of the operations that are in layers measured at all; without the others, `gflops`
        is not to be compared.
    step
        Times as fast as the rung below, if there is one that covers as much.
    """

    variant: str
    kind: Literal["rung", "beside", "best"]
    gflops: float
    low: float
    high: float
    intensity: float
    share: float
    taken: float
    covered: float
    effective: bool
    step: float | None


def climb(below: Mapping[str, str | None]) -> tuple[list[str], list[str]]:
    """Variants on the ladder, from the foot up, and those beside it; `below` names the rung below.

    The order is that of `registry.ladder`.  A rung whose rung below was not measured is a foot.
    """
    above: dict[str, list[str]] = {}
    for name, lower in below.items():
        if lower in below and lower != name:
            above.setdefault(str(lower), []).append(name)
    rungs: list[str] = []
    waiting = [name for name in below if below[name] not in below][::-1]
    while waiting:
        name = waiting.pop()
        rungs.append(name)
        waiting += reversed(above.get(name, []))
    stands = {*above, *(name for names in above.values() for name in names)}
    stands |= {name for name in below if below[name] is not None}
    return (
        [name for name in rungs if name in stands],
        [name for name in below if name not in rungs or name not in stands],
    )


def bars(rows: Sequence[Row], network: str | None = None) -> list[Bar]:
    """The ladder over all layers of a network, or of all networks.

    Parameters
    ----------
    rows
        Of one operation, number of threads and state of the caches.
    """
    counts = {_shape(row): row.networks.get(network, 0) if network else times(row) for row in rows}
    table: dict[str, dict[str, _Layer]] = {}
    below: dict[str, str | None] = {}
    operations = {}
    for row in rows:
        shape = _shape(row)
        if counts[shape]:
            table.setdefault(row.variant, {})[shape] = _layer(row, counts[shape])
            below[row.variant] = row.below
            operations[shape] = row.flops * counts[shape]
    rungs, beside = climb(below)
    whole = sum(operations.values())
    found: list[Bar] = []
    for name in (*rungs, *beside):
        used = dict(table[name])
        lower = below[name]
        while name in rungs and lower in table:
            used = {**table[lower], **used}
            lower = below[lower]
        own = _total(table[name].values(), "flops")
        kind: Literal["rung", "beside"] = "rung" if name in rungs else "beside"
        bar = _bar(name, kind, used.values(), own, whole)
        for lower_bar in found:
            same = math.isclose(lower_bar.covered, bar.covered) and lower_bar.gflops > 0
            if lower_bar.variant == below[name] and same:
                bar = replace(bar, step=bar.gflops / lower_bar.gflops)
        found.append(bar)
    if len(table) > 1:
        best = [
            min((layers[shape] for layers in table.values() if shape in layers), key=_median)
            for shape in operations
        ]
        found.insert(len(rungs), _bar(BEST, "best", best, whole, whole))
    return found


def _bar(
    name: str,
    kind: Literal["rung", "beside", "best"],
    layers: Collection["_Layer"],
    own: float,
    whole: float,
) -> Bar:
    operated, moved = _total(layers, "flops"), _total(layers, "bytes")
    seconds = _total(layers, "median")
    return Bar(
        variant=name,
        kind=kind,
        gflops=operated / seconds / 1e9,
        low=operated / _total(layers, "high") / 1e9,
        high=operated / _total(layers, "low") / 1e9,
        intensity=operated / moved if moved else 0.0,
        share=_total(layers, "least") / seconds,
        taken=own / whole if whole else 1.0,
        covered=operated / whole if whole else 1.0,
        effective=any(layer.effective for layer in layers),
        step=None,
    )


@dataclass(frozen=True)
class _Layer:
    """All layers of one shape: operations, bytes, and seconds at least and as measured."""

    flops: float
    bytes: float
    least: float
    low: float
    median: float
    high: float
    effective: bool


def _layer(row: Row, count: int) -> _Layer:
    low, high = quartiles(row)
    least = row.share_of_roof * row.median
    seconds = (count * least, count * low, count * row.median, count * high)
    return _Layer(count * row.flops, count * row.bytes, *seconds, effective(row))


def _median(layer: _Layer) -> float:
    return layer.median


def _total(layers: Iterable[_Layer], field: str) -> float:
    return float(sum(getattr(layer, field) for layer in layers))


def _shape(row: Row) -> str:
    return json.dumps(row.shape, sort_keys=True)


def groups(rows: Iterable[Row]) -> dict[tuple[str, int, str], list[Row]]:
    """The rows of kernels by what may be compared: operation, threads, state of the caches."""
    found: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        if row.op not in (*WHOLE, STEP):
            found.setdefault((row.op, row.threads, row.cache), []).append(row)
    return found


def blocks(rows: Iterable[Row]) -> dict[tuple[str, int], list[Block]]:
    """Where the time of each network goes, by `network_of` and the number of threads."""
    found: dict[tuple[str, int], dict[str, dict[str, float]]] = {}
    for row in rows:
        if row.op == STEP:
            parts = found.setdefault((network_of(row), row.threads), {})
            part = parts.setdefault((row.path or "").split(" + ")[0].split("/")[0], {})
            kind = step_kind(row.variant)
            part[kind] = part.get(kind, 0.0) + row.median
    return {
        network: [Block(name, seconds) for name, seconds in parts.items()]
        for network, parts in found.items()
    }


def network_of(row: Row) -> str:
    """Which network ran on how many pictures; "" for kernels."""
    if row.op not in (*WHOLE, STEP):
        return ""
    batch = row.shape.get("batch")
    return f"{row.shape.get('model')}, {batch} picture{'s' * (batch != 1)}"


def step_kind(method: str) -> str:
    """One of `KINDS`, for a step's method, such as ``"winograd 1x6"``."""
    if method.startswith("winograd"):
        return "Winograd"
    if method in ("max pool", "average pool", "global average"):
        return "pooling"
    return method if method in KINDS else "other"
