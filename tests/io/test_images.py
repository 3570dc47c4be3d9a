"""Pictures: every kind comes out upright in RGB, or is refused with a reason."""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minincep.io.errors import ImageError
from minincep.io.hdf5 import DEFAULT
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


@pytest.mark.parametrize("side", [9_500, 16_000])  # Pillow itself only warns of the smaller one
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (side, side)).save(path)
    with pytest.raises(ImageError, match="too large, refused"):
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
    for scaling in ("symmetric", "fixed"):  # of whole levels and of resampled ones, the same
        np.testing.assert_array_equal(scaled(pixels, scaling), scaled(values, scaling))


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


def test_no_other_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow reads EPS by Ghostscript, whatever the file is called."""
    started = tmp_path / "started"
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {started}\necho 10.0\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "cat.jpg"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match="not a picture"):
        open_image(path)
    assert not started.exists()


def test_a_weights_file_is_no_picture() -> None:
    with pytest.raises(ImageError, match="not a picture"):
        open_image(DEFAULT)


def test_damaged_files_of_all_kinds(tmp_path: Path) -> None:
    """Whatever Pillow raises, the user gets an ImageError."""
    random = np.random.default_rng(0)
    path = tmp_path / "damaged"
    for kind in ("png", "jpeg", "gif", "tiff", "bmp", "webp", "ppm"):
        Image.fromarray(random.integers(0, 255, (40, 30, 3), np.uint8)).save(path, kind)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            changed = whole.copy()
            places = random.integers(0, min(len(changed), 200), 5)
            changed[places] = random.integers(0, 256, 5)
            path.write_bytes(changed.tobytes())
            with contextlib.suppress(ImageError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert open_image(path).mode == "RGB"


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "CMYK", "LA", "YCbCr", "HSV", "I", "F"])
def test_images_of_other_modes_are_converted(mode: str) -> None:
    grey = Image.new("L", (80, 80), 200).convert("RGB")
    image = grey.convert(mode) if mode in {"CMYK", "YCbCr", "HSV", "RGBA"} else None
    if mode == "P":
        image = grey.quantize(4)
    if image is None:
        values: dict[str, Any] = {"1": 1, "I": 200 * 257, "F": 200.0, "L": 200, "LA": (200, 255)}
        image = Image.new(mode, (80, 80), values[mode])
    expected = 1.0 if mode == "1" else 200 / 127.5 - 1
    np.testing.assert_allclose(prepare(image, Preprocessing(75, 75)), expected, atol=0.02)
