"""Files made to do harm, read in a process that is watched: refused, or only numbers are read.

What each reader refuses is tested beside it; these are the attacks that all of them must stand.
Beside the files lies one that must not be opened.
"""

import base64
import io
import json
import marshal
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import minincep as mi
from tests.io.formats import messages, torch_programs
from tests.io.hostile.watched import SAMPLES, outcomes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and counts by Linux")

Make = Callable[[Path], None]
CASES: dict[str, tuple[Make, str]] = {}
TERA = 1 << 40


def case(name: str, expected: str) -> Callable[[Make], Make]:
    """A file of this name, made by a function, and what must be in the outcome."""

    def add(make: Make) -> Make:
        CASES[name] = make, expected
        return make

    return add


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Outcome of each case, all read by one process."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = []
    for name, (make, _) in CASES.items():
        place = folder / "files" / name.replace(".", "_")
        place.mkdir(parents=True)
        with h5py.File(place / "secret.bin", "w") as file:
            file["kernel"] = np.full((1, 1, 2, 2), 7, np.float32)
        make(place / name)
        paths.append(place / name)
    found = outcomes(folder, paths)
    assert len(found) == len(paths), found
    return dict(zip(CASES, found, strict=True))


# ----------------------------------------------------------------------------------------- pickles


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self._call


HARM: dict[str, bytes] = {
    "system": pickle.dumps({"w": Call(os.system, "touch escaped")}, 2),
    "eval": pickle.dumps({"w": Call(eval, "open('escaped', 'w')")}, 2),
    "nested": pickle.dumps([{"a": ({"b": [Call(exec, "open('escaped', 'w')")]},)}], 2),
    "later": b"}"
    + torch_programs.text("w")
    + b"cos\nsystem\n"
    + torch_programs.text("x")
    + b"\x85Rs.",
    "registry": (
        b"ccopyreg\nadd_extension\n(X\x02\x00\x00\x00osX\x06\x00\x00\x00systemK\x01tR\x82\x01."
    ),
    "instance": b"(S'touch escaped'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'touch escaped'\no.",
    "getattr": b"c__builtin__\ngetattr\n(cos\nX\x06\x00\x00\x00systemtR.",
    "stack_global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
    "new_object": b"\x80\x02csubprocess\nPopen\n)\x81.",
    "build": b"\x80\x02ctorch\nFloatStorage\n)\x81}X\x01\x00\x00\x00aK\x01sb.",
    "rebuild": (
        b"\x80\x02ctorch._utils\n_rebuild_from_type_v2\n(cos\nsystem\nX\x01\x00\x00\x00xttR."
    ),
    "loads": b"\x80\x02ctorch.storage\n_load_from_bytes\n(B\x04\x00\x00\x00abcdtR.",
    "numpy": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR.",
}
for _name, _program in HARM.items():

    def _zip(path: Path, program: bytes = _program) -> None:
        torch_programs.write_zip(path, program, {"data/0": bytes(16)})

    def _stream(path: Path, program: bytes = _program) -> None:
        torch_programs.write_stream(path, program, {"0": bytes(16)})

    CASES[f"{_name}.pth"] = _zip, "refused"
    CASES[f"{_name}_old.pth"] = _stream, "refused"


@case("bare.pkl", "refused")
def _bare_pickle(path: Path) -> None:
    path.write_bytes(HARM["system"])


@case("bare_4.bin", "refused")
def _bare_pickle_4(path: Path) -> None:
    path.write_bytes(pickle.dumps({"w": Call(os.system, "touch escaped")}, 4))


# -------------------------------------------------------------------------------------------- HDF5

PLACES = {  # of an array: in Keras 2 weights alone, in a whole model, in Keras 3
    "keras2.h5": "conv/conv/kernel:0",
    "whole.h5": "model_weights/conv/conv/kernel:0",
    "keras3.weights.h5": "layers/conv2d/vars/0",
}


def soft_link(group: h5py.Group, name: str) -> None:
    group.file["hidden"] = np.zeros((1, 1, 2, 2), np.float32)
    group[name] = h5py.SoftLink("/hidden")


def external_link(group: h5py.Group, name: str) -> None:
    group[name] = h5py.ExternalLink("secret.bin", "kernel")


def external_numbers(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (1, 1, 2, 2), "f4", external=[("secret.bin", 0, 16)])


def virtual(group: h5py.Group, name: str) -> None:
    layout = h5py.VirtualLayout((1, 1, 2, 2), "f4")
    layout[:] = h5py.VirtualSource("secret.bin", "kernel", (1, 1, 2, 2))
    group.create_virtual_dataset(name, layout)


def circle(group: h5py.Group, name: str) -> None:
    group["again"] = group.file["/"]


def terabytes(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (TERA,), "f4", chunks=(1 << 16,))


