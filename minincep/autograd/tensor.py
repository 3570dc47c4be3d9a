"""`Tensor`: an array that remembers how it was made.  `Node`: one op on the tape.

A forward pass leaves a tape: each result points to its node, each node to the nodes that made its
inputs, or to the leaves among them (tensors that no op made, such as weights).  The tensors in
between are not on it: their arrays live only as long as a rule or the caller needs them.

Read backwards, the tape gives gradients:

1. Collect the nodes behind the result.  A node is made after its inputs, so sorting by number,
   largest first, visits every node after all those that use it.  (Following pointers without
   sorting would visit a node that is used twice before both gradients have arrived.)
2. Each op's rule turns the gradient of its result into those of its inputs.
3. Gradients that meet are added: inside the tape in a table, at the leaves in `Tensor.grad`.

A gradient that nobody else holds is not copied but changed, which is seen from Python's counts of
references: a rule may well return what it got, or twice the same array, or a part of what it keeps.

No step recurses, so a chain of any length works.
"""

import contextlib
import itertools
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from minincep_kernels import Array, buffers, elementwise
from minincep_kernels.errors import DTypeError, ShapeError

_numbers = itertools.count()


class Part(NamedTuple):
    """The gradient of some channels of an input, which nobody else has; the others' is zero.

    Attributes
    ----------
    gradient, first
        (..., c), of the channels from the first on.
    channels
        How many the input has.
    """

    gradient: Array
    first: int
    channels: int


Share = Array | Part | None


class Rule(Protocol):
    """What a node must know of its op: a name for messages, and the rule for its gradients."""

    name: str

    def gradients(
        self, residuals: Any, gy: Array, needs: tuple[bool, ...], static: Mapping[str, Any]
    ) -> tuple[Share, ...]: ...


class Node:
    """One op on the tape.

    Attributes
    ----------
    op, static
        What was called, and its keyword arguments.
    inputs
        Where the gradient of each array input goes: to the node that made it, or to the tensor
        itself where it is a leaf.  None if it wants no gradient.
    shapes
        Shapes of the inputs that want one, to undo broadcasting; () for the others.
    residuals
        The arrays that the backward rule uses, read-only while they are here.
    path
        Path of the layer that called, ``""`` outside of any.
    """

    __slots__ = ("freed", "held", "inputs", "number", "op", "path", "residuals", "shapes", "static")

    def __init__(
        self,
        op: Rule,
        inputs: Iterable[object],
        static: Mapping[str, Any],
        residuals: Any,
        path: str,
    ) -> None:
        self.number = next(_numbers)
        self.op = op
        wanted = [x if isinstance(x, Tensor) and x.requires_grad else None for x in inputs]
        self.inputs = tuple(None if x is None else x.node or x for x in wanted)
        self.shapes = tuple(() if x is None else x.shape for x in wanted)
        self.static = static
        self.residuals = residuals
        self.path = path
        self.freed = False
        self.held = [array for array in _arrays(residuals) if _hold(array)]

    def free(self) -> None:
        """Let go of everything that only the backward pass needs."""
        for array in self.held:
            _release(array)
        self.held = []
        self.inputs = self.shapes = ()
        self.residuals = None
        self.freed = True

    def __del__(self) -> None:
        for array in self.held:
            _release(array)


