"""Networks of other libraries at full size, written by them, converted, and compared by logits.

    python tools/sources/conversions.py write DIR      # with the environment of tools/reference
    python tools/sources/conversions.py check DIR      # with minincep's own

`write` fills the libraries' networks with the reference weights, every array with numbers of its
own and the batch-norm statistics calibrated, and lets each library save them in all its formats,
3 GB in all, and compute logits of two pictures.  `check` converts each file in a process of its
own and prints the error of the logits, which is the largest difference over their standard
deviation, and how far the memory of the process grew above what it was after its imports, over the
size of the file.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

REPOSITORY = Path(__file__).resolve().parents[2]
SEEDS = (1, 2)
BOUND = 1e-4
IDENTITIES = 8631  # of VGGFace2, the classifier of facenet-pytorch
WITH_BACKGROUND = ("cadene_v2.pth", "kentsommer.h5")

Floats = npt.NDArray[np.floating]


def pictures(side: int) -> Floats:
    """(2, side, side, 3) in [-1, 1]."""
    from minincep.io.reference import picture, scaled

    return np.stack([scaled(picture(side, side, seed)) for seed in SEEDS]).astype(np.float32)


# --- with the libraries ----------------------------------------------------------------------


def write(folder: Path) -> None:
    """Write all files, and `expected.npz` with the logits by file."""
    sys.path[:0] = [str(REPOSITORY / "tools" / "reference"), str(REPOSITORY)]
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, Floats] = {}
    for source, architecture in [
        ("timm_v4", "inception_v4"),
        ("timm_v2", "inception_resnet_v2"),
        ("facenet_pytorch", "inception_resnet_v1"),
    ]:
        expected |= write_torch(folder, source, architecture)
    expected |= write_keras(folder)
    expected |= write_kentsommer(folder, expected["timm_v4.pth"])
    np.savez(folder / "expected.npz", **expected)  # type: ignore[arg-type]


def reference_pictures(side: int) -> Floats:
    """The same, without minincep's own dependencies."""
    from rule import picture, scaled

    return np.stack([scaled(picture(side, side, seed)) for seed in SEEDS]).astype(np.float32)


def write_torch(folder: Path, source: str, architecture: str) -> dict[str, Floats]:
    """A network of timm or facenet-pytorch in the formats of PyTorch."""
    import torch
    from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1
    from safetensors.torch import save_file

    from onnx_export import put_stored_statistics
    from torch_names import NAMES
    from torch_networks import build, put_drawn_weights

    table, side = NAMES[architecture].network, 299
    if architecture == "inception_resnet_v1":
        network, side = InceptionResnetV1(classify=True, num_classes=IDENTITIES).eval(), 160
        table = table | {f"logits.{leaf}": f"logits/{leaf}" for leaf in ("weight", "bias")}
    else:
        network, _ = build(architecture)
    put_drawn_weights(network, table)
    put_stored_statistics(network, architecture)
    with torch.no_grad():
        inputs = torch.from_numpy(reference_pictures(side).transpose(0, 3, 1, 2).copy())
        logits = network(inputs).numpy()
    state = network.state_dict()
    torch.save(state, folder / f"{source}.pth")
    torch.save(state, folder / f"{source}_old.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / f"{source}.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, folder / f"{source}_checkpoint.pth")
    torch.onnx.export(
        network,
        (inputs[:1],),
        folder / f"{source}.onnx",
        training=torch.onnx.TrainingMode.PRESERVE,  # batch norm as it is, not folded into filters
        do_constant_folding=False,
        dynamo=False,
    )
    names = (".pth", "_old.pth", ".safetensors", "_checkpoint.pth", ".onnx")
    found = {f"{source}{name}": logits for name in names}
    if (
        source == "timm_v2"
    ):  # Cadene's has another name for the classifier, 1001 classes, no counters
        state = {k: value for k, value in state.items() if not k.endswith("num_batches_tracked")}
        for leaf in ("weight", "bias"):
            classes = state.pop(f"classif.{leaf}")
            state[f"last_linear.{leaf}"] = torch.cat([torch.randn_like(classes[:1]), classes])
        torch.save(state, folder / "cadene_v2.pth")
        found["cadene_v2.pth"] = logits
    return found


