"""Write the small files in tests/data/sources that Keras must write.

    python -m tools.sources.keras_files tests/data/sources

Run it twice: with Keras 3 (any backend) it writes `keras3*`, with tensorflow-cpu==2.15.1, which has
the last Keras 2, `keras2*`.  The arrays follow from `sample_states.py`.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    import keras
except ModuleNotFoundError:
    from tensorflow import keras

from tools.sources.sample_states import KERAS
from tools.sources.sample_states import keras as values


def network() -> Any:
    """Two branches, the first of which is the shorter; trained for a step, then filled."""
    layers = keras.layers
    image = keras.Input((4, 4, 3))
    short = layers.Conv2D(4, 1, use_bias=False, name="conv2d")(image)
    long = layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv2d_1")(image)
    long = layers.BatchNormalization(scale=False, name="batch_normalization")(long)
    long = layers.Conv2D(4, 1, name="block1_conv")(long)
    x = layers.BatchNormalization(name="batch_normalization_1")(layers.add([short, long]))
    model = keras.Model(image, layers.Dense(5, name="predictions")(layers.Dropout(0.2)(x)))
    model.compile("sgd", "mse")
    model.fit(np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4, 5)), verbose=0)
    for layer in model.layers:
        kinds = [variable.name.partition(":")[0].rpartition("/")[2] for variable in layer.weights]
        arrays = [f"{layer.name}/{kind}" for kind in kinds]
        layer.set_weights([values(name, KERAS[name][1]) for name in arrays])
    return model


def write(folder: Path) -> None:
    """All files that this Keras writes."""
    folder.mkdir(parents=True, exist_ok=True)
    version = keras.__version__[0]
    model = network()
    model.save(folder / f"keras{version}.keras")
    model.save(folder / f"keras{version}.h5")
    if version == "2":
        model.save_weights(folder / "keras2_weights.h5")
        return
    model.save_weights(folder / "keras3.weights.h5")
    small = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, dtype="bfloat16")])
    small.layers[0].set_weights(
        [
            values(f"predictions/{kind}", KERAS[f"predictions/{kind}"][1])
            for kind in ("kernel", "bias")
        ]
    )
    small.save_weights(folder / "keras3_bfloat16.weights.h5")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
