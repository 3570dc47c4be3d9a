"""Losses of networks: what is added up, when the auxiliary head runs, and how centres move."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minincep as mi
from minincep.autograd import Tensor, ops
from minincep.io.errors import WeightError
from minincep.models.network import Network
from minincep.nn.layers import Dropout
from minincep.train.losses import CentreLoss, auxiliary_fits, classification_loss, triplet_loss
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError, DTypeError, ShapeError

pytestmark = pytest.mark.usefixtures("one_thread")

REFERENCE = dict(np.load(Path(__file__).parents[1] / "data/training/torch.npz"))
SMALL: dict[str, Any] = {"width": 0.03, "blocks": (1, 1, 1), "dropout_rate": 0.0, "seed": 2}
LABELS = np.array([2, 0])


def classifier(name: str = "inception_v4", **config: Any) -> Network:
    return mi.create_model(name, num_classes=3, **SMALL, **config).train()


def pictures(size: int = 75, count: int = 2) -> Tensor:
    random = np.random.default_rng(5)
    return Tensor(random.standard_normal((count, size, size, 3)).astype(np.float32))


def gradient_of_head(network: Network) -> Array | None:
    return network.parameters()["aux_logits/aux_logits/weight"].grad


@pytest.mark.parametrize(
    ("name", "static"), [("smooth", {"label_smoothing": 0.1}), ("weighted", {})]
)
def test_cross_entropy_agrees_with_pytorch(name: str, static: dict[str, float]) -> None:
    logits = Tensor(REFERENCE["logits"], requires_grad=True)
    weights = REFERENCE["class_weights"] if name == "weighted" else None
    loss = ops.softmax_cross_entropy(logits, REFERENCE["labels"], weights, **static)
    loss.backward()
    assert logits.grad is not None
    found = np.append(logits.grad.ravel(), loss.item())
    np.testing.assert_allclose(found, REFERENCE[f"loss/{name}"], rtol=1e-12, atol=1e-14)


def test_cross_entropy_of_the_logits() -> None:
    network, x = classifier(), pictures()
    loss, logits = classification_loss(network, x, LABELS)
    wanted = ops.softmax_cross_entropy(logits, LABELS, label_smoothing=0.1)
    assert loss.item() == wanted.item()
    np.testing.assert_array_equal(logits.data, network(x).data)
    unsmoothed, _ = classification_loss(network, x, LABELS, label_smoothing=0.0)
    assert unsmoothed.item() == ops.softmax_cross_entropy(logits, LABELS).item()


@pytest.mark.parametrize("kind", [list, np.array])
def test_class_weights(kind: Any) -> None:
    weights = [0.5, 1.0, 2.0]
    network, x = classifier(), pictures()
    loss, logits = classification_loss(network, x, LABELS, class_weights=kind(weights))
    of_op = ops.softmax_cross_entropy(
        logits, LABELS, np.array(weights, np.float32), label_smoothing=0.1
    )
    assert loss.item() == of_op.item()


def test_the_auxiliary_head_is_added_in_training() -> None:
    network, x = classifier(aux_logits=True), pictures(299)
    weights = [1.0, 1.0, 3.0]
    loss, logits = classification_loss(network, x, LABELS, class_weights=weights)
    head = network.run_endpoints(x, ["AuxLogits"])["AuxLogits"]
    array = np.array(weights, np.float32)
    main, beside = (
        ops.softmax_cross_entropy(y, LABELS, array, label_smoothing=0.1).item()
        for y in (logits, head)
    )
    assert loss.item() == pytest.approx(main + 0.4 * beside, rel=1e-6)
    loss.backward()
    first = gradient_of_head(network)
    network.zero_grad()
    classification_loss(network, x, LABELS, class_weights=weights, auxiliary_weight=0.8)[
        0
    ].backward()
    second = gradient_of_head(network)
    assert first is not None
    assert second is not None
    assert np.abs(first).max() > 0
    np.testing.assert_allclose(second, 2 * first, rtol=1e-5)


@pytest.mark.parametrize("why", ["inference", "weight 0", "size"])
def test_the_auxiliary_head_does_not_run(why: str) -> None:
    network = classifier(aux_logits=True).train(why != "inference")
    x = pictures(75 if why == "size" else 299)
    weight = 0.0 if why == "weight 0" else 0.4
    loss, logits = classification_loss(network, x, LABELS, auxiliary_weight=weight)
    loss.backward()
    assert loss.item() == ops.softmax_cross_entropy(logits, LABELS, label_smoothing=0.1).item()
    assert gradient_of_head(network) is None


@pytest.mark.parametrize("name", ["inception_v4", "inception_resnet_v2"])
def test_sizes_that_the_auxiliary_head_fits(name: str) -> None:
    network = classifier(name, aux_logits=True)
    sizes = [(75, 75), (298, 299), (299, 298), (299, 346), (347, 299)]
    assert [auxiliary_fits(network, *size) for size in sizes] == [False, False, False, True, False]
    assert not auxiliary_fits(classifier(name), 299, 299)


def test_asking_whether_it_fits_changes_nothing() -> None:
    network = classifier(aux_logits=True)
    before = {path: array.copy() for path, array in network.arrays().items()}
    modules = [module for _, module in network.modules()]
    for number, module in enumerate(modules):
        module.training = number % 3 > 0
    auxiliary_fits(network, 299, 299)
    auxiliary_fits(network, 75, 75)
    assert [module.training for module in modules] == [n % 3 > 0 for n in range(len(modules))]
    for path, array in network.arrays().items():
        np.testing.assert_array_equal(array, before[path])


def test_asking_whether_it_fits_draws_nothing() -> None:
    """A resumed run asks again: dropout must go on where it was."""
    network = classifier(aux_logits=True)
    layers = [module for _, module in network.modules() if isinstance(module, Dropout)]
    before = [layer.generator.bit_generator.state for layer in layers]
    auxiliary_fits(network, 299, 299)
    assert layers
    assert [layer.generator.bit_generator.state for layer in layers] == before


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"auxiliary_weight": -0.1}, ConfigError, "^auxiliary_weight must be a finite number"),
        ({"auxiliary_weight": np.nan}, ConfigError, "^auxiliary_weight must be"),
        ({"label_smoothing": 1.0}, ConfigError, "label_smoothing must be from 0 to below 1"),
        ({"label_smoothing": np.nan}, ConfigError, "label_smoothing must be from 0 to below 1"),
        ({"label_smoothing": "0.1"}, DTypeError, "label_smoothing must be a number, got str"),
        ({"class_weights": [1.0, -1.0, 1.0]}, ConfigError, "^each of class_weights must be"),
        ({"class_weights": [1.0, np.nan, 1.0]}, ConfigError, "^each of class_weights must be"),
        ({"class_weights": ["a", "b", "c"]}, ConfigError, "^each of class_weights must be"),
        ({"class_weights": 2.0}, ConfigError, "^class_weights must be a list of numbers, got 2.0"),
        ({"class_weights": [1.0, 1.0]}, ShapeError, r"class_weights must be \(3,\), got \(2,\)"),
    ],
)
def test_settings_out_of_range(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        classification_loss(classifier(), pictures(), LABELS, **settings)


def embedder(num_classes: int | None = None) -> Network:
    return mi.create_model(
        "inception_resnet_v1", num_classes=num_classes, embedding_size=8, **SMALL
    ).train()


def test_networks_without_what_a_loss_needs() -> None:
    with pytest.raises(ConfigError, match=r"^inception_resnet_v1 has no classes: make it with num"):
        classification_loss(embedder(), pictures(), LABELS)
    with pytest.raises(ConfigError, match=r"^inception_resnet_v1 has no classes"):
        CentreLoss(3, 8)(embedder(), pictures(), LABELS)
    with pytest.raises(ConfigError, match=r"^inception_v4 has no end point 'Embeddings'"):
        triplet_loss(classifier(), pictures(), LABELS)
    with pytest.raises(ConfigError, match=r"^inception_v4 has no end point 'Bottleneck'"):
        CentreLoss(3, 8)(classifier(), pictures(), LABELS)


@pytest.mark.parametrize("num_classes", [None, 3])
def test_triplets_of_a_network(num_classes: int | None) -> None:
    network, x, labels = embedder(num_classes), pictures(count=4), np.array([1, 1, 0, 0])
    loss, embeddings = triplet_loss(network, x, labels, margin=4.0)
    assert embeddings.shape == (4, 8)
    np.testing.assert_allclose(np.sum(embeddings.data**2, axis=1), 1, rtol=1e-5)
    assert loss.item() == ops.triplet_loss(embeddings, labels, margin=4.0).item() > 0
    loss.backward()
    gradient = network.parameters()["conv2d_1a_3x3/weight"].grad
    assert gradient is not None
    assert np.abs(gradient).max() > 0


def test_softmax_and_centre_loss() -> None:
    network, x = embedder(3), pictures()
    loss_of = CentreLoss(3, 8, factor=0.5)
    loss_of.centres += 1
    loss, logits = loss_of(network, x, LABELS, label_smoothing=0.1)
    features = network.run_endpoints(x, ["Bottleneck"])["Bottleneck"].data
    wanted = ops.softmax_cross_entropy(logits, LABELS, label_smoothing=0.1).item()
    wanted += 0.5 * float(np.mean((features - 1) ** 2))
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    loss.backward()
    gradient = network.parameters()["bottleneck/batch_norm/beta"].grad
    assert gradient is not None
    plain, _ = classification_loss(network, x, LABELS)
    network.zero_grad()
    plain.backward()
    without = network.parameters()["bottleneck/batch_norm/beta"].grad
    assert without is not None
    np.testing.assert_allclose(
        gradient - without, 0.5 * 2 * (features - 1).sum(axis=0) / features.size, atol=1e-5
    )


def test_centres_move_towards_the_means_of_the_batch() -> None:
    random = np.random.default_rng(0)
    loss_of = CentreLoss(4, 3, alpha=0.25)
    loss_of.centres[...] = before = random.standard_normal((4, 3))
    embeddings, labels = random.standard_normal((6, 3)), np.array([3, 1, 3, 3, 1, 0])
    loss_of.move(embeddings, labels)
    wanted = before.astype(np.float32)
    for label in (0, 1, 3):  # 2 is not in the batch
        mean = sum(e for e, k in zip(embeddings, labels, strict=True) if k == label)
        mean = mean / np.count_nonzero(labels == label)
        wanted[label] = 0.75 * wanted[label] + 0.25 * mean
    np.testing.assert_allclose(loss_of.centres, wanted, rtol=1e-6)


def test_centres_move_in_training_only() -> None:
    network, loss_of = embedder(3), CentreLoss(3, 8)
    network.eval()
    loss_of(network, pictures(), LABELS)
    assert not loss_of.centres.any()
    network.train()
    loss, _ = loss_of(network, pictures(), LABELS)
    assert [bool(row.any()) for row in loss_of.centres] == [True, False, True]
    loss.backward()


def test_centres_are_restored() -> None:
    first, then = CentreLoss(3, 2), CentreLoss(3, 2)
    first.move(np.array([[0.1, 0.7]]), np.array([1]))
    saved = first.state()
    first.move(np.array([[0.3, 0.2]]), np.array([1]))
    then.load_state(saved)
    then.move(np.array([[0.3, 0.2]]), np.array([1]))
    np.testing.assert_array_equal(first.centres, then.centres)
    for wrong in ({}, {"centres": np.zeros((3, 3), np.float32)}, saved | {"more": np.zeros(1)}):
        with pytest.raises(WeightError, match=r"^this state does not fit the centre loss: '"):
            then.load_state(wrong)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 0}, "^classes must be a whole number of at least 1, got 0"),
        ({"classes": 2.0}, "^classes must be a whole number"),
        ({"size": True}, "^size must be a whole number"),
        ({"factor": -1.0}, "^factor must be"),
        ({"factor": np.nan}, "^factor must be"),
        ({"alpha": 1.1}, "^alpha must be a finite number of at least 0 and of at most 1, got 1.1"),
    ],
)
def test_centre_losses_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CentreLoss(**{"classes": 3, "size": 2, **settings})
