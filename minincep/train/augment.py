"""Each picture a little different every time: cut, mirrored, coloured anew.

After Szegedy et al. 2015, "Going deeper with convolutions", section 6: a part of 8 to 100 % of the
picture's area, with an aspect between 3:4 and 4:3, and the colours of Howard 2013, "Some
improvements on deep convolutional neural network based image classification", in the strengths of
the papers' released code (TF-slim).  Decoding and resampling are Pillow's.
"""

import math
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageStat

from minincep.io.images import opened, scaled, upright
from minincep.models.preprocessing import FILTERS, Preprocessing
from minincep_kernels.errors import ConfigError

Box = tuple[float, float, float, float]  # left, top, right, bottom

COLOURS = ("brightness", "contrast", "saturation", "hue")
YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])

REDUCED_BEFORE = ("JPEG", "MPO")  # kinds whose decoder can shrink by 2, 4 or 8
SPARE = 2  # times the input's size that a decoder must leave: less would show in the result
SWAPPED = (5, 6, 7, 8)  # EXIF orientations of a camera on its side


@dataclass(frozen=True)
class Augmentation:
    """How pictures are varied.  The defaults are the papers'; `LIGHT` is for small sets.

    Attributes
    ----------
    area
        Least and greatest share of the picture that is cut out.
    aspect
        Least and greatest width / height of that part, relative to the input's.
    tries
        How often a part is drawn before the largest one that fits is taken from the centre.
    flip, vertical_flip, turns
        Mirror every second picture left to right, or top to bottom; turn by 0, 90, 180 or 270
        degrees, each as likely.  The last two are for pictures without an up, such as from above.
    brightness
        Most that is added or taken away, as a share of white.
    contrast, saturation
        Both are multiplied by 1 - this to 1 + this.
    hue
        Most that colours go round the circle of colours, either way; 1 is all the way.
    filters
        How the part is resampled: one of these, each as likely.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    tries: int = 10
    flip: bool = True
    vertical_flip: bool = False
    turns: bool = False
    brightness: float = 32 / 255
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.2
    filters: tuple[str, ...] = ("bilinear", "bicubic")

    def __post_init__(self) -> None:
        for name in ("area", "aspect", "filters"):  # a list, as a settings file has it, will do
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        limits = {
            "area": _interval(self.area, 1e-4, 1),
            "aspect": _interval(self.aspect, 0.01, 100),
            "tries": type(self.tries) is int and 1 <= self.tries <= 1000,
            "flip": isinstance(self.flip, bool),
            "vertical_flip": isinstance(self.vertical_flip, bool),
            "turns": isinstance(self.turns, bool),
            "brightness": _interval((0, self.brightness), 0, 1),
            "contrast": _interval((0, self.contrast), 0, 1),
            "saturation": _interval((0, self.saturation), 0, 1),
            "hue": _interval((0, self.hue), 0, 0.5),
            "filters": isinstance(self.filters, tuple)
            and len(self.filters) > 0
            and all(name in FILTERS for name in self.filters),
        }
        for name, good in limits.items():
            if not good:
                raise ConfigError(f"augmentation: {name} out of range: {getattr(self, name)!r}")


def _interval(pair: object, least: float, most: float) -> bool:
    match pair:
        case (int() | float() as low, int() | float() as high):
            return not isinstance(high, bool) and bool(least <= low <= high <= most)
    return False


INCEPTION = Augmentation()
LIGHT = Augmentation(area=(0.5, 1.0), brightness=0.1, contrast=0.2, saturation=0.2, hue=0.02)


def read_augmented(
    path: str | os.PathLike[str],
    how: Preprocessing,
    augmentation: Augmentation,
    random: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Decode a part of a picture and vary it: -> (H, W, 3), scaled as the preprocessing says.

    A large JPEG is decoded at a half, a quarter or an eighth of its size, if the part still has
    `SPARE` times the pixels that are needed in each direction.

    Raises
    ------
    ImageError
        If the file cannot be read.
    """
    with opened(path) as image:
        turned, size = bool(augmentation.turns and random.integers(2)), image.size
        target = (how.height, how.width) if turned else (how.width, how.height)
        if image.format in REDUCED_BEFORE:
            swapped = image.getexif().get(0x0112) in SWAPPED
            size = size[::-1] if swapped else size
            box = draw_box(random, size, target, augmentation)
            image.draft(None, _least_size(image.size, box, target, swapped))
            image.load()
            image = upright(image)
        else:  # the others may know their orientation only at the end of the file
            image.load()
            image = upright(image)
            size = image.size
            box = draw_box(random, size, target, augmentation)
    across, down = image.width / size[0], image.height / size[1]
    box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    return _varied(image, box, target, turned, how, augmentation, random)


