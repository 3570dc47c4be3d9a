"""Other people's weights: by name, all of them, in our layout.

Sources are stand-ins of full size, whose names and shapes are those of the real libraries.
"""

import logging
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import minincep as mi
from minincep.io.convert import convert, read_labels
from minincep.io.errors import WeightError
from minincep.io.hdf5 import DEFAULT
from minincep.models import Network
from minincep_kernels import Array
from tests.io.names.listings import SOURCES, Shapes
from tests.io.names.test_tables import fitted, slots, without
from tests.io.stand_ins import nothing, numbers, stand_in, use


def test_another_network(tmp_path: Path) -> None:
    path = tmp_path / "vgg.h5"
    with h5py.File(path, "w") as file:
        file["block1_conv1/block1_conv1/kernel:0"] = np.zeros((3, 3, 3, 64), np.float32)
    with pytest.raises(WeightError, match="no source of weights that is known"):
        convert(path)


def test_weights_of_ours() -> None:
    with pytest.raises(WeightError, match=r"eggs.h5 is already a weights file of minincep"):
        convert(DEFAULT)


def converted(
    monkeypatch: pytest.MonkeyPatch, shapes: Shapes, read: Any = nothing, **options: Any
) -> Network:
    """What comes of the file net.bin that holds arrays of these names and shapes."""
    use(monkeypatch, stand_in(shapes, read))
    return convert("net.bin", **options)


def ours(name: str, shape: tuple[int, ...], layout: str) -> Array:
    """The array of a name as the stand-in stores it, in our layout."""
    array = numbers(name, shape)
    if layout == "torch":
        return np.moveaxis(array, (2, 3), (0, 1)).swapaxes(2, 3) if array.ndim == 4 else array.T
    return array


@pytest.mark.parametrize("source", SOURCES)
def test_every_array_of_every_source(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes, fit = SOURCES[source](), fitted(source)
    arrays = converted(monkeypatch, shapes, numbers, background="keep").arrays()
    assert arrays.keys() == fit.names.keys()
    for path, array in arrays.items():
        name = fit.names[path]
        np.testing.assert_array_equal(array, ours(name, shapes[name], fit.layout), path)
        assert array.flags.c_contiguous
        assert array.dtype == np.float32


@pytest.mark.parametrize("source", ["cadene_v4", "slim_v4_aux"])
def test_the_background_is_dropped_from_weight_and_bias(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = SOURCES[source]()
    kept = converted(monkeypatch, shapes, numbers, background="keep")
    dropped = converted(monkeypatch, shapes, numbers, background="drop")
    assert (kept.config["num_classes"], dropped.config["num_classes"]) == (1001, 1000)
    heads = {"logits/weight", "logits/bias"}
    if source == "slim_v4_aux":
        heads |= {"aux_logits/aux_logits/weight", "aux_logits/aux_logits/bias"}
    for path, array in kept.arrays().items():
        found = dropped.arrays()[path]
        if path in heads:
            np.testing.assert_array_equal(found, array[..., 1:], path)
            assert found.flags.c_contiguous
        else:
            assert found.shape == array.shape
    assert dropped.source.endswith("background dropped")


@pytest.mark.parametrize("source", ["cadene_v4", "slim_v2", "kentsommer", "yuyang_huang"])
def test_the_background_is_never_left_or_dropped_silently(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightError, match=r"1001 classes.*background drop.*background keep"):
        converted(monkeypatch, SOURCES[source]())


@pytest.mark.parametrize("source", ["timm_v4", "facenet_pytorch", "keras_facenet"])
def test_there_is_no_background_to_drop(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightError, match="none of which is known to stand for the background"):
        converted(monkeypatch, SOURCES[source](), background="drop")


def test_an_unknown_wish_for_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(mi.ConfigError, match="'drop', 'keep' or None, got 'first'"):
        converted(monkeypatch, SOURCES["timm_v4"](), background="first")


def test_labels_lose_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = SOURCES["cadene_v4"]()
    labels = ["background", *(f"class {n}" for n in range(1000))]
    assert converted(monkeypatch, shapes, background="drop", labels=labels).labels == labels[1:]
    assert converted(monkeypatch, shapes, background="drop", labels=labels[1:]).labels == labels[1:]
    assert converted(monkeypatch, shapes, background="keep", labels=labels).labels == labels
    assert converted(monkeypatch, shapes, background="keep").labels is None
    with pytest.raises(WeightError, match=r"1000 labels for 1001 classes; give 1001$"):
        converted(monkeypatch, shapes, background="keep", labels=labels[1:])
    with pytest.raises(WeightError, match="999 labels for 1000 classes; give 1000, or 1001 with"):
        converted(monkeypatch, shapes, background="drop", labels=labels[2:])
    with pytest.raises(WeightError, match=r"1001 labels for 1000 classes; give 1000$"):
        converted(monkeypatch, SOURCES["timm_v4"](), labels=labels)
    with pytest.raises(WeightError, match="has no classes"):
        converted(monkeypatch, SOURCES["keras_facenet"](), labels=labels)


def test_labels_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeffone\r\nzwei mit ä\nthree".encode())
    assert read_labels(path) == ["one", "zwei mit ä", "three"]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WeightError, match=r"must be text in UTF-8"):
        read_labels(path)
    with pytest.raises(WeightError, match=r"absent.txt cannot be read"):
        read_labels(tmp_path / "absent.txt")


@pytest.mark.parametrize("text", ["", "\n", "one\n\n", "one\n\ntwo\n", "one\n \n"])
def test_a_label_is_never_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(WeightError, match="labels must be one a line, none of them empty"):
        read_labels(path)


def test_only_ends_of_lines_end_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("one\u0085more\r\ntwo\u2028more".encode())
    assert read_labels(path) == ["one\u0085more", "two\u2028more"]


def test_labels_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightError, match=r"cannot be read: .* no ordinary one"):
        read_labels("/dev/zero")
    path = tmp_path / "labels.txt"
    path.write_text("one\ntwo\n")
    monkeypatch.setattr("minincep.io.convert.MOST_LABELS", 7)
    with pytest.raises(WeightError, match="one a line"):
        read_labels(path)


