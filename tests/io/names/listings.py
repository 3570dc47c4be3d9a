"""What files of each source hold: name -> shape of each array.

The lists in tests/data/names were written by the libraries (`tools/sources/source_names.py`).
TensorFlow's and kentsommer's are spelled out here, scope by scope and layer by layer.
"""

from pathlib import Path

DATA = Path(__file__).parents[2] / "data" / "names"

Shapes = dict[str, tuple[int, ...]]


def stored(name: str) -> Shapes:
    """A list in tests/data/names."""
    rows = [line.split(" ") for line in (DATA / f"{name}.txt").read_text().splitlines()]
    return {key: tuple(int(n) for n in shape.strip("()").split("x") if n) for key, shape in rows}


def timm_v4() -> Shapes:
    return stored("timm_inception_v4")


def timm_v2() -> Shapes:
    return stored("timm_inception_resnet_v2")


def cadene_v4() -> Shapes:
    """1001 classes, and no counters in the older files."""
    return _cadene(timm_v4())


def cadene_v2() -> Shapes:
    return _cadene(timm_v2())


def _cadene(shapes: Shapes) -> Shapes:
    found = {}
    for name, shape in shapes.items():
        if name.startswith(("classif.", "last_linear.")):
            found["last_linear." + name.rpartition(".")[2]] = (1001, *shape[1:])
        elif not name.endswith("num_batches_tracked"):
            found[name] = shape
    return found


def facenet_pytorch() -> Shapes:
    """With the classifier of 8631 identities."""
    return stored("facenet_pytorch")


def facenet_pytorch_alone() -> Shapes:
    return {k: s for k, s in stored("facenet_pytorch").items() if not k.startswith("logits.")}


def keras_v2() -> Shapes:
    return stored("keras_inception_resnet_v2")


def keras_facenet() -> Shapes:
    """The real facenet_keras.h5, 128-d."""
    rows = stored("facenet_keras").items()
    return {f"{k.split('/')[0]}/{k.split('/')[2].removesuffix(':0')}": s for k, s in rows}


