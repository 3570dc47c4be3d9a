"""Optimisers: what a step does to the weights, given their gradients.

    optimiser = SGD(network.parameters(), momentum=0.9, weight_decay=4e-5)
    loss.backward()
    optimiser.step(rate)
    network.zero_grad()

The rate is given at each step, so that a schedule is any function.  Weight decay leaves out all
that is not called `weight`: biases, and the beta and gamma of batch norm.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minincep.nn.module import Parameter
from minincep.train.patterns import matches, matching
from minincep.train.ranges import named, number, truth
from minincep.train.state import restore
from minincep_kernels import Array, update
from minincep_kernels.errors import ConfigError, DTypeError, ShapeError


@dataclass(frozen=True)
class Group:
    """Weights that are trained in another way.

    Attributes
    ----------
    pattern
        Which, as in `train.patterns`.  The first group that matches a path has it.
    rate
        Factor of the learning rate, at least 0.
    weight_decay
        In place of the optimiser's; None for that one.
    """

    pattern: str
    rate: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        number(f"rate of group {self.pattern!r}", self.rate, least=0)
        if self.weight_decay is not None:
            number(f"weight_decay of group {self.pattern!r}", self.weight_decay, least=0)


class Optimizer:
    """Changes weights in place, in one pass over memory.

    Parameters
    ----------
    parameters
        By path, as from `network.parameters()`.  Those that are frozen are left out.
    weight_decay
        How much of a weight is added to its gradient: L2 regularisation.
    groups
        Weights that are trained in another way.
    memory
        Names of what is remembered of each number of the weights.

    Raises
    ------
    ConfigError
        If a setting is out of range, a group matches nothing, or nothing is left to train.
    DTypeError
        If the parameters have two types of numbers.
    """

    parameters: dict[str, Parameter]

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        *,
        weight_decay: float = 0.0,
        groups: Sequence[Group] = (),
        memory: Sequence[str] = (),
    ) -> None:
        number("weight_decay", weight_decay, least=0)
        for group in groups:
            matching(group.pattern, parameters)
        self.parameters = {path: p for path, p in parameters.items() if p.requires_grad}
        if not self.parameters:
            raise ConfigError("there is nothing to train: all weights are frozen; see unfreeze")
        if len({id(p) for p in self.parameters.values()}) < len(self.parameters):
            raise ConfigError("one parameter is here under two paths, and would be moved twice")
        types = {p.dtype for p in self.parameters.values()}
        if len(types) > 1:
            raise DTypeError("parameters must be all float32 or all float64, got both")
        (self._dtype,) = types
        self._shapes = [p.shape for p in self.parameters.values()]
        sizes = tuple(p.data.size for p in self.parameters.values())
        self._pieces = update.pieces(sizes)
        self._steps = np.zeros(len(sizes), np.int64)

        ours = [_group_of(path, groups) for path in self.parameters]
        self._rates = np.array([group.rate for group in ours])
        self._decays = np.array(
            [
                _decay(path, weight_decay if group.weight_decay is None else group.weight_decay)
                for path, group in zip(self.parameters, ours, strict=True)
            ]
        )
        starts, total = update.places(sizes)
        self._flat = {name: np.zeros(total, self._dtype) for name in memory}
        self._state = {"steps": self._steps} | {
            f"{name}/{path}": flat[start : start + p.data.size].reshape(p.shape)
            for name, flat in self._flat.items()
            for start, (path, p) in zip(starts, self.parameters.items(), strict=True)
        }

    def step(self, rate: float) -> None:
        """Move the weights by their gradients; a parameter without one is left alone.

        Parameters
        ----------
        rate
            The learning rate, at least 0.

        Raises
        ------
        ConfigError
            If the rate is out of range.
        ShapeError, DTypeError
            If a parameter is not what it was, or its gradient does not fit; nothing is changed.
        """
        rate = number("the learning rate", rate, least=0)
        for (path, p), shape in zip(self.parameters.items(), self._shapes, strict=True):
            if p.data.shape != shape or p.data.dtype != self._dtype:
                raise ShapeError(
                    f"{path} was {self._dtype} {shape} when the optimiser was made, and is "
                    f"{p.dtype} {p.shape}: make a new optimiser"
                )
        gradients = _gradients(self.parameters)
        for p in self.parameters.values():
            if not p.data.flags.carray:
                # A tape that is kept for a second reading holds it: it keeps the old numbers.
                p.data = p.data.copy()
        weights = [p.data for p in self.parameters.values()]
        table = update.addresses(weights, gradients)
        self._steps += table[:, 1] != 0
        self._update(table, rate * self._rates)

    def state(self) -> dict[str, Array]:
        """What it remembers, by name: the arrays in use, read-only, which change at each step."""
        views = {name: array.view() for name, array in self._state.items()}
        for view in views.values():
            view.flags.writeable = False
        return views

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Go on where another optimiser of the same kind and weights has stopped, bit for bit.

        Raises
        ------
        WeightError
            If a name, a shape or a type of number is not what it should be; nothing is changed.
        """
        restore(type(self).__name__, self._state, state)

    def _update(self, table: Array, rates: Array) -> None:
        raise NotImplementedError

    def _numbers(self, *columns: Array) -> Array:
        """One row of numbers for each array of weights, in the type of the weights."""
        return np.stack(columns, axis=1).astype(self._dtype)


