"""The layers, on numbers small enough to work out."""

import re
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Tensor
from minincep.nn.init import initialise
from minincep.nn.layers import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    L2Normalize,
    MaxPool2d,
    Softmax,
)
from minincep_kernels import Array
from minincep_kernels.errors import ShapeError

pytestmark = pytest.mark.usefixtures("one_thread")


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Dropout.


def test_dropout_in_inference_leaves_no_trace() -> None:
    x = Tensor(noise(2, 3), requires_grad=True)
    assert Dropout(3, 0.5)(x) is x
    assert x.node is None


def test_dropout_of_nothing_leaves_no_trace() -> None:
    x = Tensor(noise(2, 3))
    assert Dropout(3, 0.0).train()(x) is x


@pytest.mark.parametrize("rate", [0.2, 0.6])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    count = 100_000
    y = Dropout(1, rate).train()(Tensor(np.ones(count, np.float32))).data
    deviation = (rate * (1 - rate) / count) ** 0.5
    assert abs(np.mean(y == 0) - rate) < 5 * deviation
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-6)


def test_dropout_draws_another_mask_each_time_and_repeats_with_its_generator() -> None:
    layer, x = Dropout(1, 0.5).train(), Tensor(np.ones(100, np.float32))
    first, second = layer(x).data, layer(x).data
    assert not np.array_equal(first, second)
    layer.generator = np.random.default_rng(0)
    np.testing.assert_array_equal(layer(x).data, first)


# Batch normalisation.


def batch_norm(channels: int, **options: Any) -> BatchNorm:
    layer = BatchNorm(channels, **options)
    initialise(layer, 0)
    return layer


@pytest.mark.parametrize("gamma", [False, True])
def test_batch_norm_in_training_uses_the_batch(gamma: bool) -> None:
    layer = batch_norm(3, gamma=gamma).train()
    layer.assign_all({"beta": np.array([1, 2, 3], np.float32)})
    factor = np.ones(3)
    if gamma:
        factor = np.array([2.0, 0.5, 1.0])
        layer.assign_all({"gamma": factor.astype(np.float32)})
    x = noise(4, 5, 6, 3) * 3 + 1
    mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    expected = (x - mean) / np.sqrt(variance + 1e-3) * factor + [1, 2, 3]
    np.testing.assert_allclose(layer(Tensor(x)).data, expected, rtol=1e-4, atol=1e-5)


def test_running_statistics_follow_with_the_unbiased_variance() -> None:
    layer = batch_norm(3, decay=0.75).train()
    mean, variance = np.zeros(3), np.ones(3)
    for seed in range(3):
        x = noise(2, 2, 1, 3, seed=seed) * 2 + 1
        layer(Tensor(x))
        rows = x.reshape(-1, 3).astype(np.float64)
        mean = 0.75 * mean + 0.25 * rows.mean(axis=0)
        variance = 0.75 * variance + 0.25 * rows.var(axis=0, ddof=1)
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.running_var, variance, rtol=1e-5)
    assert layer.running_mean.dtype == layer.running_var.dtype == np.float32


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norm_in_inference_or_frozen_uses_the_running_statistics(frozen: bool) -> None:
    layer = batch_norm(2)
    layer.frozen = frozen
    layer.train(frozen)
    layer.assign_all({"running_mean": np.array([3, -1], np.float32)})
    layer.assign_all({"running_var": np.array([4, 0.25], np.float32)})
    x = noise(5, 2)
    expected = (x - [3, -1]) / np.sqrt([4.001, 0.251])
    np.testing.assert_allclose(layer(Tensor(x)).data, expected, rtol=1e-5, atol=1e-6)
    assert layer.running_mean.tolist() == [3, -1]
    assert layer.running_var.tolist() == [4, 0.25]


# Convolution, dense.


