"""The PyTorch networks of timm and facenet-pytorch, with reference weights put in.

Auxiliary heads are the one part that neither library has; `AuxiliaryHead` is written here from
the released code.
"""

from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import timm
import torch
from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1
from torch import Tensor, nn

from rule import draw
from torch_names import NAMES, check_complete, minincep_shape

ARCHITECTURES = tuple(NAMES)
CONFIG: dict[str, dict[str, object]] = {  # keyword arguments of minincep.create_model
    "inception_v4": {"num_classes": 1000, "aux_logits": True, "batch_norm_gamma": True},
    "inception_resnet_v2": {"num_classes": 1000, "aux_logits": True, "batch_norm_gamma": True},
    "inception_resnet_v1": {"embedding_size": 512, "batch_norm_gamma": True},
}
EPSILON = 1e-3
CALIBRATION_SEEDS = (100, 101, 102, 103)


class ConvolutionUnit(nn.Module):
    """Convolution without bias or padding, batch norm, ReLU, named as both libraries do."""

    def __init__(self, channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel_size, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, OC, OH, OW)."""
        return torch.relu(self.bn(self.conv(x)))


class AuxiliaryHead(nn.Module):
    """The auxiliary classifier on the 17 x 17 map of Inception-v4 and Inception-ResNet-v2."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, stride=3)
        self.project = ConvolutionUnit(channels, 128, 1)
        self.reduce = ConvolutionUnit(128, 768, 5)
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, 17, 17) -> (N, num_classes)."""
        logits: Tensor = self.classifier(self.reduce(self.project(self.pool(x))).flatten(1))
        return logits


def build(architecture: str) -> tuple[nn.Module, AuxiliaryHead | None]:
    """An untouched network of the library, in eval mode, and its auxiliary head if it has one."""
    network: nn.Module
    head: AuxiliaryHead | None = None
    match architecture:
        case "inception_v4":
            network, head = timm.create_model(architecture), AuxiliaryHead(1024, 1000)
        case "inception_resnet_v2":
            network, head = timm.create_model(architecture), AuxiliaryHead(1088, 1000)
        case "inception_resnet_v1":
            network = InceptionResnetV1()
        case _:
            raise ValueError(f"no reference network {architecture!r}")
    check_complete(NAMES[architecture].network, network.state_dict())
    if head is not None:
        check_complete(NAMES[architecture].auxiliary, head.state_dict())
        head.eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.eps == EPSILON
    return network.eval(), head


def to_torch(array: npt.NDArray[np.floating]) -> Tensor:
    """An array in minincep's layout -> a tensor in PyTorch's."""
    axes = (3, 2, 0, 1) if array.ndim == 4 else tuple(reversed(range(array.ndim)))
    return torch.from_numpy(np.ascontiguousarray(array.transpose(axes)))


def to_minincep(tensor: Tensor) -> npt.NDArray[np.floating]:
    """A filter or weight in PyTorch's layout -> an array in minincep's."""
    axes = (2, 3, 1, 0) if tensor.ndim == 4 else tuple(reversed(range(tensor.ndim)))
    return np.ascontiguousarray(tensor.detach().numpy().transpose(axes))


def put_drawn_weights(module: nn.Module, table: dict[str, str], prefix: str = "") -> None:
    """Set every trainable array to what `draw` gives for its path (`prefix` + table entry)."""
    state = module.state_dict()
    with torch.no_grad():
        for name, path in table.items():
            if "running_" not in path:
                drawn = draw(prefix + path, minincep_shape(state[name]))
                state[name].copy_(to_torch(drawn))


def statistics(module: nn.Module, table: dict[str, str]) -> dict[str, npt.NDArray[np.float32]]:
    """Running means and variances by minincep path."""
    state = module.state_dict()
    return {p: state[n].numpy().copy() for n, p in table.items() if "running_" in p}


def witness(library: str) -> str:
    """Which implementation, in which version, with which engine below it."""
    return f"{library} {version(library)}, torch {torch.__version__}"
