"""PyTorch's side of a comparison: the networks of timm and facenet-pytorch, trained as in `cases`.

Reduced networks are theirs too.  Blocks that minincep's has not become `nn.Identity`, and each
array gets the shape that minincep's has; all wiring is the library's own.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tools.training.cases import KEEP, SMOOTHING, Arrays, Case, Result, batch, network, start

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))

from torch_names import AFFINE, NAMES, arrays
from torch_networks import build, to_minincep, to_torch


def library_network(case: Case) -> tuple[nn.Module, dict[str, str]]:
    """The network in training mode with reference weights, and paths of its arrays by name.

    Raises
    ------
    AssertionError
        If an array of minincep's has no counterpart.
    """
    shapes = {path: array.shape for path, array in network(case).arrays().items()}
    known = dict(NAMES[case.architecture].network)
    theirs, _ = build(case.architecture)
    if case.architecture == "inception_resnet_v1":
        theirs.classify, theirs.logits = True, nn.Linear(512, 1)
        known |= arrays({"logits": "logits"}, AFFINE)
    for name, (path, _) in NAMES[case.architecture].blocks.items():
        if not any(array.startswith(f"{path}/") for array in shapes):
            theirs.set_submodule(name, nn.Identity())
    table = {name: path for name, path in known.items() if path in shapes}
    assert set(table.values()) == shapes.keys(), shapes.keys() ^ set(table.values())
    for name, path in table.items():
        place, _, leaf = name.rpartition(".")
        module, value = theirs.get_submodule(place), to_torch(start(path, shapes[path]))
        trained = isinstance(getattr(module, leaf), nn.Parameter)
        setattr(module, leaf, nn.Parameter(value) if trained else value)
    for module in theirs.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.momentum == 1 - KEEP or np.isclose(module.momentum, 1 - KEEP)
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
    return theirs.train(), table


class TensorFlowRMSProp(torch.optim.Optimizer):  # type: ignore[misc]  # torch has no types here
    """RMSProp as `tf.compat.v1.train.RMSPropOptimizer` documents it, which PyTorch has not."""

    def __init__(
        self, groups: Any, lr: float, *, decay: float, momentum: float, eps: float
    ) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})
        self.decay, self.momentum, self.eps = decay, momentum, eps

    def step(self) -> None:
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    self._move(p, group["lr"], group["weight_decay"])

    def _move(self, p: Any, rate: float, weight_decay: float) -> None:
        memory = self.state[p]
        if not memory:
            memory |= {"square": torch.ones_like(p), "momentum": torch.zeros_like(p)}
        square, momentum = memory["square"], memory["momentum"]
        gradient = p.grad + weight_decay * p
        square.mul_(self.decay).add_(gradient**2, alpha=1 - self.decay)
        momentum.mul_(self.momentum).add_(gradient / torch.sqrt(square + self.eps), alpha=rate)
        p.sub_(momentum)


def optimizer_of(case: Case, theirs: nn.Module, table: Mapping[str, str]) -> torch.optim.Optimizer:
    """PyTorch's own, weight decay for filters and dense weights alone."""
    settings = dict(case.settings)
    decay = settings.pop("weight_decay", 0.0)
    parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, p in theirs.named_parameters():
        parts[table[name].endswith("/weight")].append(p)
    groups = [
        {"params": parts[True], "weight_decay": decay},
        {"params": parts[False], "weight_decay": 0.0},
    ]
    kinds = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": TensorFlowRMSProp,
    }
    return kinds[case.optimizer](groups, lr=case.rate, **settings)


def train(
    case: Case,
    dtype: torch.dtype = torch.float32,
    fault: Callable[[nn.Module, torch.optim.Optimizer], None] = lambda *_: None,
    on_step: Callable[[float], None] = lambda _: None,
) -> Result:
    """PyTorch's side, if wanted with a fault in it."""
    theirs, table = library_network(case)
    theirs.to(dtype)
    optimizer = optimizer_of(case, theirs, table)
    fault(theirs, optimizer)
    losses = []
    for step in range(case.steps):
        pictures, labels = batch(case, step)
        x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).to(dtype)
        loss = nn.functional.cross_entropy(
            theirs(x), torch.from_numpy(labels), label_smoothing=SMOOTHING
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        on_step(losses[-1])
    state = theirs.state_dict()
    found: Arrays = {path: to_minincep(state[name]).copy() for name, path in table.items()}
    return Result(losses, found)


# --- Faults, each of which somebody might make ------------------------------------------------


def norms(theirs: nn.Module) -> Iterable[Any]:
    return (m for m in theirs.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


def slow_statistics(theirs: nn.Module, _: torch.optim.Optimizer) -> None:
    """Running statistics that keep 0.91 instead of 0.9."""
    for norm in norms(theirs):
        norm.momentum = 0.09


def biased_variance(theirs: nn.Module, _: torch.optim.Optimizer) -> None:
    """A running variance of N instead of N - 1."""

    def remember(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        norm.before = norm.running_var.clone()

    def correct(norm: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        count = inputs[0].numel() / inputs[0].shape[1]
        kept = KEEP * norm.before
        norm.running_var = kept + (norm.running_var - kept) * (count - 1) / count

    for norm in norms(theirs):
        norm.register_forward_pre_hook(remember)
        norm.register_forward_hook(correct)


def shifted_gradient(theirs: nn.Module, _: torch.optim.Optimizer) -> None:
    """The input gradient of one convolution of stride 2, a pixel too far to the right."""

    def shift(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].requires_grad:
            inputs[0].register_hook(lambda gradient: gradient.roll(1, 3))

    strided = [m for m in theirs.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    strided[-1].register_forward_pre_hook(shift)


def small_epsilon(theirs: nn.Module, _: torch.optim.Optimizer) -> None:
    """Batch norm with PyTorch's eps."""
    for norm in norms(theirs):
        norm.eps = 1e-5


def no_gamma(theirs: nn.Module, _: torch.optim.Optimizer) -> None:
    """A gamma that is not trained."""
    for norm in norms(theirs):
        norm.weight.requires_grad = False


def decayed_biases(_: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Weight decay of everything."""
    for group in optimizer.param_groups:
        group["weight_decay"] = optimizer.param_groups[0]["weight_decay"]


def less_momentum(_: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """A momentum of 0.89."""
    for group in optimizer.param_groups:
        group["momentum"] = 0.89


FAULTS = {
    function.__name__.replace("_", "-"): function
    for function in (
        slow_statistics,
        biased_variance,
        shifted_gradient,
        small_epsilon,
        no_gamma,
        decayed_biases,
        less_momentum,
    )
}
