"""keras.applications' Inception-ResNet-v2: most layers are numbered, the rest is named.

203 convolutions and as many batch norms have numbers; `conv_7b`, the projections at the end of the
residual blocks (`block17_4_conv`) and the classifier (`predictions`) have names.
"""

from collections.abc import Iterable, Mapping, Sequence

from minincep.io.names import keras_numbers
from minincep.io.names.fit import Fit, likeness, num_classes, paths
from minincep.io.names.keras_facenet import KINDS
from minincep.models.preprocessing import KERAS

NUMBERED = 203


def names(
    paths: Iterable[str],
    convolutions: Sequence[str] = (),
    norms: Sequence[str] = (),
) -> dict[str, str]:
    """Path -> `<layer>/<kind>`.

    Parameters
    ----------
    paths
        Of the whole network, in the order of its definition.
    convolutions, norms
        The numbered layers; by default as Keras 3 numbers the first network of a session.
    """
    wanted = list(paths)
    first = keras_numbers.numbered([], keras_numbers.CONVOLUTION, NUMBERED)
    first_norm = keras_numbers.numbered([], keras_numbers.NORM, NUMBERED)
    named = keras_numbers.unit_names(
        wanted,
        keras_numbers.units_of(wanted),
        [*(convolutions or first), "conv_7b"],
        [*(norms or first_norm), "conv_7b_bn"],
    )
    return {path: named.get(path) or f"{_named_layer(path)}/{_kind(path)}" for path in wanted}


def _named_layer(path: str) -> str:
    """The dense layer, or the projection of a residual block."""
    scope, _, block = path.rpartition("/")[0].removesuffix("/conv2d_1x1").rpartition("/")
    if not scope:
        return {"logits": "predictions", "block8": "block8_10_conv"}[block]
    return f"{block}_conv"


def _kind(path: str) -> str:
    return KINDS[path.rpartition("/")[2]]


def fit(shapes: Mapping[str, tuple[int, ...]]) -> Fit | None:
    """How a file of these names becomes a network."""
    gamma = any(name.endswith("/gamma") for name in shapes)
    classes = num_classes(shapes, "predictions/kernel", 1)
    named = names(
        paths("inception_resnet_v2", classifier=bool(classes), batch_norm_gamma=gamma),
        keras_numbers.numbered(shapes, keras_numbers.CONVOLUTION, NUMBERED),
        keras_numbers.numbered(shapes, keras_numbers.NORM, NUMBERED),
    )
    alike = likeness(shapes, named.values())
    if not alike:
        return None
    return Fit(
        source="keras.applications",
        architecture="inception_resnet_v2",
        config={"batch_norm_gamma": gamma, **classes},
        names=named,
        layout="tensorflow",
        preprocessing=KERAS,
        likeness=alike,
    )
