"""Inception-ResNet-v1 in Keras, converted from facenet: `Block35_1_Branch_0_Conv2d_1x1/kernel`.

The layers are called by the released scopes, joined by underscores and without the scopes of
the repeats.  The last block, which is not part of a repeat, counts as the next in it: Block8_6.
"""

KINDS = {
    "weight": "kernel",
    "bias": "bias",
    "batch_norm/beta": "beta",
    "batch_norm/gamma": "gamma",
    "batch_norm/running_mean": "moving_mean",
    "batch_norm/running_var": "moving_variance",
}


def source_name(path: str) -> str:
    """Our path of an array -> its name in the Keras file."""
    scope, _, leaf = path.rpartition("/")
    norm = ""
    if scope.endswith("/batch_norm"):
        scope, leaf, norm = scope.removesuffix("/batch_norm"), f"batch_norm/{leaf}", "_BatchNorm"
    parts = scope.split("/")
    if parts[0].startswith("repeat"):
        del parts[0]
    elif parts[0] == "block8":
        parts[0] = "block8_6"
    layer = "_".join(part[0].upper() + part[1:] for part in parts)
    return f"{layer}{norm}/{KINDS[leaf]}"
