"""InceptionClassifier: scikit-learn's own checks, what it learns, and what it refuses."""

import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import minincep as mi
from minincep.io import reference
from minincep_kernels.machine import num_threads

pytest.importorskip("sklearn", "1.6", reason="minincep[sklearn] is not installed")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from minincep.sklearn import InceptionClassifier

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (48, 48, 3)
PICTURES = [
    picture if seed % 2 else 255 - picture
    for seed, picture in ((seed, reference.picture(*SHAPE[:2], seed)) for seed in range(40))
]
KINDS = ["negative", "positive"] * 20
MATRIX = np.stack(PICTURES).reshape(40, -1)


class Striped(InceptionClassifier):
    """Draws any numbers as a picture, one stripe a column.

    scikit-learn's checks bring their own matrices, of 1 to 20 columns, which hold no pictures.
    Drawn like this they go through a network, and so does all that is checked: the same results
    for the same rows in any order, copies, pickles, refused input, and that it learns.
    """

    def _unfolded(self, matrix: npt.NDArray[Any]) -> list[Any]:
        levels = np.rint(255 / (1 + np.exp(-np.clip(matrix, -50, 50)))).astype(np.uint8)
        row = np.repeat(levels, 96 // levels.shape[1] + 1, axis=1)[:, :96]
        return [np.broadcast_to(stripes[None, :, None], (96, 96, 3)).copy() for stripes in row]


# scikit-learn itself skips check_array_api_input, unless SCIPY_ARRAY_API is set, and
# check_classifier_data_not_an_array, unless pandas is installed.  Of `InceptionClassifier()`
# nothing can be checked in this way: without `image_shape` it takes no matrix, as its tags say.
@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [
        InceptionClassifier(backbone=None),
        Striped(image_shape=(1, 1), batch_size=32),  # the shape only says: takes a matrix
    ]
)
def test_scikit_learns_own_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_tags() -> None:
    assert not InceptionClassifier().__sklearn_tags__().input_tags.two_d_array
    assert InceptionClassifier(image_shape=SHAPE).__sklearn_tags__().input_tags.two_d_array


def test_learns_and_is_selected() -> None:
    model = InceptionClassifier(batch_size=20)
    assert cross_val_score(model, PICTURES, KINDS, cv=4).mean() > 0.9
    shuffled = np.random.default_rng(0).permutation(KINDS)
    assert cross_val_score(model, PICTURES, shuffled, cv=4).mean() < 0.75
    search = GridSearchCV(model, {"C": [1e-3, 1.0], "backbone": ["eggs", None]}, cv=2)
    search.fit(PICTURES, KINDS)
    assert search.score(PICTURES, KINDS) > 0.9
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_every_way_to_give_pictures(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(40)]
    for path, picture in zip(paths, PICTURES, strict=True):
        Image.fromarray(picture).save(path)
    model = InceptionClassifier(image_shape=SHAPE).fit(paths, KINDS)
    assert model.classes_.tolist() == ["negative", "positive"]
    assert not hasattr(model, "n_features_in_")
    expected = model.predict_proba(PICTURES)
    assert expected.shape == (40, 2)
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-5)
    ways: list[Any] = [
        paths,
        [str(path) for path in paths],
        np.array([str(path) for path in paths]),
        tuple(Image.fromarray(picture) for picture in PICTURES),
        np.stack(PICTURES),
        MATRIX,
        MATRIX.astype(np.float32),
        MATRIX.tolist(),
    ]
    for way in ways:
        np.testing.assert_array_equal(model.predict_proba(way), expected)
    assert model.fit(MATRIX, KINDS).n_features_in_ == MATRIX.shape[1]
    assert not hasattr(model.fit(PICTURES, KINDS), "n_features_in_")


def test_grey_rows() -> None:
    grey = MATRIX.reshape(40, *SHAPE)[..., 0]
    rows = InceptionClassifier(image_shape=SHAPE[:2]).fit(grey.reshape(40, -1), KINDS)
    pictures = np.repeat(grey[..., None], 3, axis=3)
    np.testing.assert_array_equal(rows.transform(grey.reshape(40, -1)), rows.transform(pictures))


def test_features() -> None:
    model = InceptionClassifier().fit(PICTURES, KINDS)
    rows = model.transform(PICTURES)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, mi.embed(mi.load(), PICTURES), atol=1e-5)
    assert len(model.get_feature_names_out()) == rows.shape[1]
    maps = InceptionClassifier(endpoint="Mixed_6a").fit(PICTURES, KINDS).transform(PICTURES)
    x = np.stack([mi.predict.prepare_picture(mi.load(), p) for p in PICTURES[:8]])
    whole = mi.features(mi.load(), x, endpoints=["Mixed_6a"])["Mixed_6a"]
    np.testing.assert_allclose(maps[:8], whole.mean(axis=(1, 2)), atol=1e-6)
    pixels = InceptionClassifier(backbone=None).fit(PICTURES, KINDS)
    np.testing.assert_array_equal(pixels.transform(PICTURES), MATRIX)


def test_pipeline() -> None:
    rows = make_pipeline(
        FunctionTransformer(np.negative), InceptionClassifier(image_shape=SHAPE[:2])
    )
    grey = -MATRIX.reshape(40, *SHAPE)[..., 0].reshape(40, -1).astype(float)
    assert rows.fit(grey, KINDS).score(grey, KINDS) > 0.9


