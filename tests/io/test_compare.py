"""Each known mistake is planted in a reduced network, and must be named; so must its place."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minincep as mi
from minincep.io import mistakes
from minincep.io.compare import Comparison, compare
from minincep.io.errors import WeightError
from minincep.models import Network
from minincep.models.preprocessing import Preprocessing
from minincep.models.registry import build_model
from minincep_kernels import Array

pytestmark = pytest.mark.usefixtures("one_thread")

Change = Callable[[dict[str, Array]], None]

SMALL: dict[str, Any] = {"num_classes": 7, "width": 0.06, "blocks": (1, 1, 1)}

FIRST = "conv2d_1a_3x3/weight"
SQUARE = "conv2d_2a_3x3/weight"  # (3, 3, 4, 4)
POINT = "conv2d_3b_1x1/weight"  # (1, 1, 4, 4)
OBLONG = "mixed_5b/branch_1/conv2d_0b_5x5/weight"  # (5, 5, 4, 8)
WIDE = "repeat_1/block17_1/branch_1/conv2d_0b_1x7/weight"  # (1, 7, 8, 8)
HIGH = "repeat_1/block17_1/branch_1/conv2d_0c_7x1/weight"  # (7, 1, 8, 12)
BLOCK8 = "repeat_2/block8_1/branch_1/"
BLOCK8_TOO = "block8/branch_1/"


def filled(seed: int = 0, **config: Any) -> Network:
    """A reduced network in which no array is like another."""
    network = build_model("inception_resnet_v2", **(SMALL | config))
    random = np.random.default_rng(seed)
    network.assign_all(
        {
            path: random.uniform(0.1, 1, array.shape).astype(np.float32)
            for path, array in network.arrays().items()
        }
    )
    return network


def changed(change: Change, **config: Any) -> Network:
    """The same network with a mistake."""
    network = filled(**config)
    arrays = dict(network.arrays())
    change(arrays)
    network.assign_all({path: np.ascontiguousarray(array) for path, array in arrays.items()})
    return network


def named(found: Comparison) -> dict[str, tuple[str, ...]]:
    return {cause.name: cause.where for cause in found.causes}


def test_equal_networks_say_so() -> None:
    found = compare(filled(), filled())
    assert found.same
    assert (found.first, found.largest, found.causes) == (None, None, ())
    assert [pair.path for pair in found.arrays] == list(filled().arrays())


def test_first_and_largest_in_the_order_of_the_network() -> None:
    def change(arrays: dict[str, Array]) -> None:
        arrays[OBLONG] = arrays[OBLONG].copy()
        arrays[OBLONG].flat[5] += 1
        arrays["logits/bias"] = arrays["logits/bias"].copy()
        arrays["logits/bias"][2] += 100

    found = compare(changed(change), filled())
    assert found.first is not None
    assert found.largest is not None
    assert found.first.path == OBLONG
    assert found.largest.path == "logits/bias"
    deviation = filled().arrays()[OBLONG].std(dtype=np.float64)
    assert found.first.difference == pytest.approx(1 / deviation, rel=1e-6)
    assert found.first.layer == "mixed_5b/branch_1/conv2d_0b_5x5"
    assert [pair.path for pair in found.unexplained] == [OBLONG, "logits/bias"]
    assert found.causes == ()
    assert not found.same


def test_the_layer_of_an_array_of_batch_norm() -> None:
    def change(arrays: dict[str, Array]) -> None:
        arrays["conv2d_2a_3x3/batch_norm/beta"] = arrays["conv2d_2a_3x3/batch_norm/beta"] * 2

    first = compare(changed(change), filled()).first
    assert first is not None
    assert first.layer == "conv2d_2a_3x3"


def test_rounding_is_no_difference() -> None:
    def change(arrays: dict[str, Array]) -> None:
        arrays[SQUARE] = np.nextafter(arrays[SQUARE], np.float32(9))

    assert compare(changed(change), filled()).same


def test_difference_of_constant_arrays() -> None:
    ones = np.ones(3, np.float32)
    assert mistakes.difference(ones, ones) == 0
    assert mistakes.difference(2 * ones, ones) == 0.5
    assert mistakes.difference(0 * ones, ones) == 1
    assert mistakes.difference(np.arange(1, 4, dtype=np.float32), ones) == pytest.approx(
        2 / np.sqrt(2 / 3)
    )
    assert mistakes.difference(ones, ones[:2]) == np.inf
    assert np.isnan(mistakes.difference(np.full(3, np.nan, np.float32), ones))


# ------------------------------------------------------------------------------ mistakes in arrays


def transposed(path: str, order: tuple[int, ...]) -> Change:
    def change(arrays: dict[str, Array]) -> None:
        arrays[path] = arrays[path].transpose(order)

    return change


def reshaped(path: str, order: tuple[int, ...]) -> Change:
    """What a reader gets that takes the numbers in their order for another layout."""

    def change(arrays: dict[str, Array]) -> None:
        arrays[path] = arrays[path].transpose(order).reshape(arrays[path].shape)

    return change


def edited(path: str, edit: Callable[[Array], Array]) -> Change:
    def change(arrays: dict[str, Array]) -> None:
        arrays[path] = edit(arrays[path])

    return change


def bfloat16(array: Array) -> Array:
    rounded = np.ascontiguousarray(array).view(np.uint32) + 0x8000 & 0xFFFF0000
    return np.asarray(rounded, np.uint32).view(np.float32)


@pytest.mark.parametrize(
    ("path", "change", "cause", "text"),
    [
        (SQUARE, transposed(SQUARE, (1, 0, 2, 3)), "transposed", "height and width swapped$"),
        (SQUARE, transposed(SQUARE, (0, 1, 3, 2)), "transposed", ": channels in and out swapped"),
        (SQUARE, transposed(SQUARE, (1, 0, 3, 2)), "transposed", "swapped, channels in and out"),
        (POINT, transposed(POINT, (0, 1, 3, 2)), "transposed", ": channels in and out swapped"),
        (OBLONG, transposed(OBLONG, (1, 0, 2, 3)), "transposed", "height and width swapped$"),
        (OBLONG, reshaped(OBLONG, (3, 2, 0, 1)), "transposed", "reshaped where"),
        (WIDE, reshaped(WIDE, (3, 2, 0, 1)), "transposed", "reshaped where"),
        (HIGH, reshaped(HIGH, (0, 1, 3, 2)), "transposed", "reshaped where"),
        ("logits/weight", reshaped("logits/weight", (1, 0)), "transposed", "reshaped where"),
        (SQUARE, edited(SQUARE, lambda w: w[::-1, ::-1]), "flipped", "180 degrees"),
        (FIRST, edited(FIRST, lambda w: w[:, :, ::-1]), "channel_order", "RGB and BGR"),
        (FIRST, edited(FIRST, lambda w: w / np.float32(127.5)), "range", "0.007843 times"),
        (SQUARE, edited(SQUARE, lambda w: w.astype(np.float16)), "rounded", "to float16"),
        (SQUARE, edited(SQUARE, bfloat16), "rounded", "to bfloat16"),
        ("logits/bias", edited("logits/bias", np.zeros_like), "not_loaded", "bias .*all zeros"),
        (
            "conv2d_2a_3x3/batch_norm/beta",
            edited("conv2d_2a_3x3/batch_norm/beta", np.zeros_like),
            "not_loaded",
            "beta was not loaded",
        ),
    ],
)
def test_a_mistake_within_an_array(path: str, change: Change, cause: str, text: str) -> None:
    for a, b in [(changed(change), filled()), (filled(), changed(change))]:
        found = compare(a, b)
        assert named(found) == {cause: (path,)}
        assert [(pair.path, pair.cause) for pair in found.differing] == [(path, cause)]
    for a, b in [(changed(change), filled())]:
        [only] = compare(a, b).causes
        assert re.search(text, only.text), only.text


def test_the_same_mistake_in_many_layers_is_one_cause() -> None:
    def change(arrays: dict[str, Array]) -> None:
        for path in (SQUARE, OBLONG):
            arrays[path] = arrays[path].transpose(1, 0, 2, 3)

    assert named(compare(changed(change), filled())) == {"transposed": (SQUARE, OBLONG)}


def test_statistics_that_were_not_loaded() -> None:
    def change(arrays: dict[str, Array]) -> None:
        for path, array in arrays.items():
            if "/running_" in path:
                arrays[path] = np.full_like(array, path.endswith("var"))

    statistics = tuple(path for path in filled().arrays() if "/running_" in path)
    for a, b, who in [(changed(change), filled(), "A"), (filled(), changed(change), "B")]:
        found = compare(a, b)
        assert named(found) == {"statistics": statistics}
        assert f"not loaded in {who}" in found.causes[0].text


def test_gamma() -> None:
    """Absent is the same as ones, and otherwise it was dropped."""

    def ones(arrays: dict[str, Array]) -> None:
        for path, array in arrays.items():
            if path.endswith("/gamma"):
                arrays[path] = np.ones_like(array)

    def without(arrays: dict[str, Array]) -> None:
        arrays.clear()

    real = filled(batch_norm_gamma=True)
    gammas = tuple(path for path in real.arrays() if path.endswith("/gamma"))
    absent = filled()
    absent.assign_all({k: v for k, v in real.arrays().items() if k not in gammas})
    neutral = changed(ones, batch_norm_gamma=True)
    assert gammas
    assert compare(absent, neutral).same
    assert compare(neutral, absent).same
    for dropped in (absent, neutral):
        found = compare(dropped, real)
        assert named(found) == {"gamma": gammas}
        assert "gamma was dropped in A" in found.causes[0].text
        assert "gamma was dropped in B" in compare(real, dropped).causes[0].text


def with_head(weight: Array, bias: Array) -> Network:
    network = filled(num_classes=len(bias))
    body = {k: v for k, v in filled().arrays().items() if not k.startswith("logits")}
    network.assign_all(body | {"logits/weight": weight, "logits/bias": bias})
    return network


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda w: w[..., 1:], "only B has a background class, number 0"),
        (lambda w: w[..., :-1], "only B has a last class"),
        (
            lambda w: np.concatenate([w[..., :1] + 1, w], -1),
            "only A has a background class, number 0",
        ),
        (lambda w: np.roll(w, 1, -1), "higher by one in A"),
        (lambda w: np.roll(w, -1, -1), "higher by one in B"),
    ],
)
def test_background_class(edit: Callable[[Array], Array], text: str) -> None:
    head = [filled().arrays()[f"logits/{kind}"] for kind in ("weight", "bias")]
    found = compare(with_head(*map(edit, head)), filled())
    assert named(found) == {"background": ("logits/weight", "logits/bias")}
    assert text in found.causes[0].text


def test_another_number_of_classes() -> None:
    found = compare(filled(num_classes=9), filled())
    paths = {pair.path for pair in found.differing if pair.a != pair.b}
    assert paths == {"logits/weight", "logits/bias"}
    assert {pair.difference for pair in found.differing if pair.a != pair.b} == {np.inf}
    assert found.largest is None or found.largest.path not in paths


def test_layers_that_changed_places() -> None:
    """Blocks have arrays of the same shapes, and some tables have mixed them up."""

    def change(arrays: dict[str, Array]) -> None:
        for path in list(arrays):
            if path.startswith(BLOCK8):
                other = path.replace(BLOCK8, BLOCK8_TOO)
                arrays[path], arrays[other] = arrays[other], arrays[path]

    found = compare(changed(change), filled())
    assert {pair.cause for pair in found.differing} == {"swapped"}
    assert found.unexplained == []
    assert found.first is not None
    assert found.first.path == f"{BLOCK8}conv2d_0a_1x1/weight"
    assert found.causes[0].text == f"A has here what B has in {BLOCK8_TOO}conv2d_0a_1x1/weight"


def test_1x7_and_7x1_in_each_others_place() -> None:
    """Their shapes only allow it where the channels are the same, and turned."""
    paths = [f"repeat_1/block17_1/branch_1/conv2d_{name}/weight" for name in ("0b_1x7", "0c_7x1")]

    def network() -> Network:
        network = build_model("inception_resnet_v1", width=0.05, blocks=(1, 1, 1))
        random = np.random.default_rng(0)
        network.assign_all(
            {k: random.random(v.shape, np.float32) for k, v in network.arrays().items()}
        )
        return network

    mixed = network()
    wide, high = (network().arrays()[path] for path in paths)
    turned = [np.ascontiguousarray(w.transpose(1, 0, 2, 3)) for w in (high, wide)]
    mixed.assign_all(dict(zip(paths, turned, strict=True)))
    found = compare(mixed, network())
    assert [(pair.path, pair.cause) for pair in found.differing] == [(p, "swapped") for p in paths]
    assert found.causes[0].text == f"A has here, transposed, what B has in {paths[1]}"


def test_moving_averages() -> None:
    """All that is trained is near and nothing is equal; statistics may be."""

    def change(arrays: dict[str, Array]) -> None:
        random = np.random.default_rng(5)
        for path, array in arrays.items():
            if "/running_" not in path:
                arrays[path] = array * random.uniform(0.97, 1.03, array.shape).astype(np.float32)

    found = compare(changed(change), filled())
    assert list(named(found)) == ["moving_average"]
    assert found.unexplained == []

    def all_but_one(arrays: dict[str, Array]) -> None:
        change(arrays)
        arrays[OBLONG] = filled().arrays()[OBLONG]

    assert compare(changed(all_but_one), filled()).causes == ()


def test_other_weights_have_no_known_cause() -> None:
    found = compare(filled(1), filled(0))
    assert found.causes == ()
    assert len(found.unexplained) == len(found.arrays)


def test_an_auxiliary_head_in_one_only() -> None:
    found = compare(filled(aux_logits=True), filled())
    absent = [pair for pair in found.arrays if pair.b is None]
    assert {pair.path.partition("/")[0] for pair in absent} == {"aux_logits"}
    assert {pair.cause for pair in absent} == {"absent"}
    assert "only A has aux_logits" in [cause.text for cause in found.causes]
    assert [pair.path for pair in found.arrays] == list(filled(aux_logits=True).arrays())
    other = compare(filled(), filled(aux_logits=True))
    assert [pair.path for pair in other.arrays] == [pair.path for pair in found.arrays]
    assert "only B has aux_logits" in [cause.text for cause in other.causes]


def test_what_travels_with_the_weights() -> None:
    a, b = filled(), filled()
    b.preprocessing = Preprocessing(80, 80, scaling="whitening")
    a.preprocessing = Preprocessing(80, 80, crop=0.5, scaling="symmetric")
    a.labels, b.labels = list("abcdefg"), list("acbdefg")
    found = compare(a, b)
    assert [cause.name for cause in found.causes] == ["preprocessing", "range", "labels"]
    assert found.causes[1].text == "scaling of pictures is symmetric in A and whitening in B"
    assert found.causes[2].text == "2 labels differ: class 1 is 'b' in A and 'c' in B"
    assert not found.same
    assert found.differing == []


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("inception_v4", {}, "A is inception_resnet_v2, B is inception_v4"),
        ("inception_resnet_v2", {"width": 0.07}, "width is 0.06 in A and 0.07 in B"),
        ("inception_resnet_v2", {"blocks": (1, 2, 1)}, r"blocks is \(1, 1, 1\) in A and \(1, 2"),
    ],
)
def test_other_networks_are_refused(name: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightError, match=message):
        compare(filled(), mi.create_model(name, **(SMALL | config)))