STEM = "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3"
RESNET_STEM = f"{STEM} Conv2d_3b_1x1 Conv2d_4a_3x3"
V4_4A = (
    "0/Conv2d_0a_1x1 0/Conv2d_1a_3x3 1/Conv2d_0a_1x1 1/Conv2d_0b_1x7 1/Conv2d_0c_7x1 "
    "1/Conv2d_1a_3x3"
)
V4_A = (
    "0/Conv2d_0a_1x1 1/Conv2d_0a_1x1 1/Conv2d_0b_3x3 2/Conv2d_0a_1x1 2/Conv2d_0b_3x3 "
    "2/Conv2d_0c_3x3 3/Conv2d_0b_1x1"
)
REDUCTION_A = "0/Conv2d_1a_3x3 1/Conv2d_0a_1x1 1/Conv2d_0b_3x3 1/Conv2d_1a_3x3"
V4_B = (
    "0/Conv2d_0a_1x1 1/Conv2d_0a_1x1 1/Conv2d_0b_1x7 1/Conv2d_0c_7x1 2/Conv2d_0a_1x1 "
    "2/Conv2d_0b_7x1 2/Conv2d_0c_1x7 2/Conv2d_0d_7x1 2/Conv2d_0e_1x7 3/Conv2d_0b_1x1"
)
V4_REDUCTION_B = (
    "0/Conv2d_0a_1x1 0/Conv2d_1a_3x3 1/Conv2d_0a_1x1 1/Conv2d_0b_1x7 1/Conv2d_0c_7x1 "
    "1/Conv2d_1a_3x3"
)
V4_C = (
    "0/Conv2d_0a_1x1 1/Conv2d_0a_1x1 1/Conv2d_0b_1x3 1/Conv2d_0c_3x1 2/Conv2d_0a_1x1 "
    "2/Conv2d_0b_3x1 2/Conv2d_0c_1x3 2/Conv2d_0d_1x3 2/Conv2d_0e_3x1 3/Conv2d_0b_1x1"
)
V2_5B = (
    "0/Conv2d_1x1 1/Conv2d_0a_1x1 1/Conv2d_0b_5x5 2/Conv2d_0a_1x1 2/Conv2d_0b_3x3 2/Conv2d_0c_3x3 "
    "3/Conv2d_0b_1x1"
)
BLOCK35 = (
    "0/Conv2d_1x1 1/Conv2d_0a_1x1 1/Conv2d_0b_3x3 2/Conv2d_0a_1x1 2/Conv2d_0b_3x3 2/Conv2d_0c_3x3 "
    "Conv2d_1x1"
)
BLOCK17 = "0/Conv2d_1x1 1/Conv2d_0a_1x1 1/Conv2d_0b_1x7 1/Conv2d_0c_7x1 Conv2d_1x1"
BLOCK8 = "0/Conv2d_1x1 1/Conv2d_0a_1x1 1/Conv2d_0b_1x3 1/Conv2d_0c_3x1 Conv2d_1x1"
RESNET_REDUCTION_B = (
    "0/Conv2d_0a_1x1 0/Conv2d_1a_3x3 1/Conv2d_0a_1x1 1/Conv2d_1a_3x3 2/Conv2d_0a_1x1 "
    "2/Conv2d_0b_3x3 2/Conv2d_1a_3x3"
)
V4 = {
    "": STEM,
    "Mixed_3a": "1/Conv2d_0a_3x3",
    "Mixed_4a": V4_4A,
    "Mixed_5a": "0/Conv2d_1a_3x3",
    **{f"Mixed_5{letter}": V4_A for letter in "bcde"},
    "Mixed_6a": REDUCTION_A,
    **{f"Mixed_6{letter}": V4_B for letter in "bcdefgh"},
    "Mixed_7a": V4_REDUCTION_B,
    **{f"Mixed_7{letter}": V4_C for letter in "bcd"},
    "Logits": "Logits",
}
V2 = {
    "": RESNET_STEM,
    "Mixed_5b": V2_5B,
    **{f"Repeat/block35_{i}": BLOCK35 for i in range(1, 11)},
    "Mixed_6a": REDUCTION_A,
    **{f"Repeat_1/block17_{i}": BLOCK17 for i in range(1, 21)},
    "Mixed_7a": RESNET_REDUCTION_B,
    **{f"Repeat_2/block8_{i}": BLOCK8 for i in range(1, 10)},
    "Block8": BLOCK8,
    "/": "Conv2d_7b_1x1",
    "Logits": "Logits",
}
V1 = {
    "": f"{RESNET_STEM} Conv2d_4b_3x3",
    **{f"Repeat/block35_{i}": BLOCK35 for i in range(1, 6)},
    "Mixed_6a": REDUCTION_A,
    **{f"Repeat_1/block17_{i}": BLOCK17 for i in range(1, 11)},
    "Mixed_7a": RESNET_REDUCTION_B,
    **{f"Repeat_2/block8_{i}": BLOCK8 for i in range(1, 6)},
    "Block8": BLOCK8,
    "/": "Bottleneck",
}


def scopes(network: dict[str, str]) -> list[str]:
    """The scopes of all layers."""
    found = []
    for block, layers in network.items():
        for layer in layers.split():
            branch = f"Branch_{layer}" if layer[0].isdigit() else layer
            found.append(f"{block}/{branch}".lstrip("/"))
    return found


def variables(scope: str) -> list[str]:
    """The variables of a layer."""
    if scope.endswith(("Logits", "Aux_logits")) or ("lock" in scope and "Branch" not in scope):
        return [f"{scope}/weights", f"{scope}/biases"]
    norm = ("beta", "moving_mean", "moving_variance")
    return [f"{scope}/weights", *(f"{scope}/BatchNorm/{leaf}" for leaf in norm)]


def _tensorflow(scope: str, network: dict[str, str], golden: str, classes: int) -> Shapes:
    """The names of TensorFlow with the shapes of ours, which have the same layout and order."""
    names = [f"{scope}/{name}" for layer in scopes(network) for name in variables(layer)]
    shapes = dict(zip(names, stored(golden).values(), strict=True))
    for name, shape in shapes.items():
        if "/Logits/" in name:
            shapes[name] = (*shape[:-1], classes)
    return shapes


def slim_v4() -> Shapes:
    return _tensorflow("InceptionV4", V4, "inception_v4", 1001)


def slim_v2() -> Shapes:
    return _tensorflow("InceptionResnetV2", V2, "inception_resnet_v2", 1001)


def slim_v4_aux() -> Shapes:
    return slim_v4() | _auxiliary("InceptionV4", "Conv2d_2a", "Aux_logits", "inception_v4_aux")


def slim_v2_aux() -> Shapes:
    head = _auxiliary("InceptionResnetV2", "Conv2d_2a_5x5", "Logits", "inception_resnet_v2_aux")
    return slim_v2() | head


