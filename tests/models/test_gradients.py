"""Gradients of one whole block of each kind are those that PyTorch finds.

tests/data/block_gradients.h5 was made by tools/reference/block_gradients.py, in training mode:
output, gradient of the input and of every parameter, at sampled positions, for an input and an
output gradient that both sides draw.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from minincep.autograd import Tensor
from minincep.models.registry import build_model
from minincep.nn.module import Module
from minincep_kernels import Array
from tests.models.blocks import find, put_reference_weights

pytestmark = pytest.mark.usefixtures("one_thread")

FILE = Path(__file__).parents[1] / "data" / "block_gradients.h5"


@dataclass(frozen=True)
class Samples:
    """PyTorch's values of one array at some positions (flat, C order)."""

    shape: tuple[int, ...]
    index: Array
    values: Array
    largest: float

    def error(self, found: Array) -> float:
        """Largest difference, in parts of the largest value of the whole array."""
        assert found.shape == self.shape
        difference = found.ravel()[self.index].astype(np.float64) - self.values
        return float(np.abs(difference).max() / self.largest)


@dataclass(frozen=True)
class Block:
    """A block of a network, and the samples of its output and gradients by name."""

    architecture: str
    path: str
    input_shape: tuple[int, ...]
    samples: dict[str, Samples]


def read_blocks() -> Iterator[Block]:
    with h5py.File(FILE, "r") as file:
        for architecture in file:
            for group in file[architecture].values():
                samples = {
                    str(entry.attrs["name"]): Samples(
                        tuple(entry.attrs["shape"].tolist()),
                        entry["index"][()],
                        entry["values"][()],
                        float(entry.attrs["max_abs"]),
                    )
                    for entry in group.values()
                }
                shape = tuple(group.attrs["input_shape"].tolist())
                yield Block(architecture, str(group.attrs["path"]), shape, samples)


BLOCKS = {f"{block.architecture}/{block.path}": block for block in read_blocks()}


def drawn(purpose: str, path: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """As block_gradients.py draws it."""
    random = np.random.RandomState(zlib.crc32(f"{purpose}:{path}".encode()))
    return random.standard_normal(shape).astype(np.float32).astype(dtype)


def gradients(block: Block, dtype: Any) -> dict[str, Array]:
    """The output of a block, then the gradients of its input and of every parameter by name."""
    network = build_model(block.architecture, batch_norm_gamma=True)
    module = find(network, block.path, Module)
    put_reference_weights(module, block.path, dtype)
    module.train()
    x = Tensor(drawn("input", block.path, block.input_shape, dtype), requires_grad=True)
    y = module(x)
    y.backward(drawn("gradient", block.path, y.shape, dtype))
    found = {"output": y.data}
    for name, leaf in {"input": x, **module.parameters()}.items():
        assert leaf.grad is not None, name
        found[name] = leaf.grad
    return found


def test_every_kind_of_block_is_there() -> None:
    found: dict[str, set[str]] = {}
    for block in BLOCKS.values():
        found.setdefault(block.architecture, set()).add(block.path)
    residual = {"repeat/block35_1", "mixed_6a", "repeat_1/block17_1", "mixed_7a"}
    residual |= {"repeat_2/block8_1", "block8"}
    inception = {"mixed_3a", "mixed_4a", "mixed_5a", "mixed_5b", "mixed_6a", "mixed_6b"}
    assert found == {
        "inception_v4": inception | {"mixed_7a", "mixed_7b"},
        "inception_resnet_v1": residual,
        "inception_resnet_v2": residual | {"mixed_5b"},
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BLOCKS)
def test_block_agrees_with_pytorch(name: str, dtype: Any) -> None:
    block = BLOCKS[name]
    found = gradients(block, dtype)
    assert found.keys() == block.samples.keys()
    tolerance = {np.float32: 1e-4, np.float64: 1e-10}[dtype]
    errors = {key: samples.error(found[key]) for key, samples in block.samples.items()}
    assert {key: error for key, error in errors.items() if not error <= tolerance} == {}
