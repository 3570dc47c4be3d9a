"""From a graph to a program: order, waits, memory, and what comes out of it."""

from collections.abc import Iterator

import numpy as np
import pytest

from minincep.autograd import Tensor, ops
from minincep.models.registry import list_models
from minincep.plan.graph import Graph, Node, Value, run
from minincep.plan.lower import in_order, lower
from minincep.plan.passes import apply_all
from minincep.plan.program import Place, Program
from minincep.plan.trace import trace
from minincep_kernels import Array, machine
from minincep_kernels.errors import PlanError
from minincep_kernels.program.runner import Runner
from minincep_kernels.vectors import LANES
from tests.plan.graphs import Function, network, normal, written

pytestmark = pytest.mark.usefixtures("one_thread")

EACH_NETWORK = pytest.mark.parametrize("name", list_models())
BATCH = 2
NAN = np.float32(np.nan)


def lowered(graph: Graph) -> Program:
    return lower(graph, BATCH, lambda floats: np.full(floats, NAN))


def answers(program: Program, x: Array, threads: int = 1) -> dict[str, Array]:
    """What a program gives, in memory that holds no number to begin with."""
    memory = np.full(program.memory, NAN)
    program.input.view(memory, len(x))[...] = x
    with machine.num_threads(threads):
        run_steps = Runner(program.steps, program.scratch)
        run_steps(0, len(program.steps), len(x), program.weights, memory, memory)
    return {
        name: place.view(memory, len(x)).reshape(len(x), *shape)
        for name, (place, shape) in program.outputs.items()
    }


def floats(offset: int, pitch: int, pixels: int, channels: int) -> Array:
    """The numbers of all floats of a value."""
    found: Array = offset + (np.arange(pixels)[:, None] * pitch + np.arange(channels)).ravel()
    return found


def reads_and_writes(program: Program) -> Iterator[tuple[Array, Array]]:
    """The floats that each step reads and writes, worked out from its row alone."""
    for step in program.steps:
        pixels = BATCH * int(step["height"] * step["width"])
        out_pixels = BATCH * int(step["out_height"] * step["out_width"])
        reads = floats(step["in_offset"], step["in_pitch"], pixels, step["channels"])
        writes = floats(step["out_offset"], step["out_pitch"], out_pixels, step["out_channels"])
        if step["residual_offset"] >= 0:
            place = step["residual_offset"], step["residual_pitch"]
            reads = np.concatenate([reads, floats(*place, out_pixels, step["out_channels"])])
        yield reads, writes


def check_waits(program: Program) -> None:
    """Two steps of which one writes what the other reads or writes never run at the same time.

    Before a step begins, the steps 0 to wait - 1 are complete, and nothing else is known.
    """
    written, read = np.full((2, program.memory), -1)
    for index, (reads, writes) in enumerate(reads_and_writes(program)):
        wait = program.steps[index]["wait"]
        assert wait <= index
        assert wait == written[reads].max() + 1, program.paths[index]
        assert wait > written[writes].max(), program.paths[index]
        assert wait > read[writes].max(), program.paths[index]
        written[writes] = read[reads] = index


def check(graph: Graph, tolerance: float = 1e-4) -> Program:
    """The program gives what the graph means, in float32."""
    x = normal(BATCH, *graph.input.shape)
    wanted = run(graph, x)
    program = lowered(graph)
    check_waits(program)
    found = answers(program, x)
    assert list(found) == list(wanted)
    for name, y in wanted.items():
        assert found[name].shape == y.shape
        assert np.abs(found[name] - y).max() <= tolerance * np.abs(y).max(), name
    return program


def of_function(function: Function) -> Graph:
    """The graph of a function of a small map, (10, 11, 3)."""

    def shrunk(x: Tensor) -> Tensor:
        return function(
            ops.max_pool2d(x, kernel_size=(3, 3), stride=(8, 8), padding="valid"),
        )

    return apply_all(trace(written(shrunk), (75, 83)))


def filters(*shape: int) -> Array:
    return normal(*shape, seed=1) / np.float32(np.sqrt(np.prod(shape[:-1])))


def conv(x: Tensor, out_channels: int, size: int = 1) -> Tensor:
    weight = filters(size, size, x.shape[-1], out_channels)
    return ops.conv2d(x, weight, normal(out_channels), stride=(1, 1), padding="same")


