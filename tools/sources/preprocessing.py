"""What each source of weights makes of a picture, by its own code.

    python tools/sources/preprocessing.py timm_v4 timm_v2 cadene keras facenet_2018 facenet_2017
    python tools/sources/preprocessing.py slim
    python tools/sources/preprocessing.py kentsommer

adds to tests/data/sources/preprocessing.npz.  The first line needs torch, torchvision, timm,
facenet-pytorch and Keras (the environment of tools/reference), the second tensorflow-cpu==2.15.1,
the third opencv-python-headless; each imports only what it needs.

Of each prepared picture some pixels are stored, as the network gets them: `<source>_<n>`, in the
places `places_299` or `places_160`, of the pictures `picture(n)`.
"""

import io
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

DATA = Path(__file__).parents[2] / "tests" / "data" / "sources" / "preprocessing.npz"

# Portrait and landscape, odd, even, just right, tiny, and long.
SIZES = ((517, 333), (375, 500), (299, 299), (23, 41), (1024, 768), (90, 700))

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def picture(number: int) -> Pixels:
    """Noise, fine and coarse, so that every mistake of a part of a pixel shows."""
    random = np.random.RandomState(number)
    height, width = SIZES[number]
    fine = random.randint(0, 256, (height, width, 3))
    coarse = random.randint(0, 256, (height // 9 + 1, width // 9 + 1, 3))
    coarse = coarse.repeat(9, axis=0).repeat(9, axis=1)[:height, :width]
    return ((fine + 3 * coarse) // 4).astype(np.uint8)


def places(side: int) -> npt.NDArray[np.int16]:
    """Rows and columns of the pixels that are stored, the corners among them."""
    corners = [(row, column) for row in (0, side - 1) for column in (0, side - 1)]
    drawn = np.random.RandomState(side).randint(0, side, (246, 2))
    return np.concatenate([corners, drawn]).astype(np.int16)


def timm(name: str) -> Callable[[Pixels], Floats]:
    """timm's transform for evaluation, with the settings that timm keeps for these weights."""
    import timm.data
    from PIL import Image

    settings = timm.data.resolve_data_config(timm.get_pretrained_cfg(name).to_dict())
    transform = timm.data.create_transform(**settings, is_training=False)
    return lambda pixels: transform(Image.fromarray(pixels)).numpy().transpose(1, 2, 0)


def cadene() -> Callable[[Pixels], Floats]:
    """The transform of Cadene's `TransformImage`, as it is composed there."""
    from PIL import Image
    from torchvision import transforms

    transform = transforms.Compose(
        [
            transforms.Resize(math.floor(299 / 0.875)),
            transforms.CenterCrop(299),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    return lambda pixels: transform(Image.fromarray(pixels)).numpy().transpose(1, 2, 0)


def keras() -> Callable[[Pixels], Floats]:
    """What Keras' documentation does with a file."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from keras.applications.inception_resnet_v2 import preprocess_input
    from keras.utils import img_to_array, load_img
    from PIL import Image

    def prepare(pixels: Pixels) -> Floats:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        file.seek(0)
        prepared: Floats = preprocess_input(img_to_array(load_img(file, target_size=(299, 299))))
        return prepared

    return prepare


def facenet(standardize: str) -> Callable[[Pixels], Floats]:
    """A face that is cut out already; facenet's formulae, as facenet-pytorch has them."""
    import torch
    from facenet_pytorch.models import mtcnn
    from facenet_pytorch.models.utils.detect_face import crop_resize
    from PIL import Image

    def prepare(pixels: Pixels) -> Floats:
        height, width = pixels.shape[:2]
        face = crop_resize(Image.fromarray(pixels), (0, 0, width, height), 160)
        levels = torch.from_numpy(np.asarray(face, np.float32))
        prepared: Floats = getattr(mtcnn, standardize)(levels).numpy()
        return prepared

    return prepare


def slim() -> Callable[[Pixels], Floats]:
    """The steps of TF-slim's `preprocess_for_eval`."""
    import tensorflow as tf

    def prepare(pixels: Pixels) -> Floats:
        image = tf.image.convert_image_dtype(tf.constant(pixels), tf.float32)
        image = tf.image.central_crop(image, central_fraction=0.875)
        batch = tf.compat.v1.image.resize_bilinear(image[None], [299, 299], align_corners=False)
        prepared: Floats = ((batch[0] - 0.5) * 2.0).numpy()
        return prepared

    return prepare


def kentsommer() -> Callable[[Pixels], Floats]:
    """A sixteenth of each side away, then OpenCV."""
    import cv2

    def prepare(pixels: Pixels) -> Floats:
        y, x = (size // 16 for size in pixels.shape[:2])
        inner = pixels[y : pixels.shape[0] - y, x : pixels.shape[1] - x]
        levels = cv2.resize(inner, (299, 299)).astype(np.float32)
        prepared: Floats = (levels / 255 - 0.5) * 2
        return prepared

    return prepare


SOURCES: dict[str, Callable[[], Callable[[Pixels], Floats]]] = {
    "timm_v4": lambda: timm("inception_v4.tf_in1k"),
    "timm_v2": lambda: timm("inception_resnet_v2.tf_in1k"),
    "cadene": cadene,
    "keras": keras,
    "facenet_2018": lambda: facenet("fixed_image_standardization"),
    "facenet_2017": lambda: facenet("prewhiten"),
    "slim": slim,
    "kentsommer": kentsommer,
}


def main(wanted: list[str]) -> None:
    """Prepare all pictures as these sources do, and store the results."""
    stored: dict[str, npt.NDArray[np.generic]] = {}
    if DATA.exists():
        with np.load(DATA) as file:
            stored.update(file)
    stored |= {f"places_{side}": places(side) for side in (160, 299)}
    for source in wanted:
        prepare = SOURCES[source]()
        for number in range(len(SIZES)):
            prepared = prepare(picture(number))
            rows, columns = places(len(prepared)).T
            stored[f"{source}_{number}"] = prepared[rows, columns].astype(np.float32)
    np.savez_compressed(DATA, **stored)  # type: ignore[arg-type]
    print(f"{DATA}: {len(stored)} arrays, {DATA.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
