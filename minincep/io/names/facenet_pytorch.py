"""facenet-pytorch's Inception-ResNet-v1, with the classifier that it was trained with or without.

Its released files have the classifier, of 8631 identities (VGGFace2) or 10575 (CASIA-WebFace).  The
network gets it, too; `minincep embed` reads the embeddings before it.
"""

from collections.abc import Iterable, Mapping

from minincep.io.names.fit import Fit, facenet_preprocessing, likeness, units
from minincep.io.names.torch_modules import INCEPTION_RESNET_V1
from minincep.io.names.torch_states import state

TABLE = {path: name for name, path in INCEPTION_RESNET_V1.items()} | {
    "logits/weight": "logits.weight",
    "logits/bias": "logits.bias",
}


def names(paths: Iterable[str]) -> dict[str, str]:
    """Path -> name in a state dict."""
    return {path: TABLE[path] for path in paths}


def fit(shapes: Mapping[str, tuple[int, ...]]) -> Fit | None:
    """How a file of these names becomes a network."""
    found = state(shapes, set(TABLE.values()))
    if found is None:
        return None
    classifier = "logits.weight" in found.found
    named = names(path for path in TABLE if classifier or not path.startswith("logits/"))
    embedding = units(shapes, f"{found.prefix}last_linear.weight", 0)
    classes = units(shapes, f"{found.prefix}logits.weight", 0) if classifier else None
    return Fit(
        source="facenet-pytorch",
        architecture="inception_resnet_v1",
        config={"batch_norm_gamma": True, "embedding_size": embedding, "num_classes": classes},
        names=found.names(named),
        layout="torch",
        preprocessing=facenet_preprocessing(embedding),
        likeness=likeness(found.found, named.values()),
        averages=found.average_names(named, shapes),
        ignored=found.ignored,
    )