def _auxiliary(scope: str, convolution: str, last: str, golden: str) -> Shapes:
    layers = [f"{scope}/AuxLogits/{name}" for name in ("Conv2d_1b_1x1", convolution, last)]
    names = [name for layer in layers for name in variables(layer)]
    shapes = dict(zip(names, stored(golden).values(), strict=True))
    return {n: (*s[:-1], 1001) if s[-1] == 1000 else s for n, s in shapes.items()}


def facenet() -> Shapes:
    """Checkpoint with the classifier of 10575 identities beside the network."""
    shapes = _tensorflow("InceptionResnetV1", V1, "inception_resnet_v1", 0)
    return shapes | {"Logits/weights": (512, 10575), "Logits/biases": (10575,)}


def facenet_alone() -> Shapes:
    """As in the frozen graphs."""
    return _tensorflow("InceptionResnetV1", V1, "inception_resnet_v1", 0)


def yuyang_huang() -> Shapes:
    """1001 classes."""
    found = {}
    for name, shape in slim_v2().items():
        scope, _, leaf = name.removeprefix("InceptionResnetV2/").rpartition("/")
        norm = "_BatchNorm" if scope.endswith("/BatchNorm") else ""
        scope = scope.removesuffix("/BatchNorm").replace("Logits/Logits", "Logits")
        for repeat in ("Repeat/b", "Repeat_1/b", "Repeat_2/b"):
            scope = scope.replace(repeat, "B")
        scope = scope.replace("Block8/", "Block8_10/")
        kind = {"weights": "kernel", "biases": "bias"}.get(leaf, leaf)
        found[f"{scope.replace('/', '_')}{norm}/{kind}"] = shape
    return found


KENTSOMMER = {  # height x width x filters in the order in which the layers are made
    "stem": "3x3x32 3x3x32 3x3x64 3x3x96 1x1x64 3x3x96 1x1x64 1x7x64 7x1x64 3x3x96 3x3x192",
    "A": "1x1x96 1x1x64 3x3x96 1x1x64 3x3x96 3x3x96 1x1x96",
    "reduction A": "3x3x384 1x1x192 3x3x224 3x3x256",
    "B": ("1x1x384 1x1x192 1x7x224 7x1x256 1x1x192 7x1x192 1x7x224 7x1x224 1x7x256 1x1x128"),
    "reduction B": "1x1x192 3x3x192 1x1x256 1x7x256 7x1x320 3x3x320",
    "C": "1x1x256 1x1x384 1x3x256 3x1x256 1x1x384 3x1x448 1x3x512 1x3x256 3x1x256 1x1x256",
}


def kentsommer_filters() -> list[tuple[int, ...]]:
    """(height, width, filters) of the 149 convolutions."""
    order = ["stem", *4 * ["A"], "reduction A", *7 * ["B"], "reduction B", *3 * ["C"]]
    sizes = " ".join(KENTSOMMER[block] for block in order).split()
    return [tuple(int(n) for n in size.split("x")) for size in sizes]


def kentsommer() -> Shapes:
    """As Keras 2 numbers; the channels that come in are those of the golden list."""
    filters = [s for name, s in stored("inception_v4").items() if len(s) == 4]
    found: Shapes = {}
    for number, (height, width, out) in enumerate(kentsommer_filters(), 1):
        found[f"conv2d_{number}/kernel"] = (height, width, filters[number - 1][2], out)
        for leaf in ("beta", "moving_mean", "moving_variance"):
            found[f"batch_normalization_{number}/{leaf}"] = (out,)
    return found | {"dense_1/kernel": (1536, 1001), "dense_1/bias": (1001,)}


SOURCES = {
    "timm_v4": timm_v4,
    "timm_v2": timm_v2,
    "cadene_v4": cadene_v4,
    "cadene_v2": cadene_v2,
    "facenet_pytorch": facenet_pytorch,
    "facenet_pytorch_alone": facenet_pytorch_alone,
    "keras_v2": keras_v2,
    "keras_facenet": keras_facenet,
    "yuyang_huang": yuyang_huang,
    "kentsommer": kentsommer,
    "slim_v4": slim_v4,
    "slim_v2": slim_v2,
    "slim_v4_aux": slim_v4_aux,
    "slim_v2_aux": slim_v2_aux,
    "facenet": facenet,
    "facenet_alone": facenet_alone,
}
