"""Names of arrays in the PyTorch networks -> paths of arrays in minincep, and proof of them.

The tables are those of the package (`minincep/io/names/torch_modules.py`), explicit, one line a
layer; here are those of the auxiliary heads.  `check_complete` proves a table complete and
injective against a real `state_dict`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from rule import load

tables = load("io/names/torch_modules.py")
arrays, UNIT, AFFINE = tables.arrays, tables.UNIT, tables.AFFINE

# The module AuxiliaryHead in torch_networks.py.
V4_AUX = {"project": "aux_logits/conv2d_1b_1x1", "reduce": "aux_logits/conv2d_2a"}
V4_AUX_CLASSIFIER = {"classifier": "aux_logits/aux_logits"}
V2_AUX = {"project": "aux_logits/conv2d_1b_1x1", "reduce": "aux_logits/conv2d_2a_5x5"}
V2_AUX_CLASSIFIER = {"classifier": "aux_logits/logits"}


@dataclass(frozen=True)
class Names:
    """What the arrays of a network are called on both sides, in the order of definition."""

    network: dict[str, str]
    auxiliary: dict[str, str]
    blocks: Mapping[str, tuple[str, dict[str, str]]]

    def block(self, path: str) -> tuple[str, dict[str, str]]:
        """Torch module of the block at a minincep path, and its arrays relative to the block."""
        for module, (block_path, layers) in self.blocks.items():
            if block_path == path:
                return module, tables.block_arrays(layers, residual=tables.is_residual(path))
        raise KeyError(path)


NAMES = {
    "inception_v4": Names(
        network=tables.INCEPTION_V4,
        auxiliary={**arrays(V4_AUX, UNIT), **arrays(V4_AUX_CLASSIFIER, AFFINE)},
        blocks=tables.V4_BLOCKS,
    ),
    "inception_resnet_v2": Names(
        network=tables.INCEPTION_RESNET_V2,
        auxiliary={**arrays(V2_AUX, UNIT), **arrays(V2_AUX_CLASSIFIER, AFFINE)},
        blocks=tables.V2_BLOCKS,
    ),
    "inception_resnet_v1": Names(
        network=tables.INCEPTION_RESNET_V1, auxiliary={}, blocks=tables.V1_BLOCKS
    ),
}


def check_complete(table: Mapping[str, str], torch_names: Iterable[str]) -> None:
    """Prove that a table names every array once, on both sides.

    Raises
    ------
    AssertionError
        With the names that are missing, left over or used twice.
    """
    wanted = {name for name in torch_names if not name.endswith("num_batches_tracked")}
    difference = wanted ^ table.keys()
    assert not difference, f"table and state_dict differ in {sorted(difference)}"
    assert len(set(table.values())) == len(table), "two torch arrays share a minincep path"


def minincep_shape(tensor: Tensor) -> tuple[int, ...]:
    """Shape in minincep's layout: OIHW -> HWIO, (out, in) -> (in, out), else unchanged."""
    shape = tuple(tensor.shape)
    return (shape[2], shape[3], shape[1], shape[0]) if len(shape) == 4 else shape[::-1]
