"""Plans agree, end point by end point, with implementations that are not ours."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest

import minincep as mi
from minincep.io.verify import PLANNED, first_failure, read_cases, reference_network, verify
from minincep.models.network import Network
from minincep.nn.layers import BatchNorm
from minincep_kernels import Array

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = Path(__file__).parents[1] / "data"
NAMES = ("inception_v4", "inception_resnet_v1", "inception_resnet_v2")
FACTOR, LIMIT = 8, 5e-5  # of the answer itself: logits, or embeddings


def planned(network: Network) -> Callable[[Array, Collection[str]], Mapping[str, Array]]:
    def run(x: Array, names: Collection[str]) -> Mapping[str, Array]:
        size = (x.shape[1], x.shape[2])
        return mi.compile(network, image_size=size, endpoints=names).run_endpoints(x)

    return run


@pytest.mark.parametrize("name", NAMES)
def test_agrees_at_every_end_point(name: str) -> None:
    path = DATA / f"reference_{name}.h5"
    network = reference_network(path)
    for case in read_cases(path):
        rows = verify(network, case, planned(network), PLANNED)
        assert [row.endpoint for row in rows] == [s.endpoint for s in case.samples]
        assert first_failure(rows) is None
        answers = [row for row in rows if row.endpoint in ("Logits", "Embeddings")]
        assert answers
        for row in answers:
            assert row.error <= FACTOR * row.float32_error
            assert row.error < LIMIT


def test_a_fault_is_named() -> None:
    """The eps of other libraries, in one layer of a plan."""
    path = DATA / "reference_inception_resnet_v1.h5"
    network = reference_network(path)
    modules = dict(network.modules())
    layer = modules["repeat_1/block17_7/branch_0/conv2d_1x1/batch_norm"]
    assert isinstance(layer, BatchNorm)
    layer.eps = 1e-5
    case = next(c for c in read_cases(path) if c.name == "facenet_pytorch_160x160")
    first = first_failure(verify(network, case, planned(network), PLANNED))
    assert first is not None
    assert first.endpoint == "Repeat_1/block17_7"
