"""minincep -> files of others -> their networks: the same answers?

    python tools/sources/round_trips.py write DIR net.h5 ...          # where minincep is
    python tools/sources/round_trips.py check DIR                     # where the others are
    python tools/sources/round_trips.py order tests/data/sources      # where Keras is

`write` exports each weights file to DIR/<name of the file>, in all kinds, beside pictures and what
minincep makes of them, op by op.  `check` loads each file with what is installed, says what is not,
and prints the largest difference in standard deviations of the answers.

For all of it, add onnxruntime to the environment of `tools/reference/README.md`.  A second one with
`tensorflow-cpu==2.15.1`, and with `pip install --no-deps keras-facenet`, tries Keras 2, too.
kentsommer's Inception-v4 is not on PyPI: `--inception-v4 FILE` is a copy of its inception_v4.py,
all layers imported from `keras.layers`.

`order` writes the layers of keras.applications' Inception-ResNet-v2 that have weights, in the order
in which Keras wants them, for the tests.
"""

import argparse
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Answers = Iterator[tuple[str, Floats, Floats]]  # who, what they answer, what minincep answers

SUFFIXES = {"safetensors": "safetensors", "keras": "h5", "onnx": "onnx"}
OTHER_SIZE = (181, 202)  # for ONNX, whose pictures may be of any size


def write(folder: Path, files: list[Path]) -> None:
    """Export networks, and keep what they answer."""
    import minincep as mi
    from minincep.autograd import Tensor, no_grad
    from minincep.export import export
    from minincep.io.reference import picture, scaled

    for file in files:
        network = mi.load(file)
        target = folder / file.stem
        target.mkdir(parents=True, exist_ok=True)
        for kind, suffix in SUFFIXES.items():
            export(network, target / f"net.{suffix}", kind)  # type: ignore[arg-type]
        size = (network.preprocessing.height, network.preprocessing.width)
        x = np.stack([scaled(picture(*size, seed)) for seed in range(3)])
        other = scaled(picture(*OTHER_SIZE))[None]
        with no_grad():
            y, other_y = network(Tensor(x)).data, network(Tensor(other)).data
        architecture = np.array(network.architecture)
        np.savez(
            target / "answers.npz",
            architecture=architecture,
            x=x,
            y=y,
            other=other,
            other_y=other_y,
        )


def check(folder: Path, inception_v4: Path | None) -> None:
    """Print how far the answers of others are from those of minincep."""
    checks: list[Callable[[Path, str, Any], Answers]] = [timm, facenet_pytorch, onnx_runtime]
    checks += [keras_applications, keras_facenet]
    if inception_v4:
        checks.append(lambda path, name, kept: kentsommer(path, name, kept, inception_v4))
    for target in sorted(path.parent for path in folder.glob("*/answers.npz")):
        kept = dict(np.load(target / "answers.npz"))
        for one in checks:
            try:
                for who, theirs, ours in one(target, str(kept["architecture"]), kept):
                    error = np.abs(theirs - ours).max() / ours.std()
                    print(f"{target.name:24} {who:44} {error:.1e}", flush=True)
            except ModuleNotFoundError as error:
                print(f"{target.name:24} {error}: not tried", flush=True)


def channels_first(x: Floats) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def timm(target: Path, architecture: str, kept: Any) -> Answers:
    """timm's networks, which load a file by its path."""
    if architecture not in ("inception_v4", "inception_resnet_v2"):
        return
    import timm
    import torch

    path = str(target / "net.safetensors")
    classes = kept["y"].shape[1]
    network = timm.create_model(architecture, num_classes=classes, checkpoint_path=path).eval()
    with torch.inference_mode():
        yield f"timm {timm.__version__}", network(channels_first(kept["x"])).numpy(), kept["y"]


def facenet_pytorch(target: Path, architecture: str, kept: Any) -> Answers:
    """facenet-pytorch's network; embeddings of another length than 512 need another last layer."""
    if architecture != "inception_resnet_v1":
        return
    import torch
    from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1
    from safetensors.torch import load_file

    network = InceptionResnetV1()
    units = kept["y"].shape[1]
    if units != 512:
        network.last_linear = torch.nn.Linear(1792, units, bias=False)
        network.last_bn = torch.nn.BatchNorm1d(units, eps=0.001)
    network.load_state_dict(load_file(target / "net.safetensors"))
    with torch.inference_mode():
        theirs = network.eval()(channels_first(kept["x"])).numpy()
    yield f"facenet-pytorch {importlib.metadata.version('facenet-pytorch')}", theirs, kept["y"]


def onnx_runtime(target: Path, _: str, kept: Any) -> Answers:
    """The whole network: a valid file, one picture, three, and one of another size."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(target / "net.onnx", full_check=True)
    session = onnxruntime.InferenceSession(target / "net.onnx", providers=["CPUExecutionProvider"])
    for x, y in [
        (kept["x"][:1], kept["y"][:1]),
        (kept["x"], kept["y"]),
        (kept["other"], kept["other_y"]),
    ]:
        (theirs,) = session.run(None, {"input": x})
        yield f"ONNX Runtime {onnxruntime.__version__} {x.shape}", theirs, y


def keras_applications(target: Path, architecture: str, kept: Any) -> Answers:
    """keras.applications' network, which loads a file by its path."""
    if architecture != "inception_resnet_v2":
        return
    import keras

    network = keras.applications.InceptionResNetV2(
        weights=str(target / "net.h5"), classes=kept["y"].shape[1], classifier_activation=None
    )
    yield f"keras.applications {keras.__version__}", answers(network, kept), kept["y"]


def keras_facenet(target: Path, architecture: str, kept: Any) -> Answers:
    """The network of keras-facenet, without the rest of that package, which needs OpenCV."""
    if architecture != "inception_resnet_v1":
        return
    import keras

    spec = importlib.util.find_spec("keras_facenet")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'keras_facenet'")
    module = imported(Path(spec.origin).with_name("inception_resnet_v1.py"))
    network = module.InceptionResNetV1(
        classes=kept["y"].shape[1], weights_path=str(target / "net.h5")
    )
    vectors = answers(network, kept)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    yield f"keras-facenet, Keras {keras.__version__}", vectors, kept["y"]


def kentsommer(target: Path, architecture: str, kept: Any, file: Path) -> Answers:
    """kentsommer's network, whose answers are probabilities."""
    if architecture != "inception_v4":
        return
    import keras

    network = imported(file).create_model(num_classes=kept["y"].shape[1])
    network.load_weights(str(target / "net.h5"))
    network.layers[-1].activation = keras.activations.linear
    network = keras.Model(network.inputs, network.layers[-1](network.layers[-2].output))
    yield f"kentsommer, Keras {keras.__version__}", answers(network, kept), kept["y"]


def answers(network: Any, kept: Any) -> Floats:
    return np.array(network.predict(kept["x"], verbose=0))


def imported(file: Path) -> ModuleType:
    """A module from its file alone."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def order(folder: Path) -> None:
    """Write the layers of keras.applications' network in the order of Keras."""
    import keras

    network = keras.applications.InceptionResNetV2(weights=None)
    layers = [layer.name for layer in network.layers if layer.weights]
    (folder / "keras_layers.txt").write_text("\n".join(layers) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["write", "check", "order"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", nargs="*", type=Path, help="weights files, for write")
    parser.add_argument("--inception-v4", type=Path, help="copy of kentsommer's inception_v4.py")
    given = parser.parse_args()
    if given.command == "write":
        write(given.folder, given.files)
    elif given.command == "check":
        check(given.folder, given.inception_v4)
    else:
        order(given.folder)


if __name__ == "__main__":
    main()
