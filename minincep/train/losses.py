"""What a network is trained to make small.

    loss, logits = classification_loss(network, x, labels)
    loss.backward()

All are called with the network, a batch of pictures and their labels, and give the loss and what
it was worked out from.  `CentreLoss` and `triplet_loss` are for embeddings.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from minincep.autograd import Tensor, ops
from minincep.autograd.op import placeholder, tracing
from minincep.models.network import Network
from minincep.train.ranges import number
from minincep.train.state import restore
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError, ShapeError

AUXILIARY = "AuxLogits"


def classification_loss(
    network: Network,
    x: Tensor,
    labels: Array,
    *,
    label_smoothing: float = 0.1,
    auxiliary_weight: float = 0.4,
    class_weights: Sequence[float] | Array | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross entropy of the logits, and in training of the auxiliary head's: -> (loss, logits).

    Parameters
    ----------
    x, labels
        Pictures (N, H, W, 3), and the class of each, (N,).
    label_smoothing
        Szegedy et al. 2016, "Rethinking the Inception architecture", section 7.
    auxiliary_weight
        What the auxiliary head's loss is multiplied with; the released code's by default.  The head
        runs if the network has one that fits pictures of this size, in training, and if this is
        not 0.
    class_weights
        (classes,): a picture counts as much as its class, and the mean is the weighted one.  (With
        label smoothing, PyTorch weighs the smoothed classes instead of the picture.)

    Raises
    ------
    ConfigError
        If a number is out of range, or the network has no classes.
    """
    number("auxiliary_weight", auxiliary_weight, least=0)
    weights = None if class_weights is None else _class_weights(class_weights, x.dtype)
    names = [_logits_of(network)]
    if network.training and auxiliary_weight and auxiliary_fits(network, *x.shape[1:3]):
        names.append(AUXILIARY)
    found = network.run_endpoints(x, names)
    logits, *auxiliary = (found[name] for name in names)
    loss = ops.softmax_cross_entropy(logits, labels, weights, label_smoothing=label_smoothing)
    for head in auxiliary:
        cost = ops.softmax_cross_entropy(head, labels, weights, label_smoothing=label_smoothing)
        loss = ops.add(loss, ops.scale(cost, factor=auxiliary_weight))
    return loss, logits


# Whether the auxiliary head of a network fits pictures of a size.
_fits: WeakKeyDictionary[Network, dict[tuple[int, ...], bool]] = WeakKeyDictionary()


def auxiliary_fits(network: Network, height: int, width: int) -> bool:
    """Whether a network has an auxiliary head, and it can be run on pictures of this size.

    Its 5 x 5 convolution has to cover the whole of its map: pictures of 299 to 346 pixels.
    """
    known = _fits.setdefault(network, {})
    if (height, width) not in known:
        known[height, width] = AUXILIARY in network.endpoint_names() and _runs(
            network, (1, height, width, 3)
        )
    return known[height, width]


def _runs(network: Network, shape: tuple[int, ...]) -> bool:
    """Work out the shapes up to the auxiliary head, and no numbers."""
    dtype = next(iter(network.parameters().values())).dtype
    modes = [(module, module.training) for _, module in network.modules()]
    try:
        network.eval()
        with tracing(_Nobody()):
            network.run_endpoints(placeholder(shape, dtype), [AUXILIARY])
    except ShapeError:
        return False
    finally:
        for module, mode in modes:
            module.training = mode
    return True


class _Nobody:
    """Listens to a trace, and keeps nothing."""

    def record(self, *_: Any) -> None: ...


class CentreLoss:
    """Softmax and centre loss (Wen et al. 2016): embeddings of a class gather around its centre.

    Each class has a centre, which moves towards the mean of its embeddings in each batch:
    centre += alpha (mean - centre).  For one picture of a class in the batch that is what facenet
    does with ``center_loss_alfa = 1 - alpha``; for n pictures, facenet moves n times as far, and
    equation 4 of the paper n / (n + 1) times.

    Parameters
    ----------
    classes, size
        Numbers of classes, and of channels of the embeddings.
    factor
        What the centre loss is multiplied with before it is added.
    alpha
        Share of the way to the mean that a centre moves, from 0 to 1.
    endpoint
        End point with the embeddings; facenet's are those before the division by their length.

    Attributes
    ----------
    centres
        (classes, size), zeros at first.
    """

    centres: Array

    def __init__(
        self,
        classes: int,
        size: int,
        *,
        factor: float = 0.01,
        alpha: float = 0.1,
        endpoint: str = "Bottleneck",
        dtype: Any = np.float32,
    ) -> None:
        for name, count in (("classes", classes), ("size", size)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ConfigError(f"{name} must be a whole number of at least 1, got {count!r}")
        self.factor = number("factor", factor, least=0)
        self.alpha = number("alpha", alpha, least=0, most=1)
        self.endpoint = endpoint
        self.centres = np.zeros((classes, size), dtype)

    def __call__(
        self, network: Network, x: Tensor, labels: Array, *, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """-> (loss, logits).  In training the centres move, once the loss is known."""
        logits_name = _logits_of(network)
        found = network.run_endpoints(x, [logits_name, self.endpoint])
        logits, embeddings = found[logits_name], found[self.endpoint]
        loss = ops.softmax_cross_entropy(logits, labels, label_smoothing=label_smoothing)
        loss = ops.add(loss, self.loss(embeddings, labels))
        if network.training:
            self.move(embeddings.data, labels)
        return loss, logits

    def loss(self, embeddings: Tensor, labels: Array) -> Tensor:
        """Factor times `ops.centre_loss`: (N, C), (N,) -> ()."""
        return ops.scale(ops.centre_loss(embeddings, self.centres, labels), factor=self.factor)

    def move(self, embeddings: Array, labels: Array) -> None:
        """Move the centres of the classes that are in the batch: (N, C), (N,)."""
        for label in np.unique(labels):
            mean = embeddings[labels == label].mean(axis=0, dtype=np.float64)
            self.centres[label] += self.alpha * (mean - self.centres[label])

    def state(self) -> dict[str, Array]:
        """What it remembers, by name."""
        return {"centres": self.centres.copy()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Go on where another has stopped, bit for bit.

        Raises
        ------
        WeightError
            If a name, a shape or a type of number is not what it should be; nothing is changed.
        """
        restore("the centre loss", {"centres": self.centres}, state)


def triplet_loss(
    network: Network, x: Tensor, labels: Array, *, margin: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Semi-hard triplets of the batch, see `ops.triplet_loss`: -> (loss, embeddings).

    Raises
    ------
    ConfigError
        If the network gives no embeddings, or the margin is out of range.
    """
    embeddings = network.run_endpoints(x, ["Embeddings"])["Embeddings"]
    return ops.triplet_loss(embeddings, labels, margin=margin), embeddings


def _logits_of(network: Network) -> str:
    if "Logits" not in network.endpoint_names():
        raise ConfigError(
            f"{network.architecture} has no classes: make it with num_classes, or train its "
            "embeddings with triplet_loss"
        )
    return "Logits"


def _class_weights(weights: Sequence[float] | Array, dtype: Any) -> Array:
    if np.ndim(weights) != 1:
        raise ConfigError(f"class_weights must be a list of numbers, got {weights!r}")
    return np.array([number("each of class_weights", w, least=0) for w in weights], dtype)
