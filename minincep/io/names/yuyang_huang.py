"""Inception-ResNet-v2 in Keras by yuyang-huang, whose weights keras.applications then took.

The layers are called as in the Keras networks of the facenet family, which follow this one.
"""

from collections.abc import Iterable, Mapping

from minincep.io.names.fit import Fit, likeness, num_classes, paths
from minincep.io.names.keras_facenet import source_name
from minincep.models.preprocessing import SLIM


def names(paths: Iterable[str]) -> dict[str, str]:
    """Path -> `<layer>/<kind>`."""
    return {path: source_name(path, "Block8_10") for path in paths}


def fit(shapes: Mapping[str, tuple[int, ...]]) -> Fit | None:
    """How a file of these names becomes a network."""
    gamma = any(name.endswith("/gamma") for name in shapes)
    classes = num_classes(shapes, "Logits/kernel", 1)
    named = names(paths("inception_resnet_v2", classifier=bool(classes), batch_norm_gamma=gamma))
    alike = likeness(shapes, named.values())
    if not alike:
        return None
    return Fit(
        source="Keras, yuyang-huang",
        architecture="inception_resnet_v2",
        config={"batch_norm_gamma": gamma, **classes},
        names=named,
        layout="tensorflow",
        preprocessing=SLIM,
        likeness=alike,
    )
