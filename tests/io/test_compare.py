"""Each known mistake is planted in a reduced network, and must be named; so must its place."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import minincep as mi
from minincep.io import mistakes, reference
from minincep.io.compare import Comparison, compare, compare_files
from minincep.io.errors import WeightError
from minincep.io.verify import op_by_op, reference_network
from minincep.models import Network
from minincep.models.preprocessing import Preprocessing
from minincep.models.registry import build_model
from minincep.nn.layers import BatchNorm
from minincep_kernels import Array
from tests import small_reference

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


# -------------------------------------------------------------------------------- reference dumps


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    small_reference.write(tmp_path / "dump.h5")
    return tmp_path / "dump.h5"


@pytest.fixture
def weights(dump: Path) -> Path:
    """A weights file with the weights of the dump."""
    path = dump.with_name("net.h5")
    mi.save(reference_network(dump), path)
    return path


def rewrite(dump: Path, network: Network, x: Array) -> None:
    """Give a dump what a network makes of a picture."""
    found = op_by_op(network)(x.astype(np.float32), network.endpoint_names())
    with h5py.File(dump, "r+") as file:
        for entry in file[f"cases/{small_reference.CASE}/endpoints"].values():
            y = found[entry.attrs["name"]]
            entry.attrs["std"] = y.std()
            entry["values"][:] = y.ravel()


def levels() -> Array:
    return reference.picture(75, 75)[None].astype(np.float32)


def symmetric() -> Array:
    return levels() / np.float32(127.5) - np.float32(1)


def forget_weights(dump: Path) -> None:
    """A dump of weights that nobody can draw."""
    with h5py.File(dump, "r+") as file:
        del file["statistics"]


def test_a_dump_of_these_weights(weights: Path, dump: Path) -> None:
    found = compare_files(weights, dump)
    assert found.same
    assert len(found.arrays) == len(reference_network(dump).arrays())
    [outputs] = found.outputs
    assert [row.endpoint for row in outputs.rows] == reference_network(dump).endpoint_names()
    forget_weights(dump)
    found = compare_files(weights, dump)
    assert found.same
    assert found.arrays == ()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("x", "cause", "text"),
    [
        (levels(), "range", "pictures from 0 to 255, 21 of 21"),
        (levels() / 255, "range", "pictures from 0 to 1, 21 of 21"),
        ((levels() - 127.5) / 128, "range", r"pictures as \(x - 127.5\) / 128, 21 of 21"),
        ((levels() - levels().mean()) / levels().std(), "range", "pictures whitened one by one"),
        (
            (levels() / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
            "range",
            "mean and deviation of ImageNet",
        ),
        (symmetric()[..., ::-1].copy(), "channel_order", "pictures in the order BGR"),
    ],
)
def test_a_dump_of_another_input(
    weights: Path, dump: Path, known: bool, x: Array, cause: str, text: str
) -> None:
    rewrite(dump, reference_network(dump), x)
    if not known:
        forget_weights(dump)
    found = compare_files(weights, dump)
    assert not found.same
    assert found.differing == []
    [only] = found.causes
    assert only.name == cause
    assert re.search(text, only.text), only.text
    assert only.where[0] == "Conv2d_1a_3x3"


@pytest.mark.parametrize("eps", [1e-5, 1e-4])
def test_a_dump_of_another_eps(weights: Path, dump: Path, eps: float) -> None:
    network = reference_network(dump)
    norms = [module for _, module in network.modules() if isinstance(module, BatchNorm)]
    for norm in norms:
        norm.eps = eps
    rewrite(dump, network, symmetric())
    found = compare_files(weights, dump)
    assert found.differing == []
    [only] = found.causes
    assert only.name == "eps"
    assert f"eps 1e-{-round(np.log10(eps))}" in only.text


def test_eps_is_put_back(dump: Path, weights: Path) -> None:
    from minincep.io.compare import compare_reference

    rewrite(dump, reference_network(dump), levels())
    network = mi.load(weights)
    forget_weights(dump)
    assert not compare_reference(network, dump).same
    eps = {module.eps for _, module in network.modules() if isinstance(module, BatchNorm)}
    assert eps == {1e-3}


def test_a_mistake_in_the_weights_is_found_in_the_arrays(weights: Path, dump: Path) -> None:
    """The end points diverge too, and no setting is blamed for it."""
    network = mi.load(weights)
    path = "conv2d_2b_3x3/weight"
    mirrored = np.ascontiguousarray(network.arrays()[path].transpose(1, 0, 2, 3))
    network.assign_all({path: mirrored})
    mi.save(network, weights)
    found = compare_files(weights, dump)
    assert named(found) == {"transposed": (path,)}
    failed = [row.endpoint for row in found.outputs[0].rows if not row.passed]
    assert failed[0] == "Conv2d_2b_3x3"


def test_both_at_once(weights: Path, dump: Path) -> None:
    """A mistake in the weights, and a dump of another range: both are found."""
    rewrite(dump, reference_network(dump), levels())
    network = mi.load(weights)
    path = "conv2d_2b_3x3/weight"
    mirrored = np.ascontiguousarray(network.arrays()[path].transpose(1, 0, 2, 3))
    network.assign_all({path: mirrored})
    mi.save(network, weights)
    assert set(named(compare_files(weights, dump))) == {"transposed", "range"}


def with_classes(dump: Path, classes: int) -> Network:
    """The network of the dump with a classifier."""
    network = build_model("inception_resnet_v1", **small_reference.CONFIG, num_classes=classes)
    drawn = {
        path: reference.draw(path, array.shape)
        for path, array in network.arrays().items()
        if path.startswith("logits/")
    }
    network.assign_all(reference_network(dump).arrays() | drawn)
    return network


@pytest.mark.parametrize("background", ["A", "dump"])
def test_background_class_in_a_dump(dump: Path, weights: Path, background: str) -> None:
    smaller, larger = with_classes(dump, 6), with_classes(dump, 7)
    head = {name: array for name, array in larger.arrays().items() if name.startswith("logits/")}
    smaller.assign_all({k: np.ascontiguousarray(v[..., 1:]) for k, v in head.items()})
    mine, theirs = (larger, smaller) if background == "A" else (smaller, larger)
    mi.save(mine, weights)
    y = op_by_op(theirs)(symmetric(), ["Logits"])["Logits"]
    with h5py.File(dump, "r+") as file:
        entry = file.create_group(f"cases/{small_reference.CASE}/endpoints/999")
        entry.attrs.update(name="Logits", shape=y.shape, std=y.std(), float32_error=1e-6)
        entry["index"] = np.arange(y.size)
        entry["values"] = y.ravel().astype(np.float64)
    forget_weights(dump)
    found = compare_files(weights, dump)
    assert named(found) == {"background": tuple(row.endpoint for row in found.outputs[0].rows)}
    assert [row.endpoint for row in found.outputs[0].rows if not row.passed] == ["Logits"]


def test_no_setting_explains_other_weights(weights: Path, dump: Path) -> None:
    with h5py.File(dump, "r+") as file:
        entries = file[f"cases/{small_reference.CASE}/endpoints"]
        for entry in entries.values():
            entry["values"][:] = entry["values"][()][::-1]
    found = compare_files(weights, dump)
    assert not found.same
    assert found.causes == ()


def test_what_cannot_be_compared(weights: Path, dump: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightError, match="no case 'other'"):
        compare_files(weights, dump, "other")
    with pytest.raises(WeightError, match="is a reference dump: give the weights file first"):
        compare_files(dump, weights)
    with pytest.raises(WeightError, match="no such file"):
        compare_files(weights, tmp_path / "absent.h5")
    with h5py.File(dump, "r+") as file:
        file.attrs["config"] = json.dumps(small_reference.CONFIG | {"embedding_size": 9})
        for kind in ("mean", "var"):
            path = f"statistics/bottleneck/batch_norm/running_{kind}"
            del file[path]
            file[path] = np.ones(9, np.float32)
    with pytest.raises(WeightError, match="embedding_size is 512 in A and 9 in B"):
        compare_files(weights, dump)


def test_files(weights: Path, tmp_path: Path) -> None:
    network = mi.load(weights)
    other = tmp_path / "other.h5"
    network.assign_all({SQUARE: np.ascontiguousarray(network.arrays()[SQUARE].swapaxes(0, 1))})
    mi.save(network, other)
    assert compare_files(weights, weights).same
    assert named(compare_files(weights, other)) == {"transposed": (SQUARE,)}
    assert compare_files("eggs", "eggs").same


@pytest.mark.parametrize("who", ["A", "B"])
def test_a_checkpoint_with_moving_averages(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """The other file has the weights of the last step."""
    averages = mi.load(weights)
    averages.assign_all({path: array * 2 for path, array in averages.arrays().items()})
    checkpoint = tmp_path / "model.ckpt-7"

    def convert(path: Path, *, background: str, moving_averages: bool | None = None) -> Network:
        assert (path, background) == (checkpoint, "keep")
        return averages if moving_averages is not False else mi.load(weights)

    monkeypatch.setattr("minincep.io.convert.convert", convert)
    a, b = (checkpoint, weights) if who == "A" else (weights, checkpoint)
    found = compare_files(a, b)
    assert not found.same
    assert found.unexplained == []
    [cause] = found.causes
    assert cause.name == "moving_average"
    assert cause.text.startswith(f"{who} holds moving averages")
    assert cause.where == tuple(pair.path for pair in found.differing)
    averages.assign_all(mi.load(weights).arrays())
    assert compare_files(a, b).same
