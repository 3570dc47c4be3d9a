"""TF-slim's Inception-v4 and Inception-ResNet-v2: `InceptionV4/Mixed_5b/Branch_0/.../weights`.

Our paths are these scopes in lower case; so a scope is a path with capitals.  A checkpoint may hold
moving averages of the weights and state of the optimiser, a frozen graph holds many constants; the
weights are what ends like a variable of a layer.
"""

import re
from collections.abc import Iterable, Mapping

from minincep.io.names.fit import Fit, likeness, num_classes, paths
from minincep.models.preprocessing import SLIM

KINDS = {
    "weight": "weights",
    "bias": "biases",
    "batch_norm/beta": "BatchNorm/beta",
    "batch_norm/gamma": "BatchNorm/gamma",
    "batch_norm/running_mean": "BatchNorm/moving_mean",
    "batch_norm/running_var": "BatchNorm/moving_variance",
}
AVERAGE = "/ExponentialMovingAverage"
SCOPES = {"inception_v4": "InceptionV4", "inception_resnet_v2": "InceptionResnetV2"}
HEADS = {"logits": "Logits/Logits", "aux_logits": "AuxLogits"}


def names(paths: Iterable[str], architecture: str) -> dict[str, str]:
    """Path -> name of the variable."""
    scope = SCOPES[architecture]
    return {path: f"{scope}/{variable(path)}" for path in paths}


def variable(path: str) -> str:
    """Our path of an array -> name of the variable within the scope of the network."""
    match = re.fullmatch(r"(.+?)/((?:batch_norm/)?[a-z_]+)", path)
    assert match is not None, path
    first, *rest = match[1].split("/")
    first = HEADS.get(first, first[0].upper() + first[1:])
    # Repeated blocks are the only scopes without a capital.
    capital = (
        part if re.match(r"block\d+_", part) else part[0].upper() + part[1:] for part in rest
    )
    return "/".join([first, *capital, KINDS[match[2]]])


def is_variable(name: str) -> bool:
    """Whether a name ends like the weights of a layer, or like their moving average."""
    return name.removesuffix(AVERAGE).endswith(tuple(f"/{kind}" for kind in KINDS.values()))


def average_names(named: Mapping[str, str], shapes: Mapping[str, object]) -> dict[str, str]:
    """Path -> name of its moving average, for those that have one."""
    return {path: name + AVERAGE for path, name in named.items() if name + AVERAGE in shapes}


def fit(shapes: Mapping[str, tuple[int, ...]]) -> Fit | None:
    """How a file of these names becomes a network."""
    for architecture, scope in SCOPES.items():
        inside = {name for name in shapes if name.startswith(f"{scope}/") and is_variable(name)}
        found = {name.removesuffix(AVERAGE) for name in inside}
        if found:
            return _fit(architecture, found, shapes, frozenset(shapes) - inside)
    return None


def _fit(
    architecture: str,
    found: set[str],
    shapes: Mapping[str, tuple[int, ...]],
    ignored: frozenset[str],
) -> Fit:
    scope = SCOPES[architecture]
    config = {
        "aux_logits": any(name.startswith(f"{scope}/AuxLogits/") for name in found),
        "batch_norm_gamma": any(name.endswith("/gamma") for name in found),
    }
    last = f"{scope}/Logits/Logits/weights"
    classes = num_classes(shapes, last if last in shapes else last + AVERAGE, 1)
    named = names(paths(architecture, classifier=bool(classes), **config), architecture)
    return Fit(
        source="TF-slim",
        architecture=architecture,
        config={**config, **classes},
        names=named,
        layout="tensorflow",
        preprocessing=SLIM,
        likeness=likeness(found, named.values()),
        averages=average_names(named, shapes),
        ignored=ignored,
    )