# ------------------------------------------------------------------ networks


@pytest.mark.parametrize("every", [False, True], ids=["result", "end points"])
@EACH_NETWORK
def test_networks(name: str, every: bool) -> None:
    net = network(name, num_classes=5)
    endpoints = [e for e in net.endpoint_names() if e != "AuxLogits"] if every else []
    program = check(apply_all(trace(net, (80, 97), endpoints)), tolerance=1e-3)
    if not every:  # values share memory
        assert program.memory < 0.6 * sum(w.size for _, w in reads_and_writes(program))


@EACH_NETWORK
def test_networks_give_the_same_bits_however_they_are_run(name: str) -> None:
    net = network(name, num_classes=5)
    program = lowered(apply_all(trace(net, (80, 97))))
    x = normal(BATCH, 80, 97, 3)
    wanted = answers(program, x)[""]
    assert np.ptp(wanted) > 0
    for threads in (2, 3):
        np.testing.assert_array_equal(answers(program, x, threads)[""], wanted)
    np.testing.assert_array_equal(answers(program, x[::-1])[""], wanted[::-1])
    for image in range(BATCH):
        alone = answers(program, x[image : image + 1])[""]
        np.testing.assert_array_equal(alone, wanted[image : image + 1])


@EACH_NETWORK
def test_without_passes_there_is_nothing_that_a_plan_can_run(name: str) -> None:
    with pytest.raises(PlanError, match=r"a plan cannot run \w+ of layer .+"):
        lowered(trace(network(name), (75, 75)))


@EACH_NETWORK
def test_order(name: str) -> None:
    """Every node after those that write what it reads, and side by side with its like."""
    graph = apply_all(trace(network(name, num_classes=5), (75, 75)))
    nodes = in_order(graph)
    assert set(nodes) == set(graph.nodes)
    assert len(nodes) == len(graph.nodes)
    program = lowered(graph)
    assert program.paths == tuple(node.path for node in nodes)
    assert [step["out_channels"] for step in program.steps] == [
        node.output.shape[-1] for node in nodes
    ]
    assert (np.diff(program.steps["wait"]) >= 0).all()  # no step waits for a later layer


@EACH_NETWORK
def test_constants_are_let_go(name: str) -> None:
    net = network(name)
    graph = apply_all(trace(net, (75, 75)))
    program = lowered(graph)
    assert all(node.arrays == {} for node in graph.nodes)
    assert np.isfinite(program.weights).all()
    for array in net.arrays().values():
        assert not np.shares_memory(array, program.weights)


# ------------------------------------------------------------------ small graphs


def test_branches_run_side_by_side() -> None:
    def function(x: Tensor) -> Tensor:
        short, long = conv(x, 4), conv(conv(conv(x, 5, 3), 6), 7)
        return ops.concat(short, long)

    program = check(of_function(function))
    assert program.steps["out_channels"].tolist() == [3, 4, 5, 6, 7]
    assert program.steps["wait"].tolist() == [0, 1, 1, 3, 4]


def test_a_concatenation_waits_for_all_its_parts() -> None:
    def function(x: Tensor) -> Tensor:
        inner = ops.concat(conv(x, 3), conv(x, 4))
        outer = ops.concat(inner, conv(conv(x, 5), 6))
        return conv(outer, 8)

    program = check(of_function(function))
    assert program.steps["wait"].tolist()[-1] == len(program.steps) - 1
    assert len(set(program.steps["out_pitch"].tolist()) & {13}) == 1


def test_a_part_of_a_concatenation_is_read_alone() -> None:
    def function(x: Tensor) -> Tensor:
        part = conv(x, 3)
        return conv(ops.concat(conv(part, 4, 3), part), 5)

    check(of_function(function))


@pytest.mark.parametrize("channels", [1, LANES, LANES + 1])
def test_residual_that_lies_in_a_concatenation(channels: int) -> None:
    def function(x: Tensor) -> Tensor:
        part = conv(x, channels)
        both = ops.concat(conv(x, 3), part)
        return ops.relu(ops.add(part, conv(both, channels)))

    program = check(of_function(function))
    assert (program.steps["residual_offset"] >= 0).sum() == 1
    assert program.steps["relu"][-1]


