"""The README gets its figures from the report, and keeps everything else."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme_table


def spread(*rounds: float) -> dict[str, Any]:
    low, middle, high = sorted(rounds)
    return {"median": middle, "min": low, "max": high, "rounds": list(rounds)}


def result(batch: int, threads: int, absent: list[str]) -> dict[str, Any]:
    milliseconds = {
        "minincep": spread(9, 10, 11),
        "fast": spread(7, 8, 9),
        "slow": spread(29, 30, 31),
    }
    ratios = {"fast": spread(0.7, 0.8, 0.9), "slow": spread(2, 3, 4)}
    first = {name: {"seconds": 1.26, "megabytes": 345.6} for name in milliseconds}
    for name in absent:
        del milliseconds[name], ratios[name], first[name]
    case = {"model": "inception_v4", "batch": batch, "threads": threads, "absent": absent}
    return case | {
        "milliseconds": milliseconds,
        "ratios": ratios,
        "fastest other": "fast",
        "first answer": first,
    }


@pytest.fixture
def report() -> dict[str, Any]:
    versions = {"minincep": "1.2", "python": "3.11.7"}
    vectors = ["avx2", "avx512f", "avx512_bf16", "fma"]
    machine = {"cpu": "Test CPU", "cores": 2, "vectors": vectors, "versions": versions}
    return {"machine": machine, "results": [result(1, 2, []), result(8, 2, ["slow"])]}


def test_table_has_times_ratios_and_absences(report: dict[str, Any]) -> None:
    lines = readme_table.table(report).splitlines()
    assert "| inception_v4 | 1 | 2 | 10.0 | 8.0 | 30.0 | 0.80 (0.70 to 0.90) |" in lines
    assert "| inception_v4 | 8 | 2 | 10.0 | 8.0 | – | 0.80 (0.70 to 0.90) |" in lines
    assert "| inception_v4 | 1.3 s, 346 MB | 1.3 s, 346 MB | 1.3 s, 346 MB |" in lines
    assert len([line for line in lines if line.startswith("| inception_v4")]) == 3
    assert lines[0].endswith("Machine: 2 cores, Test CPU avx2 avx512f.")
    assert lines[-1] == "Versions: minincep 1.2, python 3.11.7."


def test_memory_may_be_unknown(report: dict[str, Any]) -> None:
    report["results"][0]["first answer"]["fast"]["megabytes"] = None
    assert "| 1.3 s, 346 MB | 1.3 s | 1.3 s, 346 MB |" in readme_table.table(report)


def test_only_what_is_between_the_marks_is_rewritten(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme, figures = tmp_path / "README.md", tmp_path / "peers.json"
    readme.write_text("above\n<!-- peers -->\nold\n<!-- /peers -->\nbelow\n", encoding="utf-8")
    figures.write_text(json.dumps(report))
    monkeypatch.setattr(readme_table, "README", readme)
    monkeypatch.setattr(readme_table, "REPORT", figures)
    readme_table.main()
    once = readme.read_text(encoding="utf-8")
    body = readme_table.table(report)
    assert once == f"above\n<!-- peers -->\n{body}\n<!-- /peers -->\nbelow\n"
    readme_table.main()
    assert readme.read_text(encoding="utf-8") == once


@pytest.mark.parametrize("readme", ["no marks", "<!-- /peers --> <!-- peers -->"])
def test_the_readme_needs_its_marks(report: dict[str, Any], readme: str) -> None:
    with pytest.raises(ValueError, match="README needs the lines"):
        readme_table.rewritten(readme, report)
