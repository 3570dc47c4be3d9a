"""Pictures: every kind comes out upright in RGB, or is refused with a reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minincep.io.errors import ImageError
from minincep.io.images import open_image, prepare, scaled
from minincep.models.preprocessing import Preprocessing
from minincep_kernels.errors import ConfigError

RED = (200, 30, 40)


def levels(path: Path) -> list[int]:
    """Channels of the middle pixel."""
    image = open_image(path)
    assert image.mode == "RGB"
    return [int(v) for v in np.asarray(image)[image.height // 2, image.width // 2]]


@pytest.mark.parametrize("kind", ["png", "bmp", "webp", "tiff", "gif"])
def test_formats(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"red.{kind}"
    Image.new("RGB", (9, 7), RED).save(path, lossless=True)  # webp asks; the others ignore it
    assert levels(path) == list(RED)


def test_transparent_becomes_white(tmp_path: Path) -> None:
    path = tmp_path / "glass.png"
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(path)
    assert levels(path) == [255, 255, 255]
    Image.new("LA", (4, 4), (100, 255)).save(path)
    assert levels(path) == [100, 100, 100]


def test_palette_grey_and_one_bit(tmp_path: Path) -> None:
    path = tmp_path / "few.png"
    Image.new("RGB", (4, 4), RED).quantize(4).save(path)
    assert levels(path) == list(RED)
    Image.new("L", (4, 4), 77).save(path)
    assert levels(path) == [77, 77, 77]
    Image.new("1", (4, 4), 1).save(path)
    assert levels(path) == [255, 255, 255]


def test_sixteen_bits(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 4), 257 * 120, np.uint16)).save(path)
    assert levels(path) == [120, 120, 120]


def test_cmyk(tmp_path: Path) -> None:
    path = tmp_path / "print.tiff"
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(path)
    assert levels(path) == [255, 0, 0]


def test_exif_rotation(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    image = Image.new("RGB", (8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    image.save(path, exif=exif)
    assert open_image(path).size == (4, 8)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "not a picture"), (b"hello", "not a picture"), (None, "there is no such file")],
)
def test_no_picture(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=reason):
        open_image(path)


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        open_image(tmp_path)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "tiff"])
def test_truncated(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"half.{kind}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=r"damaged|not a picture"):
        open_image(path)


def test_decompression_bomb(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (16_000, 16_000)).save(path)
    with pytest.raises(ImageError, match="refused"):
        open_image(path)


def test_centre_of_the_right_shape_is_kept() -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 100:200] = 255  # the middle square is white
    how = Preprocessing(50, 50, filter="nearest")
    assert prepare(pixels, how).min() == 1
    squeezed = prepare(pixels, Preprocessing(50, 50, filter="nearest", keep_aspect=False))
    assert squeezed[:, 0].max() == -1
    assert squeezed[:, 25].min() == 1


def test_crop_share() -> None:
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[25:75, 25:75] = 255
    assert prepare(pixels, Preprocessing(10, 10, crop=0.5, filter="nearest")).min() == 1
    assert prepare(pixels, Preprocessing(10, 10, crop=0.6, filter="nearest")).min() == -1


def test_a_narrow_picture() -> None:
    assert prepare(np.zeros((1, 500, 3), np.uint8), Preprocessing(75, 75)).shape == (75, 75, 3)


def test_scalings() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    values = pixels.astype(np.float64)
    np.testing.assert_allclose(scaled(pixels, "symmetric"), values / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(scaled(pixels, "fixed"), (values - 127.5) / 128, atol=1e-6)
    white = scaled(pixels, "whitening").astype(np.float64)
    assert abs(white.mean()) < 1e-6
    assert abs(white.std() - 1) < 1e-6
    assert np.all(scaled(np.full((4, 4, 3), 9, np.uint8), "whitening") == 0)


def test_arrays_that_are_no_pictures() -> None:
    arrays: list[Any] = [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
    for array in arrays:
        with pytest.raises(ImageError, match="uint8"):
            prepare(array, Preprocessing(75, 75))


@pytest.mark.parametrize(
    "change", [{"height": 0}, {"crop": 0}, {"crop": 1.1}, {"filter": "blur"}, {"scaling": "?"}]
)
def test_preprocessing_out_of_range(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        Preprocessing(**({"height": 75, "width": 75} | change))  # type: ignore[arg-type]
