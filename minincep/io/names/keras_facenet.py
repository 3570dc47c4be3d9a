"""Inception-ResNet-v1 in Keras, converted from facenet: `Block35_1_Branch_0_Conv2d_1x1/kernel`.

The layers are called by the released scopes, joined by underscores and without the scopes of
the repeats.  The last block, which is not part of a repeat, counts as the next in it: Block8_6.
"""

from collections.abc import Iterable, Mapping

from minincep.io.names.fit import Fit, facenet_preprocessing, likeness, paths, units

KINDS = {
    "weight": "kernel",
    "bias": "bias",
    "batch_norm/beta": "beta",
    "batch_norm/gamma": "gamma",
    "batch_norm/running_mean": "moving_mean",
    "batch_norm/running_var": "moving_variance",
}


def names(paths: Iterable[str]) -> dict[str, str]:
    """Path -> `<layer>/<kind>`."""
    return {path: source_name(path, "Block8_6") for path in paths}


def source_name(path: str, last_block: str) -> str:
    """Our path of an array -> its name in the Keras file.

    Parameters
    ----------
    last_block
        Name of the block that is not part of a repeat.
    """
    scope, _, leaf = path.rpartition("/")
    norm = ""
    if scope.endswith("/batch_norm"):
        scope, leaf, norm = scope.removesuffix("/batch_norm"), f"batch_norm/{leaf}", "_BatchNorm"
    parts = scope.split("/")
    if parts[0].startswith("repeat"):
        del parts[0]
    elif parts[0] == "block8":
        parts[0] = last_block
    layer = "_".join(part[0].upper() + part[1:] for part in parts)
    return f"{layer}{norm}/{KINDS[leaf]}"


def fit(shapes: Mapping[str, tuple[int, ...]]) -> Fit | None:
    """How a file of these names becomes a network."""
    gamma = any(name.endswith("/gamma") for name in shapes)
    named = names(paths("inception_resnet_v1", batch_norm_gamma=gamma))
    alike = likeness(shapes, named.values())
    if not alike:
        return None
    embedding = units(shapes, "Bottleneck/kernel", 1)
    return Fit(
        source="Keras, facenet family",
        architecture="inception_resnet_v1",
        config={"batch_norm_gamma": gamma, "embedding_size": embedding, "num_classes": None},
        names=named,
        layout="tensorflow",
        preprocessing=facenet_preprocessing(embedding),
        likeness=alike,
    )
