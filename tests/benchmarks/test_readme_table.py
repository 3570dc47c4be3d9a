"""The README gets its figures from the reports, and keeps everything else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme_table
from minincep.bench.record import save
from tests.bench.records import ROW, record


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
    lines = readme_table.peers_table(report).splitlines()
    assert "| inception_v4 | 1 | 2 | 10.0 | 8.0 | 30.0 | 0.80 (0.70 to 0.90) |" in lines
    assert "| inception_v4 | 8 | 2 | 10.0 | 8.0 | – | 0.80 (0.70 to 0.90) |" in lines
    assert "| inception_v4 | 1.3 s, 346 MB | 1.3 s, 346 MB | 1.3 s, 346 MB |" in lines
    assert len([line for line in lines if line.startswith("| inception_v4")]) == 3
    assert lines[0].endswith("Machine: 2 cores, Test CPU avx2 avx512f.")
    assert lines[-1] == "Versions: minincep 1.2, python 3.11.7."


def test_memory_may_be_unknown(report: dict[str, Any]) -> None:
    report["results"][0]["first answer"]["fast"]["megabytes"] = None
    assert "| 1.3 s, 346 MB | 1.3 s | 1.3 s, 346 MB |" in readme_table.peers_table(report)


@pytest.fixture
def training(report: dict[str, Any]) -> dict[str, Any]:
    seconds = {"minincep": spread(1.9, 2.0, 2.1), "PyTorch": spread(2.9, 3.126, 3.3)}
    result = {"model": "inception_v4", "batch": 8, "threads": 2, "seconds": seconds}
    memory = {"minincep": {"peak": 1234.5}, "PyTorch": {"peak": 2345.6}}
    ratios = {"PyTorch": spread(1.5, 1.56, 1.61)}
    results = [result | {"ratios": ratios, "memory": memory}]
    return {"machine": report["machine"], "results": results}


def test_training_table_has_times_ratios_and_memory(training: dict[str, Any]) -> None:
    lines = readme_table.training_table(training).splitlines()
    titles = "network | batch | threads | minincep | PyTorch | PyTorch / minincep | minincep, MB"
    assert f"| {titles} | PyTorch, MB |" in lines
    assert "| inception_v4 | 8 | 2 | 2.00 | 3.13 | 1.56 (1.50 to 1.61) | 1234 | 2346 |" in lines
    assert lines[0].endswith(
        "MB: most memory of the process. Machine: 2 cores, Test CPU avx2 avx512f."
    )
    assert lines[-1] == "Versions: minincep 1.2, python 3.11.7."


def test_memory_in_training_may_be_unknown(training: dict[str, Any]) -> None:
    for held in training["results"][0]["memory"].values():
        held["peak"] = None
    text = readme_table.training_table(training)
    assert "| inception_v4 | 8 | 2 | 2.00 | 3.13 | 1.56 (1.50 to 1.61) |" in text.splitlines()
    assert "MB" not in text


def test_only_what_is_between_the_marks_is_rewritten(
    report: dict[str, Any],
    training: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def text(peers: str, steps: str) -> str:
        first = f"above\n<!-- peers -->\n{peers}\n<!-- /peers -->\nbetween\n"
        return f"{first}<!-- training -->\n{steps}\n<!-- /training -->\nbelow\n"

    readme = tmp_path / "README.md"
    readme.write_text(text("old", "older"), encoding="utf-8")
    monkeypatch.setattr(readme_table, "README", readme)
    monkeypatch.setattr(readme_table, "RESULTS", tmp_path)
    (tmp_path / "peers.json").write_text(json.dumps(report))
    readme_table.main([])
    answers, steps = readme_table.peers_table(report), readme_table.training_table(training)
    assert readme.read_text(encoding="utf-8") == text(answers, "older")
    (tmp_path / "training.json").write_text(json.dumps(training))
    for _ in range(2):
        readme_table.main([])
        assert readme.read_text(encoding="utf-8") == text(answers, steps)


@pytest.mark.parametrize("readme", ["no marks", "<!-- /peers --> <!-- peers -->"])
def test_the_readme_needs_its_marks(readme: str) -> None:
    with pytest.raises(ValueError, match="README needs the lines"):
        readme_table.rewritten(readme, "peers", "table")


def test_a_readme_that_does_not_say_what_was_measured_is_told(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("<!-- peers -->\nold\n<!-- /peers -->\n", encoding="utf-8")
    monkeypatch.setattr(readme_table, "README", readme)
    monkeypatch.setattr(readme_table, "RESULTS", tmp_path)
    (tmp_path / "peers.json").write_text(json.dumps(report))
    with pytest.raises(
        SystemExit, match=r"the table 'peers' of README\.md is not what .* run python"
    ):
        readme_table.main(["--check"])
    assert "old" in readme.read_text(encoding="utf-8")
    readme_table.main([])
    readme_table.main(["--check"])


def test_readme_and_results_agree() -> None:
    readme_table.main(["--check"])


def test_the_ladder_has_a_line_for_each_rung_and_columns_for_each_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readme_table, "RESULTS", tmp_path)
    assert readme_table.laboratory() is None
    sample = record()
    foot = replace(ROW, variant="naive", below=None, median=4e-3, seconds=3 * [4e-3], work=1e6)
    two = [replace(row, threads=2) for row in (ROW, foot)]
    alone = replace(foot, variant="alone", threads=2)
    sample.rows = [ROW, foot, *two, alone]
    sample.machine |= {"vectors": ["avx2"], "versions": {"numpy": "2.0"}}
    save(sample, tmp_path / "ladder_conv2d.json")
    sample.rows = [replace(foot, op="gemm"), replace(foot, op="moments")]
    save(sample, tmp_path / "ladder_others.json")
    found = readme_table.laboratory()
    assert found is not None
    lines = readme_table.ladder_of(found, "conv2d").splitlines()
    assert lines[0] == (
        "| rung | takes | 1 thread: GFLOP/s | of roof | over rung below | 2 threads: GFLOP/s | "
        "of roof | over rung below |"
    )
    rungs = dict(line.split(" | ", 1) for line in lines[2:6])
    assert rungs["| `naive`"] == "100% | 0.25 | 10% |  | 0.25 | 10% |  |"
    assert rungs["| `mine`"].startswith("100% | 0.5 effective | 10% | 2.00 | 0.5 effective | 10%")
    assert rungs["| `alone`, beside"] == "100% | – | – | – | 0.25 | 10% |  |"
    assert lines[-1].endswith("1 shapes. Machine: 2 cores, one avx2. Versions: numpy 2.0.")
    assert "**gemm**\n\n| rung |" in readme_table.tables()["ladder"]
    moments = readme_table.ladder_of(found, "moments").splitlines()
    assert "1 thread: GB/s" in moments[0]
    assert moments[2].startswith("| `naive`, beside | 100% | 0.0025 |")
