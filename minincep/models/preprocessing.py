"""How a network wants its pictures: data only, so that it can travel with the weights.

Wrong preprocessing is the commonest cause of wrong answers, so nobody has to remember it.
"""

from dataclasses import dataclass

from minincep_kernels.errors import ConfigError

FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
SCALINGS = ("symmetric", "fixed", "whitening")


@dataclass(frozen=True)
class Preprocessing:
    """From a picture of any size to the network's input.

    Attributes
    ----------
    height, width
        Size of the input in pixels.
    crop
        Share of the picture's height or width that is used, about the centre, above 0 up to 1.
    keep_aspect
        Cut the picture to the shape of the input, rather than squeeze it.
    filter
        How pixels are resampled: nearest, bilinear, bicubic or lanczos, with antialiasing.
    scaling
        From grey levels 0 to 255: "symmetric" x / 127.5 - 1 (all ImageNet weights), "fixed"
        (x - 127.5) / 128 (facenet's models of 2018), "whitening" (x - mean) / deviation of each
        picture (facenet's models of 2017).

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    height: int
    width: int
    crop: float = 1.0
    keep_aspect: bool = True
    filter: str = "bicubic"
    scaling: str = "symmetric"

    def __post_init__(self) -> None:
        good = (
            all(type(n) is int and 1 <= n <= 10_000 for n in (self.height, self.width))
            and isinstance(self.crop, int | float)
            and 0 < self.crop <= 1
            and isinstance(self.keep_aspect, bool)
            and self.filter in FILTERS
            and self.scaling in SCALINGS
        )
        if not good:
            raise ConfigError(f"preprocessing out of range: {self}")


def shape_hint(shape: tuple[int, ...]) -> str:
    """What may be wrong with an array that should hold prepared pictures, (N, H, W, 3)."""
    if len(shape) == 3:
        return ": add the batch axis, x[None]"
    if len(shape) == 4 and shape[1] == 3:
        return ": it looks like channels first, transpose it with (0, 2, 3, 1)"
    return ""
