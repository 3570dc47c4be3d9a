"""What torch.save writes since PyTorch 1.6: a zip file whose records are not compressed.

<any>/data.pkl      a pickle in which keys stand for the numbers of tensors
<any>/data/<key>    these numbers
<any>/byteorder     "little" or "big"; if it is absent, little
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minincep.io.errors import WeightError
from minincep.io.formats.source import opened
from minincep.io.formats.stored import Stored
from minincep.io.formats.torch_pickle import LONGEST, Machine
from minincep.io.formats.torch_state import Order, stored, tensors
from minincep.io.formats.zip_records import records

ORDERS: dict[bytes, Order] = {b"little": "<", b"big": ">"}


@contextmanager
def arrays(path: Path) -> Iterator[dict[str, Stored]]:
    """Tensors by name; none of them read, and nothing of the file executed.

    Raises
    ------
    WeightError
        If the file is missing, damaged or a program (TorchScript), or holds anything but tensors,
        plain containers, numbers and text.
    """
    with opened(path) as source:
        found = records(source)
        pickles = [name for name in found if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise WeightError(f"{path}: not a file of PyTorch, which has one record data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in found:
            raise WeightError(
                f"{path}: a TorchScript file, which is a program: save the arrays alone, "
                "torch.save(model.state_dict(), ...)"
            )
        found = {
            name.removeprefix(root): record
            for name, record in found.items()
            if name.startswith(root)
        }
        for name, record in found.items():
            if record.deflated:
                raise WeightError(
                    f"{path}: {name!r:.200} is compressed, which PyTorch never does; get the file "
                    "from its source"
                )
        word = found["byteorder"].span.content(16) if "byteorder" in found else b"little"
        if word not in ORDERS:
            raise WeightError(f"{path}: damaged, its byte order is {word!r}; get the file again")
        program = found["data.pkl"]
        program.check()
        saved = Machine(path, program.span.content(LONGEST)).run()
        yield stored(
            path,
            tensors(path, saved),
            {n.removeprefix("data/"): r.span for n, r in found.items() if n.startswith("data/")},
            lambda key: found[f"data/{key}"].check(),
            ORDERS[word],
        )
