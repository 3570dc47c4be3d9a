"""Inception-v4 in Keras as kentsommer makes it: every layer unnamed, so that Keras numbers them.

Written from the figures of arXiv:1602.07261 and the order in which his weights are numbered: within
a block from branch to branch, and in each from its beginning to its end.  It needs the environment
of `tools/reference`; `conversions.py` uses it.
"""

import os
import re
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import keras
from keras import layers

from rule import DATA, draw
from torch_names import NAMES

Map = Any


def conv(
    x: Map, height: int, width: int, filters: int, *, stride: int = 1, same: bool = True
) -> Map:
    """Convolution without bias, batch norm without gamma, ReLU."""
    padding = "same" if same else "valid"
    x = layers.Conv2D(filters, (height, width), stride, padding, use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(scale=False)(x))


def chain(x: Map, *sizes: tuple[int, int, int]) -> Map:
    """Convolutions one after the other."""
    for height, width, filters in sizes:
        x = conv(x, height, width, filters)
    return x


def reduced(x: Map, filters: int) -> Map:
    """3 x 3 with stride 2, not padded."""
    return conv(x, 3, 3, filters, stride=2, same=False)


def pooled(x: Map) -> Map:
    """Largest of 3 x 3 with stride 2, not padded."""
    return layers.MaxPooling2D(3, 2)(x)


def averaged(x: Map, filters: int) -> Map:
    """Mean of 3 x 3, then 1 x 1."""
    return conv(layers.AveragePooling2D(3, 1, "same")(x), 1, 1, filters)


def stem(x: Map) -> Map:
    """Figure 3."""
    x = conv(conv(reduced(x, 32), 3, 3, 32, same=False), 3, 3, 64)
    x = layers.concatenate([pooled(x), reduced(x, 96)])
    left = conv(chain(x, (1, 1, 64)), 3, 3, 96, same=False)
    right = conv(chain(x, (1, 1, 64), (1, 7, 64), (7, 1, 64)), 3, 3, 96, same=False)
    x = layers.concatenate([left, right])
    return layers.concatenate([reduced(x, 192), pooled(x)])


def inception_a(x: Map) -> Map:
    """Figure 4."""
    first = chain(x, (1, 1, 96))
    second = chain(x, (1, 1, 64), (3, 3, 96))
    third = chain(x, (1, 1, 64), (3, 3, 96), (3, 3, 96))
    return layers.concatenate([first, second, third, averaged(x, 96)])


def reduction_a(x: Map) -> Map:
    """Figure 7."""
    first = reduced(x, 384)
    return layers.concatenate([first, reduced(chain(x, (1, 1, 192), (3, 3, 224)), 256), pooled(x)])


def inception_b(x: Map) -> Map:
    """Figure 5, as released."""
    first = chain(x, (1, 1, 384))
    second = chain(x, (1, 1, 192), (1, 7, 224), (7, 1, 256))
    third = chain(x, (1, 1, 192), (7, 1, 192), (1, 7, 224), (7, 1, 224), (1, 7, 256))
    return layers.concatenate([first, second, third, averaged(x, 128)])


def reduction_b(x: Map) -> Map:
    """Figure 8."""
    first = reduced(chain(x, (1, 1, 192)), 192)
    second = reduced(chain(x, (1, 1, 256), (1, 7, 256), (7, 1, 320)), 320)
    return layers.concatenate([first, second, pooled(x)])


def inception_c(x: Map) -> Map:
    """Figure 6."""
    first = chain(x, (1, 1, 256))
    second = chain(x, (1, 1, 384))
    second = [conv(second, 1, 3, 256), conv(second, 3, 1, 256)]
    third = chain(x, (1, 1, 384), (3, 1, 448), (1, 3, 512))
    third = [conv(third, 1, 3, 256), conv(third, 3, 1, 256)]
    return layers.concatenate([first, *second, *third, averaged(x, 256)])


def build(classes: int) -> keras.Model:
    """Figure 9, ending in logits."""
    x = pictures = layers.Input((299, 299, 3))
    x = stem(x)
    for block, count in [
        (inception_a, 4),
        (reduction_a, 1),
        (inception_b, 7),
        (reduction_b, 1),
        (inception_c, 3),
    ]:
        for _ in range(count):
            x = block(x)
    return keras.Model(pictures, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def put_weights(model: keras.Model) -> None:
    """Fill all but the classifier with the reference weights, and what gamma does into the rest."""
    paths = [
        path.removesuffix("/weight")
        for path in NAMES["inception_v4"].network.values()
        if path.endswith("/weight") and path != "logits/weight"
    ]
    filters, norms = (
        sorted((layer for layer in model.layers if isinstance(layer, kind)), key=number)
        for kind in (layers.Conv2D, layers.BatchNormalization)
    )
    with h5py.File(DATA / "reference_inception_v4.h5") as file:
        for path, convolution, norm in zip(paths, filters, norms, strict=True):
            shape = (norm.beta.shape[0],)
            gamma, beta = (draw(f"{path}/batch_norm/{leaf}", shape) for leaf in ("gamma", "beta"))
            mean, variance = (
                file[f"statistics/{path}/batch_norm/running_{leaf}"][()] for leaf in ("mean", "var")
            )
            narrowed = (variance + 1e-3) / gamma**2 - 1e-3
            assert (narrowed > 0).all(), path
            convolution.set_weights([draw(f"{path}/weight", tuple(convolution.kernel.shape))])
            norm.set_weights([beta, mean, narrowed])


def number(layer: Any) -> int:
    """In the name that Keras gave."""
    found = re.search(r"_(\d+)$", layer.name)
    return int(found[1]) if found else 0