def test_pickle_holds_the_path_only(tmp_path: Path) -> None:
    path = tmp_path / "mine.h5"
    mi.save(mi.load(), path)
    model = InceptionClassifier(path).fit(PICTURES, KINDS)
    kept = pickle.dumps(model)
    assert len(kept) < path.stat().st_size / 20
    again = pickle.loads(kept)
    expected = model.predict_proba(PICTURES)
    np.testing.assert_array_equal(again.predict_proba(PICTURES), expected)
    other = mi.create_model("inception_resnet_v1", width=0.02, blocks=(1, 1, 1))
    mi.save(other, path)
    with pytest.raises(mi.WeightError, match="no longer those"):
        again.predict(PICTURES)
    path.unlink()
    with pytest.raises(mi.WeightError, match=r"mine\.h5: there is no such file"):
        again.predict(PICTURES)

    whole = clone(InceptionClassifier(mi.load())).fit(PICTURES, KINDS)
    whole = pickle.loads(pickle.dumps(whole))
    np.testing.assert_array_equal(whole.predict_proba(PICTURES), expected)


GREY = np.zeros((40, 8), np.uint8)
WRONG: list[tuple[dict[str, Any], Any, type[Exception], str]] = [
    ({}, MATRIX, mi.ConfigError, "matrix of 6912 columns.*image_shape"),
    ({"image_shape": (20, 48, 3)}, MATRIX, mi.ConfigError, "the 6912 columns"),
    ({"image_shape": (72, 48, 2)}, MATRIX, mi.ConfigError, "the 6912 columns"),
    ({"image_shape": (6912,)}, MATRIX, mi.ConfigError, "the 6912 columns"),
    ({"image_shape": SHAPE}, MATRIX / 255, mi.ImageError, "0 to 255, got 0 to 1: .*times 255"),
    ({"image_shape": SHAPE}, MATRIX - 128.0, mi.ImageError, "0 to 255, got -128 to"),
    ({"image_shape": SHAPE}, MATRIX * 2.0, mi.ImageError, "0 to 255"),
    ({}, "cat.jpg", mi.ImageError, "must be a list"),
    ({}, Path("cat.jpg"), mi.ImageError, "must be a list"),
    ({}, PICTURES[0], mi.ImageError, "must be a list"),
    ({}, Image.fromarray(PICTURES[0]), mi.ImageError, "must be a list"),
    ({}, [], mi.ImageError, "not one picture"),
    ({}, np.zeros((0, *SHAPE), np.uint8), mi.ImageError, "not one picture"),
    ({}, ["/no/such.jpg"] * 40, mi.ImageError, r"/no/such\.jpg: there is no such file"),
    ({}, np.stack(PICTURES) / 255, mi.ImageError, "of uint8.*of float64"),
    ({}, np.stack(PICTURES).transpose(0, 3, 1, 2), mi.ImageError, "must be an array"),
    ({}, PICTURES[:39], ValueError, "inconsistent numbers of samples"),
    ({"backbone": None}, [*PICTURES[:39], GREY[..., None]], mi.ImageError, "one size"),
    ({"backbone": None}, np.stack(PICTURES) / 255, mi.ImageError, "of uint8.*of float64"),
    ({"backbone": 5}, PICTURES, mi.ConfigError, "backbone must be"),
    ({"backbone": "no.h5"}, PICTURES, mi.WeightError, r"no\.h5: there is no such file"),
    ({"endpoint": "Mixed_9"}, PICTURES, mi.ConfigError, "no end point 'Mixed_9'"),
    ({"batch_size": 0}, PICTURES, mi.ConfigError, "batch_size"),
    ({"batch_size": 2.5}, PICTURES, mi.ConfigError, "batch_size"),
]


@pytest.mark.parametrize(("parameters", "X", "error", "message"), WRONG)
def test_wrong_input(
    parameters: dict[str, Any], X: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        InceptionClassifier(**parameters).fit(X, KINDS)


def test_wrong_order_and_wrong_classes() -> None:
    with pytest.raises(NotFittedError):
        InceptionClassifier().predict(PICTURES)
    with pytest.raises(ValueError, match="requires y"):
        InceptionClassifier().fit(PICTURES, None)
    with pytest.raises(ValueError, match="class"):
        InceptionClassifier().fit(PICTURES, [1] * 40)
    with pytest.raises(ValueError, match="Unknown label type"):
        InceptionClassifier().fit(PICTURES, np.linspace(0, 1, 40))
    network = mi.load()
    network.train()
    with pytest.raises(mi.ConfigError, match="training mode"):
        InceptionClassifier(network).fit(PICTURES, KINDS)


def test_readme(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (block,) = re.findall(r"^```py\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    mi.save(mi.load(), tmp_path / "facenet.h5")
    names = {"paths": PICTURES, "names": KINDS, "other_paths": PICTURES[:3]}
    exec(compile(block.replace("facenet.h5", f"{tmp_path}/facenet.h5"), "README.md", "exec"), names)


def test_threads() -> None:
    with num_threads(2):
        model = InceptionClassifier().fit(PICTURES, KINDS)
        assert model.score(PICTURES, KINDS) > 0.9


def test_without_scikit_learn() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import minincep.sklearn"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 1
    assert "ImportError: minincep.sklearn needs scikit-learn" in found.stderr
    assert "pip install 'minincep[sklearn]'" in found.stderr
