"""Rungs of the shorter ladders, each forced in a whole network: it runs, and nothing changes."""

import copy
import dataclasses
import functools
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Tensor
from minincep_kernels import Array, registry
from minincep_kernels.errors import VariantError
from minincep_kernels.registry import use, variants
from tests.plan.graphs import network

pytestmark = pytest.mark.usefixtures("one_thread")

OPS = ("moments", "normalize", "max_pool2d", "avg_pool2d")
RUNGS = [(op, name) for op in OPS for name in variants(op)]

built = functools.cache(network)


def results(training: bool) -> dict[str, Array]:
    """What a network gives; in training also the gradients, and the statistics that moved.

    Training is in float64: in float32 it goes astray at the first rounding.
    """
    dtype = np.float64 if training else np.float32
    net = copy.deepcopy(built("inception_v4")).train(training).astype(dtype)
    x = np.random.default_rng(0).standard_normal((2, 75, 75, 3)).astype(dtype)
    y = net(Tensor(x))
    found = {"logits": y.data, **net.arrays()}
    if training:
        y.backward(np.linspace(-1, 1, y.data.size).reshape(y.shape))
        for path, parameter in net.parameters().items():
            assert parameter.grad is not None
            found[f"gradient of {path}"] = parameter.grad
    return found


@functools.cache
def wanted(training: bool) -> dict[str, Array]:
    return results(training)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("op", "name"), RUNGS)
def test_forced_rung_runs_in_a_network(
    op: str, name: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    rung = variants(op)[name]

    def forward(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return rung.forward(*arguments)

    monkeypatch.setitem(registry._variants[op], name, dataclasses.replace(rung, forward=forward))
    runs = training or op != "moments"
    refusal = pytest.raises(VariantError, match="nothing asked for moments")
    with nullcontext() if runs else refusal, use(**{op: name}):
        found = results(training)
    assert bool(calls) == runs
    for path, expected in wanted(training).items():
        tolerance = (1e-9 if training else 1e-5) * np.abs(expected).max()
        np.testing.assert_allclose(found[path], expected, rtol=0, atol=tolerance, err_msg=path)
