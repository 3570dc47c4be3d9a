"""Engines that train: one step is forward, loss, backward, update.

All train the same networks: timm's Inception-v4 and Inception-ResNet-v2, facenet-pytorch's
Inception-ResNet-v1, with a gamma in batch norm as those have it, from the same weights, with label
smoothing, by SGD with momentum and weight decay.  Dropout and auxiliary heads are off.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from minincep.bench.engines import Engine, Floats

CLASSES = 1000
RATE, MOMENTUM, WEIGHT_DECAY, SMOOTHING = 1e-4, 0.9, 4e-5, 0.1


class Learner(Engine):
    """An engine that trains; `run` is one step, and gives its loss, (1,)."""

    file = "{model}.h5"


class Minincep(Learner):
    """The loop as a user writes it."""

    name = "minincep"
    packages = ("minincep", "numpy", "numba")

    def load(self, path: Path, threads: int, x: Floats) -> None:
        import minincep as mi
        from minincep.train.losses import classification_loss
        from minincep.train.optim import SGD

        mi.set_num_threads(threads)
        self._loss, self._tensor = classification_loss, mi.Tensor
        self._network = mi.load(path).train()
        parameters = self._network.parameters()
        self._optimizer = SGD(parameters, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    def run(self, x: Floats) -> Floats:
        images, classes = self._tensor(x), labels(len(x))
        loss, _ = self._loss(self._network, images, classes, label_smoothing=SMOOTHING)
        loss.backward()
        self._optimizer.step(RATE)
        self._network.zero_grad()
        return np.array([loss.item()], np.float32)


class PyTorch(Learner):
    """Channels last, the fused optimiser, gradients dropped instead of cleared.

    All of it in float32, which is PyTorch's default on CPUs.
    """

    name = "PyTorch"
    packages = ("torch", "timm", "facenet-pytorch")
    file = "{model}.safetensors"
    compiled: ClassVar[bool] = False

    def load(self, path: Path, threads: int, x: Floats) -> None:
        torch: Any = import_module("torch")
        load_file: Any = import_module("safetensors.torch").load_file
        torch.set_num_threads(threads)
        self._torch = torch
        network = library_network(path.stem)
        network.load_state_dict(load_file(path))
        network.to(memory_format=torch.channels_last).train()
        decayed = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim == 1]
        groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others}]
        self._optimizer = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM, fused=True)
        self._network = torch.compile(network) if self.compiled else network

    def run(self, x: Floats) -> Floats:
        torch = self._torch
        images = torch.from_numpy(x).permute(0, 3, 1, 2)  # channels last, without a copy
        self._optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(
            self._network(images), torch.from_numpy(labels(len(x))), label_smoothing=SMOOTHING
        )
        loss.backward()
        self._optimizer.step()
        return np.array([loss.item()], np.float32)


class CompiledPyTorch(PyTorch):
    """The same by `torch.compile`, which needs a C++ compiler and minutes."""

    name = "PyTorch compiled"
    compiled = True


def library_network(model: str) -> Any:
    """timm's or facenet-pytorch's network, without dropout."""
    if model == "inception_resnet_v1":
        module: Any = import_module("facenet_pytorch.models.inception_resnet_v1")
        return module.InceptionResnetV1(classify=True, num_classes=CLASSES, dropout_prob=0.0)
    timm: Any = import_module("timm")
    return timm.create_model(model, num_classes=CLASSES, drop_rate=0.0)


def labels(count: int) -> npt.NDArray[np.int64]:
    """A class for each picture."""
    return np.arange(count) * 37 % CLASSES


def write_weights(model: str, folder: Path) -> None:
    """Random weights, the same in both files.

    Every beta is 1: with 0, the losses of the first step would differ by more than rounding, for
    such networks make much of little (see the reference weights of `tools/reference`).
    """
    import minincep as mi
    from minincep.export import export

    network = mi.create_model(
        model, num_classes=CLASSES, dropout_rate=0.0, batch_norm_gamma=True, seed=0
    )
    for path, parameter in network.parameters().items():
        if path.endswith("/beta"):
            parameter.data[:] = 1
    mi.save(network, folder / f"{model}.h5")
    export(network, folder / f"{model}.safetensors", "safetensors")


LEARNERS: dict[str, type[Learner]] = {"torch": PyTorch}
