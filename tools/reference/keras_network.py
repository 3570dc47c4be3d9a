"""Inception-ResNet-v2 of keras.applications: a second, independently written witness.

Keras numbers most layers automatically, so the table is the order of creation, checked by count
and by the shape of every array; the rest has names of its own.

Trap: everywhere but on TensorFlow, Keras 3 makes float32 of every float64 that it promotes,
whatever `floatx` says, so batch norm runs in float32 inside a float64 network.  One entry of one
table decides it; `build` sets that entry.
"""

import os
import re

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import numpy.typing as npt
import torch
from keras.src.backend.common import dtypes

from rule import draw

Floats = npt.NDArray[np.floating]
Statistics = dict[str, npt.NDArray[np.float32]]

BLOCK35 = (
    "branch_0/conv2d_1x1",
    "branch_1/conv2d_0a_1x1",
    "branch_1/conv2d_0b_3x3",
    "branch_2/conv2d_0a_1x1",
    "branch_2/conv2d_0b_3x3",
    "branch_2/conv2d_0c_3x3",
)
BLOCK17 = (
    "branch_0/conv2d_1x1",
    "branch_1/conv2d_0a_1x1",
    "branch_1/conv2d_0b_1x7",
    "branch_1/conv2d_0c_7x1",
)
BLOCK8 = (
    "branch_0/conv2d_1x1",
    "branch_1/conv2d_0a_1x1",
    "branch_1/conv2d_0b_1x3",
    "branch_1/conv2d_0c_3x1",
)
CREATION_ORDER = (  # of the units that are numbered, not named: conv2d, conv2d_1, ...
    "conv2d_1a_3x3",
    "conv2d_2a_3x3",
    "conv2d_2b_3x3",
    "conv2d_3b_1x1",
    "conv2d_4a_3x3",
    "mixed_5b/branch_0/conv2d_1x1",
    "mixed_5b/branch_1/conv2d_0a_1x1",
    "mixed_5b/branch_1/conv2d_0b_5x5",
    "mixed_5b/branch_2/conv2d_0a_1x1",
    "mixed_5b/branch_2/conv2d_0b_3x3",
    "mixed_5b/branch_2/conv2d_0c_3x3",
    "mixed_5b/branch_3/conv2d_0b_1x1",
    *(f"repeat/block35_{i}/{layer}" for i in range(1, 11) for layer in BLOCK35),
    "mixed_6a/branch_0/conv2d_1a_3x3",
    "mixed_6a/branch_1/conv2d_0a_1x1",
    "mixed_6a/branch_1/conv2d_0b_3x3",
    "mixed_6a/branch_1/conv2d_1a_3x3",
    *(f"repeat_1/block17_{i}/{layer}" for i in range(1, 21) for layer in BLOCK17),
    "mixed_7a/branch_0/conv2d_0a_1x1",
    "mixed_7a/branch_0/conv2d_1a_3x3",
    "mixed_7a/branch_1/conv2d_0a_1x1",
    "mixed_7a/branch_1/conv2d_1a_3x3",
    "mixed_7a/branch_2/conv2d_0a_1x1",
    "mixed_7a/branch_2/conv2d_0b_3x3",
    "mixed_7a/branch_2/conv2d_1a_3x3",
    *(f"repeat_2/block8_{i}/{layer}" for i in range(1, 10) for layer in BLOCK8),
    *(f"block8/{layer}" for layer in BLOCK8),
)
AFFINE = {
    **{f"block35_{i}_conv": f"repeat/block35_{i}/conv2d_1x1" for i in range(1, 11)},
    **{f"block17_{i}_conv": f"repeat_1/block17_{i}/conv2d_1x1" for i in range(1, 21)},
    **{f"block8_{i}_conv": f"repeat_2/block8_{i}/conv2d_1x1" for i in range(1, 10)},
    "block8_10_conv": "block8/conv2d_1x1",
    "predictions": "logits",
}
END_POINTS = {  # those whose layers have names
    "Mixed_5b": "mixed_5b",
    **{f"Repeat/block35_{i}": f"block35_{i}_ac" for i in range(1, 11)},
    "Mixed_6a": "mixed_6a",
    **{f"Repeat_1/block17_{i}": f"block17_{i}_ac" for i in range(1, 21)},
    "PreAuxLogits": "block17_20_ac",
    "Mixed_7a": "mixed_7a",
    **{f"Repeat_2/block8_{i}": f"block8_{i}_ac" for i in range(1, 10)},
}


