"""Convolution: every variant, on every window of the three networks and on awkward ones."""

import dataclasses
import functools
from typing import Any, get_args

import numpy as np
import pytest

import minincep_kernels.conv2d.im2col as im2col_file
from minincep.autograd import Tensor
from minincep.models.network import Network
from minincep_kernels import Array, machine, registry
from minincep_kernels.conv2d import gradients, naive, tiled
from minincep_kernels.program.layout import Method
from minincep_kernels.program.step import Kind
from minincep_kernels.program.task import Task
from minincep_kernels.registry import DIRECT_TOLERANCE, Part, Variant, ladder, use, variants
from minincep_kernels.shapes import Conv2dShape, conv2d_shape
from minincep_kernels.winograd import DIRECT, TILES, TRANSFORMS, Tile
from tests import oracle
from tests.network_shapes import conv2d_shapes, conv2d_windows, label
from tests.plan.graphs import network

pytestmark = pytest.mark.usefixtures("one_thread")  # but for what asks for more

AWKWARD = [
    conv2d_shape((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), "valid"),
    conv2d_shape((0, 4, 4, 3), (3, 3, 3, 2), (1, 1), "same"),  # no image at all
    conv2d_shape((2, 3, 4, 3), (3, 4, 3, 2), (1, 1), "valid"),  # the filter is as large as it
    conv2d_shape((1, 2, 2, 2), (5, 5, 2, 3), (1, 1), "same"),  # and here larger
    conv2d_shape((1, 4, 5, 2), (3, 2, 2, 3), (1, 1), (4, 5, 3, 6)),  # windows of padding alone
    conv2d_shape((1, 6, 5, 2), (3, 3, 2, 3), (1, 1), (2, 0, 0, 1)),
    conv2d_shape((1, 9, 8, 2), (2, 3, 2, 3), (3, 4), "valid"),  # pixels that no window sees
    conv2d_shape((1, 9, 8, 2), (4, 5, 2, 3), (3, 2), "same"),
    conv2d_shape((1, 7, 8, 2), (1, 1, 2, 3), (2, 2), "valid"),  # not for `pointwise`
    conv2d_shape((1, 7, 8, 2), (1, 1, 2, 3), (1, 1), (1, 0, 0, 1)),  # nor this
    conv2d_shape((1, 9, 8, 2), (3, 3, 2, 3), (1, 1), (3, 2, 1, 0)),  # more padding than a mirror
    conv2d_shape((3, 13, 14, 33), (3, 3, 33, 19), (1, 1), "same"),  # several tiles of Winograd's
    conv2d_shape((3, 4, 27, 17), (1, 7, 17, 33), (1, 1), "same"),
    conv2d_shape((3, 27, 4, 17), (7, 1, 17, 33), (1, 1), "same"),
]
SHAPES = [*conv2d_shapes(), *AWKWARD]


VARIANTS = list(variants("conv2d").values())


def on_all_shapes(some: list[Variant]) -> pytest.MarkDecorator:
    cases = [(variant, shape) for variant in some for shape in SHAPES if variant.supports(shape)]
    names = [f"{variant.name}-{label(shape)}" for variant, shape in cases]
    return pytest.mark.parametrize(("variant", "shape"), cases, ids=names)


EACH_DTYPE = pytest.mark.parametrize("dtype", ["float32", "float64"])
EACH_VARIANT = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)


@functools.cache
def arrays(shape: Conv2dShape, dtype: str) -> tuple[Array, Array, Array]:
    """Images, filters and the gradient of the output."""
    random = np.random.default_rng(0)
    sizes = (shape.input, shape.filters, shape.output)
    x, filters, gy = (random.standard_normal(size).astype(dtype) for size in sizes)
    return x, filters, gy


@functools.cache
def expected(shape: Conv2dShape, dtype: str) -> tuple[Array, Array, Array]:
    x, filters, gy = arrays(shape, dtype)
    return (
        oracle.convolve(x, filters, shape),
        oracle.convolve_input_gradient(gy, filters, shape),
        oracle.convolve_filter_gradient(x, gy, shape),
    )


def results(variant: Variant, shape: Conv2dShape, dtype: str) -> tuple[Array | None, ...]:
    """What the variant does of the forward pass and the two gradients."""
    x, filters, gy = arrays(shape, dtype)
    y = variant.forward(x, filters, shape)
    gx = gw = None
    if variant.input_gradient:
        gx = variant.input_gradient(gy, filters, shape)
    if variant.filter_gradient:
        gw = variant.filter_gradient(x, gy, shape)
    return y, gx, gw