def test_convolution_with_batch_norm_has_no_bias_and_ends_in_relu() -> None:
    layer = Conv2d(3, 4, (1, 7), batch_norm=BatchNorm(4))
    assert list(layer.arrays()) == [
        "weight",
        "batch_norm/beta",
        "batch_norm/running_mean",
        "batch_norm/running_var",
    ]
    assert layer.weight.shape == (1, 7, 3, 4)
    initialise(layer, 0)
    y = layer(Tensor(noise(2, 5, 6, 3)))
    assert y.shape == (2, 5, 6, 4)
    assert y.data.min() == 0


def test_convolution_without_batch_norm_has_a_bias_and_no_relu() -> None:
    layer = Conv2d(3, 4, (1, 1))
    assert list(layer.arrays()) == ["weight", "bias"]
    initialise(layer, 0)
    layer.assign_all({"bias": np.full(4, -9, np.float32)})
    x = noise(2, 5, 6, 3)
    expected = x @ layer.weight.data[0, 0] - 9
    np.testing.assert_allclose(layer(Tensor(x)).data, expected, rtol=1e-5)


def test_stride_and_padding_are_the_layers() -> None:
    layer = Conv2d(3, 4, (3, 3), stride=2, padding="valid")
    initialise(layer, 0)
    assert layer(Tensor(noise(1, 10, 7, 3))).shape == (1, 4, 3, 4)


def test_dense_has_a_bias_or_batch_norm() -> None:
    x = noise(4, 3)
    with_bias, bottleneck = Dense(3, 2), Dense(3, 2, batch_norm=BatchNorm(2))
    assert list(with_bias.arrays()) == ["weight", "bias"]
    assert "bias" not in bottleneck.arrays()
    for layer in (with_bias, bottleneck):
        initialise(layer, 0)
    with_bias.assign_all({"bias": np.array([5, 6], np.float32)})
    expected = x @ with_bias.weight.data + [5, 6]
    np.testing.assert_allclose(with_bias(Tensor(x)).data, expected, rtol=1e-5)
    y = bottleneck(Tensor(x)).data  # no ReLU
    np.testing.assert_allclose(y, x @ bottleneck.weight.data / np.sqrt(1.001), rtol=1e-5)
    assert y.min() < 0


# The rest.


def test_pools() -> None:
    x = Tensor(np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1))
    assert MaxPool2d(1, 3, stride=2, padding="valid")(x).data.tolist() == [[[[8]]]]
    y = AvgPool2d(1, 3, stride=1, padding="same")(x).data[0, :, :, 0]
    assert y.tolist() == [[2, 2.5, 3], [3.5, 4, 4.5], [5, 5.5, 6]]  # padding is not counted
    assert GlobalAvgPool2d(1)(x).data.tolist() == [[[[4]]]]


def test_flatten() -> None:
    assert Flatten(5)(Tensor(noise(2, 1, 1, 5))).shape == (2, 5)
    message = "flatten takes (N, 1, 1, 5), got (2, 1, 2, 5)"
    with pytest.raises(ShapeError, match=re.escape(message)):
        Flatten(5)(Tensor(noise(2, 1, 2, 5)))


def test_rows_of_probabilities_and_of_length_one() -> None:
    x = noise(4, 6)
    y = Softmax(6)(Tensor(x)).data
    np.testing.assert_allclose(y, np.exp(x) / np.exp(x).sum(axis=1, keepdims=True), rtol=1e-5)
    y = L2Normalize(6)(Tensor(x)).data
    np.testing.assert_allclose(y, x / np.linalg.norm(x, axis=1, keepdims=True), rtol=1e-5)


def test_batch_norm_needs_more_than_one_value_a_channel() -> None:
    layer = BatchNorm(3)
    initialise(layer, 0)
    layer.train()
    with pytest.raises(ShapeError, match="use a larger batch, or frozen"):
        layer(Tensor(np.ones((1, 1, 1, 3), np.float32)))
    np.testing.assert_array_equal(layer.running_var, 1)
    layer.frozen = True
    layer(Tensor(np.ones((1, 1, 1, 3), np.float32)))
