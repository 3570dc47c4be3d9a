"""Put the figures of `report.json` into the README, between `<!-- eggs -->` and `<!-- /eggs -->`.

python examples/eggs/readme_table.py
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
README, REPORT = FOLDER.parents[1] / "README.md", FOLDER / "report.json"
START, END = "<!-- eggs -->", "<!-- /eggs -->"


def table(report: dict[str, Any]) -> str:
    """Figures of a report, as Markdown."""
    seen, unseen = report["networks"]
    shipped, *_ = report["seeds"]
    pixels, slopes = report["linear"]["pixels"]["tests"], report["linear"]["slopes"]["tests"]
    lines = [
        f"On {report['test pictures']:,} rendered pictures of unseen seeds for each column, half of"
        " them with a broken egg:",
        "",
        "| right | styles of the training | styles never trained on |",
        "| --- | --- | --- |",
    ]
    for result in report["seeds"]:
        name = f"network, training seed {result['seed']}"
        if result is shipped:
            name += " (the one that comes along)"
        cells = [f"{result['tests'][family]['accuracy']:.1%}" for family in (seen, unseen)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    rows = [report["networks"][family] for family in (seen, unseen)]
    cells = [f"{r['mean']:.1%} ({r['lowest']:.1%} to {r['highest']:.1%})" for r in rows]
    lines.append(
        f"| mean of {len(report['seeds'])} seeds (lowest to highest) | {' | '.join(cells)} |"
    )
    for name, accuracies in (("pixels", pixels), ("a histogram of edges", slopes)):
        cells = [f"{accuracy:.1%}" for accuracy in accuracies]
        lines.append(f"| linear classifier on {name} | {' | '.join(cells)} |")

    row = shipped["tests"][unseen]
    (kept, alarms), (missed, found) = row["confusion"]
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in row["found"].items())
    lines += [
        "",
        f"In the styles never trained on, the network that comes along took {kept} intact pictures"
        f" for intact and {alarms} for broken, {found} broken ones for broken and {missed} for"
        f" intact. Found, by the damage of the first broken egg: {kinds}.",
    ]
    return "\n".join(lines)


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
