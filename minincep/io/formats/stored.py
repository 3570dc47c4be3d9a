"""What every reader of a format gives: arrays by the names they have in the file, none read yet.

A reader is a module with one function,

    @contextmanager
    def arrays(path: Path) -> Iterator[dict[str, Stored]]

that looks at names, types and shapes, and refuses what a file must not hold, and claims of more
than it can hold.  An array is read when somebody asks for it, while the file is open: so a file is
never in memory twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from minincep.io.errors import WeightError
from minincep_kernels import Array

COMPRESSION = 64  # times that a file may be smaller than what it holds


@dataclass(frozen=True)
class Stored:
    """An array in a file.

    Attributes
    ----------
    shape
        As it is stored.
    dtype
        Of the numbers in the file, in NumPy's words, or "bfloat16".
    size
        Bytes of all its numbers in that type.
    read
        Reads it: -> float32, C-contiguous, of the shape above.  Raises WeightError if the file is
        damaged there, or if these are not floating-point numbers.
    """

    shape: tuple[int, ...]
    dtype: str
    size: int
    read: Callable[[], Array]


def check_size(path: Path, arrays: Iterable[Stored]) -> None:
    """Refuse a small file that claims to hold much, before memory is taken for it.

    Raises
    ------
    WeightError
        If the arrays are more than `COMPRESSION` times the size of the file.
    """
    claimed = sum(array.size for array in arrays)
    if claimed > COMPRESSION * path.stat().st_size:
        raise WeightError(f"{path}: claims {claimed:,} bytes of weights, far more than it can hold")
