"""The learning rate as a function of the epoch, a fraction: 3.25 is a quarter into the fourth.

    schedule = Exponential(0.045)          # the papers': x 0.94 every two epochs
    schedule(3.25)                         # 0.045 * 0.94

Each kind can begin with a warm-up, a ramp from zero over so many epochs (Goyal et al. 2017,
"Accurate, large minibatch SGD", section 2.2).  The ramp is one more factor: epochs are counted from
the start of the training, and the schedule goes on underneath.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from minincep.train.ranges import named, number, truth
from minincep_kernels.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """What all schedules have, and how they are called.

    Attributes
    ----------
    rate
        The learning rate at the start, above 0.
    warmup_epochs
        Length of the ramp.

    Raises
    ------
    ConfigError
        If a number is out of range, or the epoch that it is called with is.
    """

    rate: float
    _: KW_ONLY
    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        number("rate", self.rate, above=0)
        number("warmup_epochs", self.warmup_epochs, least=0)

    def __call__(self, epoch: float) -> float:
        """The rate at an epoch."""
        epoch = number("epoch", epoch, least=0)
        ramp = epoch / self.warmup_epochs if epoch < self.warmup_epochs else 1.0
        return self.rate * self.left(epoch) * ramp

    def left(self, epoch: float) -> float:
        """What share of the rate is left at an epoch, warm-up apart."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate always."""

    def left(self, epoch: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Exponential(Schedule):
    """Times `decay` every so many epochs; by default as in arXiv:1602.07261, section 4.

    Attributes
    ----------
    decay
        The factor, above 0 and at most 1.
    every_epochs
        After how many epochs it applies.
    staircase
        All at once after so many epochs; else bit by bit at every step.
    """

    decay: float = 0.94
    every_epochs: float = 2.0
    staircase: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        number("decay", self.decay, above=0, most=1)
        number("every_epochs", self.every_epochs, above=0)
        truth("staircase", self.staircase)

    def left(self, epoch: float) -> float:
        stairs = epoch / self.every_epochs
        if self.staircase:
            stairs = math.floor(stairs + 1e-9)  # 0.3 / 0.1 is a little less than 3
        return float(self.decay**stairs)


@dataclass(frozen=True)
class Step(Schedule):
    """Times `factor` at each of the given epochs.

    Attributes
    ----------
    factor
        Above 0 and at most 1.
    at_epochs
        Epochs, each later than the one before.
    """

    factor: float = 0.1
    at_epochs: Sequence[float] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        number("factor", self.factor, above=0, most=1)
        if not isinstance(self.at_epochs, Sequence) or isinstance(self.at_epochs, str):
            raise ConfigError(f"at_epochs must be a list of numbers, got {self.at_epochs!r}")
        before = 0.0
        for epoch in self.at_epochs:
            before = number("each of at_epochs, in rising order,", epoch, above=before)
        object.__setattr__(self, "at_epochs", tuple(self.at_epochs))  # a file gives a list

    def left(self, epoch: float) -> float:
        return float(self.factor ** sum(epoch >= at for at in self.at_epochs))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the rate down to 0 (Loshchilov and Hutter 2017, "SGDR", equation 5).

    Attributes
    ----------
    epochs
        When 0 is reached; it stays there.
    """

    epochs: float

    def __post_init__(self) -> None:
        super().__post_init__()
        number("epochs", self.epochs, above=0)

    def left(self, epoch: float) -> float:
        return (1 + math.cos(math.pi * min(1.0, epoch / self.epochs))) / 2


SCHEDULES: dict[str, type[Schedule]] = {
    "exponential": Exponential,
    "step": Step,
    "cosine": Cosine,
    "constant": Constant,
}


def create_schedule(name: str, **settings: Any) -> Schedule:
    """A schedule by its name in `SCHEDULES`, with settings as in a file.

    Raises
    ------
    ConfigError
        If there is no schedule of this name, no setting of a name, or one is missing.
    """
    kind = named("schedule", SCHEDULES, name)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    for key in settings:
        if key not in (known := [field.name for field in fields]):
            raise ConfigError(f"schedule {name!r} has no setting {key!r}, only: {', '.join(known)}")
    for field in fields:
        if field.default is dataclasses.MISSING and field.name not in settings:
            raise ConfigError(f"schedule {name!r} needs a number for {field.name!r}")
    return kind(**settings)
