"""Variations: parts, mirrors, turns and colours, against plain definitions."""

import colorsys
import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from minincep.io import reference
from minincep.io.images import prepare
from minincep.models.preprocessing import Preprocessing
from minincep.train import augment
from minincep.train.augment import (
    COLOURS,
    INCEPTION,
    Augmentation,
    augmented,
    draw_box,
    read_augmented,
    recoloured,
)
from minincep_kernels.errors import ConfigError

COLOURLESS = dataclasses.replace(INCEPTION, brightness=0, contrast=0, saturation=0, hue=0)
PLAIN = dataclasses.replace(
    COLOURLESS, area=(1, 1), aspect=(1, 1), flip=False, filters=("bilinear",)
)  # the largest part of the input's shape, from the centre
HOW = Preprocessing(24, 24, filter="bilinear")


def rng(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(reference.picture(height, width, seed))


@pytest.mark.parametrize("size", [(100, 100), (640, 480), (300, 900)])
@pytest.mark.parametrize("target", [(299, 299), (96, 64)])
def test_parts_keep_their_bounds(size: tuple[int, int], target: tuple[int, int]) -> None:
    for seed in range(300):
        left, top, right, bottom = draw_box(rng(seed), size, target, INCEPTION)
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        assert all(value == int(value) for value in (left, top, right, bottom))
        share = (right - left) * (bottom - top) / (size[0] * size[1])
        aspect = (right - left) / (bottom - top) * target[1] / target[0]
        assert 0.08 * 0.95 <= share <= 1
        assert 3 / 4 * 0.95 <= aspect <= 4 / 3 * 1.05  # whole pixels


def test_parts_are_spread_evenly() -> None:
    boxes = np.array([draw_box(rng(0, i), (400, 400), (9, 9), INCEPTION) for i in range(4000)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    shares = widths * heights / 400**2
    kept = shares < 0.7  # larger ones do not always fit
    counts = np.histogram(shares[kept], 6, (0.08, 0.7))[0]
    np.testing.assert_allclose(counts, counts.mean(), rtol=0.2)
    small = shares < 0.5
    logs = np.log(widths / heights)[small]
    assert abs(logs.mean()) < 0.02
    counts = np.histogram(logs, 4, (math.log(3 / 4), math.log(4 / 3)))[0]
    np.testing.assert_allclose(counts, counts.mean(), rtol=0.2)
    free = boxes[small, 0] / (400 - widths[small])  # place between the edges
    assert abs(free.mean() - 0.5) < 0.03
    assert free.min() < 0.02
    assert free.max() > 0.98


def test_where_no_part_fits_the_centre_is_taken() -> None:
    whole = dataclasses.replace(INCEPTION, area=(1, 1))
    assert draw_box(rng(0), (1000, 100), (299, 299), whole) == (433, 0, 566, 100)
    assert draw_box(rng(0), (100, 1000), (299, 299), whole) == (0, 433, 100, 566)
    assert draw_box(rng(0), (1, 5000), (299, 299), whole) == (0, 2499, 1, 2500)


def test_without_variation_it_is_the_preprocessing() -> None:
    image = picture(48, 60)
    np.testing.assert_array_equal(augmented(image, HOW, PLAIN, rng(0)), prepare(image, HOW))
    for scaling in ("fixed", "whitening"):
        how = dataclasses.replace(HOW, scaling=scaling)
        np.testing.assert_array_equal(augmented(image, how, PLAIN, rng(0)), prepare(image, how))


def all_of(change: dict[str, bool], how: Preprocessing) -> set[bytes]:
    choice = dataclasses.replace(PLAIN, **change)  # type: ignore[arg-type]
    image = picture(how.height, how.width)
    return {augmented(image, how, choice, rng(seed)).tobytes() for seed in range(60)}


def as_input(x: npt.NDArray[Any]) -> bytes:
    return np.ascontiguousarray(x).tobytes()


def test_mirrors_and_turns_are_exact() -> None:
    x = prepare(picture(24, 24), HOW)
    assert all_of({"flip": True}, HOW) == {as_input(x), as_input(x[:, ::-1])}
    assert all_of({"vertical_flip": True}, HOW) == {as_input(x), as_input(x[::-1])}
    turns = [np.rot90(x, quarter) for quarter in range(4)]
    assert all_of({"turns": True}, HOW) == {as_input(turn) for turn in turns}
    both = turns + [turn[:, ::-1] for turn in turns]
    assert all_of({"turns": True, "flip": True}, HOW) == {as_input(turn) for turn in both}


def test_each_turn_is_as_likely() -> None:
    image, choice = picture(24, 24), dataclasses.replace(PLAIN, turns=True)
    places = {as_input(np.rot90(prepare(image, HOW), quarter)): quarter for quarter in range(4)}
    found = [places[augmented(image, HOW, choice, rng(seed)).tobytes()] for seed in range(400)]
    assert min(np.bincount(found)) > 70


def test_turns_of_inputs_that_are_no_squares() -> None:
    """A picture on its side gives a part of the right shape: nothing is squeezed."""
    how, choice = Preprocessing(20, 40, filter="bilinear"), dataclasses.replace(PLAIN, turns=True)
    image = picture(120, 120)
    shown = {augmented(image, how, choice, rng(seed)).tobytes() for seed in range(60)}
    x = prepare(image, how)
    lying = Preprocessing(40, 20, filter="bilinear")
    upright = prepare(image, lying)
    turned = [np.rot90(upright, quarter) for quarter in (1, 3)]
    assert shown == {as_input(y) for y in (x, x[::-1, ::-1], *turned)}


def test_no_strength_changes_nothing() -> None:
    image = picture(40, 50)
    np.testing.assert_array_equal(np.asarray(recoloured(image)), np.asarray(image))


def levels(image: Image.Image) -> npt.NDArray[np.float64]:
    return np.asarray(image, np.float64)


def rounded(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(np.floor(x + 0.5), 0, 255)


@pytest.mark.parametrize("strength", [-0.3, 0.1, 0.5])
def test_brightness_contrast_and_saturation(strength: float) -> None:
    image = picture(40, 50)
    x = levels(image)
    mean = x.mean(axis=(0, 1))
    grey = (x @ [0.299, 0.587, 0.114])[..., None]
    expected: dict[str, npt.NDArray[np.float64]] = {
        "brightness": x + 255 * strength,
        "contrast": mean + (1 + strength) * (x - mean),
        "saturation": grey + (1 + strength) * (x - grey),
    }
    for kind, y in expected.items():
        found = levels(recoloured(image, **{kind: strength}))
        np.testing.assert_allclose(found, rounded(y), atol=1)
        assert np.mean(found != rounded(y)) < 0.001  # but for halves
    np.testing.assert_allclose(
        levels(recoloured(image, saturation=-1)), np.repeat(rounded(grey), 3, 2), atol=1
    )


@pytest.mark.parametrize("strength", [-0.2, 0.05, 0.5])
def test_hue(strength: float) -> None:
    """Grey and luma stay, the angle in the plane of chroma grows; `colorsys` is the referee."""
    colours = [(150, 110, 120), (100, 140, 90), (120, 120, 150), (90, 90, 90)]
    for colour in colours:
        image = Image.new("RGB", (1, 1), colour)
        found = recoloured(image, hue=strength).getpixel((0, 0))
        assert isinstance(found, tuple)
        luma, *chroma = colorsys.rgb_to_yiq(*colour)
        other, *turned = colorsys.rgb_to_yiq(*found)
        assert other == pytest.approx(luma, abs=1.5)
        wanted = complex(*chroma) * np.exp(2j * np.pi * strength)
        assert abs(complex(*turned) - wanted) < 2.5  # rounding, and the third digits of YIQ


def test_all_together_are_one_by_one_in_any_order() -> None:
    strengths = {"brightness": 0.1, "contrast": 0.4, "saturation": -0.3, "hue": 0.1}
    image = Image.blend(picture(40, 50), Image.new("RGB", (50, 40), (165, 110, 100)), 0.7)
    together = levels(recoloured(image, **strengths))
    for order in itertools.permutations(strengths):
        found = image
        for kind in order:
            found = recoloured(found, **{kind: strengths[kind]})
        np.testing.assert_allclose(levels(found), together, atol=3)  # one for each rounding


def test_strengths_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[float]] = {kind: [] for kind in COLOURS}

    def spy(image: Image.Image, **strengths: float) -> Image.Image:
        for kind, strength in strengths.items():
            drawn[kind].append(strength)
        return image

    monkeypatch.setattr(augment, "recoloured", spy)
    for seed in range(500):
        augmented(picture(8, 8), Preprocessing(8, 8), INCEPTION, rng(seed))
    for kind, strengths in drawn.items():
        most = float(getattr(INCEPTION, kind))
        assert len(strengths) == 500
        assert -most <= min(strengths) < -0.97 * most
        assert 0.97 * most < max(strengths) <= most
        assert abs(np.mean(strengths)) < 0.1 * most
    assert np.abs(np.corrcoef(list(drawn.values())) - np.eye(4)).max() < 0.15


def test_the_generator_decides_everything() -> None:
    image, choice = picture(60, 80), dataclasses.replace(INCEPTION, turns=True, vertical_flip=True)
    one = augmented(image, HOW, choice, rng(1, 2))
    assert one.shape == (24, 24, 3)
    assert one.dtype == np.float32
    assert one.flags.c_contiguous
    np.testing.assert_array_equal(augmented(image, HOW, choice, rng(1, 2)), one)
    assert len({augmented(image, HOW, choice, rng(1, seed)).tobytes() for seed in range(50)}) == 50


@pytest.mark.parametrize("orientation", range(1, 9))
def test_large_pictures_of_a_camera_that_was_turned(tmp_path: Path, orientation: int) -> None:
    """What is decoded at a part of the size is the same part, upright."""
    smooth = picture(30, 45).resize((900, 600), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth.save(tmp_path / "x.jpg", quality=95, exif=exif)
    smooth.save(tmp_path / "x.png", exif=exif)
    how, choice = Preprocessing(18, 30), dataclasses.replace(COLOURLESS, turns=True)
    for seed in range(6):
        shrunk = read_augmented(tmp_path / "x.jpg", how, choice, rng(seed))
        whole = read_augmented(tmp_path / "x.png", how, choice, rng(seed))
        assert np.abs(shrunk - whole).mean() < 0.02
        with Image.open(tmp_path / "x.png") as image:
            np.testing.assert_array_equal(augmented(image, how, choice, rng(seed)), whole)


def decoded(monkeypatch: pytest.MonkeyPatch, path: Path, choice: Augmentation) -> tuple[int, int]:
    """The size at which a picture is decoded."""
    sizes: list[tuple[int, int]] = []

    def spy(image: Image.Image) -> Image.Image:
        sizes.append(image.size)
        return image

    monkeypatch.setattr(augment, "upright", spy)
    read_augmented(path, HOW, choice, rng(0))
    return sizes[0]


def test_decoders_leave_pixels_to_spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.jpg"
    for side, expected in [(400, 50), (384, 48), (383, 96), (96, 48), (95, 95), (10, 10)]:
        picture(side, side).save(path)  # 48 is twice the input
        assert decoded(monkeypatch, path, PLAIN) == (expected, expected)
    picture(400, 400).save(path)
    half = dataclasses.replace(PLAIN, area=(0.25, 0.25))
    assert decoded(monkeypatch, path, half) == (100, 100)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_all_modes(tmp_path: Path, mode: str) -> None:
    grey = picture(60, 80).convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    image = deep if mode == "I;16" else grey.convert(mode)
    kinds = {"CMYK": ["jpeg", "tiff"], "L": ["jpeg", "png"]}.get(mode, ["png", "tiff"])
    for kind in kinds:
        image.save(tmp_path / "x", kind)
        with Image.open(tmp_path / "x") as stored:
            assert stored.mode == mode
        x = read_augmented(tmp_path / "x", HOW, PLAIN, rng(0))
        expected = prepare((image if mode == "1" else grey).convert("RGB"), HOW)
        assert np.abs(x - expected).mean() < 0.02


@pytest.mark.parametrize(
    "wrong",
    [
        {"area": (0, 1)},
        {"area": (0.5, 1.1)},
        {"area": (0.5, 0.4)},
        {"area": 0.5},
        {"area": ("a", "b")},
        {"aspect": (0, 1)},
        {"aspect": (1, math.inf)},
        {"tries": 0},
        {"tries": 2.0},
        {"flip": 1},
        {"turns": "yes"},
        {"brightness": -0.1},
        {"contrast": 1.1},
        {"saturation": math.nan},
        {"saturation": None},
        {"hue": 0.6},
        {"filters": ()},
        {"filters": ("blur",)},
        {"filters": "bicubic"},
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} out of range"):
        Augmentation(**wrong)


def test_settings_from_a_file_have_lists() -> None:
    found = Augmentation(area=[0.1, 1], filters=["lanczos"])  # type: ignore[arg-type]
    assert found == Augmentation(area=(0.1, 1), filters=("lanczos",))
    assert hash(found)
