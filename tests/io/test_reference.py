"""The rule by which both sides of a comparison draw their weights."""

import zlib

import numpy as np
import pytest

from minincep.io import reference


def test_weights_follow_the_written_rule() -> None:
    path = "mixed_5b/branch_0/conv2d_0a_1x1/weight"
    drawn = reference.draw(path, (1, 1, 200, 300))
    random = np.random.RandomState(zlib.crc32(path.encode()))
    expected = random.standard_normal((1, 1, 200, 300)) * np.sqrt(2 / 200)
    np.testing.assert_array_equal(drawn, expected.astype(np.float32))


def test_other_kinds() -> None:
    gamma = reference.draw("a/batch_norm/gamma", (1000,))
    beta = reference.draw("a/batch_norm/beta", (1000,))
    assert 0.7 <= gamma.min() < gamma.max() <= 1.3
    assert 0.5 <= beta.min() < beta.max() <= 1.5
    assert 0.05 < reference.draw("a/bias", (1000,)).std() < 0.15
    with pytest.raises(ValueError, match="running_mean"):
        reference.draw("a/batch_norm/running_mean", (3,))


def test_the_picture_has_no_symmetry() -> None:
    picture = reference.picture(80, 90)
    assert picture.shape == (80, 90, 3)
    # The stored references depend on it, so a new NumPy must not change what is drawn.
    assert zlib.crc32(picture.tobytes()) == 64492355
    for other in (picture[::-1], picture[:, ::-1], picture[..., ::-1]):
        assert np.abs(picture.astype(int) - other).mean() > 10
    assert reference.scaled(np.array([0, 255], np.uint8)).tolist() == [-1, 1]