class Tensor:
    """An array of float32 or float64, its gradient, and the node that made it.

    Parameters
    ----------
    data
        The array; it is not copied.
    requires_grad
        Whether `backward` is to leave the gradient of this tensor in `grad`.

    Raises
    ------
    DTypeError
        If `data` is not an array of float32 or float64.

    Notes
    -----
    While the tape holds an array for the backward pass, the array is read-only: changing it in
    place would give wrong gradients, and raises instead.  NumPy marks the array object, not the
    memory, so two ways around it stay open, and give wrong gradients without a word: views of the
    array that were taken before, and, if the array is itself a view, the array that it shows a
    part of.  After ``x = Tensor(base[:2])``, change `base` only when the tape is gone, or make it
    ``Tensor(base[:2].copy())``.

    A copy (`copy.copy`, `copy.deepcopy`, `pickle`) is a leaf.  It requires a gradient if the
    original is a leaf that does; the copy of what an op made is detached.
    """

    __slots__ = ("__weakref__", "data", "grad", "node", "requires_grad")

    data: Array
    grad: Array | None
    node: Node | None
    requires_grad: bool

    def __init__(self, data: Array, *, requires_grad: bool = False) -> None:
        if not isinstance(data, np.ndarray) or data.dtype not in (np.float32, np.float64):
            raise DTypeError(
                f"a Tensor takes a NumPy array of float32 or float64, got {kind_of(data)}: "
                "convert it with numpy.asarray(x, dtype=numpy.float32)"
            )
        self.data = data
        self.grad = None
        self.node = None
        self.requires_grad = requires_grad

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    def item(self) -> float:
        """The value of a tensor of one element."""
        return float(self.data.item())

    def detach(self) -> "Tensor":
        """The same array without its history."""
        return Tensor(self.data)

    def __getstate__(self) -> tuple[Any, dict[str, Any]]:
        """What is copied: everything but the tape."""
        attributes, slots = cast("tuple[Any, dict[str, Any]]", super().__getstate__())
        is_leaf = self.node is None
        return attributes, {**slots, "node": None, "requires_grad": self.requires_grad and is_leaf}

    def __repr__(self) -> str:
        made_by = f", made by {self.node.op.name}" if self.node else ""
        return f"Tensor({self.dtype}, shape {self.shape}{made_by})"

    def backward(self, gradient: Array | None = None, *, retain_tape: bool = False) -> None:
        """Add the gradient of this tensor to `grad` of every leaf that requires one.

        Parameters
        ----------
        gradient
            Gradient of what is wanted with respect to this tensor, of its shape; 1 by default,
            for which this tensor must have one element.
        retain_tape
            Keep the tape, so that `backward` can run through it again.

        Raises
        ------
        ShapeError
            If `gradient` is missing or has another shape.
        DTypeError
            If `gradient` is no array, or has another type of number.
        RuntimeError
            If nothing here requires a gradient, or the tape has been used up before.
        """
        if gradient is None:
            if self.data.size != 1:
                raise ShapeError(
                    f"backward needs a gradient for a result of shape {self.shape}: "
                    "reduce it to one number first, or pass backward(gradient)"
                )
            gradient = np.ones(self.shape, self.dtype)
        if not isinstance(gradient, np.ndarray) or gradient.dtype != self.dtype:
            raise DTypeError(
                f"gradient is a {kind_of(gradient)}, the tensor {self.dtype}: give a NumPy array, "
                f"numpy.asarray(gradient, dtype=numpy.{self.dtype}), or the `data` of a Tensor"
            )
        if gradient.shape != self.shape:
            raise ShapeError(f"gradient has shape {gradient.shape}, the tensor {self.shape}")
        if not self.requires_grad:
            raise RuntimeError(
                "backward from a tensor that requires no gradient: it was made under no_grad, "
                "or from inputs none of which requires one"
            )

        buffers.keep_memory()  # it will be needed again
        start = self.node or self
        gradients: dict[int, list[Array]] = {id(start): [gradient]}
        waiting = _behind(start)
        while waiting:
            place = waiting.pop()  # so that nothing keeps what has been read in memory
            arrived = gradients.pop(id(place))
            if isinstance(place, Tensor):
                place.grad = _total(place.grad, arrived)
                continue
            inputs, shapes = place.inputs, place.shapes
            shares = _shares(place, arrived.pop())
            if not retain_tape:
                place.free()
            for source, shape, share in zip(inputs, shapes, _one_by_one(shares), strict=True):
                if source is None or share[0] is None:
                    continue
                key = id(source)
                if isinstance(share[0], Part):
                    gradients[key] = [_with_part(gradients.pop(key, None), share[0])]
                    continue
                share[0] = np.asarray(unbroadcast(share[0], shape))
                gradients[key] = [_sum(gradients[key], share)] if key in gradients else share


def _behind(start: Node | Tensor) -> list[Node | Tensor]:
    """All nodes and leaves behind one that want a gradient, each before those that use it."""
    found = {id(start): start}
    unvisited = [start]
    while unvisited:
        node = unvisited.pop()
        if isinstance(node, Tensor):
            continue
        if node.freed:
            raise RuntimeError(
                f"backward a second time through {node.op.name}"
                f"{f' of layer {node.path}' if node.path else ''}: the tape is freed as it is "
                "read. Run the forward pass again, or keep it with backward(retain_tape=True)"
            )
        for source in node.inputs:
            if source is not None and id(source) not in found:
                found[id(source)] = source
                unvisited.append(source)
    # Leaves have no number.
    return sorted(found.values(), key=lambda place: getattr(place, "number", -1))


