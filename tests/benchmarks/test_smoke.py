"""Every benchmark runs, on tiny shapes: whatever changes elsewhere, none of them falls apart."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import minincep as mi
from benchmarks import methods, trials
from minincep.bench import learners, networks, session, workloads
from minincep.bench.record import Row, load
from minincep.cli import bench, main
from minincep.models import Network
from minincep_kernels import machine
from tests.bench.conftest import LAYERS, ROOF, FixedGauge

Run = Callable[..., list[Row]]


class SmallGauge(FixedGauge):
    """What `minincep.plan.profile` asks for, too."""

    def take(self) -> None:
        self.samples.append([ROOF.flops, ROOF.bandwidth])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(model: str, folder: Path) -> None:
        network = mi.create_model(model, width=0.05, blocks=(1, 1, 1), num_classes=1000)
        mi.save(network, folder / f"{model}.h5")

    monkeypatch.setattr(workloads, "_layers", lambda network: LAYERS)
    monkeypatch.setattr(learners, "write_weights", write)
    monkeypatch.setattr(networks, "CALLS", 1)
    for module in (session, networks):
        monkeypatch.setattr(module, "Gauge", SmallGauge)
    monkeypatch.setattr("minincep.plan.profile.Gauge", SmallGauge)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `minincep bench`: -> the rows that it has kept."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> list[Row]:
        monkeypatch.setattr("sys.argv", ["minincep", "bench", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code
        return load(Path("record.json")).rows

    return run


def test_all_commands_are_run_here() -> None:
    commands = {*bench.OPERATIONS, *bench.CONTESTS, *bench.OTHERS}
    assert commands == {
        "gemm",
        "conv2d",
        "norm",
        "pool",
        "network",
        "training",
        "compare",
        "report",
    }
    files = {path.stem for path in Path(methods.__file__).parent.glob("*.py")}
    elsewhere = {"contenders", "inner_loop", "ladder_docs", "peers", "readme_table", "training"}
    assert files == elsewhere | {"methods", "trials"}


@pytest.mark.parametrize("name", bench.OPERATIONS)
def test_every_variant_is_right_and_timed(run: Run, name: str) -> None:
    rows = run(name, "--threads", "1", "--repeats", "3", "--save", "record.json")
    able = {
        (op, one.name)
        for op in bench.OPERATIONS[name]
        for one in session.variants(op)
        if any(one.supports(workload.shape) for workload in workloads.shapes(op))
    }
    assert {(row.op, row.variant) for row in rows} == able
    assert len(able) >= 5
    assert all(row.median > 0 and row.error <= row.tolerance for row in rows)
    run("compare", "record.json", "record.json")
    run("report", "record.json", "-o", "report.html")
    assert "</html>" in Path("report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "batch"), [("network", "1"), ("training", "2")])
def test_whole_networks(run: Run, name: str, batch: str) -> None:
    few = ["--shapes", "v1", "--threads", "1", "--repeats", "3", "--batch", batch]
    rows = run(name, *few, "--save", "record.json")
    assert [(row.op, row.variant) for row in rows if row.op != "step"] == [(name, "minincep")]


def test_methods(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(methods, "mi", Small)
    monkeypatch.setattr(methods, "SIZES", {"inception_resnet_v1": 96})
    monkeypatch.setattr("sys.argv", ["methods.py", "--repeats", "1"])
    with machine.num_threads(1):
        methods.main()
    assert "of the best choice" in capsys.readouterr().out


class Small:
    """What `methods` takes of minincep."""

    @staticmethod
    def create_model(name: str) -> Network:
        return mi.create_model(name, width=0.05, blocks=(1, 1, 1))


def test_trials(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(trials, "SHAPE", (9, 192, 576))  # the smallest there is
    monkeypatch.setattr(trials, "LABEL", "9x576 @ 576x192")
    monkeypatch.setattr("sys.argv", ["trials.py", "--pairs", "1", "--repeats", "3"])
    trials.main()
    assert re.search(r"identical: no difference in \d of 1$", capsys.readouterr().out, re.MULTILINE)
