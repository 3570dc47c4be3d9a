"""`minincep bench`: what it measures, keeps, shows and refuses."""

import json
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minincep.bench import engines, measure, networks, record, session, workloads
from minincep.bench.engines import Engine
from minincep.bench.stage import Elsewhere
from minincep.cli import main
from minincep_kernels import machine, registry
from tests.bench.conftest import LAYERS, FixedGauge
from tests.bench.records import ROW
from tests.bench.records import record as sample

Run = Callable[..., tuple[int, str, str]]
FEW = ["--variants", "naive,im2col", "--threads", "1", "--quick"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(workloads, "_layers", lambda network: LAYERS)
    for module in (session, networks):
        monkeypatch.setattr(module, "Gauge", FixedGauge)
    session.variants("conv2d")
    before = dict(registry._variants["conv2d"])
    yield
    registry._variants["conv2d"] = before


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line: -> exit status, standard output and error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["minincep", "bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        output = capsys.readouterr()
        return int(stopped.value.code or 0), output.out, output.err

    return run


def test_a_line_for_each_row_and_the_ranking(run: Run) -> None:
    status, out, _ = run("conv2d", *FEW)
    lines = out.splitlines()
    assert status == 0
    assert lines[0].split()[:5] == ["shape", "variant", "threads", "caches", "ms"]
    rows = [line for line in lines if "warm" in line and line.startswith(("4x3", "9x7"))]
    assert len(rows) == 4
    assert rows[0].startswith("9x7x3 3x3 padded -> 5  naive ") or rows[0].startswith("4x3x5 1x1")
    ranked = lines[lines.index("") + 1 :]
    assert ranked[0].startswith("conv2d, 1 thread, warm caches")
    assert {line.split()[1] for line in ranked[1:]} == {"naive", "im2col"}
    assert sum(int(line.split()[5]) for line in ranked[1:]) == 2  # fastest on


def test_the_record_is_kept_and_gone_on_with(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    label = workloads.shapes("conv2d")[0].label
    few = ["--threads", "1", "--quick", "--save", path]
    assert run("conv2d", "--variants", "naive", "--shapes", label, *few)[0] == 0
    (first,) = record.load(path).rows
    assert (first.op, first.variant, first.label) == ("conv2d", "naive", label)
    assert record.load(path).settings["op"] == "conv2d"
    status, _, err = run("conv2d", *few)
    assert (status, "is there already: give another name, or --resume" in err) == (2, True)
    status, out, _ = run("conv2d", "--variants", "naive,im2col", *few, "--resume", "--json")
    rows = record.load(path).rows
    assert status == 0
    assert rows[0] == first
    assert len(rows) == 4
    assert json.loads(out)["rows"] == json.loads(path.read_text())["rows"]


def test_flushed_and_repeats(run: Run) -> None:
    _, out, _ = run("conv2d", *FEW, "--flushed", "--repeats", "5", "--json")
    for row in json.loads(out)["rows"]:
        assert row["cache"] == "flushed"
        assert len(row["seconds"]) == 5


@pytest.mark.parametrize("name", ["gemm", "norm", "pool"])
def test_other_operations(run: Run, name: str) -> None:
    status, out, _ = run(name, "--threads", "1", "--quick", "--json", "--variants", "naive")
    rows = json.loads(out)["rows"]
    assert status == 0
    assert {row["op"] for row in rows} == {
        "gemm": {"gemm"},
        "norm": {"moments", "normalize"},
        "pool": {"max_pool2d", "avg_pool2d"},
    }[name]


def test_help_names_all_commands(run: Run) -> None:
    status, out, _ = run("--help")
    assert status == 0
    for name in ("gemm", "conv2d", "norm", "pool", "network", "training", "compare", "report"):
        assert f"\n  {name} " in out


def test_a_list_of_what_there_is(run: Run) -> None:
    status, out, _ = run("conv2d", "--list", "--shapes", "v4")
    assert status == 0
    assert "  4x3x5 1x1 -> 8  (2 in inception_v4)" in out.splitlines()
    assert "  naive" in out.splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conv3d"], "No such command 'conv3d'"),
        (["conv2d", "--variants", "nave"], "conv2d has no variant 'nave', only "),
        (["conv2d", "--shapes", "v5"], "no layer has the shape 'v5': give v4, v1 or v2"),
        (["conv2d", "--threads", "two"], "'two' is no list of whole numbers, such as 1,2"),
        (["conv2d", "--threads", "0"], "'0' is no list of whole numbers"),
        (["conv2d", "--threads", "4096"], "--threads 4096: there are "),
        (["conv2d", "--plugin", "none.py"], "there is no file none.py"),
        (["network", "--against", "caffe"], "no engine 'caffe', only: onnxruntime, openvino, t"),
        (["network", "--shapes", "vgg"], "no network 'vgg', only: v4"),
        (["training", "--batch", "1"], "batch norm cannot learn from less than 2 pictures"),
        (["conv2d", *FEW, "--save", "/no/such/record.json"], "/no/such is not a folder"),
        (["compare", "a.json", "b.json"], "a.json"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run(*arguments)
    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_an_engine_that_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(Engine):
        packages = ("no-such-engine",)

    monkeypatch.setitem(engines.ENGINES, "onnxruntime", Missing)
    status, _, err = run("network", "--against", "onnxruntime")
    assert status == 2
    assert "no-such-engine is not installed; pip install no-such-engine" in err


PLUGIN = """
import numpy as np
from minincep_kernels.conv2d import naive
from minincep_kernels.registry import variant

@variant("conv2d", name="mine")
def forward(x, filters, shape):
    y = naive.forward(x, filters, shape).copy()
    y[0, 0, -1, 0] += {}
    return y
"""


def test_a_plugin_that_is_right_is_ranked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN.format(0))
    status, out, err = run("conv2d", *FEW, "--plugin", tmp_path / "mine.py")
    assert status == 0
    assert "mine is right on all 2 shapes that it supports" in err
    assert {line.split()[1] for line in out.splitlines()[-3:]} == {"naive", "im2col", "mine"}


def test_several_threads_take_processes_of_their_own(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "available_cores", lambda: 2)
    path, plugin = tmp_path / "record.json", tmp_path / "mine.py"
    plugin.write_text(PLUGIN.format(0))
    label = workloads.shapes("conv2d")[0].label
    few = ["--shapes", label, "--threads", "1,2", "--quick", "--save", path]
    assert run("conv2d", "--variants", "naive", *few)[0] == 0
    first = record.load(path).rows
    few += ["--plugin", plugin, "--resume"]
    status, out, _ = run("conv2d", "--variants", "naive,im2col", *few)
    rows = record.load(path).rows
    assert status == 0
    assert rows[:2] == first
    assert [(row.variant, row.threads) for row in rows] == [
        *(("naive", 1), ("naive", 2)),
        *(("im2col", 1), ("mine", 1), ("im2col", 2), ("mine", 2)),
    ]
    assert set(record.load(path).roof) == {1, 2}
    assert sum(line.startswith(label) for line in out.splitlines()) == 4
    assert not multiprocessing.active_children()


def test_a_plugin_that_is_wrong_at_one_pixel_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN.format(0.5))
    status, out, err = run("conv2d", *FEW, "--plugin", tmp_path / "mine.py")
    assert status == 1
    assert out == ""
    assert err.startswith(
        "refused: conv2d variant 'mine' on 4x3x5 1x1 -> 8 is wrong at picture 0, row 0, column 2, "
        "channel 0: got "
    )


def test_an_interruption_keeps_what_was_measured(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    whole = measure.Bench.rows
    calls: list[Any] = []

    def rows(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(measure.Bench, "rows", rows)
    status, _, err = run("conv2d", *FEW, "--save", path)
    assert status == 130
    assert f"interrupted: what was measured until then is kept in {path}" in err
    assert len(record.load(path).rows) == 2


def test_an_interruption_ends_the_processes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def turn(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "available_cores", lambda: 2)
    monkeypatch.setattr(Elsewhere, "turn", turn)
    status, _, err = run("conv2d", "--variants", "naive,im2col", "--threads", "2", "--quick")
    assert (status, err) == (130, "interrupted: what was measured until then is kept\n")
    assert not multiprocessing.active_children()


def test_compare_tells_what_is_slower(run: Run, tmp_path: Path) -> None:
    old, new = sample(), sample()
    for row in (*old.rows, *new.rows):
        row.seconds[:] = [1e-3 + 1e-7 * n for n in range(40)]
        row.peak[:] = [1e11] * 40
        row.control[:] = [1e-3] * 40
    new.rows[0].seconds[:] = [1.5 * seconds for seconds in new.rows[0].seconds]
    for name, one in (("old", old), ("new", new)):
        record.save(one, tmp_path / name)
    status, out, _ = run("compare", tmp_path / "old", tmp_path / "new")
    assert status == 0
    assert out.splitlines()[0].startswith(f"slower  +50.0%  conv2d mine, {ROW.label}, 1 thread, w")
    assert out.splitlines()[1:] == ["1 of 2 rows differ by more than 2%"]
    _, out, _ = run("compare", tmp_path / "new", tmp_path / "old", "--json")
    assert [verdict["verdict"] for verdict in json.loads(out)] == ["faster", "same"]
    record.save(sample(), tmp_path / "few")
    _, out, _ = run("compare", tmp_path / "few", tmp_path / "few")
    assert "2 of them have too few repeats to tell" in out