def numbered(model: keras.Model, kind: str) -> list[keras.layers.Layer]:
    """The automatically named layers of a kind (`conv2d`, `conv2d_1`...), oldest first."""
    found = {}
    for layer in model.layers:
        match = re.fullmatch(rf"{kind}(?:_(\d+))?", layer.name)
        if match:
            found[int(match[1] or 0)] = layer
    return [found[number] for number in sorted(found)]


def with_gamma(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A copy of a layer in which batch norm has a gamma, which Keras' network has not."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        assert (config["scale"], config["epsilon"]) == (False, 1e-3)
        config["scale"] = True
    return type(layer).from_config(config)


def build(height: int, width: int, dtype: str) -> keras.Model:
    """The untouched network, but for gamma, in one precision throughout."""
    keras.backend.clear_session()
    keras.config.set_floatx(dtype)
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    assert keras.backend.result_type("float64", "float32") == "float64"
    original = keras.applications.InceptionResNetV2(
        weights=None, input_shape=(height, width, 3), classes=1000, classifier_activation=None
    )
    return keras.models.clone_model(original, clone_function=with_gamma)


def put_weights(model: keras.Model, known: Statistics) -> None:
    """Set every array: drawn weights and stored statistics.  `set_weights` checks the shapes."""
    convolutions, norms = numbered(model, "conv2d"), numbered(model, "batch_normalization")
    assert len(convolutions) == len(norms) == len(CREATION_ORDER) == 203
    convolutions.append(model.get_layer("conv_7b"))
    norms.append(model.get_layer("conv_7b_bn"))
    paths = (*CREATION_ORDER, "conv2d_7b_1x1")
    done = 0
    for path, convolution, norm in zip(paths, convolutions, norms, strict=True):
        filters = f"{path}/weight"
        convolution.set_weights([draw(filters, tuple(convolution.kernel.shape))])
        gamma, beta = (f"{path}/batch_norm/{leaf}" for leaf in ("gamma", "beta"))
        mean, variance = (f"{path}/batch_norm/running_{leaf}" for leaf in ("mean", "var"))
        shape = tuple(norm.gamma.shape)
        norm.set_weights([draw(gamma, shape), draw(beta, shape), known[mean], known[variance]])
        done += 5
    for name, path in AFFINE.items():
        layer = model.get_layer(name)
        kernel, bias = tuple(layer.kernel.shape), tuple(layer.bias.shape)
        layer.set_weights([draw(f"{path}/weight", kernel), draw(f"{path}/bias", bias)])
        done += 2
    assert done == len(model.weights), (done, len(model.weights))


def taps(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """End point -> symbolic output, in the order of the network."""
    units, pools = numbered(model, "activation"), numbered(model, "max_pooling2d")
    sums = numbered(model, "custom_scale_layer")
    assert (len(units), len(sums)) == (203, 40)
    stem = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"]
    found = {name: units[number].output for number, name in enumerate(stem)}
    found["MaxPool_3a_3x3"] = pools[0].output
    found["Conv2d_3b_1x1"] = units[3].output
    found["Conv2d_4a_3x3"] = units[4].output
    found["MaxPool_5a_3x3"] = pools[1].output
    found |= {name: model.get_layer(layer).output for name, layer in END_POINTS.items()}
    found["Block8"] = sums[-1].output
    found["Conv2d_7b_1x1"] = model.get_layer("conv_7b_ac").output
    found["PreLogitsFlatten"] = model.get_layer("avg_pool").output
    found["Logits"] = model.get_layer("predictions").output
    return found


def run(known: Statistics, pictures: Floats) -> dict[str, Floats]:
    """(N, H, W, 3) -> all end points but AuxLogits, in the precision of the pictures.

    Parameters
    ----------
    known
        Batch-norm statistics by path.
    """
    _, height, width, _ = pictures.shape
    model = build(height, width, pictures.dtype.name)
    put_weights(model, known)
    tapped = taps(model)
    with torch.no_grad():
        outputs = keras.Model(model.input, list(tapped.values()))(pictures, training=False)
        arrays = {
            name: keras.ops.convert_to_numpy(output)
            for name, output in zip(tapped, outputs, strict=True)
        }
        predictions = keras.ops.convert_to_numpy(keras.ops.softmax(outputs[-1]))
    logits, flat = arrays.pop("Logits"), arrays.pop("PreLogitsFlatten")
    arrays["global_pool"] = flat.reshape(len(flat), 1, 1, -1)
    return {**arrays, "PreLogitsFlatten": flat, "Logits": logits, "Predictions": predictions}
