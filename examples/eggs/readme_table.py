"""Put the figures of the reports into the READMEs, between marks such as `<!-- eggs -->`.

python examples/eggs/readme_table.py
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
README, REPORT = FOLDER.parents[1] / "README.md", FOLDER / "report.json"
GUIDE, TRANSFER = FOLDER / "README.md", FOLDER / "transfer.json"
WAYS = {
    "scratch": "from scratch",
    "head": "transfer, the head alone",
    "whole": "transfer, then the whole network",
}


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
    classes = row["classes"]
    broken, intact = classes.index("broken egg"), classes.index("intact egg")
    (found, missed), (alarms, kept) = (
        (row["confusion"][i][broken], row["confusion"][i][intact]) for i in (broken, intact)
    )
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in row["found"].items())
    lines += [
        "",
        f"In the styles never trained on, the network that comes along took {kept} intact pictures"
        f" for intact and {alarms} for broken, {found} broken ones for broken and {missed} for"
        f" intact. Found, by the damage of the first broken egg: {kinds}.",
    ]
    return "\n".join(lines)


def transfer_table(report: dict[str, Any]) -> str:
    """Figures of `run.py`, as Markdown."""
    lines = [
        f"Right, of {report['test pictures']:,} pictures that no training has seen; "
        f"{report['pictures']} to learn from:",
        "",
        f"| seed | {' | '.join(WAYS.values())} |",
        "| --- |" + " ---: |" * len(WAYS),
    ]
    for result in report["seeds"]:
        cells = [f"{result[way]['accuracy']:.1%}" for way in WAYS]
        lines.append(f"| {result['seed']} | {' | '.join(cells)} |")
    cells = [f"{report['ways'][way]['mean']:.1%}" for way in WAYS]
    lines.append(f"| mean | {' | '.join(cells)} |")
    own = [result["pretrained"]["accuracy"] for result in report["seeds"]]
    epochs = report["epochs"]
    lines += [
        "",
        f"What it began with: {epochs['pretrained']} epochs on "
        f"{report['pretraining pictures']:,} pictures of broken eggs in other styles, after which"
        f" it told how they are broken, one of four kinds, for {min(own):.0%} to {max(own):.0%} of"
        f" others. Epochs on the {report['pictures']}: {epochs['scratch']} from scratch;"
        f" {epochs['head']} for the head and {epochs['whole']} for the whole network.",
    ]
    return "\n".join(lines)


def rewritten(readme: str, name: str, table: str) -> str:
    """A README with a table between its marks."""
    begin, close = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, start, rest = readme.partition(begin)
    _, end, tail = rest.partition(close)
    if not (start and end):
        raise ValueError(f"README needs the lines {begin} and {close}, in this order.")
    return f"{head}{start}\n{table}\n{end}{tail}"


def tables() -> list[tuple[Path, str, str]]:
    """Which README, between which marks, what."""
    report, transfer = (json.loads(p.read_text(encoding="utf-8")) for p in (REPORT, TRANSFER))
    return [(README, "eggs", table(report)), (GUIDE, "transfer", transfer_table(transfer))]


def main() -> None:
    for path, name, text in tables():
        path.write_text(rewritten(path.read_text(encoding="utf-8"), name, text), encoding="utf-8")


if __name__ == "__main__":
    main()
