"""Which variant runs: preference, forcing one, and wishes that cannot be met."""

import dataclasses
import functools
from typing import get_args

import numpy as np
import pytest

import minincep_kernels.conv2d  # noqa: F401  (registers the variants)
from minincep.autograd import Tensor, ops
from minincep_kernels import Array, registry
from minincep_kernels.conv2d.gradients import phases
from minincep_kernels.errors import VariantError
from minincep_kernels.registry import Variant, choose, register, use, variant, variants
from minincep_kernels.shapes import conv2d_shape
from tests.network_shapes import conv2d_shapes

POINT = conv2d_shape((1, 4, 4, 2), (1, 1, 2, 3), (1, 1), "same")
SQUARE = conv2d_shape((1, 4, 4, 2), (3, 3, 2, 3), (1, 1), "same")
SHAPES = conv2d_shapes()


def test_the_preferred_variant_supports_every_shape() -> None:
    for shape in SHAPES:
        for part in get_args(registry.Part):
            variant = choose("conv2d", shape, part)
            if part == "input_gradient" and shape.stride == (1, 1):
                [shape] = phases(shape)
            assert variant.supports(shape)


def test_the_preferred_variant_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        registry._preferred,
        "conv2d",
        lambda shape, part: "naive" if part == "filter_gradient" else "im2col",
    )
    assert choose("conv2d", POINT).name == "im2col"
    assert choose("conv2d", POINT, "filter_gradient").name == "naive"


@pytest.mark.parametrize("name", variants("conv2d"))
def test_forced_variant_is_used(name: str) -> None:
    shape = next(shape for shape in SHAPES if variants("conv2d")[name].supports(shape))
    before = choose("conv2d", shape)
    with use(conv2d=name):
        assert choose("conv2d", shape).name == name
    assert choose("conv2d", shape) is before


@pytest.mark.parametrize("name", variants("conv2d"))
def test_forced_variant_runs_in_a_network(name: str) -> None:
    """Forwards and backwards, a layer of which it supports."""
    shape = next(shape for shape in SHAPES if variants("conv2d")[name].supports(shape))
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(s).astype(np.float32) for s in (shape.input, shape.filters)]
    found = []
    for wish in (name, "naive"):
        x, filters = (Tensor(array, requires_grad=True) for array in arrays)
        with use(conv2d=wish):
            y = ops.conv2d(x, filters, None, stride=shape.stride, padding=shape.padding)
            y.backward(np.ones_like(y.data))
        found.append((y.data, x.grad, filters.grad))
    for a, b in zip(*found, strict=True):
        assert a is not None
        assert b is not None
        assert np.abs(a - b).max() < 1e-3 * b.std()


def test_forced_variant_runs_in_an_op(monkeypatch: pytest.MonkeyPatch) -> None:
    naive = variants("conv2d")["naive"]
    spy = dataclasses.replace(naive, name="spy", forward=lambda x, filters, shape: x + 1)
    monkeypatch.setitem(registry._variants["conv2d"], "spy", spy)
    x = np.zeros((1, 2, 2, 1))
    with use(conv2d="spy"):
        np.testing.assert_array_equal(ops.conv2d(x, np.zeros((1, 1, 1, 1))).data, x + 1)


@pytest.fixture
def op(monkeypatch: pytest.MonkeyPatch) -> str:
    """An operation of its own, without variants."""
    copies = {name: dict(known) for name, known in registry._variants.items()}
    monkeypatch.setattr(registry, "_variants", {**copies, "double": {}})
    monkeypatch.setattr(registry, "_preferred", dict(registry._preferred))
    return "double"


def test_a_decorated_function_is_a_variant(op: str) -> None:
    def even(shape: int) -> bool:
        return shape % 2 == 0

    @variant(op, name="mine", supports=even, tolerance=0.5, below="foot", asks=("conv2d",))
    def forward(x: Array, shape: int) -> Array:
        """Twice as much."""
        return 2 * x

    mine = variants(op)["mine"]
    assert forward(np.ones(1), 1) == 2  # the function is as it was
    assert mine == Variant(op, "mine", even, forward, tolerance=0.5, below="foot", asks=("conv2d",))
    registry.prefer(op, lambda shape, part: "mine")
    assert choose(op, 2) is mine
    with pytest.raises(VariantError, match="there is a variant 'mine' of double already"):
        variant(op, name="mine")(forward)


def test_a_decorated_function_takes_everything_forwards(op: str) -> None:
    variant(op, name="mine")(np.add)
    mine = variants(op)["mine"]
    assert mine.supports(object())
    assert mine.tolerance == registry.DIRECT_TOLERANCE
    assert mine.below is None
    assert [part for part in get_args(registry.Part) if mine.does(part)] == ["forward"]


