"""The benchmark of `choose`: it finds the layers, runs every method, and says what was chosen."""

from typing import Any

import pytest

import minincep as mi
from benchmarks import methods
from minincep.nn.layers import Conv2d, Dense
from minincep_kernels.conv2d.tiled import METHODS
from minincep_kernels.shapes import Conv2dShape

SMALL: dict[str, Any] = {"width": 0.05, "blocks": (1, 1, 1), "num_classes": 5}


def test_layers_are_those_of_the_plan() -> None:
    found = methods.layers("inception_resnet_v2", 299, **SMALL)
    network = mi.create_model("inception_resnet_v2", **SMALL)
    layers = sum(isinstance(module, Conv2d | Dense) for _, module in network.modules())
    joined = 2 + 2 + 1 + 1 + 1 + 2  # of mixed_5b, block35, block17, block8, block8, mixed_7a
    assert sum(found.values()) == layers - joined
    assert sum(count for (_, residual), count in found.items() if residual) == 4
    assert min(shape.height for shape, _ in found) == 1  # the classifier


def test_every_method_that_can_is_timed() -> None:
    shape = Conv2dShape(1, 9, 9, 3, (3, 3), (1, 1), (0, 0, 0, 0), 5)
    times = methods.measure(shape, residual=False, repeats=2)
    assert set(times) == {name for name, method in METHODS.items() if method.supports(shape)}
    assert len(times) >= 3
    assert min(times.values()) > 0
    assert set(methods.measure(shape, residual=True, repeats=1)) == {"tile_direct", "tile_implicit"}


def test_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    report = methods.compare("inception_v4", 75, repeats=1, **SMALL)
    assert report["chosen over best"] >= 1
    for layer in report["layers"]:
        assert layer["chosen"] in layer["seconds"]
    assert "of the best choice" in capsys.readouterr().out