def check(variant: Variant, shape: Conv2dShape, dtype: str) -> None:
    parts = get_args(Part)
    found = zip(parts, results(variant, shape, dtype), expected(shape, dtype), strict=True)
    for part, actual, wanted in found:
        assert (actual is not None) == variant.does(part)
        if actual is None:
            continue
        assert actual.dtype == dtype
        assert actual.shape == wanted.shape
        if dtype == "float64":
            oracle.assert_close(actual, wanted)
        elif wanted.size:
            # The mean is 0, or nearly: this is the standard deviation, also of a single number.
            deviation = np.sqrt(np.square(wanted).mean())
            assert np.abs(actual - wanted).max() <= variant.tolerance * deviation


def test_the_networks_have_these_windows() -> None:
    kernels = {kernel for kernel, _, _ in conv2d_windows()}
    assert kernels == {(1, 1), (3, 3), (5, 5), (1, 3), (3, 1), (1, 7), (7, 1)}
    over = {
        (shape.height + sum(shape.padding[:2]) - shape.kernel[0]) % shape.stride[0]
        for shape in conv2d_shapes()
    }
    assert over == {0, 1}  # windows that end with the image, and windows that leave a row over


@EACH_DTYPE
@on_all_shapes(VARIANTS)
def test_like_the_oracle(variant: Variant, shape: Conv2dShape, dtype: str) -> None:
    check(variant, shape, dtype)


@EACH_VARIANT
def test_supports_some_layer_of_the_networks(variant: Variant) -> None:
    assert any(variant.supports(shape) for shape in conv2d_shapes())


def test_pointwise_leaves_alone_what_is_no_matrix_product() -> None:
    supported = [shape for shape in SHAPES if variants("conv2d")["pointwise"].supports(shape)]
    assert {(s.kernel, s.stride, s.padding) for s in supported} == {((1, 1), (1, 1), (0, 0, 0, 0))}


def test_names_say_outputs_and_taps() -> None:
    square, line = TRANSFORMS[4, 3], Tile(TRANSFORMS[6, 7], DIRECT)
    assert tiled.name_of(Tile(square, square)) == "winograd_4x4_3x3"
    assert tiled.name_of(line) == "winograd_6x1_7x1"
    assert {method.tile for method in tiled.METHODS.values()} == set(range(len(TILES)))


def test_winograd_is_allowed_more_error_the_larger_the_tile() -> None:
    for name, method in tiled.METHODS.items():
        allowed = variants("conv2d")[name].tolerance
        if method.kind == Kind.WINOGRAD:
            assert DIRECT_TOLERANCE < allowed < 1e-3
        else:
            assert allowed == DIRECT_TOLERANCE
    assert tiled.loss(DIRECT) == 1
    losses = {sizes: tiled.loss(transform) for sizes, transform in TRANSFORMS.items()}
    for outputs, taps in losses:
        for fewer in range(1, outputs):
            assert losses.get((fewer, taps), 1) < losses[outputs, taps]