def test_a_part_that_the_forced_variant_lacks_is_done_by_the_preferred_one(op: str) -> None:
    whole = register(Variant(op, "whole", bool, np.add, np.add, np.add))
    half = register(Variant(op, "half", bool, np.add, filter_gradient=np.add))
    registry.prefer(op, lambda shape, part: "whole")
    with use(double="half"):
        found = {part: choose(op, 1, part) for part in get_args(registry.Part)}
    assert found == {"forward": half, "input_gradient": whole, "filter_gradient": half}


def test_the_ladder_is_climbed_from_the_foot(op: str) -> None:
    """Branch by branch, whatever came first; what has no rung below or above stands beside it."""
    rungs = {"left": "foot", "beside": None, "top": "right", "foot": None, "right": "foot"}
    for name, below in rungs.items():
        variant(op, name=name, below=below)(np.add)
    assert [rung.name for rung in registry.ladder(op)] == ["foot", "left", "right", "top"]


def test_a_description_is_the_docstring_of_the_function_or_of_its_file() -> None:
    def spoken(x: Array) -> Array:
        """What changes.

        And why.
        """
        return x

    def silent(x: Array) -> Array:
        return x

    every = functools.partial(Variant, "double", "mine", bool)
    assert every(spoken).description == "What changes.\n\nAnd why."
    assert every(silent).description == __doc__
    assert every(spoken, about="  Something else.").description == "Something else."


@pytest.mark.parametrize("name", variants("conv2d"))
def test_every_variant_says_how_far_off_it_may_be(name: str) -> None:
    """Direct convolution is the measure."""
    assert registry.DIRECT_TOLERANCE <= variants("conv2d")[name].tolerance < 1e-3


def test_shapes_that_a_forced_variant_cannot_take_run_as_ever() -> None:
    before = choose("conv2d", SQUARE)
    with use(conv2d="pointwise"):
        assert choose("conv2d", SQUARE) is before
        assert choose("conv2d", POINT).name == "pointwise"


def test_forced_variant_that_no_layer_can_use() -> None:
    message = "no layer could use the conv2d variant 'pointwise': it does not support, for one"
    with pytest.raises(VariantError, match=message), use(conv2d="pointwise"):
        choose("conv2d", SQUARE)


def test_an_error_inside_the_block_is_the_one_that_comes_out() -> None:
    def fail() -> None:
        with use(conv2d="pointwise"):
            choose("conv2d", SQUARE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_forcing_where_nothing_runs_is_no_error() -> None:
    with use(conv2d="pointwise"):
        pass


def test_forced_variant_that_nothing_asks_for(op: str) -> None:
    variant(op, name="mine")(np.add)
    message = "nothing asked for double, so that its variant 'mine' never ran$"
    with pytest.raises(VariantError, match=message), use(double="mine"):
        choose("conv2d", SQUARE)
    variant("conv2d", name="caller", asks=(op,))(np.add)
    message = r"never ran: force conv2d=caller with it\Z"
    with pytest.raises(VariantError, match=message), use(double="mine"):
        choose("conv2d", SQUARE)


def test_what_an_inner_block_hides_was_asked_for_all_the_same(op: str) -> None:
    variant(op, name="mine")(np.add)
    registry.prefer(op, lambda shape, part: "mine")
    with use(conv2d="naive"):
        choose(op, 1)
        with use(conv2d="naive"):
            choose("conv2d", SQUARE)


def test_the_inner_block_wins() -> None:
    with use(conv2d="naive"):
        with use(conv2d="im2col"):
            assert choose("conv2d", SQUARE).name == "im2col"
        assert choose("conv2d", SQUARE).name == "naive"


def test_unknown_names() -> None:
    with pytest.raises(VariantError, match=r"conv2d has no variant 'winograd9', only .*naive"):
        use(conv2d="winograd9").__enter__()
    with pytest.raises(VariantError, match=r"no operation 'conv3d' has variants, only .*conv2d"):
        use(conv3d="naive").__enter__()
    with pytest.raises(VariantError, match="no operation 'conv3d' has variants"):
        choose("conv3d", SQUARE)


def test_two_variants_of_one_name() -> None:
    with pytest.raises(VariantError, match="there is a variant 'naive' of conv2d already"):
        register(variants("conv2d")["naive"])


def test_the_list_of_variants_is_a_copy() -> None:
    variants("conv2d").clear()
    assert "naive" in variants("conv2d")
