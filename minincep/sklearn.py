"""`InceptionClassifier`: a network's features and a linear classifier, as scikit-learn wants it."""

import contextlib
import functools
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from minincep.io.errors import ImageError, WeightError
from minincep.io.hdf5 import DEFAULT, checksum, load
from minincep.io.images import Pixels, open_image, upright
from minincep.models.network import Network
from minincep.models.registry import ARCHITECTURES
from minincep.predict import PathLike, Picture, prepared_ahead, ready
from minincep_kernels.errors import ConfigError

try:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        ClassNamePrefixFeaturesOutMixin,
        TransformerMixin,
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "minincep.sklearn needs scikit-learn 1.6 or newer: pip install 'minincep[sklearn]'"
    ) from error

Matrix = npt.NDArray[np.floating[Any]]


class InceptionClassifier(
    ClassNamePrefixFeaturesOutMixin, ClassifierMixin, TransformerMixin, BaseEstimator
):
    """Tell pictures apart by what a network sees in them, learnt from few examples.

    The network stays as it is.  Its features are standardised (`StandardScaler`) and told apart by
    a linear classifier (`LogisticRegression`).

    X, in all methods, is one of

    - pictures: a list of paths, Pillow images, or arrays (H, W, 3) of uint8, RGB; or one array
      (N, H, W, 3) of uint8.  They are prepared as the network says;
    - a matrix with one flattened picture a row, grey levels 0 to 255, as scikit-learn keeps
      pictures, when `image_shape` says how to unfold it;
    - any matrix of numbers, when `backbone` is None.

    Parameters
    ----------
    backbone
        Path of a weights file; "eggs" for the network that comes along; a `Network` in inference
        mode; or None for no network: the columns of a matrix, or the pixels of pictures that all
        have one size, are the features themselves.  This is the baseline to compare with.
    endpoint
        End point of the network that gives the features, by default the one that describes a
        picture (`mi.embed`), not scaled to length 1.  Maps are averaged over their places.
    image_shape
        (height, width, 3), or (height, width) for grey levels: what a row of a matrix holds.
    C
        As in `LogisticRegression`: small numbers keep the classifier simple.
    batch_size
        Pictures that run through the network together, at least 1.

    Attributes
    ----------
    classes_
        The classes, sorted.
    classifier_
        The fitted pipeline behind the features.
    backbone_sha256_
        Checksum of the weights, if they are from a file.
    n_features_in_, feature_names_in_
        Columns of the matrix, if X was one.

    Notes
    -----
    A pickle holds the path of a weights file, not the weights: they are read when they are next
    needed, and refused if they are no longer those of `fit`.  A `Network` is pickled, and copied
    by `clone`, as a whole, so prefer the path.

    A search over `C` runs the network anew for each value.  With many pictures, search with
    `classifier_` over the result of `transform` instead.
    """

    def __init__(
        self,
        backbone: Network | PathLike | None = "eggs",
        *,
        endpoint: str | None = None,
        image_shape: tuple[int, ...] | None = None,
        C: float = 1.0,
        batch_size: int = 8,
    ) -> None:
        self.backbone = backbone
        self.endpoint = endpoint
        self.image_shape = image_shape
        self.C = C
        self.batch_size = batch_size

    def fit(self, X: Any, y: Any) -> Self:
        """Learn which class y each picture of X shows.

        Raises
        ------
        ConfigError
            If a parameter is out of range, or X is a matrix and nothing says what is in it.
        ImageError
            If a picture cannot be read.
        WeightError
            If the weights file cannot be read.
        ValueError
            If y does not fit X, or has one class only.
        """
        pictures = _pictures(X)
        if pictures is None:
            data, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        else:
            data, y = pictures, validate_data(self, X="no_validation", y=y)
            check_consistent_length(pictures, y)
            self.__dict__.pop("n_features_in_", None)  # of an earlier fit to a matrix
        check_classification_targets(y)
        network, self.backbone_sha256_ = _backbone(self.backbone)
        found = self._features(network, data)
        self.classifier_ = make_pipeline(
            StandardScaler(), LogisticRegression(C=self.C, max_iter=1000)
        ).fit(found, y)
        self.classes_ = self.classifier_.classes_
        self._n_features_out = found.shape[1]
        return self

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The class of each picture: N pictures -> (N,)."""
        found = self._fitted_features(X)
        classes: npt.NDArray[Any] = self.classifier_.predict(found)
        return classes

    def predict_proba(self, X: Any) -> Matrix:
        """How probable each class is, in the order of `classes_`: N pictures -> (N, classes)."""
        found = self._fitted_features(X)
        probabilities: Matrix = self.classifier_.predict_proba(found)
        return probabilities

    def transform(self, X: Any) -> Matrix:
        """The features that the classifier gets, not yet standardised: N pictures -> (N, D)."""
        return self._fitted_features(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.backbone is None or self.image_shape is not None
        kept = ["float64", "float32"] if self.backbone is None else []
        tags.transformer_tags.preserves_dtype = kept
        return tags

    def _fitted_features(self, X: Any) -> Matrix:
        check_is_fitted(self)
        data = _pictures(X)
        if data is None:
            data = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        network, sha256 = _backbone(self.backbone)
        if sha256 != self.backbone_sha256_:
            raise WeightError(
                f"{self.backbone}: the weights are no longer those that the classifier was fitted "
                "with: fit it again"
            )
        return self._features(network, data)

    def _features(self, network: Network | None, data: Matrix | Sequence[Picture]) -> Matrix:
        """What the classifier gets: N pictures or rows -> (N, D)."""
        if network is None:
            return data if isinstance(data, np.ndarray) else _pixels(data)
        if isinstance(data, np.ndarray):
            data = self._unfolded(data)
        name = self.endpoint or ARCHITECTURES[network.architecture].embedding
        size = self.batch_size
        if not isinstance(size, int | np.integer) or size < 1:
            raise ConfigError(f"batch_size must be a whole number from 1, got {size!r}")
        answers = ready(network, batch_size=int(size), endpoints=[name])
        rows = []
        with contextlib.closing(prepared_ahead(network, data, int(size))) as waiting:
            while batch := [x.result() for _, x in itertools.islice(waiting, int(size))]:
                found = answers.features(np.stack(batch), [name])[name]
                rows.append(found.mean(axis=(1, 2)) if found.ndim == 4 else found)
        return np.concatenate(rows)

    def _unfolded(self, matrix: Matrix) -> Sequence[Picture]:
        """Pictures from the rows of a matrix: (N, H * W * C) -> N times (H, W, 3)."""
        columns, shape = matrix.shape[1], self.image_shape
        if shape is None:
            raise ConfigError(
                f"X is a matrix of {columns} columns, and nothing says what they are: give "
                "image_shape=(height, width, 3) if a row is a picture, backbone=None to learn "
                "from the columns themselves, or X as a list of paths"
            )
        if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or np.prod(shape) != columns:
            raise ConfigError(
                f"image_shape must be (height, width, 3) or (height, width), and its product the "
                f"{columns} columns of X, got {shape}"
            )
        low, high = matrix.min(), matrix.max()
        if low < 0 or high > 255 or 0 < high <= 1:
            raise ImageError(
                f"the rows of X must hold grey levels from 0 to 255, got {low:g} to {high:g}: "
                "scale them (times 255, if they are from 0 to 1)"
            )
        pixels = np.rint(matrix).astype(np.uint8).reshape(-1, *shape)
        return list(pixels if len(shape) == 3 else np.repeat(pixels[..., None], 3, axis=3))


def _pictures(X: Any) -> list[Picture] | None:
    """The pictures that X holds, or None if X is something else: a matrix, if all is well.

    Raises
    ------
    ImageError
        If X is a single picture, or none.
    """
    if isinstance(X, str | os.PathLike | Image.Image) or (
        isinstance(X, np.ndarray) and X.ndim == 3 and X.shape[2] == 3
    ):
        raise ImageError("X must be a list of pictures: put the one picture into [ ]")
    if isinstance(X, np.ndarray) and X.ndim == 4 and len(X):
        return list(X)
    if isinstance(X, list | tuple | np.ndarray) or getattr(X, "ndim", None) == 1:
        if not len(X) and getattr(X, "ndim", 1) != 2:
            raise ImageError("X has 0 sample(s): there is not one picture in it")
        if getattr(X, "ndim", 1) == 1 and all(map(_is_picture, X)):
            return list(X)
    return None


def _is_picture(entry: object) -> bool:
    return isinstance(entry, str | os.PathLike | Image.Image) or (
        isinstance(entry, np.ndarray) and entry.ndim == 3
    )


def _pixels(pictures: Iterable[Picture]) -> Matrix:
    """The grey levels of pictures of one size: N pictures -> (N, H * W * 3)."""
    arrays = [_decoded(picture) for picture in pictures]
    kinds = sorted({f"{array.shape} of {array.dtype}" for array in arrays})
    if len(kinds) > 1 or arrays[0].shape[2:] != (3,) or arrays[0].dtype != np.uint8:
        raise ImageError(
            "without a backbone, all pictures must have one size, (height, width, 3), of uint8, "
            f"got {', '.join(kinds[:3])}: resize them, or give a backbone"
        )
    return np.stack(arrays).reshape(len(arrays), -1).astype(np.float64)


def _decoded(picture: Picture) -> Pixels:
    if isinstance(picture, np.ndarray):
        return picture
    image = upright(picture) if isinstance(picture, Image.Image) else open_image(picture)
    return np.asarray(image)


def _backbone(backbone: Network | PathLike | None) -> tuple[Network | None, str | None]:
    """The network, and the checksum of the file that it is from."""
    if backbone is None or isinstance(backbone, Network):
        return backbone, None
    if not isinstance(backbone, str | os.PathLike):
        raise ConfigError(
            "backbone must be the path of a weights file, 'eggs', a Network, or None, got "
            f"{backbone!r}"
        )
    path = DEFAULT if backbone == "eggs" else Path(backbone).absolute()
    found = os.stat(path) if path.is_file() else None  # if it is none, `load` says why
    return _loaded(path, found and (found.st_mtime_ns, found.st_size))


@functools.lru_cache(maxsize=2)  # the clones that a cross-validation makes share the network
def _loaded(path: Path, stamp: tuple[int, int] | None) -> tuple[Network, str]:
    """Read a weights file, once for each state of it: `stamp` is its time and size."""
    network = load(path)
    return network, checksum(network.arrays())
