"""Good files of every format to start from, where their numbers are, and how to seal them again."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import minincep as mi
from minincep.io.errors import WeightError
from minincep.io.formats import detect, tf_table
from minincep.io.formats.crc32c import crc32c, masked
from minincep.io.formats.source import Source
from minincep.plan import store
from minincep.predict import compile_for, describe
from minincep_kernels.program.step import STEP

PLAN = "minincep_plan"
OWN = "minincep_weights"
TABLES = ("tf_checkpoint", "tf_checkpoint_v1")
ZIPS = ("torch_zip", "keras_zip")
Mutate = Callable[[bytes], bytes]


@dataclasses.dataclass(frozen=True)
class Sample:
    """A good file, with those that belong to it.

    Attributes
    ----------
    name
        What is opened: the name of a file, or what the names of a checkpoint begin with.
    kind
        Name of the reader.
    files
        Name -> content.
    numbers
        Name -> where the numbers of arrays are; all else is header or metadata.
    """

    name: str
    kind: str
    files: dict[str, bytes]
    numbers: dict[str, list[tuple[int, int]]]


def make_own(folder: Path) -> None:
    """A weights file of minincep and a plan, as small as they can be."""
    network = mi.create_model(
        "inception_resnet_v1", width=0.01, blocks=(1, 1, 1), embedding_size=2, num_classes=3
    )
    network.labels = ["hen", "egg", "nest"]
    weights = folder / "own.h5"
    mi.save(network, weights)
    os.utime(weights, (0, 0))
    store.save(
        folder / "own.plan",
        lambda allocate: compile_for(network, (75, 75), 1, (), allocate=allocate),
        describe(network),
        weights,
    )


def load(folders: list[Path]) -> list[Sample]:
    """All samples in some folders, in the order of their names."""
    samples = []
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        if path.suffix == ".index":
            path = path.with_suffix("")
        elif ".data-" in path.name or path.suffix in (".data", ".npz", ".txt", ".md"):
            continue
        samples.append(_sample(path))
    return samples


def _sample(path: Path) -> Sample:
    if path.suffix == store.SUFFIX:
        kind = PLAN
        paths = [path]
        start = store.START.size
        _, floats, *_ = store.START.unpack(path.read_bytes()[:start])
        return Sample(
            path.name,
            kind,
            {path.name: path.read_bytes()},
            {path.name: [(start, start + 4 * floats)]},
        )
    kind = detect.reader(path)
    stem = path.name if kind == "tf_checkpoint" else path.stem
    paths = [p for p in sorted(path.parent.iterdir()) if p == path or p.name.startswith(f"{stem}.")]
    if kind not in ("tf_checkpoint", "onnx"):
        paths = [path]
    files = {
        p.name: p.read_bytes() for p in paths if kind != "onnx" or p.suffix in (".onnx", ".data")
    }
    numbers = {name: list(_numbers(path, kind, content)) for name, content in files.items()}
    return Sample(path.name, OWN if kind == detect.OWN else kind, files, numbers)


def _numbers(path: Path, kind: str, content: bytes) -> Iterator[tuple[int, int]]:
    """Where the values of arrays stand in a file, found by looking for them."""
    if kind == detect.OWN:
        arrays = mi.load(path).arrays().values()
        wanted = [array.tobytes() for array in arrays]
    else:
        wanted = []
        with contextlib.suppress(WeightError), detect.arrays(path) as found:
            for stored in found.values():
                try:
                    array = stored.read()
                except WeightError:  # whole numbers
                    continue
                if stored.dtype == "bfloat16":
                    wanted.append((array.view(np.uint32) >> 16).astype("<u2").tobytes())
                else:
                    wanted.append(array.astype(stored.dtype).tobytes())
    for piece in wanted:
        at = content.find(piece) if len(piece) >= 16 else -1
        if at >= 0:
            yield at, at + len(piece)


def seal(sample: Sample, mutate: Mutate, choose: Callable[[int], int]) -> dict[str, bytes] | None:
    """Change something under a checksum, and make the checksum right, as an attacker would.

    Parameters
    ----------
    choose
        Number of choices -> one of them.

    Returns
    -------
    dict or None
        The files; None if this kind has no checksums.
    """
    if sample.kind in ZIPS:
        return {sample.name: _zipped(sample.files[sample.name], mutate, choose)}
    if sample.kind in TABLES:
        index = sample.name if sample.kind == "tf_checkpoint_v1" else f"{sample.name}.index"
        return {**sample.files, index: _table(sample.files[index], mutate, choose)}
    if sample.kind == PLAN:
        return {sample.name: _plan(sample.files[sample.name], mutate, choose)}
    return None


def _zipped(content: bytes, mutate: Mutate, choose: Callable[[int], int]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        method = archive.infolist()[0].compress_type
        records = [(info.filename, archive.read(info)) for info in archive.infolist()]
    # Small records are those that say what is in the large ones.
    small = [at for at, (_, data) in enumerate(records) if len(data) < 4096]
    at = small[choose(len(small))] if small and choose(2) else choose(len(records))
    name, data = records[at]
    what = choose(8)
    if what == 0:
        names = [
            "../../escaped",
            "/tmp/escaped",
            "archive/data.pkl",
            "model.weights.h5",
            "x" * 65535,
        ]
        records[at] = (names[choose(len(names))], data)
    elif what == 1:
        records.append((name, mutate(data)))
    else:
        records[at] = (name, mutate(data))
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for name, data in records:
            archive.NameToInfo.pop(name, None)  # or it warns of a second one
            archive.writestr(zipfile.ZipInfo(name), data, method)  # of 1980, not of today
    return output.getvalue()


def _table(content: bytes, mutate: Mutate, choose: Callable[[int], int]) -> bytes:
    source = Source(Path("table"), io.BytesIO(content))
    rows = [(key, value.content(1 << 24)) for key, value in tf_table.entries(source)]
    at = choose(len(rows)) if choose(4) else 0  # the first says what the others mean
    key, value = rows[at]
    if choose(5):
        rows[at] = (key, mutate(value))
    elif choose(2):
        rows[at] = (mutate(key), value)
        rows.sort()
    else:
        rows.insert(at, (key + b"\0", mutate(value)))
        rows.sort()
    return write_table(rows)


def write_table(rows: list[tuple[bytes, bytes]]) -> bytes:
    """A table with one block of entries."""
    output = bytearray()

    def block(entries: list[tuple[bytes, bytes]]) -> bytes:
        body = b"".join(
            b"\0" + varint(len(key)) + varint(len(value)) + key + value for key, value in entries
        )
        body += (0).to_bytes(4, "little") + (1).to_bytes(4, "little")
        start = len(output)
        checksum = masked(crc32c(body + b"\0")).to_bytes(4, "little")
        output.extend(body + b"\0" + checksum)
        return varint(start) + varint(len(body))

    data = block(rows)
    metaindex = block([])
    index = block([(rows[-1][0] + b"\xff", data)])
    output.extend((metaindex + index).ljust(tf_table.FOOTER - len(tf_table.MAGIC), b"\0"))
    return bytes(output) + tf_table.MAGIC


def varint(number: int) -> bytes:
    """A whole number, seven bits a byte, the lowest first."""
    output = bytearray()
    while number > 0x7F:
        output.append(number & 0x7F | 0x80)
        number >>= 7
    output.append(number)
    return bytes(output)


def _plan(content: bytes, mutate: Mutate, choose: Callable[[int], int]) -> bytes:
    start = store.START.size
    _, floats, size, _, _ = store.START.unpack(content[:start])
    begin = start + 4 * floats
    header, steps = content[begin : begin + size], content[begin + size :]
    if choose(3):
        described = json.loads(header)
        keys = [key for key in described if key not in ("sources", "target", "minincep")]
        key = keys[choose(len(keys))]
        text = mutate(json.dumps(described[key]).encode())
        kept = {name: value for name, value in described.items() if name != key}
        header = json.dumps(kept).encode()[:-1] + f', "{key}": '.encode() + text + b"}"
    else:
        steps = mutate(steps)
    steps = steps[: len(steps) - len(steps) % STEP.itemsize]
    lengths = (floats, len(header), len(steps) // STEP.itemsize)
    digest = hashlib.sha256(repr(lengths).encode() + header + steps).digest()
    return store.START.pack(store.MAGIC, *lengths, digest) + content[start:begin] + header + steps
