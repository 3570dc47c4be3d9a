"""facenet's Inception-ResNet-v1: checkpoints and frozen graphs of TensorFlow.

The names are those of TF-slim, but the classifier that the network was trained with stands beside
the scope of the network, and so did the bottleneck until May 2017.
"""

from collections.abc import Iterable, Mapping

from minincep.io.names.fit import Fit, facenet_preprocessing, likeness, paths, units
from minincep.io.names.slim import AVERAGE, average_names, is_variable, variable

SCOPE = "InceptionResnetV1/"


def names(paths: Iterable[str], *, outside: tuple[str, ...] = ("Logits/",)) -> dict[str, str]:
    """Path -> name of the variable.

    Parameters
    ----------
    outside
        Scopes that stand beside that of the network.
    """
    named = {}
    for path in paths:
        name = variable(path).replace("Logits/Logits/", "Logits/")
        named[path] = name if name.startswith(outside) else SCOPE + name
    return named


def fit(shapes: Mapping[str, tuple[int, ...]]) -> Fit | None:
    """How a file of these names becomes a network."""
    scopes = (SCOPE, "Bottleneck/", "Logits/")
    inside = {name for name in shapes if name.startswith(scopes) and is_variable(name)}
    found = {name.removesuffix(AVERAGE) for name in inside}
    if not any(name.startswith(SCOPE) for name in found):
        return None
    classifier = "Logits/weights" in found
    outside = scopes[1:] if "Bottleneck/weights" in found else scopes[2:]

    def length(path: str) -> int:
        (name,) = names([path], outside=outside).values()
        return units(shapes, name if name in shapes else name + AVERAGE, 1)

    embedding = length("bottleneck/weight")
    gamma = any(name.endswith("/gamma") for name in found)
    classes = 1 if classifier else None  # of whatever number: only the names count here
    known = paths("inception_resnet_v1", batch_norm_gamma=gamma, num_classes=classes)
    named = names(known, outside=outside)
    return Fit(
        source="facenet",
        architecture="inception_resnet_v1",
        config={
            "batch_norm_gamma": gamma,
            "embedding_size": embedding,
            "num_classes": length("logits/weight") if classifier else None,
        },
        names=named,
        layout="tensorflow",
        preprocessing=facenet_preprocessing(embedding),
        likeness=likeness(found, named.values()),
        averages=average_names(named, shapes),
        ignored=frozenset(shapes) - inside,
    )
