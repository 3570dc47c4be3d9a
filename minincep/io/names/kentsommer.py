"""kentsommer's Inception-v4 in Keras: all 149 convolutions and batch norms are numbered."""

from collections.abc import Iterable, Mapping, Sequence

from minincep.io.names import keras_numbers
from minincep.io.names.fit import Fit, likeness, num_classes, paths
from minincep.io.names.keras_facenet import KINDS
from minincep.models.preprocessing import KENTSOMMER

NUMBERED = 149


def names(
    paths: Iterable[str],
    convolutions: Sequence[str] = (),
    norms: Sequence[str] = (),
    dense: str = "dense",
) -> dict[str, str]:
    """Path -> `<layer>/<kind>`.

    Parameters
    ----------
    paths
        Of the whole network, in the order of its definition.
    convolutions, norms, dense
        The numbered layers; by default as Keras 3 numbers the first network of a session.
    """
    wanted = list(paths)
    first = keras_numbers.numbered([], keras_numbers.CONVOLUTION, NUMBERED)
    first_norm = keras_numbers.numbered([], keras_numbers.NORM, NUMBERED)
    named = keras_numbers.unit_names(
        wanted, keras_numbers.units_of(wanted), convolutions or first, norms or first_norm
    )
    last = {f"logits/{leaf}": f"{dense}/{KINDS[leaf]}" for leaf in ("weight", "bias")}
    return {path: named.get(path) or last[path] for path in wanted}


def fit(shapes: Mapping[str, tuple[int, ...]]) -> Fit | None:
    """How a file of these names becomes a network."""
    gamma = any(name.endswith("/gamma") for name in shapes)
    (dense,) = keras_numbers.numbered(shapes, keras_numbers.DENSE, 1)
    classes = num_classes(shapes, f"{dense}/kernel", 1)
    named = names(
        paths("inception_v4", classifier=bool(classes), batch_norm_gamma=gamma),
        keras_numbers.numbered(shapes, keras_numbers.CONVOLUTION, NUMBERED),
        keras_numbers.numbered(shapes, keras_numbers.NORM, NUMBERED),
        dense,
    )
    alike = likeness(shapes, named.values())
    if not alike:
        return None
    return Fit(
        source="Keras, kentsommer",
        architecture="inception_v4",
        config={"batch_norm_gamma": gamma, **classes},
        names=named,
        layout="tensorflow",
        preprocessing=KENTSOMMER,
        likeness=alike,
    )
