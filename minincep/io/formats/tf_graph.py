"""Frozen graphs of TensorFlow (`.pb`): the constants, by the names of their nodes.

Freezing makes a constant of every variable, and keeps its name.  The constants that the graph had
anyway, such as shapes and factors, are among them; a table of names has to pass over these.  All
other nodes are skipped, and nothing is run.

    GraphDef    node 1
    NodeDef     name 1, op 2, attr 5 (a map: key 1, value 2)
    AttrValue   tensor 8
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minincep.io.errors import WeightError
from minincep.io.formats.source import Span, opened
from minincep.io.formats.stored import Stored, check_size
from minincep.io.formats.tf_tensor import tensor
from minincep.io.formats.wire import fields


@contextmanager
def arrays(path: Path) -> Iterator[dict[str, Stored]]:
    """Arrays by the names of the nodes.

    Raises
    ------
    WeightError
        If the file is missing, damaged or of another kind.
    """
    with opened(path) as source:
        found: dict[str, Stored] = {}
        for field in fields(source.whole()):
            if field.number == 1:
                name, value = _constant(field.message())
                if value is None:
                    continue
                if name in found:
                    raise WeightError(f"{path}: two nodes are called {name!r:.200}")
                found[name] = tensor(value, name)
        check_size(path, found.values())
        yield found


def _constant(node: Span) -> tuple[str, Span | None]:
    """Name of a node and, if it is a constant, its value."""
    name, op, value = "", "", None
    for field in fields(node):
        match field.number:
            case 1:
                name = field.text()
            case 2:
                op = field.text()
            case 5:
                found = _value(field.message())
                value = value if found is None else found
    return name, value if op == "Const" else None


def _value(attribute: Span) -> Span | None:
    """The tensor of the attribute `value`."""
    key, found = "", None
    for field in fields(attribute):
        if field.number == 1:
            key = field.text()
        elif field.number == 2:
            found = field.message()
    if key != "value" or found is None:
        return None
    return next((entry.message() for entry in fields(found) if entry.number == 8), None)
