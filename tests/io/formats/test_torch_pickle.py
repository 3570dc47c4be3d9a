"""Pickles: what tensors and plain containers need is understood, and nothing else is run."""

import copyreg
import operator
import os
import pickle
import subprocess
import sys
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest

from minincep.io.errors import WeightError
from minincep.io.formats import torch_pickle
from minincep.io.formats.torch_pickle import Machine, Storage, Tensor
from tests.io.formats.torch_programs import (
    HEAD,
    STOP,
    integer,
    mapping,
    numbers,
    storage,
    tensor,
    text,
)

HERE = Path("net.pth")


def run(program: bytes) -> object:
    return Machine(HERE, program).run()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, 2: [1.5, -7, 300, 70_000, 2**40, -(2**40), None], "c": {"d": (True, False)}},
        (),
        [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), "ä" * 300],
        OrderedDict([("x", []), ("y", {})]),
        [[1], [2]] * 700,
    ],
)
def test_plain_values(protocol: int, value: object) -> None:
    assert run(pickle.dumps(value, protocol)) == value


def test_what_python_2_wrote() -> None:
    pairs = b"(](](U\x01aK\x01e](U\x01bK\x02eetR"  # a call with [["a", 1], ["b", 2]]
    assert run(HEAD + b"ccollections\nOrderedDict\n" + pairs + STOP) == {"a": 1, "b": 2}
    assert run(HEAD + b"T\x03\x00\x00\x00abc" + STOP) == "abc"


def test_a_tensor() -> None:
    program = tensor(storage("7", "HalfStorage", 40), 3, (2, 4), (10, 2))
    assert run(HEAD + program + STOP) == Tensor(
        Storage("7", "float16", 40, 0, 40), 3, (2, 4), (10, 2)
    )
    part = numbers([9, 5, 20]).replace(integer(9), text("view"), 1)
    program = tensor(storage("7", "FloatStorage", 40, part), 1, (2,), (1,))
    assert run(HEAD + program + STOP) == Tensor(Storage("7", "float32", 40, 5, 20), 1, (2,), (1,))


def test_several_pickles_in_a_row() -> None:
    machine = Machine(HERE, pickle.dumps([1], 2) + pickle.dumps("b", 4) + b"rest")
    assert (machine.run(), machine.run()) == ([1], "b")
    assert machine.position == len(pickle.dumps([1], 2)) + len(pickle.dumps("b", 4))


class Calls:
    """Pickled, it calls something when it is loaded."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        call, arguments, *more = self.reduced
        return call, arguments, *(iter(each) if isinstance(each, list) else each for each in more)


class Plain:
    """An object of somebody's class."""

    def __init__(self) -> None:
        self.x = 1