def _shares(node: Node, gy: Array) -> list[Share]:
    """Gradients of the inputs of a node, checked: a rule that forgets one is a mistake of ours."""
    needs = tuple(source is not None for source in node.inputs)
    try:
        shares = node.op.gradients(node.residuals, gy, needs, node.static)
    except Exception as error:
        if node.path:
            error.add_note(f"in the backward pass of layer {node.path}")
        raise
    for need, share in zip(needs, shares, strict=True):
        if need and share is None:
            raise RuntimeError(f"the backward rule of {node.op.name} left out a gradient")
    return list(shares)


# Gradients on their way are alone in a list: so only the list and what somebody else keeps counts.


def _one_by_one(shares: list[Any]) -> Iterator[list[Any]]:
    """Each in a list of its own, and no more in the one that it comes from."""
    for index in range(len(shares)):
        share, shares[index] = [shares[index]], None
        yield share


def _references(held: list[Any]) -> list[int]:
    """How many refer to the only thing in a list, to what its memory belongs to, and so on."""
    counts = []
    thing = held[0]
    while thing is not None:
        counts.append(sys.getrefcount(thing))
        thing = getattr(thing, "base", None)
    return counts


_ALONE = max(_references([np.empty(2)[:1]]))


def _is_ours(held: list[Array]) -> bool:
    """Whether nobody but this list holds an array or another view of its memory."""
    if max(_references(held)) > _ALONE:
        return False
    return bool(held[0].flags.c_contiguous and held[0].flags.writeable)


def _sum(a: list[Array], b: list[Array]) -> Array:
    """The sum of two gradients, in the place of one that is ours."""
    if a[0].shape == b[0].shape and a[0].dtype == b[0].dtype:
        for total, other in ((a, b), (b, a)):
            if _is_ours(total):
                elementwise.accumulate(other[0], total[0])
                return total[0]
    return np.asarray(a[0] + b[0])


def _with_part(before: list[Array] | None, part: Part) -> Array:
    """The sum of a gradient, if there is one, and that of some channels."""
    if before is None:
        return elementwise.widen(*part)
    total = before[0] if _is_ours(before) else before[0].copy()
    elementwise.accumulate_part(part.gradient, part.first, total)
    return total


def _total(before: Array | None, arrived: list[Array]) -> Array:
    """The gradient of a leaf, an array that belongs to nobody else."""
    if before is None:
        return arrived[0] if _is_ours(arrived) else elementwise.copied(arrived[0])
    return _sum([before], arrived)


def kind_of(x: object) -> str:
    """What something is, for messages: "int64 array", "list", "None"."""
    if isinstance(x, np.ndarray):
        return f"{x.dtype} array"
    return "None" if x is None else type(x).__name__


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Undo a broadcast: add up the gradient over the axes along which the input was repeated."""
    if gradient.shape == shape:
        return gradient
    added = gradient.ndim - len(shape)
    repeated = [added + axis for axis, length in enumerate(shape) if length == 1]
    total: Array = gradient.sum(axis=(*range(added), *repeated), keepdims=True)
    return total.reshape(shape)


# Arrays on the tape are read-only.  One array may be on it many times, so they are counted.
_held: dict[int, int] = {}
_lock = threading.RLock()  # reentrant: freeing memory inside may delete another node


def _arrays(residuals: Any) -> Iterable[Array]:
    if isinstance(residuals, np.ndarray):
        yield residuals
    elif isinstance(residuals, tuple | list):
        for part in residuals:
            yield from _arrays(part)


def _hold(array: Array) -> bool:
    """Make an array read-only; False if it was so already, and is not ours to give back."""
    key = id(array)
    with _lock:
        count = _held.get(key, 0)
        if not count:
            flags = array.flags
            if not flags.writeable:
                return False
            flags.writeable = False
        _held[key] = count + 1
        return True


def _release(array: Array) -> None:
    key = id(array)
    with _lock:
        count = _held.get(key, 0)
        if count > 1:
            _held[key] = count - 1
        elif count:  # else the node is a copy, which held nothing
            del _held[key]
            # A view of an array that is still held cannot be made writeable, and must not be.
            with contextlib.suppress(ValueError):
                array.flags.writeable = True