def compressed(group: h5py.Group, name: str) -> None:
    """40 MB of zeros in a few KB."""
    group.create_dataset(name, (10_000_000,), "f4", compression="gzip", data=np.zeros(10_000_000))


def references(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (1,), h5py.ref_dtype, data=[group.file.ref])


ATTACKS = {
    "soft_link": (soft_link, "is a link to another place, refused"),
    "external_link": (external_link, "is a link to another place, refused"),
    "external_numbers": (external_numbers, "is stored in another file, refused"),
    "virtual": (virtual, "is stored in another file, refused"),
    "circle": (circle, "is there in two places, which is refused"),
    "terabytes": (terabytes, "far more than it can hold"),
    "compressed": (compressed, "far more than it can hold"),
    "references": (references, "refused"),
}


def hdf5(target: Any, place: str, attack: Callable[[h5py.Group, str], None]) -> None:
    with h5py.File(target, "w") as file:
        folder, _, name = place.rpartition("/")
        attack(file.create_group(folder), name)


for _kind, _place in PLACES.items():
    for _attack, (_do, _expected) in ATTACKS.items():

        def _write(path: Path, place: str = _place, do: Any = _do) -> None:
            hdf5(path, place, do)

        CASES[f"{_attack}_{_kind}"] = _write, _expected

for _attack, (_do, _expected) in ATTACKS.items():

    def _write_inside(path: Path, do: Any = _do) -> None:
        content = io.BytesIO()
        hdf5(content, PLACES["keras3.weights.h5"], do)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model.weights.h5", content.getvalue())

    CASES[f"{_attack}.keras"] = _write_inside, _expected


@case("heap.weights.h5", "a damaged HDF5 file, its heap at byte")
def _heap(path: Path) -> None:
    """An object of no length, at which the HDF5 library stands still."""
    content = bytearray((SAMPLES / "keras3.weights.h5").read_bytes())
    struct.pack_into("<H6xQ", content, content.index(b"GCOL") + 16, 0, 0)
    path.write_bytes(content)


@case("attribute.weights.h5", "attribute dtype must be one str, is object of shape ()")
def _attribute(path: Path) -> None:
    """A type of attribute that makes the HDF5 library crash when it is read."""
    content = (SAMPLES / "keras3_bfloat16.weights.h5").read_bytes()
    text_of_any_length = bytes.fromhex("64747970650000001901")
    assert text_of_any_length in content
    path.write_bytes(content.replace(text_of_any_length, b"dtype\0\0\0\x19\xff"))


def own(path: Path) -> None:
    """A weights file of minincep."""
    config = {"width": 0.01, "blocks": (1, 1, 1), "embedding_size": 2}
    mi.save(mi.create_model("inception_resnet_v1", **config), path)  # type: ignore[arg-type]


@case("names.h5", "the weights do not fit the network")
def _names(path: Path) -> None:
    """Names that would take over a terminal."""
    own(path)
    with h5py.File(path, "r+") as file:
        file.move("weights/bottleneck/weight", "weights/bottleneck/\x1b[31m\x07weight")


@case("description.h5", "its description of the network is damaged")
def _description(path: Path) -> None:
    own(path)
    with h5py.File(path, "r+") as file:
        file.attrs["preprocessing"] = json.dumps({"height": 1, "\x1b[31mwidth": 2})


# ------------------------------------------------------------------------------ descriptions, zips


def code() -> str:
    """The marshalled code of a function, as a Lambda layer has it."""
    program = compile("open('escaped', 'w')", "lambda", "exec")
    return base64.b64encode(marshal.dumps(program)).decode()


def lambda_layer() -> str:
    arguments = [code(), None, None]
    layer = {"class_name": "Lambda", "config": {"name": "l", "function": arguments}}
    return json.dumps(
        {"module": "os", "class_name": "system", "config": {"layers": [layer]}, "build_config": {}}
    )


@case("lambda.keras", "accepted")
def _lambda(path: Path) -> None:
    with zipfile.ZipFile(SAMPLES / "keras3.keras") as archive:
        weights = archive.read("model.weights.h5")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", lambda_layer())
        archive.writestr("metadata.json", "{" * 10_000)
        archive.writestr("model.weights.h5", weights)


@case("lambda.h5", "accepted")
def _lambda_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = lambda_layer()
        file.attrs["training_config"] = np.void(HARM["system"])
        file["model_weights/conv/conv/kernel:0"] = np.zeros((1, 1, 2, 2), np.float32)


@case("bomb.keras", "far more than it can hold")
def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(1 << 28))


@case("bomb.pth", "refused")
def _bomb_torch(path: Path) -> None:
    program = torch_programs.mapping(w=torch_programs.tensor(torch_programs.storage())) + b"."
    torch_programs.write_zip(path, program, {"data/0": bytes(1 << 28)}, zipfile.ZIP_DEFLATED)


