"""What a plan runs: a table of steps, the weights that they read, and where everything lies."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from minincep_kernels import Array


@dataclass(frozen=True)
class Place:
    """Where a value lies: pixels (H, W), channels, and floats from the start and between pixels."""

    offset: int
    pitch: int
    height: int
    width: int
    channels: int

    def view(self, memory: Array, batch: int) -> Array:
        """The value of so many pictures, (N, H, W, C), in memory that has more."""
        count = batch * self.height * self.width
        lines = memory[self.offset : self.offset + count * self.pitch]
        shape = (batch, self.height, self.width, self.pitch)
        return lines.reshape(shape)[..., : self.channels]


@dataclass(frozen=True)
class Program:
    """Steps, and what they need to run.

    Attributes
    ----------
    steps
        Array of `STEP`.
    weights
        Packed filters and biases, flat.
    memory, scratch
        Floats that the activations need, and each thread beside them.
    batch
        Pictures that there is room for.
    paths
        Layer path of each step.
    input, outputs
        Where pictures go and results come out, with the shapes that those have outside.
    """

    steps: npt.NDArray[Any]
    weights: Array
    memory: int
    scratch: int
    batch: int
    paths: tuple[str, ...]
    input: Place
    outputs: dict[str, tuple[Place, tuple[int, ...]]]
