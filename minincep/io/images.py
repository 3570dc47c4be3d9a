"""From a picture file to the network's input.  Decoding and resampling are Pillow's."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from minincep.io.errors import ImageError
from minincep.models.preprocessing import Preprocessing

Pixels = npt.NDArray[np.uint8]


# Kinds of files that are decoded.  Pillow knows more, but some of its readers start other programs
# (EPS starts Ghostscript), and some are hardly used by anybody but attackers.
KINDS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF", "JPEG2000")

SUFFIXES = {
    *(".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".webp", ".avif", ".tif", ".tiff", ".gif", ".bmp"),
    *(".pbm", ".pgm", ".ppm", ".jp2", ".j2k"),
}  # which files of a folder are meant

MOST_PIXELS = 89_478_485  # a quarter of a gigabyte in RGB; Pillow begins to warn there, too


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Decode a picture, upright, in RGB; what is transparent becomes white, 16 bits become 8.

    Of an animation, the first picture.

    Raises
    ------
    ImageError
        If the file is missing, no picture of `KINDS`, damaged, or so large that decoding it is
        refused.
    """
    with opened(path) as image:
        image.load()
        return upright(image)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """A picture whose header is read and checked, to be decoded inside.

    Raises
    ------
    ImageError
        As `open_image`; whatever fails inside is taken for damage of the file.
    """
    path = Path(path)
    if not path.is_file():
        reason = "is a folder" if path.is_dir() else "there is no such file"
        raise ImageError(f"{path}: {reason}")
    try:
        Image.init()
        kinds = [kind for kind in KINDS if kind in Image.OPEN]
        with Image.open(path, formats=kinds) as image:
            if image.width * image.height > MOST_PIXELS:  # known before anything is decoded
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            yield image
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not a picture of a kind that can be read") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, MemoryError) as error:
        raise ImageError(f"{path}: too large, refused ({error})") from None
    except Exception as error:  # Pillow's readers raise nearly anything for damaged files
        raise ImageError(f"{path}: damaged picture ({error})") from None


def upright(image: Image.Image) -> Image.Image:
    """Turned as the camera says, in RGB: any mode and size -> RGB."""
    return _rgb(ImageOps.exif_transpose(image))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F", "I;16", "I;16L", "I;16B", "I;16N"):
        levels = np.asarray(image, np.float64)
        if image.mode != "F":
            levels = levels / 257  # 65535 -> 255
        image = Image.fromarray(np.clip(levels + 0.5, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def prepare(image: Image.Image | Pixels, how: Preprocessing) -> npt.NDArray[np.float32]:
    """Cut, resample and scale a picture: any size -> (H, W, 3).

    Raises
    ------
    ImageError
        If an array is not (H, W, 3) of uint8.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ImageError(
                f"a picture must be an array (H, W, 3) of uint8, RGB, 0 to 255, got "
                f"{image.shape} of {image.dtype}"
            )
        image = Image.fromarray(image)
    else:
        image = upright(image)
    box = _cut(*image.size, how)
    if not how.antialias:
        return scaled(_bilinear(np.asarray(image.crop(box)), how), how.scaling)
    size, kind = (how.width, how.height), Image.Resampling[how.filter.upper()]
    return scaled(np.asarray(image.resize(size, kind, box)), how.scaling)


def _cut(width: int, height: int, how: Preprocessing) -> tuple[float, float, float, float]:
    """The part of a picture that becomes the input: left, top, right, bottom."""
    if how.order == "resize-crop":
        # Pillow resizes a part as it does the whole, so the whole is never made: it may be long.
        wide, high = math.floor(how.width / how.crop), math.floor(how.height / how.crop)
        if how.keep_aspect and wide * height >= high * width:
            high = wide * height // width
        elif how.keep_aspect:
            wide = high * width // height
        x, y = round((wide - how.width) / 2), round((high - how.height) / 2)
        left, right = (column * width / wide for column in (x, x + how.width))
        top, bottom = (row * height / high for row in (y, y + how.height))
        return left, top, right, bottom
    cut_width, cut_height = float(width), float(height)
    if how.keep_aspect:
        cut_width = min(cut_width, height * how.width / how.height)
        cut_height = min(cut_height, width * how.height / how.width)
    left, top = (width - cut_width * how.crop) / 2, (height - cut_height * how.crop) / 2
    if not how.antialias:
        left, top = int(left), int(top)
    return left, top, width - left, height - top


def _bilinear(pixels: Pixels, how: Preprocessing) -> npt.NDArray[np.float64]:
    """Resample without antialiasing: (H, W, 3) -> (OH, OW, 3), not rounded to grey levels."""
    top, bottom, y = _neighbours(pixels.shape[0], how.height, how.half_pixel_centers)
    left, right, x = _neighbours(pixels.shape[1], how.width, how.half_pixel_centers)
    x, y = x[:, None], y[:, None, None]
    upper = (1 - x) * pixels[top[:, None], left] + x * pixels[top[:, None], right]
    lower = (1 - x) * pixels[bottom[:, None], left] + x * pixels[bottom[:, None], right]
    mixed: npt.NDArray[np.float64] = (1 - y) * upper + y * lower
    return mixed


Places = npt.NDArray[np.intp]


def _neighbours(
    size: int, count: int, half_pixel_centers: bool
) -> tuple[Places, Places, npt.NDArray[np.float64]]:
    """Along one side: the pixels before and after each new one, and the share of the second."""
    shift = 0.5 if half_pixel_centers else 0.0
    place = (np.arange(count) + shift) * size / count - shift
    before = np.floor(place).astype(np.intp)
    last = size - 1
    return before.clip(0, last), (before + 1).clip(0, last), place - before


def scaled(pixels: Pixels | npt.NDArray[np.float64], scaling: str) -> npt.NDArray[np.float32]:
    """Grey levels 0 to 255 to what the network was trained with: (H, W, 3) -> (H, W, 3)."""
    if pixels.dtype == np.uint8 and scaling != "whitening":  # a number for each grey level
        return scaled(np.arange(256.0), scaling).take(np.asarray(pixels, np.uint8))
    x = pixels.astype(np.float64)
    match scaling:
        case "symmetric":
            x = x / 127.5 - 1
        case "fixed":
            x = (x - 127.5) / 128
        case "whitening":  # the floor keeps a picture of one colour from dividing by zero
            x = (x - x.mean()) / max(float(x.std()), x.size**-0.5)
    return x.astype(np.float32)
