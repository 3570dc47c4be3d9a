"""Put the figures of `results/*.json` into the README, between the two marks of each report.

python benchmarks/readme_table.py
python benchmarks/readme_table.py --check   # exit status 1 if they are not what is there
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minincep.bench import summary
from minincep.bench.record import Record, load
from minincep.bench.summary import BEST, Bar

FOLDER = Path(__file__).resolve().parent
README, RESULTS = FOLDER.parent / "README.md", FOLDER / "results"


def peers_table(report: dict[str, Any]) -> str:
    """Answers of all engines, as Markdown."""
    results = report["results"]
    engines = list(dict.fromkeys(name for r in results for name in r["milliseconds"]))
    ours = engines[0]
    lines = [
        "Milliseconds a picture, in float32, medians of interleaved rounds. The last column is the"
        f" time of the fastest other engine divided by that of {ours} (lowest to highest round):"
        f" above 1, {ours} is the faster one. Machine: {machine(report)}.",
        "",
        row(["network", "batch", "threads", *engines, f"fastest other / {ours}"]),
        row(["---", *["---:"] * (3 + len(engines))]),
    ]
    for result in results:
        times = result["milliseconds"]
        cells = [f"{times[name]['median']:.1f}" if name in times else "–" for name in engines]
        ratio = result["ratios"][result["fastest other"]]
        cells.append(f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})")
        lines.append(row([result["model"], str(result["batch"]), str(result["threads"]), *cells]))

    batch, threads = min((result["batch"], result["threads"]) for result in results)
    lines += [
        "",
        "Seconds from the start of a process to its first answer, imports included, and most memory"
        f" until then (batch {batch}, threads {threads}):",
        "",
        row(["network", *engines]),
        row(["---", *["---:"] * len(engines)]),
    ]
    for result in results:
        if (result["batch"], result["threads"]) == (batch, threads):
            first = result["first answer"]
            cells = [start(first[name]) if name in first else "–" for name in engines]
            lines.append(row([result["model"], *cells]))
    return "\n".join([*lines, "", versions(report)])


def training_table(report: dict[str, Any]) -> str:
    """A training step here and there, as Markdown."""
    results = report["results"]
    engines = list(results[0]["seconds"])
    ours, *others = engines
    memory = [f"{name}, MB" for name in engines] if results[0]["memory"][ours]["peak"] else []
    lines = [
        "Seconds for one training step (forward, loss, backward, update by SGD with momentum), in"
        f" float32, medians of interleaved rounds. A ratio is their time divided by that of {ours}"
        f" (lowest to highest round): above 1, {ours} is the faster one."
        + (" MB: most memory of the process." if memory else "")
        + f" Machine: {machine(report)}.",
        "",
        row(["network", "batch", "threads", *engines, *(f"{o} / {ours}" for o in others), *memory]),
        row(["---", *["---:"] * (2 + len(engines) + len(others) + len(memory))]),
    ]
    for result in results:
        ratios = [result["ratios"][other] for other in others]
        cells = [
            *(result["model"], str(result["batch"]), str(result["threads"])),
            *(f"{result['seconds'][name]['median']:.2f}" for name in engines),
            *(f"{r['median']:.2f} ({r['min']:.2f} to {r['max']:.2f})" for r in ratios),
            *(f"{result['memory'][name]['peak']:.0f}" for name in engines if memory),
        ]
        lines.append(row(cells))
    return "\n".join([*lines, "", versions(report)])


def laboratory() -> Record | None:
    """What `minincep bench` has kept, one file or one an operation: ladder*.json."""
    paths = sorted(RESULTS.glob("ladder*.json"))
    return summary.merge([load(path) for path in paths]) if paths else None


def ladder_table(record: Record) -> str:
    """The rungs of the matrix product and of convolution, as Markdown."""
    return "\n\n".join(f"**{op}**\n\n{ladder_of(record, op)}" for op in ("gemm", "conv2d"))


def ladder_of(record: Record, op: str) -> str:
    """The rungs of an operation, each over all layers, as Markdown."""
    columns = {
        (threads, cache): summary.bars(rows)
        for (other, threads, cache), rows in summary.groups(record.rows).items()
        if other == op
    }
    if not columns:
        return "*Not measured yet.*"
    speed = _gigabytes if op in BOUND_BY_BYTES else _gigaflops
    unit = "GB/s" if op in BOUND_BY_BYTES else "GFLOP/s"
    titles = ["rung", "takes"]
    for threads, cache in columns:
        where = f"{threads} thread{'s' * (threads > 1)}" + (", flushed" if cache != "warm" else "")
        titles += [f"{where}: {unit}", "of roof", "over rung below"]
    lines = [row(titles), row(["---", *["---:"] * (len(titles) - 1)])]
    tables = [{bar.variant: bar for bar in bars} for bars in columns.values()]
    for name in dict.fromkeys(name for table in tables for name in table):
        bars = [table.get(name) for table in tables]
        label = name if name == BEST else f"`{name}`" + (", beside" * _is_beside(bars))
        taken = next(f"{bar.taken:.0%}" for bar in bars if bar)
        cells = [cell for bar in bars for cell in _cells(bar, speed)]
        lines.append(row([label, taken, *cells]))
    shapes = len({one.label for one in record.rows if one.op == op})
    report = {"machine": record.machine}
    note = f"All layers of the three networks, {shapes} shapes. Machine: {machine(report)}."
    return "\n".join([*lines, "", f"{note} {versions(report)}"])


BOUND_BY_BYTES = ("moments", "normalize", "max_pool2d", "avg_pool2d")


def _gigaflops(bar: Bar) -> float:
    return bar.gflops


def _gigabytes(bar: Bar) -> float:
    return bar.gflops / bar.intensity


def _is_beside(bars: Sequence[Bar | None]) -> bool:
    return any(bar is not None and bar.kind == "beside" for bar in bars)


def _cells(bar: Bar | None, speed: Callable[[Bar], float]) -> list[str]:
    """Speed, share of the roof, and times as fast as the rung below."""
    if bar is None:
        return ["–"] * 3
    number = f"{speed(bar):.3g}" + " effective" * bar.effective
    return [number, f"{bar.share:.0%}", f"{bar.step:.2f}" if bar.step else ""]


def machine(report: dict[str, Any]) -> str:
    """Cores, processor, and the vectors that it has."""
    found = report["machine"]
    vectors = [name for name in ("asimd", "avx2", "avx512f") if name in found["vectors"]]
    return f"{found['cores']} cores, {' '.join([found['cpu'], *vectors])}"


def versions(report: dict[str, Any]) -> str:
    known = report["machine"]["versions"].items()
    return f"Versions: {', '.join(f'{name} {number}' for name, number in known)}."


def start(first: dict[str, float | None]) -> str:
    """Time to the first answer, and memory where it is known."""
    memory = first["megabytes"]
    return f"{first['seconds']:.1f} s" + (f", {memory:.0f} MB" if memory is not None else "")


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


TABLES = {"peers": peers_table, "training": training_table}  # a report results/NAME.json each


def tables() -> dict[str, str]:
    """The tables of all reports that there are."""
    found = {}
    for name, table in TABLES.items():
        if (path := RESULTS / f"{name}.json").exists():
            found[name] = table(json.loads(path.read_text(encoding="utf-8")))
    record = laboratory()
    return found if record is None else found | {"ladder": ladder_table(record)}


def rewritten(readme: str, name: str, table: str) -> str:
    """The README with a table in it."""
    before, after = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, start, rest = readme.partition(before)
    _, end, tail = rest.partition(after)
    if not (start and end):
        raise ValueError(f"README needs the lines {before} and {after}, in this order.")
    return f"{head}{start}\n{table}\n{end}{tail}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Put the figures of results/ into the README.")
    parser.add_argument("--check", action="store_true", help="only say whether they are there")
    wanted = parser.parse_args(argv)
    readme = README.read_text(encoding="utf-8")
    for name, table in tables().items():
        new = rewritten(readme, name, table)
        if wanted.check and new != readme:
            sys.exit(
                f"the table {name!r} of {README.name} is not what {name}*.json in {RESULTS.name} "
                "says: run python benchmarks/readme_table.py"
            )
        readme = new
    if not wanted.check:
        README.write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main()
