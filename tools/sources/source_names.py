"""Names and shapes of all arrays in files of timm, facenet-pytorch and keras.applications.

Written by the libraries themselves, in the environment that `tools/reference/README.md` describes:

    python tools/sources/source_names.py            # tests/data/names/{timm,facenet,keras}_*.txt

The lists of Cadene's networks are timm's with another classifier; those of TensorFlow's files,
which nothing here can write any more, are spelled out in `tests/io/names/`.
"""

import os
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import timm
from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1

NAMES = Path(__file__).resolve().parents[2] / "tests" / "data" / "names"


def write(name: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """One line an array: name, space, shape such as 64x32x3x3; a number alone is "()"."""
    rows = [f"{key} {'x'.join(map(str, shape)) or '()'}\n" for key, shape in shapes.items()]
    (NAMES / f"{name}.txt").write_text("".join(rows))
    print(f"{name}.txt: {len(rows)} arrays")


def main() -> None:
    """Write all lists."""
    for architecture in ("inception_v4", "inception_resnet_v2"):
        state = timm.create_model(architecture).state_dict()
        write(f"timm_{architecture}", {key: tuple(value.shape) for key, value in state.items()})
    faces = InceptionResnetV1(classify=True, num_classes=8631).state_dict()
    write("facenet_pytorch", {key: tuple(value.shape) for key, value in faces.items()})
    keras.backend.clear_session()
    model = keras.applications.InceptionResNetV2(weights=None)
    write(
        "keras_inception_resnet_v2",
        {
            f"{layer.name}/{weight.name}": tuple(weight.shape)
            for layer in model.layers
            for weight in layer.weights
        },
    )


if __name__ == "__main__":
    main()
