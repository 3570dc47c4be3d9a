"""docs/ladder and docs/kernels.md are true: fragments and commands run, and a refusal reads so."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import inner_loop, ladder_docs
from minincep.bench import plugin, session, workloads
from minincep.bench.verify import RefusedError
from minincep.bench.workloads import Layer
from minincep.cli import main
from minincep_kernels import machine, registry, roofline
from tests.bench.conftest import LAYERS, FixedGauge

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"

# What is written by hand: blocks that are made from sources are not run, they are the sources.
TEXTS = {
    path.relative_to(ROOT).as_posix(): ladder_docs.BLOCK.sub("", path.read_text(encoding="utf-8"))
    for path in ladder_docs.PAGES
}


def blocks(language: str) -> list[tuple[str, str]]:
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(path, block) for path, text in TEXTS.items() for block in fence.findall(text)]


COMMANDS = [(path, line) for path, block in blocks("sh") for line in block.splitlines()]
PAGES_WITH_COMMANDS = list(dict.fromkeys(path for path, _ in COMMANDS))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks of a few layers, two cores, and what files register is forgotten."""
    monkeypatch.setattr(workloads, "_layers", lambda network: LAYERS)
    monkeypatch.setattr(session, "Gauge", FixedGauge)
    monkeypatch.setattr(machine, "available_cores", lambda: 2)
    monkeypatch.setattr(roofline, "memory_floats", lambda caches: 1 << 22)
    monkeypatch.syspath_prepend(EXAMPLES)
    session.variants("conv2d")
    before = dict(registry._variants["conv2d"])
    yield
    registry._variants["conv2d"] = before


Run = Callable[[str], tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command where the documentation expects its files: -> status, all that it says."""
    for name in ("docs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    before = dict(registry._variants["conv2d"])

    def run(line: str) -> tuple[int, str]:
        registry._variants["conv2d"] = dict(before)
        program, *arguments = shlex.split(line, comments=True)
        if program == "python":
            assert arguments.pop(0) == "benchmarks/inner_loop.py"
            inner_loop.main(arguments)
            return 0, capsys.readouterr().out
        assert program == "minincep"
        monkeypatch.setattr("sys.argv", [program, *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        output = capsys.readouterr()
        return int(stopped.value.code or 0), output.out + output.err

    return run


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("path", PAGES_WITH_COMMANDS)
def test_commands_run(run: Run, path: str) -> None:
    for line in (line for other, line in COMMANDS if other == path):
        status, said = run(line)
        assert status == 0, said
        assert said


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("path", "code"), blocks("python"))
def test_fragments_run(path: str, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, path, "exec"), {})
    assert capsys.readouterr().out or "assert" in code


def test_the_template_is_refused_until_it_does_something() -> None:
    (variant,) = plugin.load(EXAMPLES / "template.py", ["conv2d"])
    with pytest.raises(RefusedError, match=r"'mine' on .* is wrong at .*: got 0, wanted"):
        list(plugin.verify(variant, workloads.shapes("conv2d")))


@pytest.mark.parametrize("name", ["windows", "taps"])
def test_examples_are_right_with_strides_and_any_padding(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [
        Layer("conv2d", (7, 8, 3), (3, 2), (2, 3), (1, 0, 2, 1), 5, False),
        Layer("conv2d", (5, 4, 3), (1, 1), (2, 2), (0, 0, 0, 0), 5, False),
        *LAYERS,
    ]
    monkeypatch.setattr(workloads, "_layers", lambda network: layers)
    (variant,) = plugin.load(EXAMPLES / f"{name}.py", ["conv2d"])
    for batch in (1, 2):
        assert len(list(plugin.verify(variant, workloads.shapes("conv2d", batch=batch)))) == 4


def test_a_lost_border_pixel_is_refused_as_it_is_shown(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = Layer("conv2d", (3, 3, 192), (1, 3), (1, 1), (0, 0, 1, 1), 192, False)
    monkeypatch.setattr(workloads, "_layers", lambda network: [layer])
    text = (EXAMPLES / "taps.py").read_text(encoding="utf-8")
    lost = "y[:, 0, -1] = 0"
    assert f"`{lost}`" in TEXTS["docs/kernels.md"]
    (tmp_path / "border.py").write_text(text.replace("return y", f"{lost}\n    return y"))
    [(_, shown)] = blocks("console")
    command, refusal = shown.splitlines()
    status, said = run(command.removeprefix("$ "))
    assert status == 1
    wanted = re.compile(r"wanted -?\d+\.\d+")  # its last digits depend on the machine
    assert wanted.sub("wanted", said.strip()) == wanted.sub("wanted", refusal)
