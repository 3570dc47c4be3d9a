"""Outputs of the independent implementations at every end point, with drawn weights.

The weights are drawn (see `minincep/io/reference.py`), the batch-norm statistics calibrated by
one training-mode pass of the reference network, then every end point is computed in float64.  The
same pass in float32 says how much of a difference is rounding.
"""

import copy
import json

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import samples
from end_points import AUXILIARY, AUXILIARY_INPUT, END_POINTS, LOGITS, PREDICTIONS
from rule import DATA, picture, scaled
from torch_names import NAMES
from torch_networks import (
    CALIBRATION_SEEDS,
    CONFIG,
    AuxiliaryHead,
    build,
    put_drawn_weights,
    statistics,
    witness,
)

Floats = npt.NDArray[np.floating]
Outputs = dict[str, Floats]  # end point -> activation, channels last, in the order of the network

IMAGE_SEED = 0
# At 299, 331 and 203 every map that a stride of 2 meets is odd.  Even maps, of which the last row
# is dropped, occur at 160 and in the blocks of block_gradients.py.
CASES = {  # no auxiliary head fits the second size
    "inception_v4": ((299, 299), (331, 203)),
    "inception_resnet_v2": ((299, 299), (331, 203)),
    "inception_resnet_v1": ((160, 160), (331, 203)),
}
CALIBRATION_SIZE = {"inception_v4": 299, "inception_resnet_v2": 299, "inception_resnet_v1": 160}
AGREEMENT = 1e-9  # between two implementations in float64, in standard deviations


class Reference:
    """A PyTorch network with its auxiliary head, run end point by end point."""

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture
        self.network, self.head = build(architecture)
        put_drawn_weights(self.network, NAMES[architecture].network)
        if self.head is not None:
            put_drawn_weights(self.head, NAMES[architecture].auxiliary)

    def double(self) -> "Reference":
        """The same network, weights cast to float64."""
        other = copy.deepcopy(self)
        other.network.double()
        if other.head is not None:
            other.head.double()
        return other

    def calibrate(self) -> None:
        """Set the batch-norm statistics from one training-mode pass, without dropout."""
        size = CALIBRATION_SIZE[self.architecture]
        batch = np.stack([scaled(picture(size, size, seed)) for seed in CALIBRATION_SEEDS])
        parts = [part for part in (self.network, self.head) if part is not None]
        for part in parts:
            part.train()
            for module in part.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.momentum = 1.0
                elif isinstance(module, nn.Dropout):
                    module.eval()
        self.run(batch)
        for part in parts:
            part.eval()

    def statistics(self) -> dict[str, npt.NDArray[np.float32]]:
        """Running means and variances of network and head by path."""
        names = NAMES[self.architecture]
        found = statistics(self.network, names.network)
        return found if self.head is None else found | statistics(self.head, names.auxiliary)

    def run(self, pictures: Floats) -> Outputs:
        """(N, H, W, 3) -> all end points, without AuxLogits where the head does not fit."""
        table = END_POINTS[self.architecture]
        seen: dict[str, Tensor] = {}

        def keep(module: str) -> None:
            def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
                seen[module] = output.detach().clone()  # a later layer may work in place

            handles.append(self.network.get_submodule(module).register_forward_hook(hook))

        handles: list[torch.utils.hooks.RemovableHandle] = []
        for module in dict.fromkeys(source for _, source in table):
            if module not in (AUXILIARY, PREDICTIONS):
                keep(module)
        with torch.no_grad():
            self.network(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()))
            for handle in handles:
                handle.remove()
            if self.head is not None:
                entry = seen[AUXILIARY_INPUT[self.architecture]]
                if fits(self.head, entry):
                    seen[AUXILIARY] = self.head(entry)
            if self.architecture in LOGITS:
                seen[PREDICTIONS] = torch.softmax(seen[LOGITS[self.architecture]], dim=1)
        return {name: channels_last(name, seen[source]) for name, source in table if source in seen}


