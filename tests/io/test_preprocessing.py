"""Pictures are prepared as each source of weights did it, by outputs of the sources' own code."""

import dataclasses
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from minincep.io.images import prepare
from minincep.models import preprocessing
from minincep.models.preprocessing import Preprocessing
from minincep_kernels.errors import ConfigError
from tools.sources.preprocessing import DATA, SIZES, picture

SOURCES = {
    "timm_v4": preprocessing.TIMM_V4,
    "timm_v2": preprocessing.TIMM_V2,
    "cadene": preprocessing.CADENE,
    "slim": preprocessing.SLIM,
    "kentsommer": preprocessing.KENTSOMMER,
    "keras": preprocessing.KERAS,
    "facenet_2018": preprocessing.FACENET_2018,
    "facenet_2017": preprocessing.FACENET_2017,
}


@pytest.fixture(scope="module")
def stored() -> dict[str, npt.NDArray[Any]]:
    """What the sources' own code made."""
    with np.load(DATA, allow_pickle=False) as file:
        return dict(file)


def difference(
    how: Preprocessing, source: str, number: int, stored: dict[str, npt.NDArray[Any]]
) -> float:
    """Largest difference between what `how` makes and the source's own result, in grey levels."""
    rows, columns = stored[f"places_{how.height}"].T
    ours = prepare(picture(number), how)[rows, columns]
    level = {"symmetric": 127.5, "fixed": 128.0, "whitening": picture(number).std()}[how.scaling]
    return float(np.abs(ours - stored[f"{source}_{number}"]).max() * level)


@pytest.mark.parametrize("number", range(len(SIZES)), ids=[f"{h}x{w}" for h, w in SIZES])
@pytest.mark.parametrize("source", SOURCES)
def test_within_a_grey_level_of_the_source(
    source: str, number: int, stored: dict[str, npt.NDArray[Any]]
) -> None:
    assert difference(SOURCES[source], source, number, stored) <= 1.001


def test_the_pictures_tell_the_sources_apart(stored: dict[str, npt.NDArray[Any]]) -> None:
    """A test of the test: what one source does is far from what the next does."""
    names = [name for name, how in SOURCES.items() if how.height == 299]
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        assert difference(SOURCES[other], name, 0, stored) > 10


def test_older_files_mean_what_they_meant() -> None:
    old = '{"height": 299, "width": 299, "crop": 0.875, "keep_aspect": true, "filter": "bicubic"}'
    pixels = picture(0)
    wide = 333 * 0.875
    left, top = (333 - wide) / 2, (517 - wide) / 2
    box = (left, top, left + wide, top + wide)
    expected = Image.fromarray(pixels).resize((299, 299), Image.Resampling.BICUBIC, box)
    ours = prepare(pixels, Preprocessing(**json.loads(old)))
    np.testing.assert_allclose((ours + 1) * 127.5, np.asarray(expected), atol=1.001)


def test_all_of_it_travels_as_json() -> None:
    for how in SOURCES.values():
        assert Preprocessing(**json.loads(json.dumps(dataclasses.asdict(how)))) == how


@pytest.mark.parametrize(
    "change",
    [
        {"order": "resize"},
        {"antialias": 0, "filter": "bilinear"},
        {"half_pixel_centers": None},
        {"antialias": False, "filter": "bicubic"},
        {"antialias": False, "filter": "bilinear", "order": "resize-crop"},
        {"half_pixel_centers": False, "filter": "bilinear"},
        {"crop": 1e-300},
        {"crop": float("nan")},
    ],
)
def test_what_does_not_go_together(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        Preprocessing(**({"height": 75, "width": 75} | change))


@pytest.mark.parametrize(("width", "height"), [(3996, 3996), (1, 1), (1, 300_000), (300_000, 1)])
@pytest.mark.parametrize(
    "how",
    [
        *SOURCES.values(),
        Preprocessing(299, 299),
        Preprocessing(203, 331, crop=0.01, order="resize-crop"),
        Preprocessing(203, 331, crop=0.01, filter="bilinear", antialias=False),
    ],
)
def test_any_size(how: Preprocessing, width: int, height: int) -> None:
    """Also those whose cut, rounded, would lie a hair outside the picture."""
    image = Image.new("RGB", (width, height), (255, 255, 255))
    prepared = prepare(image, how)
    assert prepared.shape == (how.height, how.width, 3)
    assert np.ptp(prepared) == 0