@case("program_bomb.pth", "refused")
def _bomb_program(path: Path) -> None:
    torch_programs.write_zip(path, b"]" * (1 << 26) + b".", {}, zipfile.ZIP_DEFLATED)


@case("overlapping.pth", "refused")
def _overlapping(path: Path) -> None:
    """A thousand entries of the list, one record of a megabyte."""
    names = [f"{number:03d}" for number in range(1000)]
    tensors = {
        name: torch_programs.tensor(torch_programs.storage(name, count=1 << 18), 0, (1 << 18,))
        for name in names
    }
    records = {f"data/{name}": b"" for name in names[:-1]} | {"data/999": bytes(1 << 20)}
    torch_programs.write_zip(path, torch_programs.mapping(**tensors) + b".", records)
    content = bytearray(path.read_bytes())
    last = content.rindex(b"PK\1\2")
    at = content.index(b"PK\1\2", content.index(b"PK\1\2") + 1)
    while at >= 0:  # checksum, sizes and place of the last
        content[at + 16 : at + 28] = content[last + 16 : last + 28]
        content[at + 42 : at + 46] = content[last + 42 : last + 46]
        at = content.find(b"PK\1\2", at + 1)
    path.write_bytes(content)


for _traversal in (
    "../../escaped",
    "/tmp/escaped",
    "..\\escaped",
    "a/../../../escaped",
    "C:escaped",
):

    def _traverse(path: Path, name: str = _traversal) -> None:
        with zipfile.ZipFile(SAMPLES / "keras3.keras") as archive:
            weights = archive.read("model.weights.h5")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"x")
            archive.writestr("model.weights.h5", weights)

    CASES[f"traversal_{len(_traversal)}.keras"] = _traverse, "accepted"


# -------------------------------------------------------------------------- shapes without end


def tensor_of(count: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    storage = torch_programs.storage(count=count)
    return torch_programs.mapping(w=torch_programs.tensor(storage, 0, shape, strides)) + b"."


@case("terabytes.pth", "refused")
def _terabytes_torch(path: Path) -> None:
    torch_programs.write_zip(path, tensor_of(TERA, (TERA,), (1,)), {"data/0": bytes(16)})


@case("expanded.pth", "refused")
def _expanded_torch(path: Path) -> None:
    """A stride of 0 makes a terabyte out of 4 numbers."""
    torch_programs.write_zip(path, tensor_of(4, (TERA, 4), (0, 1)), {"data/0": bytes(16)})


@case("terabytes_old.pth", "refused")
def _terabytes_stream(path: Path) -> None:
    torch_programs.write_stream(path, tensor_of(TERA, (TERA,), (1,)), {"0": bytes(16)})


@case("terabytes.safetensors", "refused")
def _terabytes_safetensors(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [TERA], "data_offsets": [0, 4 * TERA]}
    header = json.dumps({"w": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))


@case("header.safetensors", "refused")
def _header_safetensors(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", TERA) + b"{}" + bytes(16))


@case("model.ckpt.index", "refused")
def _terabytes_checkpoint(path: Path) -> None:
    entry = messages.bundle_entry(bytes(16), (TERA,), size=4 * TERA)
    messages.checkpoint(path.parent, {"w": entry}, bytes(16))


@case("terabytes.onnx", "refused")
def _terabytes_onnx(path: Path) -> None:
    tensor = messages.field(1, TERA) + messages.field(2, 1) + messages.field(8, "w")
    tensor += messages.field(9, bytes(16))
    path.write_bytes(messages.field(1, 8) + messages.field(7, messages.field(5, tensor)))


@case("elsewhere.onnx", "only a file in the same folder is read")
def _elsewhere_onnx(path: Path) -> None:
    place = messages.field(
        13, messages.field(1, "location") + messages.field(2, "../../secret.bin")
    )
    tensor = messages.field(1, 4) + messages.field(2, 1) + messages.field(8, "w")
    tensor += place + messages.field(14, 1)
    path.write_bytes(messages.field(1, 8) + messages.field(7, messages.field(5, tensor)))


@case("terabytes.pb", "refused")
def _terabytes_graph(path: Path) -> None:
    value = messages.field(1, 1) + messages.field(2, messages.tf_shape(TERA))
    value += messages.field(5, bytes(4))
    attribute = messages.field(1, "value") + messages.field(2, messages.field(8, value))
    node = messages.field(1, "w") + messages.field(2, "Const") + messages.field(5, attribute)
    path.write_bytes(messages.field(1, node))


@pytest.mark.parametrize("name", CASES)
def test_none_does_harm(results: dict[str, dict[str, Any]], name: str) -> None:
    result = results[name]
    assert result["outcome"] in ("accepted", "refused"), result
    assert CASES[name][1] in f"{result['outcome']} {result['detail']}"
    assert result["peak"] < 8 << 20