def fits(head: AuxiliaryHead, entry: Tensor) -> bool:
    """Whether the pooled map is 5 x 5, as the released auxiliary weights need it."""
    return tuple(head.pool(entry).shape[2:]) == (5, 5)


def channels_last(name: str, tensor: Tensor) -> Floats:
    """(N, C, H, W) -> (N, H, W, C); pooled maps get the shape that their end point has."""
    if name == "global_pool":
        return tensor.reshape(len(tensor), 1, 1, -1).numpy()
    if name == "PreLogitsFlatten":
        return tensor.flatten(1).numpy()
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).contiguous().numpy()


def difference(a: Floats, b: Floats) -> float:
    """Largest difference in standard deviations of the first: the measure used throughout."""
    return float(np.abs(a.astype(np.float64) - b).max() / a.std(dtype=np.float64))


def write_case(file: h5py.File, case: str, witness: str, exact: Outputs, single: Outputs) -> None:
    """One case: samples of every end point in float64, and the error of float32 on them."""
    height, width = (int(part) for part in case.rpartition("_")[2].split("x"))
    group = file.create_group(f"cases/{case}")
    group.attrs.update(witness=witness, height=height, width=width, image_seed=IMAGE_SEED)
    worst = ("", 0.0)
    for number, (name, values) in enumerate(exact.items()):
        assert [values.dtype, single[name].dtype] == ["float64", "float32"], name
        index = samples.choose_in_end_point(name, values.shape)
        std = float(values.std())
        rounding = np.abs(single[name].ravel()[index].astype(np.float64) - values.ravel()[index])
        error = float(rounding.max()) / std
        entry = group.create_group(f"endpoints/{number:03d}")
        entry.attrs.update(
            name=name, shape=values.shape, mean=values.mean(), std=std, float32_error=error
        )
        samples.write(entry, index, values)
        worst = max(worst, (name, error), key=lambda pair: pair[1])
    logits = "Embeddings" if "Embeddings" in exact else "Logits"
    print(
        f"{case}: {len(exact)} end points, worst float32 error {worst[1]:.1e} at {worst[0]}, "
        f"{difference(exact[logits], single[logits]):.1e} at {logits}"
    )


def make(architecture: str) -> None:
    """Write tests/data/reference_<architecture>.h5."""
    single = Reference(architecture)
    single.calibrate()
    double = single.double()
    library = "facenet-pytorch" if architecture == "inception_resnet_v1" else "timm"
    config = json.dumps(CONFIG[architecture])
    with samples.new_file(str(DATA / f"reference_{architecture}.h5")) as file:
        file.attrs.update(
            format="minincep-reference", format_version=1, architecture=architecture, config=config
        )
        for path, values in single.statistics().items():
            file.create_dataset(f"statistics/{path}", data=values, **samples.COMPACT)
        for height, width in CASES[architecture]:
            image = scaled(picture(height, width, IMAGE_SEED))[None]
            exact = double.run(image.astype(np.float64))
            case = f"{library.replace('-', '_')}_{height}x{width}"
            write_case(file, case, witness(library), exact, single.run(image))
            if architecture == "inception_resnet_v2" and (height, width) == (299, 299):
                add_second_witness(file, single.statistics(), image, exact)


def add_second_witness(
    file: h5py.File, known: dict[str, npt.NDArray[np.float32]], image: Floats, first: Outputs
) -> None:
    """Add the case of Keras, and prove that both implementations compute the same.

    Raises
    ------
    AssertionError
        If an end point differs by more than float64 explains.
    """
    import keras_network

    exact = keras_network.run(known, image.astype(np.float64))
    single = keras_network.run(known, image)
    write_case(file, "keras_299x299", witness("keras"), exact, single)
    assert exact.keys() == first.keys() - {"AuxLogits"}, exact.keys() ^ first.keys()
    differences = {name: difference(first[name], exact[name]) for name in exact}
    name = max(differences, key=differences.__getitem__)
    print(f"timm and Keras differ by at most {differences[name]:.1e}, at {name}")
    assert differences[name] < AGREEMENT
