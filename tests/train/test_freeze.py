"""Freezing by pattern: which weights are trained, and which batch norm follows the batches."""

from typing import Any

import numpy as np
import pytest

import minincep as mi
from minincep.models.network import Network
from minincep.nn.layers import BatchNorm
from minincep.train.freeze import freeze, freeze_batch_norm, unfreeze
from minincep.train.losses import classification_loss
from minincep.train.optim import SGD
from minincep.train.patterns import matching
from minincep_kernels.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")

PATHS = ["stem/weight", "mixed_5a/a/weight", "mixed_5a/a/beta", "mixed_5b/a/beta", "logits/weight"]


def small(**config: Any) -> Network:
    return mi.create_model(
        "inception_v4", num_classes=3, width=0.03, blocks=(1, 1, 1), seed=1, **config
    )


def trained(network: Network) -> set[str]:
    return {path for path, p in network.parameters().items() if p.requires_grad}


def frozen_norms(network: Network) -> set[str]:
    found = network.modules()
    return {path for path, part in found if isinstance(part, BatchNorm) and part.frozen}


def norms(network: Network) -> set[str]:
    return {path for path, part in network.modules() if isinstance(part, BatchNorm)}


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*", PATHS),
        ("mixed_5a", ["mixed_5a/a/weight", "mixed_5a/a/beta"]),
        ("mixed_5?", ["mixed_5a/a/weight", "mixed_5a/a/beta", "mixed_5b/a/beta"]),
        ("mixed*beta", ["mixed_5a/a/beta", "mixed_5b/a/beta"]),
        ("*/weight", ["stem/weight", "mixed_5a/a/weight", "logits/weight"]),
        ("mixed_5a/*", ["mixed_5a/a/weight", "mixed_5a/a/beta"]),
        ("logits/weight", ["logits/weight"]),
    ],
)
def test_patterns(pattern: str, wanted: list[str]) -> None:
    assert matching(pattern, PATHS) == wanted


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [
        ("mixed_5c", "mixed_5"),
        ("Logits", "logits"),
        ("mixed", "mixed_5"),
        ("logit/weight", "logits/weight"),
        ("", ""),
    ],
)
def test_a_pattern_that_matches_nothing(pattern: str, nearest: str) -> None:
    with pytest.raises(
        ConfigError, match=f"^the pattern '{pattern}' matches no weight; the nearest"
    ):
        matching(pattern, PATHS)
    with pytest.raises(ConfigError, match=f"the nearest path is '{nearest}"):
        matching(pattern, PATHS)


def test_freezing_a_block_freezes_its_batch_norm() -> None:
    network = small()
    everything = set(network.parameters())
    frozen = freeze(network, ["mixed_5*", "conv2d_1a_3x3"])
    assert frozen == [p for p in network.parameters() if p.startswith(("mixed_5", "conv2d_1a"))]
    assert trained(network) == everything - set(frozen)
    assert frozen_norms(network) == {
        path for path in norms(network) if path.startswith(("mixed_5", "conv2d_1a"))
    }
    assert unfreeze(network) == list(network.parameters())
    assert trained(network) == everything
    assert frozen_norms(network) == set()


def test_batch_norm_goes_on_where_something_of_it_is_trained() -> None:
    network = small(batch_norm_gamma=True)
    freeze(network, ["*/weight", "*/beta"])
    assert frozen_norms(network) == set()
    freeze(network, ["conv2d_1a_3x3/batch_norm/gamma"])
    assert frozen_norms(network) == {"conv2d_1a_3x3/batch_norm"}


def test_batch_norm_goes_on_if_that_is_wanted() -> None:
    network = small()
    freeze(network, ["*"], batch_norm=False)
    assert trained(network) == frozen_norms(network) == set()


def test_all_but_the_head() -> None:
    network = small()
    freeze(network, ["*"])
    assert unfreeze(network, ["logits"]) == ["logits/weight", "logits/bias"]
    assert trained(network) == {"logits/weight", "logits/bias"}
    assert frozen_norms(network) == norms(network)


def test_unfreezing_a_block_lets_its_batch_norm_go_on() -> None:
    network = small()
    freeze(network, ["*"])
    unfreeze(network, ["mixed_7b"])
    assert {path for path in norms(network) if path.startswith("mixed_7b")} == norms(
        network
    ) - frozen_norms(network)


def test_batch_norm_alone() -> None:
    network = small()
    everything = trained(network)
    assert set(freeze_batch_norm(network)) == frozen_norms(network) == norms(network)
    assert trained(network) == everything


@pytest.mark.parametrize("change", [freeze, unfreeze])
def test_a_wrong_pattern_changes_nothing(change: Any) -> None:
    network = small()
    freeze(network, ["logits/bias"])
    before = trained(network)
    with pytest.raises(ConfigError, match="'mixed_9z' matches no weight; the nearest path is 'mix"):
        change(network, ["logits", "mixed_9z"])
    assert trained(network) == before


def test_what_is_frozen_does_not_change_in_training() -> None:
    network = small().train()
    freeze(network, ["*"])
    unfreeze(network, ["logits"])
    before = {path: array.copy() for path, array in network.arrays().items()}
    optimizer = SGD(network.parameters(), weight_decay=0.1)
    x = np.random.default_rng(0).standard_normal((4, 75, 75, 3)).astype(np.float32)
    for _ in range(2):
        loss, _ = classification_loss(network, mi.Tensor(x), np.array([0, 1, 2, 0]))
        loss.backward()
        optimizer.step(0.1)
    changed = {p for p, array in network.arrays().items() if not np.array_equal(array, before[p])}
    assert changed == {"logits/weight", "logits/bias"}
    with_gradient = {path for path, p in network.parameters().items() if p.grad is not None}
    assert with_gradient == changed


def test_freezing_forgets_gradients() -> None:
    network = small()
    for p in network.parameters().values():
        p.grad = np.zeros_like(p.data)
    freeze(network, ["logits"])
    assert {path for path, p in network.parameters().items() if p.grad is None} == {
        "logits/weight",
        "logits/bias",
    }
