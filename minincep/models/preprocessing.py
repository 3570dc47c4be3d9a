"""How a network wants its pictures: data only, so that it can travel with the weights.

Wrong preprocessing is the commonest cause of wrong answers, so nobody has to remember it.
"""

import dataclasses
from dataclasses import dataclass

from minincep_kernels.errors import ConfigError

FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
SCALINGS = ("symmetric", "fixed", "whitening")
ORDERS = ("crop-resize", "resize-crop")
LEAST_CROP = 0.01


@dataclass(frozen=True)
class Preprocessing:
    """From a picture of any size to the network's input.

    Attributes
    ----------
    height, width
        Size of the input in pixels.
    crop
        Share of the picture's height or width that is used, about the centre, 0.01 to 1.
    keep_aspect
        Cut the picture to the shape of the input, rather than squeeze it.
    filter
        How pixels are resampled: nearest, bilinear, bicubic or lanczos.
    scaling
        From grey levels 0 to 255: "symmetric" x / 127.5 - 1 (all ImageNet weights), "fixed"
        (x - 127.5) / 128 (facenet's models of 2018), "whitening" (x - mean) / deviation of each
        picture (facenet's models of 2017).
    order
        "crop-resize" cuts the picture and resizes what is left.  "resize-crop" resizes it to
        input / crop, rounded down, and cuts the input out of that at whole pixels.
    antialias
        Shrink with a filter that grows with the factor, as Pillow does.  Without, each pixel comes
        from the four nearest ones, and the picture is cut at whole pixels: only for bilinear
        filters, "crop-resize".
    half_pixel_centers
        Whether a pixel's place is its middle, or its upper left corner, as in TensorFlow 1; that
        only without antialiasing.

    Raises
    ------
    ConfigError
        If a value is out of range, or two do not go together.
    """

    height: int
    width: int
    crop: float = 1.0
    keep_aspect: bool = True
    filter: str = "bicubic"
    scaling: str = "symmetric"
    order: str = "crop-resize"
    antialias: bool = True
    half_pixel_centers: bool = True

    def __post_init__(self) -> None:
        good = (
            all(type(n) is int and 1 <= n <= 10_000 for n in (self.height, self.width))
            and isinstance(self.crop, int | float)
            and LEAST_CROP <= self.crop <= 1
            and self.filter in FILTERS
            and self.scaling in SCALINGS
            and self.order in ORDERS
            and all(
                isinstance(choice, bool)
                for choice in (self.keep_aspect, self.antialias, self.half_pixel_centers)
            )
            and (self.antialias or (self.filter, self.order) == ("bilinear", "crop-resize"))
            and (self.half_pixel_centers or not self.antialias)
        )
        if not good:
            raise ConfigError(f"preprocessing out of range: {self}")


# How each source of weights evaluated them.  All of them take RGB.

TIMM_V4 = Preprocessing(299, 299, crop=0.875, order="resize-crop")
TIMM_V2 = Preprocessing(299, 299, crop=0.8975, order="resize-crop")
CADENE = Preprocessing(299, 299, crop=0.875, filter="bilinear", order="resize-crop")

SLIM = Preprocessing(
    299,
    299,
    crop=0.875,
    keep_aspect=False,
    filter="bilinear",
    antialias=False,
    half_pixel_centers=False,
)
KENTSOMMER = dataclasses.replace(SLIM, half_pixel_centers=True)  # the same with OpenCV

# Keras leaves it to the user, who takes load_img(path, target_size=...) as it comes.
KERAS = Preprocessing(299, 299, keep_aspect=False, filter="nearest")

# Of faces that are cut out already.
FACENET_2018 = Preprocessing(160, 160, keep_aspect=False, filter="bilinear", scaling="fixed")
FACENET_2017 = dataclasses.replace(FACENET_2018, scaling="whitening")  # also keras-facenet


def shape_hint(shape: tuple[int, ...]) -> str:
    """What may be wrong with an array that should hold prepared pictures, (N, H, W, 3)."""
    if len(shape) == 3:
        return ": add the batch axis, x[None]"
    if len(shape) == 4 and shape[1] == 3:
        return ": it looks like channels first, transpose it with (0, 2, 3, 1)"
    return ""