def augmented(
    image: Image.Image, how: Preprocessing, augmentation: Augmentation, random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """As `read_augmented`, of a picture that is decoded, in any mode."""
    image = upright(image)
    turned = bool(augmentation.turns and random.integers(2))
    target = (how.height, how.width) if turned else (how.width, how.height)
    box = draw_box(random, image.size, target, augmentation)
    return _varied(image, box, target, turned, how, augmentation, random)


def draw_box(
    random: np.random.Generator,
    size: tuple[int, int],
    target: tuple[int, int],
    augmentation: Augmentation,
) -> Box:
    """A part of a picture of a width and height, at whole pixels."""
    width, height = size
    ratio = target[0] / target[1]
    low, high = (ratio * bound for bound in augmentation.aspect)
    for _ in range(augmentation.tries):
        area = width * height * random.uniform(*augmentation.area)
        aspect = math.exp(random.uniform(math.log(low), math.log(high)))
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 1 <= wide <= width and 1 <= tall <= height:
            left, top = (int(random.integers(n + 1)) for n in (width - wide, height - tall))
            return left, top, left + wide, top + tall
    wide = max(1, min(width, round(height * high)))
    tall = max(1, min(height, round(width / low)))
    left, top = (width - wide) // 2, (height - tall) // 2
    return left, top, left + wide, top + tall


def _least_size(
    stored: tuple[int, int], box: Box, target: tuple[int, int], swapped: bool
) -> tuple[int, int]:
    """Size of the whole stored picture at which the part has `SPARE` times what is needed."""
    share = SPARE * max(target[0] / (box[2] - box[0]), target[1] / (box[3] - box[1]))
    return math.ceil(stored[0] * share), math.ceil(stored[1] * share)


def _varied(
    image: Image.Image,
    box: Box,
    target: tuple[int, int],
    turned: bool,
    how: Preprocessing,
    augmentation: Augmentation,
    random: np.random.Generator,
) -> npt.NDArray[np.float32]:
    kind = Image.Resampling[
        augmentation.filters[random.integers(len(augmentation.filters))].upper()
    ]
    image = image.resize(target, kind, box, reducing_gap=SPARE)
    if turned:
        image = image.transpose(Image.Transpose.ROTATE_90)
    if augmentation.turns and random.integers(2):
        image = image.transpose(Image.Transpose.ROTATE_180)
    if augmentation.flip and random.integers(2):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if augmentation.vertical_flip and random.integers(2):
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    strengths = {name: getattr(augmentation, name) * random.uniform(-1, 1) for name in COLOURS}
    return scaled(np.asarray(recoloured(image, **strengths)), how.scaling)


def recoloured(
    image: Image.Image,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Image.Image:
    """Change the colours of an RGB picture; strengths of 0 change nothing.

    Brightness adds a share of white; contrast moves each channel from its mean, and saturation each
    pixel from its grey, by 1 + strength; hue turns all colours by that share of a full turn about
    the axis of greys, in television's YIQ.  All are linear in a pixel: together they are one
    matrix, in whatever order, and levels are rounded and cut off at black and white only once.
    """
    cosine, sine = ((1 + saturation) * f(2 * math.pi * hue) for f in (math.cos, math.sin))
    chroma = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix = np.linalg.inv(YIQ) @ chroma @ YIQ
    shift = 255 * brightness - contrast * (matrix @ ImageStat.Stat(image).mean)
    rows = np.column_stack([(1 + contrast) * matrix, shift])
    return image.convert("RGB", tuple(rows.ravel().tolist()))