@pytest.mark.parametrize(
    "size",
    [1, 3],
)
def test_residual_of_any_convolution(size: int) -> None:
    """Also where a convolution without a residual would take another method."""

    def function(x: Tensor) -> Tensor:
        before = conv(x, 7)
        return ops.relu(ops.add(before, conv(before, 7, size)))

    check(apply_all(trace(written(function), (75, 76))))


def test_rows_of_numbers() -> None:
    def function(x: Tensor) -> Tensor:
        pooled = ops.reshape(ops.global_avg_pool2d(conv(x, 20)), shape=(-1, 20))
        embedded = ops.add_bias(ops.matmul(pooled, filters(20, 6)), normal(6))
        return ops.softmax(ops.l2_normalize(embedded))

    program = check(of_function(function))
    assert program.outputs[""][1] == (6,)


def test_poolings() -> None:
    def function(x: Tensor) -> Tensor:
        large = ops.max_pool2d(conv(x, 5), kernel_size=(3, 3), stride=(2, 2), padding="valid")
        mean = ops.avg_pool2d(large, kernel_size=(3, 3), stride=(1, 1), padding="same")
        return ops.relu(conv(mean, 18))

    check(of_function(function))


def test_flattened_maps() -> None:
    """Of one pixel they are rows already; others no network has."""

    def function(x: Tensor) -> Tensor:
        small = ops.max_pool2d(x, kernel_size=(3, 3), stride=(5, 4), padding="valid")
        flat = ops.reshape(conv(small, 5), shape=(-1, 2 * 3 * 5))
        return ops.matmul(flat, filters(30, 4))

    with pytest.raises(PlanError, match="cannot run reshape"):
        check(of_function(function))


def test_an_image_that_is_concatenated_is_copied() -> None:
    graph = apply_all(trace(written(lambda x: conv(ops.concat(x, conv(x, 4)), 5)), (75, 76)))
    assert "copy" in {node.op for node in graph.nodes}
    check(graph)


def test_steps_do_not_depend_on_the_batch() -> None:
    """Only addresses do: the arithmetic is the same for any."""
    net = network("inception_v4", num_classes=5)
    one, many = (
        lower(apply_all(trace(net, (80, 97))), batch, lambda n: np.zeros(n, np.float32))
        for batch in (1, 9)
    )
    moved = ("in_offset", "out_offset", "residual_offset")
    for name in one.steps.dtype.names or ():
        if name not in moved:
            np.testing.assert_array_equal(one.steps[name], many.steps[name], err_msg=name)
    np.testing.assert_array_equal(one.weights, many.weights)
    assert one.paths == many.paths


@pytest.mark.parametrize("channels", [1024, 2048])
def test_pixels_of_a_page_lie_further_apart(channels: int) -> None:
    """Else all pixels of a tile would fall into the same set of the level-1 cache."""
    program = check(of_function(lambda x: conv(ops.relu(conv(x, channels)), 3)))
    assert program.steps["out_pitch"][1] > channels
    assert program.steps["out_pitch"][1] % 1024
    assert program.steps["in_pitch"][2] == program.steps["out_pitch"][1]
    assert program.steps["out_pitch"][2] == 3


def test_a_whole_output_of_a_page() -> None:
    program = check(of_function(lambda x: conv(x, 1024)))
    place, shape = program.outputs[""]
    assert place.pitch > 1024
    assert shape == (10, 11, 1024)


def test_an_op_that_no_step_does() -> None:
    x, y = Value((4, 4, 3)), Value((4, 4, 3))
    graph = Graph(x, [Node("fold", [x], y, path="stem/fold")], {"": y})
    with pytest.raises(PlanError, match="a plan cannot run fold of layer stem/fold"):
        lowered(graph)


def test_a_place() -> None:
    memory = np.arange(100)
    view = Place(offset=7, pitch=5, height=2, width=3, channels=4).view(memory, 2)
    assert view.shape == (2, 2, 3, 4)
    for n, h, w, c in np.ndindex(*view.shape):
        assert view[n, h, w, c] == 7 + ((n * 2 + h) * 3 + w) * 5 + c
    view[...] = -1
    assert (memory == -1).sum() == view.size
