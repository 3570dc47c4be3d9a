"""timm's Inception-v4 and Inception-ResNet-v2, and Cadene's, from which timm has them.

They differ in the classifier of Inception-ResNet-v2, `classif` in timm and `last_linear` in
Cadene's, and in the classes: Cadene's files, and timm's old ones, have one for the background.
Batch norm has a gamma, ones in the weights that came from TensorFlow; the network gets it as it is.
"""

from collections.abc import Iterable, Mapping

from minincep.io.names.fit import BACKGROUND, Fit, likeness, num_classes
from minincep.io.names.torch_modules import INCEPTION_RESNET_V2, INCEPTION_V4
from minincep.io.names.torch_states import State, state
from minincep.models.preprocessing import CADENE, TIMM_V2, TIMM_V4

TABLES = {  # architecture -> path -> name
    "inception_v4": {path: name for name, path in INCEPTION_V4.items()},
    "inception_resnet_v2": {path: name for name, path in INCEPTION_RESNET_V2.items()},
}
TIMM = {"inception_v4": TIMM_V4, "inception_resnet_v2": TIMM_V2}


def names(paths: Iterable[str], *, classifier: str = "") -> dict[str, str]:
    """Path -> name in a state dict.

    Parameters
    ----------
    classifier
        Name of the last layer; by default as in timm.

    Raises
    ------
    KeyError
        For a path that these networks do not have, such as that of an auxiliary head.
    """
    wanted = list(paths)
    v4 = any(path.startswith("mixed_3a/") for path in wanted)
    table = TABLES["inception_v4" if v4 else "inception_resnet_v2"]
    named = {path: table[path] for path in wanted}
    if classifier:
        for leaf in ("weight", "bias"):
            if f"logits/{leaf}" in named:
                named[f"logits/{leaf}"] = f"{classifier}.{leaf}"
    return named


def fit(shapes: Mapping[str, tuple[int, ...]]) -> Fit | None:
    """How a file of these names becomes a network."""
    fits = []
    for architecture, table in TABLES.items():
        found = state(shapes, set(table.values()))
        if found is not None:
            fits.append(_fit(architecture, table, found, shapes))
    return max(fits, key=lambda fit: fit.likeness, default=None)


def _fit(
    architecture: str,
    table: Mapping[str, str],
    found: State,
    shapes: Mapping[str, tuple[int, ...]],
) -> Fit:
    last = "classif" if "classif.weight" in found.found else "last_linear"
    classes = num_classes(shapes, f"{found.prefix}{last}.weight", 0)
    paths = [path for path in table if classes or not path.startswith("logits/")]
    named = names(paths, classifier=last)
    # Inception-v4 has the same names from both; of their files, Cadene's have a background.
    cadenes = table.get("logits/weight") != f"{last}.weight" and bool(classes)
    cadenes = cadenes or classes.get("num_classes") == BACKGROUND
    return Fit(
        source="Cadene's pretrained-models, or timm of that time" if cadenes else "timm",
        architecture=architecture,
        config={"batch_norm_gamma": True, **classes},
        names=found.names(named),
        layout="torch",
        preprocessing=CADENE if cadenes else TIMM[architecture],
        likeness=likeness(found.found, named.values()),
        averages=found.average_names(named, shapes),
        ignored=found.ignored,
    )
