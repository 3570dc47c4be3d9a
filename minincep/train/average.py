"""The moving average of the weights, with which the papers evaluate: it wavers less than they do.

average = MovingAverage(network, 0.999)
...
optimiser.step(rate)
average.update()
...
with average.in_place_of(network):
    minincep.save(network, "mine.h5")
"""

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np

from minincep.nn.module import Module
from minincep.train.ranges import number
from minincep.train.state import restore
from minincep_kernels import Array, update
from minincep_kernels.errors import ShapeError


class MovingAverage:
    """Average of all arrays of a network, running statistics too, as TF-slim has it.

    average += (1 - d) (array - average)  with  d = min(decay, (1 + n) / (10 + n))  at update n,
    from 0, so that the first values are soon forgotten (TensorFlow's `num_updates`).

    Parameters
    ----------
    network
        Whose arrays are followed; the average starts with their values.
    decay
        From 0 to below 1.  The papers' is 0.9999, for runs of a million steps.

    Raises
    ------
    ConfigError
        If the decay is out of range.
    """

    def __init__(self, network: Module, decay: float) -> None:
        self.decay = number("decay of the moving average", decay, least=0, below=1)
        self.network = network
        arrays = network.arrays()
        self._dtype = np.result_type(*arrays.values())
        sizes = tuple(array.size for array in arrays.values())
        self._pieces = update.pieces(sizes)
        starts, total = update.places(sizes)
        self._flat = np.zeros(total, self._dtype)
        self._averages = {
            path: self._flat[start : start + array.size].reshape(array.shape)
            for start, (path, array) in zip(starts, arrays.items(), strict=True)
        }
        for path, array in arrays.items():
            self._averages[path][...] = array
        self._updates = np.zeros((), np.int64)

    def update(self) -> None:
        """Let the average follow; to be called after each step.

        Raises
        ------
        ShapeError
            If the network has not the arrays that it had.
        """
        arrays = self._checked(self.network)
        n = int(self._updates)
        share = 1 - min(self.decay, (1 + n) / (10 + n))
        together = [np.ascontiguousarray(array) for array in arrays.values()]
        update.average(self._pieces, update.addresses(together), self._flat, share=share)
        self._updates += 1

    def arrays(self) -> dict[str, Array]:
        """The averages by path: the ones in use, read-only, which change at each update."""
        views = {path: array.view() for path, array in self._averages.items()}
        for view in views.values():
            view.flags.writeable = False
        return views

    def state(self) -> dict[str, Array]:
        """What it remembers, by name, as an optimiser has it."""
        return {"updates": self._updates.copy()} | {
            f"average/{path}": array for path, array in self.arrays().items()
        }

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Go on where another has stopped, bit for bit.

        Raises
        ------
        WeightError
            If a name, a shape or a type of number is not what it should be; nothing is changed.
        """
        places = {f"average/{path}": array for path, array in self._averages.items()}
        restore("the moving average", {"updates": self._updates} | places, state)

    @contextlib.contextmanager
    def in_place_of(self, network: Module) -> Iterator[None]:
        """Within the `with` block the network has the averages, to be evaluated or saved.

        What changes them within, such as a training step, is forgotten at the end.
        """
        before = self._checked(network)
        network.assign_all(self.arrays())
        try:
            yield
        finally:
            network.assign_all(before)

    def _checked(self, network: Module) -> dict[str, Array]:
        arrays = network.arrays()
        if [(path, a.shape) for path, a in arrays.items()] != [
            (path, a.shape) for path, a in self._averages.items()
        ] or any(a.dtype != self._dtype for a in arrays.values()):
            raise ShapeError(
                "the network has not the arrays of which this is the moving average: make a new one"
            )
        return arrays