CALLS = {
    "system": (os.system, ("touch executed",)),
    "popen": (os.popen, ("touch executed",)),
    "eval": (eval, ("open('executed', 'w')",)),
    "exec": (exec, ("open('executed', 'w')",)),
    "subprocess": (subprocess.call, (["touch", "executed"],)),
    "import": (__import__, ("antigravity",)),
    "methodcaller": (operator.methodcaller, ("system",)),
    "reconstructor": (copyreg._reconstructor, (Plain, object, None)),  # type: ignore[attr-defined]
    "counter": (Counter, ({"a": 1},)),
    "bytearray": (bytearray, (10**9,)),
    "object": (list, ([Plain()],)),
    "state": (OrderedDict, (), {"x": Plain()}),
    "list_items": (list, (), None, [Plain()]),
    "dict_items": (OrderedDict, (), None, None, [("a", Plain())]),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("call", CALLS)
def test_no_other_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = Calls(*CALLS[call])
    for program in (
        pickle.dumps(hostile, protocol),
        pickle.dumps({"state_dict": OrderedDict(a=[(1, {"b": hostile})])}, protocol),
        pickle.dumps(OrderedDict([("weight", hostile)]), protocol),
    ):
        with pytest.raises(WeightError, match="which no array needs; nothing of it was run"):
            run(program)
    assert not list(tmp_path.iterdir())


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (named("os", "system") + b"(X\x01\x00\x00\x00atR", "holds os.system,"),
        (named("posix", "system") + STOP, "holds posix.system,"),
        (named("builtins", "eval") + STOP, "holds builtins.eval,"),
        (named("__builtin__", "eval") + STOP, "holds __builtin__.eval,"),
        (named("torch", "load") + STOP, "holds torch.load,"),
        (named("torch._utils", "_rebuild_tensor_v2.__globals__") + STOP, "__globals__,"),
        (named("torch", "FloatStorage.__init__") + STOP, "holds torch.FloatStorage.__init__,"),
        (named("torch.FloatStorage", "") + STOP, "holds torch.FloatStorage.,"),
        (named("collections", "OrderedDict.fromkeys") + STOP, "OrderedDict.fromkeys,"),
        (named("a\x1b[2J", "b") + STOP, "holds a\ufffd\\[2J.b,"),
        (text("os") + text("system") + b"\x93", "holds os.system,"),
        (b"(ios\nsystem\n", "holds os.system,"),
        (b"(icollections\nOrderedDict\n", "the operation INST,"),
        (b"(" + named("collections", "OrderedDict") + b"o", "the operation OBJ,"),
        (named("collections", "OrderedDict") + b")\x81", "the operation NEWOBJ,"),
        (named("collections", "OrderedDict") + b")}\x92", "the operation NEWOBJ_EX,"),
        (b"\x82\x01", "the operation EXT1,"),
        (b"\x83\x01\x00", "the operation EXT2,"),
        (b"\x84\x01\x00\x00\x00", "the operation EXT4,"),
        (b"Pmodule\n", "the operation PERSID,"),
        (b"S'a'\n", "the operation STRING,"),
        (b"I1\n", "the operation INT,"),
        (b"\x97", "the operation NEXT_BUFFER,"),
        (b"\x8f", "the operation EMPTY_SET,"),
        (named("torch", "FloatStorage") + b")R", "a call of torch.FloatStorage,"),
        (tensor(storage(), more=mapping(neg=b"\x88")), "its negative or conjugate,"),
        (b"})K\x01s", "a dict with a key that is no text, but tuple,"),
        (b"}" + integer(1 << 61) + b"K\x01s", "a dict with a key that is no text, but int,"),
    ],
)
def test_refused(program: bytes, message: str) -> None:
    with pytest.raises(WeightError, match=message):
        run(HEAD + program + STOP)


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"h\x00",  # nothing there has this number
        b"K\x01h\x07",
        b"t",  # no mark before
        b"u",
        b"a",
        b"]a",
        b"q\x00",
        b"R",
        b"K\x01)R",
        b"Q",
        b"K\x01Q",
        b")Q",
        b"K\x01K\x02a",
        b"}(K\x01u",  # a key without a value
        b"K\x01}b",
        b"]}b",
        b"}]b",
        b"K\x01\x80\x09",
        b"K\x01\x86",
        b"\xfe",
        b"X\xff\xff\xff\xff",
        b"X\x01\x00\x00\x00\xff",
        b"\x8a\xff" + bytes(255),
        b"K\x01K\x02\x93",
        b"c" + b"a" * 2000 + b"\n\n",
        b"cno end",
        named("torch", "Size") + b")R",
        named("torch", "Size") + b"(K\x01tR",
        named("torch._utils", "_rebuild_parameter") + b")R",
        named("torch._utils", "_rebuild_parameter") + b"(K\x01\x89]tR",
        named("torch._utils", "_rebuild_tensor") + b"(K\x01tR",
        named("torch._utils", "_rebuild_tensor") + b"(" + b"N" * 8 + b"tR",
        named("collections", "OrderedDict") + b"(K\x01tR",
        named("collections", "OrderedDict") + b"(](K\x01etR",
        named("collections", "OrderedDict") + b"(](](K\x01eetR",
        tensor(b"K\x01"),
        tensor(storage(), more=b"\x89\x89"),
        tensor(storage(), -1),
        tensor(storage(), 1 << 60),
        tensor(storage(), 0, (4,), ()),
        tensor(storage(), 0, (4,), (-1,)),
        tensor(storage(), 0, (-4,), (1,)),
        tensor(storage(), 0, (1,) * 40, (1,) * 40),
        tensor(storage(count=-4)),
        tensor(storage(what="module")),
        tensor(storage(part=b"K\x01")),
        tensor(storage(part=numbers([0, 3, 2]))),
        tensor(storage(kind="FloatStorage").replace(b"ctorch\nFloatStorage\n", b"K\x01")),
        b"(" + tensor(storage(count=4)) + tensor(storage(count=5)) + b"t",
        b"(" + tensor(storage()) + tensor(storage(kind="IntStorage")) + b"t",
    ],
)
def test_damaged(program: bytes) -> None:
    with pytest.raises(WeightError, match=r"net.pth: damaged at byte \d+ of its pickle"):
        run(HEAD + program + STOP)


def test_every_cut_is_noticed() -> None:
    program = HEAD + mapping(a=tensor(storage()), b=b"G" + bytes(8), c=b"](K\x01e") + STOP
    for length in range(len(program)):
        with pytest.raises(WeightError, match=r"it ends too early|damaged"):
            run(program[:length])


def test_nothing_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "innocent.py").write_text("open('imported', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightError, match=r"holds innocent.thing"):
        run(HEAD + named("innocent", "thing") + STOP)
    assert "innocent" not in sys.modules
    assert not (tmp_path / "imported").exists()


def test_a_program_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_pickle, "MOST_STEPS", 1000)
    assert run(HEAD + b"]" * 999 + STOP) == []
    with pytest.raises(WeightError, match="far more than the arrays of a network"):
        run(HEAD + b"]" * 1001 + STOP)


def test_a_list_that_is_given_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_pickle, "MOST_STEPS", 1000)
    pairs = b"](" + b"](U\x01aK\x02e" * 100 + b"eq\x00"
    calls = (named("collections", "OrderedDict") + b"h\x00\x85R") * 5
    with pytest.raises(WeightError, match="far more than the arrays of a network"):
        run(HEAD + pairs + calls + STOP)


def test_nesting_without_end() -> None:
    assert run(HEAD + b")" + b"\x85" * 500_000 + STOP) != ()


def test_keys_that_are_compared_for_ever() -> None:
    """A tuple of tuples of 2^60 parts is built in no time, but never hashed to its end."""
    doubled = b")" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(60))
    with pytest.raises(WeightError, match="a dict with a key that is no text"):
        run(HEAD + b"}" + doubled + b"K\x01s" + STOP)