def write_keras(folder: Path) -> dict[str, Floats]:
    """keras.applications' network, untouched, in the formats of Keras."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    found = {}
    # The second network of a session has other numbers.
    for first, names in [
        ("conv2d", ("keras.h5", "keras_only.weights.h5", "keras.keras")),
        ("conv2d_203", ("keras_second.h5",)),
    ]:
        model = keras.applications.InceptionResNetV2(weights=None, classifier_activation=None)
        assert model.layers[1].name == first
        put_weights(model)
        inputs = reference_pictures(299)
        logits = keras.ops.convert_to_numpy(model(inputs, training=False))
        for name in names:
            save = model.save_weights if ".weights." in name else model.save
            save(folder / name)
            found[name] = logits
    return found


def put_weights(model: Any) -> None:
    """Fill the network of keras.applications, which has no gamma."""
    import h5py

    from keras_network import AFFINE, CREATION_ORDER, numbered
    from rule import DATA, draw

    convolutions, norms = numbered(model, "conv2d"), numbered(model, "batch_normalization")
    assert len(convolutions) == len(norms) == len(CREATION_ORDER)
    convolutions.append(model.get_layer("conv_7b"))
    norms.append(model.get_layer("conv_7b_bn"))
    paths = (*CREATION_ORDER, "conv2d_7b_1x1")
    with h5py.File(DATA / "reference_inception_resnet_v2.h5") as file:
        statistics = file["statistics"]
        for path, convolution, norm in zip(paths, convolutions, norms, strict=True):
            shape = (norm.beta.shape[0],)
            gamma, beta = (draw(f"{path}/batch_norm/{leaf}", shape) for leaf in ("gamma", "beta"))
            mean, variance = (
                statistics[f"{path}/batch_norm/running_{leaf}"][()] for leaf in ("mean", "var")
            )
            narrowed = (variance + 1e-3) / gamma**2 - 1e-3  # does what gamma would do
            assert (narrowed > 0).all(), path
            convolution.set_weights([draw(f"{path}/weight", tuple(convolution.kernel.shape))])
            norm.set_weights([beta, mean, narrowed])
    for name, path in AFFINE.items():
        layer = model.get_layer(name)
        shapes = {"weight": tuple(layer.kernel.shape), "bias": tuple(layer.bias.shape)}
        layer.set_weights([draw(f"{path}/{leaf}", shape) for leaf, shape in shapes.items()])


def write_kentsommer(folder: Path, expected: Floats) -> dict[str, Floats]:
    """Inception-v4 in Keras with 1001 classes; its logits must be timm's, by the same weights."""
    import keras

    from rule import draw
    from tools.sources import kentsommer

    inputs = reference_pictures(299)
    model = kentsommer.build(1001)
    kentsommer.put_weights(model)
    classes = {"weight": (1536, 1000), "bias": (1000,)}
    dense = {leaf: draw(f"logits/{leaf}", shape) for leaf, shape in classes.items()}
    background = {leaf: draw(f"background/{leaf}", (*s[:-1], 1)) for leaf, s in classes.items()}
    model.layers[-1].set_weights(
        [np.concatenate([background[leaf], dense[leaf]], axis=-1) for leaf in classes]
    )
    logits = keras.ops.convert_to_numpy(model(inputs, training=False))[:, 1:]
    assert np.abs(logits - expected).max() < BOUND * expected.std()
    model.save(folder / "kentsommer.h5")
    return {"kentsommer.h5": logits}


# --- with minincep ---------------------------------------------------------------------------


def check(folder: Path) -> int:
    """Convert every file, each in a process of its own.  -> 1 if an error is above the bound."""
    worst = 0.0
    print(f"{'file':32} {'MB':>5}  {'seconds':>7}  {'memory':>6}  error")
    with np.load(folder / "expected.npz") as expected:
        for name in expected.files:
            command = [sys.executable, __file__, "one", str(folder), name]
            result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if result.returncode:
                print(f"{name:32} failed")
                worst = np.inf
                continue
            seconds, memory, error = map(float, result.stdout.split())
            size = (folder / name).stat().st_size / 1e6
            print(f"{name:32} {size:5.0f}  {seconds:7.1f}  {memory / size:6.2f}  {error:.1e}")
            worst = max(worst, error)
    return int(not worst < BOUND)


def one(folder: Path, name: str) -> None:
    """Convert one file; print seconds, megabytes and error."""
    import minincep as mi
    from minincep.io.convert import convert
    from minincep.io.hdf5 import save

    before, start = memory("VmRSS"), time.monotonic()
    network = convert(folder / name, background="drop" if name in WITH_BACKGROUND else None)
    save(network, folder / "converted.h5")
    seconds, grown = time.monotonic() - start, memory("VmHWM") - before
    with np.load(folder / "expected.npz") as file:
        expected = file[name]
    side = 160 if network.architecture == "inception_resnet_v1" else 299
    plan = mi.compile(mi.load(folder / "converted.h5"), image_size=side, batch_size=len(SEEDS))
    found = plan(pictures(side))
    (folder / "converted.h5").unlink()
    error = np.abs(found - expected).max() / expected.std()
    print(seconds, grown, error)


def memory(kind: str) -> float:
    """Of this process, in megabytes: VmRSS now, VmHWM at most so far."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if kind in row)
    return int(line.split()[1]) / 1e3


def main() -> None:
    """Do what the first argument says."""
    match sys.argv[1:]:
        case ["write", folder]:
            write(Path(folder))
        case ["check", folder]:
            sys.exit(check(Path(folder)))
        case ["one", folder, name]:
            one(Path(folder), name)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
