"""A trace: what ops a network runs, in which order, on what; found by running it without numbers.

The network's own forward runs once, on a placeholder for one image.  Each op works out the shape of
its result only, and tells; so there is one definition of a network, and a wrong shape is found here
as in a real run, with the same words.

What a layer does between ops, in Python, happens now and never again: whether dropout drops, which
way a `Side` goes.  That is why a network must be in inference mode.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from minincep.autograd.op import Op, placeholder, tracing
from minincep.autograd.tensor import Tensor
from minincep.models.network import Network
from minincep.nn.module import endpoints as collected
from minincep.plan.graph import Graph, Node, Value
from minincep_kernels.errors import PlanError
from minincep_kernels.shapes import pad_sides

# Ops that treat each image for itself, so that one image tells all.
PER_IMAGE = (
    "add",
    "add_bias",
    "avg_pool2d",
    "batch_norm",
    "concat",
    "conv2d",
    "global_avg_pool2d",
    "l2_normalize",
    "matmul",
    "max_pool2d",
    "relu",
    "reshape",
    "scale",
    "softmax",
)
ALL_FLOW = ("add", "concat")  # all inputs are activations; of the other ops, the first is


def trace(network: Network, image_size: tuple[int, int], endpoints: Collection[str] = ()) -> Graph:
    """The graph of a network, its ops one by one, for images of one size.  Nothing is computed.

    Parameters
    ----------
    image_size
        Height and width in pixels.
    endpoints
        End points that the graph is to give beside the result.

    Raises
    ------
    ConfigError
        If there is no end point of a name.
    PlanError
        If the network is in training mode or not in float32, the size is not two whole numbers, or
        a layer does something that a plan cannot: an op that mixes the images of a batch, or
        arithmetic on arrays that no op sees.
    ShapeError
        If the network does not take images of this size.
    """
    _check(network, image_size)
    network.check_endpoints(endpoints)
    x = placeholder((1, *image_size, 3), np.float32)
    tracer = _Tracer(x)
    with tracing(tracer), collected(endpoints) as found:
        y = network(x)
    outputs = {"": tracer.value(y, network.architecture)}
    for name in endpoints:
        outputs[name] = tracer.value(found[name], name)
    return Graph(tracer.values[x], tracer.nodes, outputs)


def _check(network: Network, image_size: object) -> None:
    if (
        not isinstance(image_size, tuple)
        or len(image_size) != 2
        or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in image_size)
    ):
        raise PlanError(
            f"image_size must be (height, width), two whole numbers of pixels, got {image_size!r}"
        )
    for path, module in network.modules():
        if module.training:
            where = f" (layer {path})" if path else ""
            raise PlanError(
                f"{network.architecture} is in training mode{where}: call network.eval() first"
            )
    for path, array in network.arrays().items():
        if array.dtype != np.float32:
            raise PlanError(
                f"a plan computes in float32, but {path} is {array.dtype}: convert the network "
                "with network.astype(numpy.float32)"
            )


class _Tracer:
    """Listens, and writes the nodes down.  Tensors are kept, so that each stays one and itself."""

    def __init__(self, x: Tensor) -> None:
        self.values = {x: Value(x.shape[1:])}
        self.nodes: list[Node] = []

    def value(self, x: Any, reader: str) -> Value:
        """The value that a tensor stands for."""
        if not isinstance(x, Tensor) or x not in self.values:
            raise PlanError(
                f"{reader}: reads an array that no op has made from the image, so a plan cannot "
                "know it: a layer may change activations with ops only"
            )
        return self.values[x]

    def record(
        self,
        op: Op,
        inputs: tuple[Any, ...],
        static: Mapping[str, Any],
        path: str,
        output: Tensor,
    ) -> None:
        of_batch = static.get("of_batch", False)
        if op.name not in PER_IMAGE or of_batch:
            raise PlanError(
                f"{op.name}{' with statistics of the batch' if of_batch else ''}: a plan takes "
                f"only ops that treat each image for itself: {', '.join(PER_IMAGE)}"
            )
        count = len(inputs) if op.name in ALL_FLOW else 1
        read = [self.value(x, op.name) for x in inputs[:count]]
        arrays = {}
        for name, x in zip(op.input_names[count:], inputs[count:], strict=True):
            if isinstance(x, Tensor) and x in self.values:
                raise PlanError(f"{op.name}: {name} must be a weight, got what a layer has made")
            if x is not None:
                arrays[name] = x.data if isinstance(x, Tensor) else x
        value = Value(output.shape[1:])
        if op.name == "add" and read[0].shape != read[1].shape:
            raise PlanError(
                f"add: a plan adds maps of one shape, got {read[0].shape} and {read[1].shape}"
            )
        if op.name == "reshape" and (output.shape[0], static["shape"]) != (1, (-1, *value.shape)):
            raise PlanError(
                f"reshape to {static['shape']}: a plan reshapes each image for itself: let the "
                "first length be -1, for the batch, and the others those of one image"
            )
        self.values[output] = value
        self.nodes.append(
            Node(op.name, read, value, _static(op, static, read, arrays), arrays, path)
        )


def _static(
    op: Op, static: Mapping[str, Any], read: list[Value], arrays: Mapping[str, Any]
) -> dict[str, Any]:
    """The static arguments, padding in pixels, and whether a ReLU follows, which passes set."""
    found = dict(static)
    if "padding" in found:
        kernel = arrays["filters"].shape[:2] if op.name == "conv2d" else found["kernel_size"]
        height, width, _ = read[0].shape
        found["padding"] = pad_sides((height, width), kernel, found["stride"], found["padding"])
    if op.name in ("conv2d", "avg_pool2d"):
        found["relu"] = False
    return found