# --- classifiers that are not there ----------------------------------------------------------


def test_a_file_without_classifier(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shapes = without(SOURCES["keras_v2"](), "predictions/")
    with pytest.raises(WeightError, match=r"has no classifier.*num-classes N"):
        converted(monkeypatch, shapes)
    network = converted(monkeypatch, shapes, num_classes=7)
    assert network.arrays()["logits/weight"].shape == (1536, 7)
    assert np.isfinite(network.arrays()["logits/weight"]).all()
    assert not network.arrays()["logits/bias"].any()
    assert "not trained" in caplog.text
    with pytest.raises(WeightError, match="num_classes must be a whole number"):
        converted(monkeypatch, shapes, num_classes=0)


def test_a_classifier_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightError, match="has a classifier"):
        converted(monkeypatch, SOURCES["keras_v2"](), num_classes=7)


def test_half_a_classifier_is_no_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = without(SOURCES["timm_v4"](), "last_linear.bias")
    with pytest.raises(WeightError, match=r"missing: last_linear.bias"):
        converted(monkeypatch, shapes)


@pytest.mark.parametrize("classes", [0, 2_000_000])
def test_a_number_of_classes_that_no_network_has(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = SOURCES["keras_v2"]() | {"predictions/kernel": (1536, classes)}
    with pytest.raises(WeightError, match=r"net.bin: no network can be made .* num_classes"):
        converted(monkeypatch, shapes)


# --- moving averages -------------------------------------------------------------------------


AVERAGE = "ExponentialMovingAverage"


def test_moving_averages_are_preferred(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shapes = SOURCES["facenet_alone"]()
    both = shapes | slots(shapes, AVERAGE)
    name = "InceptionResnetV1/Bottleneck/weights"
    network = converted(monkeypatch, both, numbers)
    averaged = numbers(f"{name}/{AVERAGE}", (1792, 512))
    np.testing.assert_array_equal(network.arrays()["bottleneck/weight"], averaged)
    assert "the moving averages of the weights are taken" in caplog.text
    assert network.source == "net.bin, facenet, moving averages"
    caplog.clear()
    network = converted(monkeypatch, both, numbers, moving_averages=False)
    np.testing.assert_array_equal(network.arrays()["bottleneck/weight"], numbers(name, (1792, 512)))
    assert "not their moving averages" in caplog.text
    assert network.source == "net.bin, facenet"
    network = converted(monkeypatch, slots(shapes, AVERAGE), numbers)
    np.testing.assert_array_equal(network.arrays()["bottleneck/weight"], averaged)


def test_some_moving_averages(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Statistics are averages as they are; of the weights, all must have one."""
    shapes = SOURCES["facenet_alone"]()
    averages = {k: s for k, s in slots(shapes, AVERAGE).items() if "/moving_" not in k}
    network = converted(monkeypatch, shapes | averages, numbers)
    assert network.source.endswith("moving averages")
    name = "InceptionResnetV1/Conv2d_1a_3x3/BatchNorm/moving_mean"
    mean = network.arrays()["conv2d_1a_3x3/batch_norm/running_mean"]
    np.testing.assert_array_equal(mean, numbers(name, (32,)))
    some = without(averages, "InceptionResnetV1/Bottleneck")
    network = converted(monkeypatch, shapes | some, numbers)
    assert not network.source.endswith("moving averages")
    assert "2 have no moving average" in caplog.text
    with pytest.raises(WeightError, match=r"no moving average of \S+/Bottleneck/weights"):
        converted(monkeypatch, shapes | some, moving_averages=True)
    with pytest.raises(WeightError, match="no moving average of any weight"):
        converted(monkeypatch, shapes, moving_averages=True)


def test_files_without_moving_averages_cause_no_remark(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    network = converted(monkeypatch, SOURCES["facenet"]())
    assert network.source == "net.bin, facenet"
    assert not caplog.text


# --- reports ---------------------------------------------------------------------------------


def test_one_report_of_all_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = without(SOURCES["timm_v2"](), "conv2d_1a.bn.bias", "repeat_1.7.conv2d.weight")
    shapes |= {"conv2d_9z.conv.weight": (3,), "classif.bias": (999,)}
    with pytest.raises(WeightError) as caught:
        converted(monkeypatch, shapes)
    for line in (
        "missing: conv2d_1a.bn.bias",
        "missing: repeat_1.7.conv2d.weight",
        "unexpected: conv2d_9z.conv.weight",
        "wrong shape: classif.bias is (999,), should be (1000,)",
    ):
        assert line in str(caught.value)


def test_a_long_name_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightError) as caught:
        converted(monkeypatch, SOURCES["timm_v4"]() | {"x" * 1_000_000: (1,)})
    assert len(str(caught.value)) < 1000
    with pytest.raises(WeightError) as caught:
        converted(monkeypatch, {"x" * 1_000_000: (1,)})
    assert len(str(caught.value)) < 1000


def test_a_filter_in_the_wrong_layout_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = SOURCES["timm_v4"]() | {"features.0.conv.weight": (3, 3, 3, 32)}
    with pytest.raises(WeightError, match=r"is \(3, 3, 3, 32\), should be \(32, 3, 3, 3\)"):
        converted(monkeypatch, shapes)


def test_the_nearest_source_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    some = dict(list(SOURCES["timm_v4"]().items())[:300])
    with pytest.raises(WeightError, match=r"features.0.conv.weight, .* the nearest is timm, but"):
        converted(monkeypatch, some)
    with pytest.raises(WeightError, match=r"has these names: nothing. Known are timm"):
        converted(monkeypatch, {})


def test_numbers_that_no_reader_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(name: str, shape: tuple[int, ...]) -> Array:
        array = nothing(name, shape)
        array[:] = -1 if name.endswith("running_var") else 0
        return array

    with pytest.raises(
        WeightError,
        match=r"conv2d_1a\.bn\.running_var: conv2d_1a_3x3/\S+ holds a negative variance",
    ):
        converted(monkeypatch, SOURCES["facenet_pytorch"](), damaged)


def test_names_cannot_take_over_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    red: Shapes = {"\x1b[31mred": (3,)}
    for shapes in (red, SOURCES["timm_v4"]() | red):
        with pytest.raises(WeightError) as caught:
            converted(monkeypatch, shapes)
        assert "\N{REPLACEMENT CHARACTER}[31mred" in str(caught.value)
        assert "\x1b" not in str(caught.value)


def test_layers_that_keras_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {f"layers/{name}": shape for name, shape in SOURCES["keras_v2"]().items()}
    with pytest.raises(WeightError, match=r"Keras wrote the names of its layers .* only later"):
        converted(monkeypatch, shapes)


def test_batch_norm_that_an_export_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: Shapes = {"last_linear.weight": (1000, 1536), "onnx::Conv_1041": (32, 3, 3, 3)}
    with pytest.raises(WeightError, match=r"batch norm was folded .* do_constant_folding=False"):
        converted(monkeypatch, shapes)


def test_arrays_are_not_kept_as_they_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is never in memory twice: a filter is gone before the next one is read."""
    alive: list[weakref.ref[Array]] = []
    most = 0

    def watched(read: Any) -> Array:
        nonlocal most
        most = max(most, sum(reference() is not None for reference in alive))
        array: Array = read()
        if array.ndim == 4:
            alive.append(weakref.ref(array))
        return array

    stored = {
        name: replace(array, read=partial(watched, array.read))
        for name, array in stand_in(SOURCES["facenet_pytorch_alone"]()).items()
    }
    use(monkeypatch, stored)
    convert("net.bin")
    assert len(alive) == 132
    assert most <= 1


def test_arrays_are_read_only_when_all_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> Array:
        raise AssertionError("read too early")

    shapes = without(SOURCES["timm_v4"](), "last_linear.bias")
    use(monkeypatch, {n: replace(array, read=never) for n, array in stand_in(shapes).items()})
    with pytest.raises(WeightError, match="missing"):
        convert("net.bin")


def test_progress_goes_over_all_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def shown(paths: Any) -> Any:
        for path in paths:
            seen.append(path)
            yield path

    network = converted(monkeypatch, SOURCES["keras_facenet"](), shown=shown)
    assert seen == list(network.arrays())