@pytest.mark.parametrize("name", tiled.METHODS)
def test_tiled_runs_the_program(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, forwards and, but for padding that is too wide, backwards."""
    method, variant = tiled.METHODS[name], variants("conv2d")[name]
    seen: list[Method] = []
    learned = []
    compiled, do = gradients.forward, gradients._Schedule.before

    def forward(method: Method, *arguments: Any, **turned: Any) -> Array:
        seen.append(method)
        return compiled(method, *arguments, **turned)

    def before(self: Any, others: Any, *arrays: Array) -> None:
        learned.extend(self.table["kind"])
        do(self, others, *arrays)

    monkeypatch.setattr(gradients, "forward", forward)
    monkeypatch.setattr(gradients._Schedule, "before", before)
    for shape in filter(variant.supports, SHAPES):
        results(variant, shape, "float64")
        assert not seen
        assert not learned
        results(variant, shape, "float32")
        backwards = gradients.phases(shape) if gradients.has_phases(shape) else []
        assert len(seen) == 1 + len(backwards)
        assert seen[0] == method
        if shape.stride == (1, 1) and backwards and method.supports(backwards[0]):
            assert seen[1] == method
        transforms = (Task.TRANSFORM_FILTER_GRADIENT in learned) == (method.kind == Kind.WINOGRAD)
        assert transforms or not shape.pixels
        seen.clear()
        learned.clear()


@pytest.fixture(scope="module")
def logits() -> tuple[Network, Array, Array]:
    """A small network, an image, and what the network makes of it, by way of the definition."""
    net = network("inception_v4")
    x = np.random.default_rng(0).standard_normal((1, 75, 75, 3)).astype(np.float32)
    with use(conv2d="naive"):
        return net, x, net(Tensor(x)).data


WISHES = [{"conv2d": name} for name in variants("conv2d")]
WISHES += [{"conv2d": "im2col_gemm", "gemm": name} for name in variants("gemm")]


@pytest.mark.parametrize("wishes", WISHES, ids=lambda wishes: "-".join(wishes.values()))
def test_in_a_whole_network(
    wishes: dict[str, str],
    logits: tuple[Network, Array, Array],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, x, wanted = logits
    ran = []

    def spied(variant: Variant) -> Variant:
        def forward(*arguments: Any) -> Any:
            ran.append(variant.op)
            return variant.forward(*arguments)

        return dataclasses.replace(variant, forward=forward)

    for op, name in wishes.items():
        monkeypatch.setitem(registry._variants[op], name, spied(variants(op)[name]))
    with use(**wishes):
        y = net(Tensor(x)).data
    assert np.abs(y - wanted).max() < 1e-3 * wanted.std()
    assert set(ran) == set(wishes)
    if "gemm" in wishes:
        assert ran.count("gemm") == ran.count("conv2d")


def test_the_ladder_is_read_from_the_definition_to_winograd() -> None:
    names = [rung.name for rung in ladder("conv2d")]
    assert names[:6] == ["naive", "im2col", "im2col_gemm", "tile_implicit", "tile_direct", "tile"]
    assert names[6] == "winograd_4x4_3x3"
    assert len(names[7:]) == len(TILES) - 1
    assert set(variants("conv2d")) - set(names) == {"pointwise"}
    assert variants("conv2d")["winograd_1x6_1x7"].below == "winograd_1x4_1x7"


@EACH_VARIANT
def test_a_rung_says_what_it_does(variant: Variant) -> None:
    told = ("*Cost.*", "*Bound by*", *(["*What changes.*"] if variant.below else []))
    assert [word for word in told if word not in variant.description] == []


@EACH_VARIANT
def test_a_rung_has_something_in_common_with_the_one_below(variant: Variant) -> None:
    """Else nothing could be said of how much faster it is."""
    below = variants("conv2d").get(variant.below or variant.name)
    assert below is not None
    assert any(variant.supports(shape) and below.supports(shape) for shape in conv2d_shapes())


def test_work_is_what_winograd_leaves_of_it() -> None:
    shape = conv2d_shape((2, 9, 8, 5), (3, 3, 5, 7), (1, 1), "same")
    known = variants("conv2d")
    for name in ("tile_implicit", "tile_direct", "tile"):
        work = known[name].work
        assert work is not None
        assert work(shape) == shape.flops
    work = known["winograd_4x4_3x3"].work
    assert work is not None
    assert work(shape) == 2 * (2 * 3 * 2) * 36 * 5 * 7  # 3 x 2 tiles of 4 x 4 in 9 x 8 pixels


def test_convolutions_whose_input_gradient_is_convolutions() -> None:
    for shape in SHAPES:
        inside = all(side < shape.kernel[axis // 2] for axis, side in enumerate(shape.padding))
        phases = gradients.phases(shape)
        if shape.stride == (1, 1):
            assert gradients.has_phases(shape) == inside
            [mirror] = phases
            assert (mirror.input, mirror.output) == (shape.output, shape.input)
        taps = sum(phase.kernel[0] * phase.kernel[1] for phase in phases)
        assert taps == shape.kernel[0] * shape.kernel[1]  # each once, and no zero


@pytest.mark.parametrize("parts", [[1, 1, 1, 1, 1], [2, 2, 1], [5]])
def test_im2col_in_parts(parts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    shape = conv2d_shape((5, 6, 5, 3), (3, 3, 3, 4), (1, 1), "same")
    an_image = shape.out_height * shape.out_width * shape.taps * 8
    monkeypatch.setattr(im2col_file, "WORKSPACE", parts[0] * an_image + an_image // 2)
    seen = []

    def im2col(x: Array, *others: object) -> None:
        seen.append(len(x))
        compiled(x, *others)

    compiled = im2col_file.im2col
    monkeypatch.setattr(im2col_file, "im2col", im2col)
    check(variants("conv2d")["im2col"], shape, "float64")
    assert seen == [*parts, *parts]  # of the forward pass, and of the filter gradient


def test_im2col_takes_an_image_that_is_larger_than_the_workspace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(im2col_file, "WORKSPACE", 1)
    check(variants("conv2d")["im2col"], conv2d_shapes()[0], "float64")


def results_on(
    threads: int, variant: Variant, shape: Conv2dShape, dtype: str
) -> list[Array | None]:
    """Those that are not left to BLAS, which sums in another order on other threads."""
    with machine.num_threads(threads):
        y, gx, gw = results(variant, shape, dtype)
    left = variant.name in tiled.METHODS and not gradients.has_phases(shape)
    return [y, gw] if left else [y, gx, gw]


def check_bits(variant: Variant, shape: Conv2dShape, dtype: str) -> None:
    one, two = (results_on(threads, variant, shape, dtype) for threads in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert a is not None
        assert b is not None
        np.testing.assert_array_equal(a, b)


@EACH_DTYPE
@on_all_shapes([variants("conv2d")["naive"]])
def test_same_bits_on_any_number_of_threads(
    variant: Variant, shape: Conv2dShape, dtype: str
) -> None:
    check_bits(variant, shape, dtype)


@on_all_shapes([variants("conv2d")[name] for name in tiled.METHODS])
def test_tiled_same_bits_on_any_number_of_threads(variant: Variant, shape: Conv2dShape) -> None:
    check_bits(variant, shape, "float32")


@EACH_DTYPE
@pytest.mark.parametrize("name", [rung.name for rung in ladder("gemm")])
def test_columns_by_any_rung_same_bits_on_any_number_of_threads(name: str, dtype: str) -> None:
    shape = conv2d_shape((2, 19, 18, 5), (3, 3, 5, 40), (1, 1), "same")
    variant, (x, filters, _) = variants("conv2d")["im2col_gemm"], arrays(shape, dtype)
    found = []
    for threads in (1, 2):
        with machine.num_threads(threads), use(gemm=name):
            found.append(variant.forward(x, filters, shape))
    np.testing.assert_array_equal(*found)


def test_columns_same_bits_on_any_number_of_threads() -> None:
    shape = conv2d_shape((2, 7, 9, 3), (3, 3, 3, 4), (2, 2), "same")
    x, _, _ = arrays(shape, "float32")
    found = []
    for threads in (1, 2):
        columns = np.empty((2, *shape.output[1:3], 3, 3, 3), np.float32)
        images = np.empty_like(x)
        with machine.num_threads(threads):
            im2col_file.im2col(x, shape.stride, shape.corner, columns)
            im2col_file.col2im(columns, shape.stride, shape.corner, images)
        found.append((columns, images))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@EACH_DTYPE
@EACH_VARIANT
def test_nan_reaches_every_output_that_sees_it(variant: Variant, dtype: str) -> None:
    """And, where outputs share a transform, some that do not."""
    shape = next(shape for shape in conv2d_shapes() if variant.supports(shape))
    x = np.zeros(shape.input, dtype)
    x[0, 1, 2, -1] = np.nan
    y = variant.forward(x, np.zeros(shape.filters, dtype), shape)
    sees = np.isnan(oracle.convolve(x, np.zeros(shape.filters), shape))
    assert 0 < sees.sum() < sees.size
    if "winograd" in variant.name and dtype == "float32":
        assert np.isnan(y[sees]).all()
        assert not np.isnan(y[1]).any()
    else:
        np.testing.assert_array_equal(np.isnan(y), sees)


def test_the_oracle_on_numbers_worked_out_by_hand() -> None:
    shape = conv2d_shape((1, 2, 2, 1), (2, 2, 1, 1), (1, 1), (0, 1, 0, 0))
    x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(shape.input)
    filters = np.array([[10.0, 20.0], [30.0, 40.0]]).reshape(shape.filters)
    y = np.array([1 * 10 + 2 * 20 + 3 * 30 + 4 * 40, 3 * 10 + 4 * 20.0]).reshape(shape.output)
    np.testing.assert_array_equal(oracle.convolve(x, filters, shape), y)
    np.testing.assert_array_equal(naive.forward(x, filters, shape), y)
