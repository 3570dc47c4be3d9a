"""Weights for Keras networks: a Keras 2 HDF5 file, which Keras 3 and tf.keras load as well.

    /                       attributes: layer_names, backend, keras_version
    /<layer>                attribute: weight_names
    /<layer>/<layer>/kernel:0

Keras takes the layers of such a file in the order of its own network, whatever they are called.
That order follows from how the layers are connected, so it is worked out from the trace.

keras.applications.InceptionResNetV2(weights="net.h5", classes=...) takes it by its path, the
networks of keras-facenet (Inception-ResNet-v1, embeddings before they are scaled to length 1) and
kentsommer (Inception-v4) through `load_weights`.

The batch norm of these networks has no gamma.  A network that has one still fits: gamma times
what batch norm takes is what it takes when the filters and the running mean are gamma times as
large.  So gamma goes into those two, exact but for rounding.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from minincep.export.weights import weights
from minincep.io.files import NewFile
from minincep.io.names import kentsommer, keras_applications, keras_facenet
from minincep.models.network import SMALLEST, Network
from minincep.plan.graph import Graph, Node
from minincep.plan.trace import trace
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError

Names = Callable[[Iterable[str]], dict[str, str]]
NETWORKS: dict[str, tuple[Names, tuple[str, ...]]] = {  # names, and what the other side has not
    "inception_v4": (kentsommer.names, ("aux_logits/",)),
    "inception_resnet_v1": (keras_facenet.names, ("logits/",)),
    "inception_resnet_v2": (keras_applications.names, ("aux_logits/",)),
}
FIRST = {"conv2d": "weight", "matmul": "weight", "batch_norm": "beta"}  # tells the layer of an op
KINDS = ("kernel", "bias", "beta", "moving_mean", "moving_variance")  # in the order of a layer


def write(network: Network, path: Path) -> None:
    """Write the weights for keras.applications (v2), keras-facenet (v1) or kentsommer's (v4).

    Raises
    ------
    ConfigError
        If none of them has such a network.
    PlanError
        If the network is in training mode or not in float32.
    OSError
        If the file cannot be written.
    """
    if network.architecture not in NETWORKS:
        raise ConfigError(
            f"no Keras network fits {network.architecture}, only {' and '.join(NETWORKS)}: export "
            "it as onnx, which holds the whole network"
        )
    names, absent = NETWORKS[network.architecture]
    arrays = weights(network, absent)
    layers: dict[str, dict[str, str]] = {}
    for ours, theirs in names(arrays).items():
        layer, _, kind = theirs.rpartition("/")
        layers.setdefault(layer, {})[kind] = ours
    layer_of = {ours: layer for layer, kinds in layers.items() for ours in kinds.values()}
    order = [
        layer_of[name]
        for node in in_keras_order(trace(network, (SMALLEST, SMALLEST)))
        if (name := f"{node.path}/{FIRST.get(node.op)}") in layer_of
    ]
    with NewFile(path) as new:
        new.run(_write, new, {layer: layers[layer] for layer in order}, arrays)


def _write(new: NewFile, layers: Mapping[str, Mapping[str, str]], arrays: dict[str, Array]) -> None:
    with new.hdf5("w") as file:
        file.attrs["layer_names"] = np.array(list(layers), "S")
        file.attrs["backend"] = "tensorflow"  # without these two, Keras takes it for Keras 1
        file.attrs["keras_version"] = "2.2.4"
        for layer, kinds in layers.items():
            group = file.create_group(layer)
            stored = [kind for kind in KINDS if kind in kinds]
            group.attrs["weight_names"] = np.array([f"{layer}/{kind}:0" for kind in stored], "S")
            for kind in stored:
                group[f"{layer}/{kind}:0"] = _without_gamma(kinds[kind], arrays)
                new.check()


def _without_gamma(path: str, arrays: Mapping[str, Array]) -> Array:
    """An array of a network whose batch norm has no gamma, and which does the same."""
    scope, _, kind = path.rpartition("/")
    gamma = {"weight": f"{scope}/batch_norm/gamma", "running_mean": f"{scope}/gamma"}.get(kind, "")
    return arrays[path] * arrays[gamma] if gamma in arrays else arrays[path]


def in_keras_order(graph: Graph) -> list[Node]:
    """The ops in the order of a Keras network: far from the result first.

    Of those that are equally far, in ops, by the longest way, those come first that are seen first
    on a walk from the result back, which follows each way to its end and the first input first.
    """
    makers = {node.output: node for node in graph.nodes}
    distance = dict.fromkeys(graph.nodes, 0)
    for node in reversed(graph.nodes):
        for value in node.inputs:
            if value in makers:
                before = makers[value]
                distance[before] = max(distance[before], distance[node] + 1)
    seen: dict[Node, int] = {}
    waiting = [graph.outputs[""]]
    while waiting:
        maker = makers.get(waiting.pop())
        if maker and maker not in seen:
            seen[maker] = len(seen)
            waiting += reversed(maker.inputs)
    return sorted(seen, key=lambda node: (-distance[node], seen[node]))
