"""Fill docs/ladder/*.md and docs/kernels.md: sources, differences, tables, pictures.

python benchmarks/ladder_docs.py              # after a change of a kernel or of its docstring
python benchmarks/ladder_docs.py --pictures   # after a new benchmarks/results/ladder*.json
python benchmarks/ladder_docs.py --assembly   # on the reference machine

What is between a line ``<!-- make: ... -->`` and ``<!-- end -->`` is made here:

    source FILE NAME...         functions of minincep_kernels, without their docstrings
    difference OLD NEW          functions of two files, FILE:NAME,NAME each, line by line
    about OP VARIANT            the docstring of a rung
    file PATH                   a whole file
    table OP                    what was measured, by `readme_table`
    pictures OP                 the plots of what was measured
    assembly OP [VARIANT]       by `inner_loop`; as it was, without --assembly

A test sees to it that the text is what this gives.
"""

import argparse
import ast
import difflib
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

from benchmarks import inner_loop, readme_table
from minincep.bench import session

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "kernels/minincep_kernels"
LADDER = ROOT / "docs/ladder"
PICTURES = LADDER / "pictures"
PAGES = [
    *(LADDER / f"{name}.md" for name in ("README", "gemm", "conv2d", "norm_and_pool")),
    ROOT / "docs/kernels.md",
]
BLOCK = re.compile(
    r"^<!-- make: (\w+) ([^\n]+?) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL
)


def functions(file: str, names: list[str]) -> str:
    """Functions and constants of a file, without docstrings; "f.g" is the function g within f."""
    text = (KERNELS / file).read_text(encoding="utf-8")
    return "\n\n\n".join(_found(text, ast.parse(text), name.split(".")) for name in names)


def _found(text: str, within: ast.Module | ast.FunctionDef, path: list[str]) -> str:
    for node in within.body:
        if isinstance(node, ast.FunctionDef) and node.name == path[0]:
            return _found(text, node, path[1:]) if path[1:] else _code(text, node)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name | ast.Tuple):
            code = ast.unparse(node.targets[0]).strip("()")
            if path[0] in code.split(", "):
                return text.splitlines()[node.lineno - 1]
    raise LookupError(f"there is no {'.'.join(path)}")


def _code(text: str, node: ast.FunctionDef) -> str:
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    gone = range(0)
    if ast.get_docstring(node) is not None:
        gone = range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    lines = text.splitlines()
    kept = [lines[n - 1] for n in range(first, (node.end_lineno or 0) + 1) if n not in gone]
    return textwrap.dedent("\n".join(kept))


def source(file: str, *names: str) -> str:
    return _fenced("python", functions(file, list(names)))


def difference(old: str, new: str) -> str:
    """All lines, those that went and those that came marked."""
    before, after = (place.partition(":") for place in (old, new))
    texts = [functions(file, names.split(",")).splitlines() for file, _, names in (before, after)]
    lines = difflib.unified_diff(texts[0], texts[1], n=1000, lineterm="")
    return _fenced("diff", "\n".join(list(lines)[3:]))


def about(op: str, name: str) -> str:
    """The docstring, as a quotation."""
    (variant,) = (one for one in session.variants(op) if one.name == name)
    text = variant.description.replace("``", "`").replace("**", r"\*\*")
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def file(path: str) -> str:
    return _fenced("python", (ROOT / path).read_text(encoding="utf-8").rstrip())


def table(op: str) -> str:
    record = readme_table.laboratory()
    return readme_table.ladder_of(record, op) if record else "*Not measured yet.*"


def pictures(op: str) -> str:
    """The ladder first, then the rooflines."""
    paths = [*PICTURES.glob(f"ladder_{op}_*.svg"), *PICTURES.glob(f"roofline_{op}_*.svg")]
    return "\n".join(
        f"![{path.stem.replace('_', ' ')}](pictures/{path.name})" for path in sorted(paths)
    )


def assembly(op: str, *name: str) -> str:
    if op == "tile":
        return _fenced("asm", inner_loop.inner_loop([inner_loop.tile_assembly()]))
    (variant,) = (one for one in session.variants(op) if [one.name] == list(name))
    return _fenced("asm", inner_loop.inner_loop(inner_loop.assembly(variant)))


KINDS: dict[str, Callable[..., str]] = {
    one.__name__: one for one in (source, difference, about, file, table, pictures, assembly)
}


def filled(text: str, *, kept: tuple[str, ...] = ("assembly",)) -> str:
    """A page with all blocks made anew, but for those of some kinds."""

    def made(match: re.Match[str]) -> str:
        kind, words, old = match.groups()
        content = old if kind in kept else f"{KINDS[kind](*words.split())}\n"
        return f"<!-- make: {kind} {words} -->\n{content}<!-- end -->"

    return BLOCK.sub(made, text)


def draw() -> None:
    """Draw what was measured, as SVG."""
    from minincep.bench.plots import draw

    record = readme_table.laboratory()
    if record is None:
        raise SystemExit(f"there is no ladder*.json in {readme_table.RESULTS}")
    for old in PICTURES.glob("*.svg"):
        old.unlink()
    for path in draw(record, PICTURES):
        if path.suffix != ".svg" or path.stem.startswith("blocks"):
            path.unlink()


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fill the pages of docs/ladder.")
    parser.add_argument("--assembly", action="store_true", help="machine code, too, of this CPU")
    parser.add_argument("--pictures", action="store_true", help="draw the plots anew")
    wanted = parser.parse_args(argv)
    if wanted.pictures:
        draw()
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        path.write_text(
            filled(text, kept=() if wanted.assembly else ("assembly",)), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
