"""Put the figures of `results/*.json` into the README, between the two marks of each report.

python benchmarks/readme_table.py
"""

import json
from pathlib import Path
from typing import Any

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


def rewritten(readme: str, name: str, report: dict[str, Any]) -> str:
    """The README with the figures of a report in it."""
    before, after = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, start, rest = readme.partition(before)
    _, end, tail = rest.partition(after)
    if not (start and end):
        raise ValueError(f"README needs the lines {before} and {after}, in this order.")
    return f"{head}{start}\n{TABLES[name](report)}\n{end}{tail}"


def main() -> None:
    readme = README.read_text(encoding="utf-8")
    for name in TABLES:
        if (path := RESULTS / f"{name}.json").exists():
            readme = rewritten(readme, name, json.loads(path.read_text(encoding="utf-8")))
    README.write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main()
