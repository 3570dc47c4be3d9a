"""What there is to measure: found in the networks, each shape once, with a name of its own."""

import pytest

from minincep.bench import workloads
from minincep.bench.workloads import Layer, Workload, chosen, label, networks, shapes, smallest
from minincep_kernels.errors import ConfigError
from minincep_kernels.shapes import Conv2dShape, GemmShape, MomentsShape, NormalizeShape
from tests.bench.conftest import LAYERS

OPS = ["gemm", "conv2d", "moments", "normalize", "max_pool2d", "avg_pool2d"]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks as they are."""
    monkeypatch.undo()


@pytest.mark.usefixtures("full")
def test_layers_of_the_real_networks() -> None:
    found = {one.label: one for one in shapes("conv2d")}
    assert dict(found["35x35x384 1x1 -> 96"].networks) == {"inception_v4": 8}
    assert found["17x17x1024 1x1 -> 192"].shape.pixels == 17 * 17
    first = found["299x299x3 3x3/2 -> 32"]
    assert dict(first.networks) == {"inception_v4": 1, "inception_resnet_v2": 1}
    assert first.shape == Conv2dShape(1, 299, 299, 3, (3, 3), (2, 2), (0, 0, 0, 0), 32)
    layers = [
        sum(dict(one.networks).get(name, 0) for one in found.values())
        for name in ("inception_v4", "inception_resnet_v1", "inception_resnet_v2")
    ]
    assert layers == [149, 132, 244]
    for op in OPS:
        names = [one.label for one in shapes(op)]
        assert len(names) == len(set(names)) > 1


@pytest.mark.usefixtures("full")
def test_operations_of_a_network_come_to_what_the_paper_says() -> None:
    found = shapes("conv2d", ["inception_v4"])
    total = sum(one.shape.flops * dict(one.networks)["inception_v4"] for one in found)
    assert total == pytest.approx(24.5e9, rel=0.01)


def test_shapes_follow_from_layers() -> None:
    (first, second) = shapes("conv2d", ["inception_v4"])
    assert first.label == "9x7x3 3x3 padded -> 5"
    assert second == Workload(
        "conv2d",
        Conv2dShape(1, 4, 3, 5, (1, 1), (1, 1), (0, 0, 0, 0), 8),
        "4x3x5 1x1 -> 8",
        (("inception_v4", 2),),
    )
    assert shapes("gemm", ["inception_v4"])[0].shape == GemmShape(63, 5, 27)
    assert shapes("moments", batch=2)[0].shape == MomentsShape(126, 5)
    assert shapes("normalize")[0].shape == NormalizeShape(63, 5, True)
    assert shapes("normalize")[0].label == "63x5 relu"
    assert shapes("max_pool2d", batch=2)[0].label == "2x9x7x5 3x3/2"
    assert shapes("avg_pool2d")[0].label == "4x3x5 3x3 padded"
    assert label(GemmShape(63, 5, 27)) == "63x27 @ 27x5"
    assert {name for name, _ in shapes("gemm")[0].networks} == set(workloads.SIZES)


def test_names_choose_networks_and_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    def layers(network: str) -> list[Layer]:
        return LAYERS if network == "inception_v4" else LAYERS[:2]

    monkeypatch.setattr(workloads, "_layers", layers)
    assert len(chosen(["conv2d"], [])["conv2d"]) == 2
    assert [one.label for one in chosen(["conv2d"], ["v1"])["conv2d"]] == ["9x7x3 3x3 padded -> 5"]
    (only,) = chosen(["conv2d"], ["4x3x5 1x1 -> 8"])["conv2d"]
    assert only.networks == (("inception_v4", 2),)
    found = chosen(["conv2d"], ["inception_resnet_v2", "4x3x5 1x1 -> 8"])["conv2d"]
    assert {one.label for one in found} == {"4x3x5 1x1 -> 8", "9x7x3 3x3 padded -> 5"}
    with pytest.raises(ConfigError, match="no layer has the shape 'v5': give v4, v1 or v2, or one"):
        chosen(["conv2d"], ["v5"])


def test_networks_by_name() -> None:
    assert networks([]) == list(workloads.SIZES)
    assert networks(["v1", "inception_v4"]) == ["inception_resnet_v1", "inception_v4"]
    with pytest.raises(ConfigError, match="no network 'vgg', only: v4, v2, v1, inception_v4"):
        networks(["vgg"])


def test_a_look_takes_the_smallest_of_each_kind() -> None:
    big, small = (
        Workload("conv2d", Conv2dShape(1, n, n, 3, (1, 1), (1, 1), (0, 0, 0, 0), 5), str(n), ())
        for n in (9, 4)
    )
    other = Workload("conv2d", Conv2dShape(1, 9, 9, 3, (3, 3), (1, 1), (0, 0, 0, 0), 5), "", ())
    assert smallest([big, other, small]) == [small, other]
    products = [Workload("gemm", GemmShape(n, n, n), str(n), ()) for n in (12, 10, 100)]
    assert smallest(products) == [products[1], products[2]]
