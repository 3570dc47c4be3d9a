"""Put the figures of `results/peers.json` into the README, between its two `peers` marks.

python benchmarks/readme_table.py
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
README, REPORT = FOLDER.parent / "README.md", FOLDER / "results/peers.json"
START, END = "<!-- peers -->", "<!-- /peers -->"


def table(report: dict[str, Any]) -> str:
    """Figures of a report, as Markdown."""
    machine, results = report["machine"], report["results"]
    engines = list(dict.fromkeys(name for r in results for name in r["milliseconds"]))
    ours = engines[0]
    vectors = [name for name in ("asimd", "avx2", "avx512f") if name in machine["vectors"]]
    lines = [
        "Milliseconds a picture, in float32, medians of interleaved rounds. The last column is the"
        f" time of the fastest other engine divided by that of {ours} (lowest to highest round):"
        f" above 1, {ours} is the faster one. Machine: {machine['cores']} cores,"
        f" {' '.join([machine['cpu'], *vectors])}.",
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
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return "\n".join([*lines, "", f"Versions: {versions}."])


def start(first: dict[str, float | None]) -> str:
    """Time to the first answer, and memory where it is known."""
    memory = first["megabytes"]
    return f"{first['seconds']:.1f} s" + (f", {memory:.0f} MB" if memory is not None else "")


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rewritten(readme: str, report: dict[str, Any]) -> str:
    """The README with the figures of a report in it."""
    head, start, rest = readme.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end):
        raise ValueError(f"README needs the lines {START} and {END}, in this order.")
    return f"{head}{start}\n{table(report)}\n{end}{tail}"


def main() -> None:
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    readme = README.read_text(encoding="utf-8")
    README.write_text(rewritten(readme, report), encoding="utf-8")


if __name__ == "__main__":
    main()
