"""Other people's weights, by name, into a network of ours."""

import os
from pathlib import Path

from minincep.io.errors import WeightError
from minincep.io.formats import keras_h5
from minincep.io.hdf5 import FORMAT, attribute, check_names, check_size, open_file, read
from minincep.io.names import keras_facenet
from minincep.models.network import Network
from minincep.models.preprocessing import Preprocessing
from minincep.models.registry import build_model

# facenet's models of 2017, which this family was converted from, were trained on whitened faces.
FACENET_2017 = Preprocessing(160, 160, keep_aspect=False, filter="bilinear", scaling="whitening")


def convert(path: str | os.PathLike[str]) -> Network:
    """Read a Keras file of the facenet family (Inception-ResNet-v1) as a network.

    Every array of the file must be one of the network's and fit it, and the other way round.

    Raises
    ------
    WeightError
        If the file is missing, damaged or of another kind, or its arrays do not fit.
    """
    path = Path(path)
    with open_file(path) as file:
        if attribute(path, file, "format", str, default="") == FORMAT:
            raise WeightError(f"{path} is already a weights file of minincep: use it as it is")
        stored = keras_h5.arrays(path, file)
        bottleneck = stored.get("Bottleneck/kernel")
        if bottleneck is None or len(bottleneck.shape) != 2:
            raise WeightError(
                f"{path}: no source of weights that is known has these names; known is "
                "Inception-ResNet-v1 of the Keras facenet family (Block35_1_Branch_0_Conv2d_1x1/"
                f"kernel ...), and here is {next(iter(stored), 'nothing')}"
            )
        network = build_model(
            "inception_resnet_v1",
            embedding_size=int(bottleneck.shape[1]),
            batch_norm_gamma=any(name.endswith("/gamma") for name in stored),
        )
        table = {keras_facenet.source_name(name): name for name in network.arrays()}
        wanted = {source: network.arrays()[name].shape for source, name in table.items()}
        check_names(str(path), {name: data.shape for name, data in stored.items()}, wanted)
        check_size(path, stored.values())
        network.assign_all({table[name]: read(path, name, stored[name]) for name in wanted})
    network.preprocessing = FACENET_2017
    network.source = f"{path.name}, Keras, facenet family"
    return network