class SGD(Optimizer):
    """Stochastic gradient descent with momentum: m = momentum m + g, w -= rate m.

    Nesterov's variant (Sutskever et al. 2013, "On the importance of initialization and momentum",
    in PyTorch's form) moves by rate (g + momentum m).

    Parameters
    ----------
    momentum
        From 0 to below 1.
    nesterov
        Whether to look one step ahead; needs momentum.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        *,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        groups: Sequence[Group] = (),
    ) -> None:
        self.momentum = number("momentum", momentum, least=0, below=1)
        self.nesterov = truth("nesterov", nesterov)
        if nesterov and not momentum:
            raise ConfigError("nesterov needs a momentum above 0")
        memory = ("momentum",) if momentum else ()
        super().__init__(parameters, weight_decay=weight_decay, groups=groups, memory=memory)

    def _update(self, table: Array, rates: Array) -> None:
        numbers = self._numbers(rates, self._decays)
        if not self.momentum:
            update.descend(self._pieces, table, numbers)
            return
        flat = self._flat["momentum"]
        keep, nesterov = self.momentum, self.nesterov
        update.sgd(self._pieces, table, numbers, flat, keep=keep, nesterov=nesterov)


class RMSProp(Optimizer):
    """Gradients divided by their recent size, as TensorFlow 1 does it, and so the papers' networks.

    s = decay s + (1 - decay) g^2,  m = momentum m + rate g / sqrt(s + eps),  w -= m.

    Three things differ from PyTorch's: eps is inside the root, s starts at 1, and the rate is
    inside m, so that a lower rate is felt only when the old m has faded.  With eps 1, as
    arXiv:1602.07261 (section 4) has it, small gradients stay small.

    Parameters
    ----------
    decay
        How much of the mean square stays, from 0 to below 1.
    momentum
        From 0 to below 1.
    eps
        Above 0.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        *,
        decay: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1.0,
        weight_decay: float = 0.0,
        groups: Sequence[Group] = (),
    ) -> None:
        self.decay = number("decay", decay, least=0, below=1)
        self.momentum = number("momentum", momentum, least=0, below=1)
        self.eps = number("eps", eps, above=0)
        memory = ("square", "momentum")
        super().__init__(parameters, weight_decay=weight_decay, groups=groups, memory=memory)
        self._flat["square"].fill(1)

    def _update(self, table: Array, rates: Array) -> None:
        update.rmsprop(
            self._pieces,
            table,
            self._numbers(rates, self._decays),
            *self._flat.values(),
            decay=self.decay,
            keep=self.momentum,
            eps=self.eps,
        )


class Adam(Optimizer):
    """Kingma and Ba 2015, "Adam", algorithm 1; weight decay is added to the gradient.

    Parameters
    ----------
    betas
        How much of the moving averages of gradient and square stays, each from 0 to below 1.
    eps
        Above 0.
    """

    decoupled = False

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        groups: Sequence[Group] = (),
    ) -> None:
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise ConfigError(f"betas must be two numbers, got {betas!r}")
        first, second = (number("each of betas", beta, least=0, below=1) for beta in betas)
        self.betas = (first, second)
        self.eps = number("eps", eps, above=0)
        memory = ("mean", "square")
        super().__init__(parameters, weight_decay=weight_decay, groups=groups, memory=memory)

    def _update(self, table: Array, rates: Array) -> None:
        # Averages that start at 0 are too small at first: algorithm 1 divides by these.
        steps = np.maximum(self._steps, 1)
        first, second = (1 - beta**steps for beta in self.betas)
        coupled, shrink = self._decays, np.ones(len(rates))
        if self.decoupled:
            coupled, shrink = np.zeros(len(rates)), 1 - rates * self._decays
        numbers = self._numbers(rates / first, coupled, shrink, 1 / np.sqrt(second))
        flat = self._flat.values()
        update.adam(self._pieces, table, numbers, *flat, betas=self.betas, eps=self.eps)


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves, by rate x weight_decay at a step.

    Loshchilov and Hutter 2019, "Decoupled weight decay regularization", in PyTorch's form.
    """

    decoupled = True


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
}


def create_optimizer(name: str, parameters: Mapping[str, Parameter], **settings: Any) -> Optimizer:
    """An optimiser by its name in `OPTIMIZERS`, with settings as in a file.

    Raises
    ------
    ConfigError
        If there is no optimiser of this name, or no setting of a name.
    """
    kind = named("optimizer", OPTIMIZERS, name)
    known = [key for key in inspect.signature(kind).parameters if key != "parameters"]
    for key in settings:
        if key not in known:
            raise ConfigError(
                f"optimizer {name!r} has no setting {key!r}, only: {', '.join(known)}"
            )
    return kind(parameters, **settings)


def clip_by_norm(parameters: Mapping[str, Parameter], limit: float | None) -> float:
    """Scale all gradients together, in place, so that their joint length is at most `limit`.

    None only measures.

    Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", algorithm 1, as
    PyTorch has it: times limit / (norm + 1e-6) where that is below 1.  Gradients whose norm is not
    finite are left as they are: no factor mends them.

    Returns
    -------
    float
        The length before: root of the sum of the squares of all gradients.
    """
    limit = math.inf if limit is None else number("the norm to clip to", limit, above=0)
    gradients = _own_gradients(parameters)
    if not gradients:
        return 0.0
    pieces = update.pieces(tuple(g.size for g in gradients))
    table, dtype = update.addresses(gradients), gradients[0].dtype
    norm = update.norm(pieces, table, dtype)
    factor = limit / (norm + 1e-6)
    if math.isfinite(norm) and factor < 1:
        update.multiply(pieces, table, factor, dtype)
    return norm


def clip_by_value(parameters: Mapping[str, Parameter], limit: float) -> None:
    """Bring each number of the gradients, in place, to at least -limit and at most limit."""
    limit = number("the value to clip to", limit, above=0)
    gradients = _own_gradients(parameters)
    if gradients:
        pieces = update.pieces(tuple(g.size for g in gradients))
        update.clamp(pieces, update.addresses(gradients), limit, gradients[0].dtype)


def _group_of(path: str, groups: Sequence[Group]) -> Group:
    return next((group for group in groups if matches(group.pattern, path)), Group("*"))


def _decay(path: str, weight_decay: float) -> float:
    return weight_decay if path.rpartition("/")[2] == "weight" else 0.0


def _gradients(parameters: Mapping[str, Parameter]) -> list[Array | None]:
    """The gradient of each parameter, checked: kernels that go by addresses trust them."""
    gradients: list[Array | None] = []
    for path, p in parameters.items():
        gradient = p.grad
        if gradient is not None:
            if gradient.shape != p.data.shape or gradient.dtype != p.data.dtype:
                raise ShapeError(
                    f"the gradient of {path} is {gradient.dtype} {gradient.shape}, the weights "
                    f"are {p.dtype} {p.shape}"
                )
            gradient = np.ascontiguousarray(gradient)
        gradients.append(gradient)
    return gradients


def _own_gradients(parameters: Mapping[str, Parameter]) -> list[Array]:
    """The gradients that there are, made ready to be changed in place."""
    owners = {path: p for path, p in parameters.items() if p.grad is not None}
    if len({p.dtype for p in owners.values()}) > 1:
        raise DTypeError("parameters must be all float32 or all float64, got both")
    found = []
    for p, gradient in zip(owners.values(), _gradients(owners), strict=True):
        assert gradient is not None
        p.grad = gradient if gradient.flags.carray else gradient.copy()
        found.append(p.grad)
    return found
