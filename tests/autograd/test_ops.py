"""Every op on every sample, right and wrong: one test for each thing that holds for all."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Op, Tensor, gradcheck, ops
from minincep.autograd.op import tracing
from minincep_kernels import Array, registry
from minincep_kernels.errors import ConfigError
from tests import oracle
from tests.error_samples import ERRORS, ErrorSample
from tests.samples import SAMPLES, Sample

pytestmark = pytest.mark.usefixtures("one_thread")

PUBLIC = {name: value for name, value in vars(ops).items() if isinstance(value, Op)}
TRAINING = (
    "centre_loss",
    "dropout",
    "softmax_cross_entropy",
    "triplet_loss",
)  # no trace takes them
EACH_SAMPLE = pytest.mark.parametrize(
    "sample", SAMPLES, ids=lambda sample: f"{sample.op.name}: {sample.name}"
)
EACH_DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def tensors(sample: Sample, arrays: list[Array | None]) -> list[Tensor | Array | None]:
    """The inputs that have a gradient, as tensors that ask for it; the others as they are."""
    return [
        x if x is None or position in sample.constant else Tensor(x, requires_grad=True)
        for position, x in enumerate(arrays)
    ]


def run(sample: Sample, inputs: list[Tensor | Array | None]) -> tuple[Array, list[Array | None]]:
    """The result, and the gradient of each tensor with the result weighted by fixed numbers."""
    y = sample(*inputs)
    weighting = np.asarray(np.random.default_rng(1).standard_normal(y.shape), y.dtype)
    before = weighting.copy()
    y.backward(weighting)
    np.testing.assert_array_equal(weighting, before)  # it belongs to the caller
    return y.data, [x.grad if isinstance(x, Tensor) else None for x in inputs]


def assert_all_close(found: list[Array | None], wanted: list[Array | None]) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            oracle.assert_close(a, b)


def scattered(x: Array | None) -> Array | None:
    """The same numbers, every other one of a larger array, with the axes stored backwards."""
    if x is None or x.size == 1:  # which cannot but lie together
        return x
    larger = np.full(tuple(2 * length for length in reversed(x.shape)), 77).astype(x.dtype)
    view = larger.T[(slice(None, None, 2),) * x.ndim]
    view[...] = x
    assert not view.flags.c_contiguous
    return view


@EACH_DTYPE
@EACH_SAMPLE
def test_value(sample: Sample, dtype: Any) -> None:
    arrays = sample.arrays(dtype)
    y = sample(*arrays)
    exact = [x.astype(float) if x is not None and x.dtype.kind == "f" else x for x in arrays]
    assert y.dtype == dtype
    oracle.assert_close(y.data, np.asarray(sample.reference(*exact, **sample.static)))


@EACH_SAMPLE
def test_gradient(sample: Sample) -> None:
    inputs = tensors(sample, sample.arrays(np.float64))
    gradcheck(
        lambda *_: sample(*inputs),  # it changes the arrays of the tensors, in their place
        [x for x in inputs if isinstance(x, Tensor)],
        tolerance=1e-6,
    )


@EACH_SAMPLE
def test_gradient_in_float32(sample: Sample) -> None:
    arrays = sample.arrays(np.float32)
    exact = [x.astype(float) if x is not None and x.dtype.kind == "f" else x for x in arrays]
    _, gradients = run(sample, tensors(sample, arrays))
    _, wanted = run(sample, tensors(sample, exact))
    assert {g.dtype for g in gradients if g is not None} == {np.dtype(np.float32)}
    assert_all_close(gradients, wanted)


@EACH_SAMPLE
def test_gradient_of_one_input_alone(sample: Sample) -> None:
    """`needs` wants one gradient only: it is the same, and no other arrives."""
    arrays = sample.arrays(np.float64)
    _, all_gradients = run(sample, tensors(sample, arrays))
    for position, gradient in enumerate(all_gradients):
        if gradient is None:
            continue
        inputs: list[Tensor | Array | None] = [*arrays]
        inputs[position] = tensors(sample, arrays)[position]
        _, gradients = run(sample, inputs)
        wanted: list[Array | None] = [None] * len(arrays)
        wanted[position] = gradient
        assert_all_close(gradients, wanted)


@EACH_SAMPLE
def test_no_input_is_changed(sample: Sample) -> None:
    arrays, before = sample.arrays(np.float64), sample.arrays(np.float64)
    run(sample, tensors(sample, arrays))
    for x, copy in zip(arrays, before, strict=True):
        assert (x is None) == (copy is None)
        if x is not None and copy is not None:
            np.testing.assert_array_equal(x, copy)
            assert x.flags.writeable


@EACH_SAMPLE
def test_inputs_that_do_not_lie_together(sample: Sample) -> None:
    arrays = sample.arrays(np.float64)
    y, gradients = run(sample, tensors(sample, [scattered(x) for x in arrays]))
    wanted, wanted_gradients = run(sample, tensors(sample, arrays))
    oracle.assert_close(y, wanted)
    assert_all_close(gradients, wanted_gradients)


@EACH_SAMPLE
def test_gradient_that_does_not_lie_together(sample: Sample) -> None:
    y = sample(*sample.arrays(np.float64))
    weighting = np.asarray(np.random.default_rng(1).standard_normal(y.shape))
    inputs = tensors(sample, sample.arrays(np.float64))
    sample(*inputs).backward(scattered(weighting))
    _, wanted = run(sample, tensors(sample, sample.arrays(np.float64)))
    assert_all_close([x.grad if isinstance(x, Tensor) else None for x in inputs], wanted)


@pytest.mark.parametrize("sample", ERRORS, ids=lambda sample: f"{sample.op.name}: {sample.message}")
def test_error(sample: ErrorSample) -> None:
    with pytest.raises(sample.error, match=sample.message) as raised:
        sample.op(*sample.inputs, **sample.static)
    assert raised.type is sample.error


class Silent:
    """Listens to a trace, and says nothing."""

    def record(self, *_: Any) -> None: ...


@EACH_DTYPE
@EACH_SAMPLE
def test_shape_in_a_trace(sample: Sample, dtype: Any) -> None:
    arrays = sample.arrays(dtype)
    wanted = sample(*arrays)
    with tracing(Silent()):
        y = sample(*arrays)
    assert (y.shape, y.dtype) == (wanted.shape, wanted.dtype)


@pytest.mark.parametrize(
    "sample",
    [
        sample
        for sample in ERRORS
        if sample.error is not ConfigError and sample.op.name not in TRAINING
    ],
    ids=lambda sample: f"{sample.op.name}: {sample.message}",
)
def test_error_in_a_trace(sample: ErrorSample) -> None:
    with tracing(Silent()):
        test_error(sample)


@EACH_DTYPE
@pytest.mark.parametrize(
    "sample",
    [sample for sample in SAMPLES if sample.op._parts is not None],
    ids=lambda sample: f"{sample.op.name}: {sample.name}",
)
def test_an_op_is_the_same_as_its_parts(sample: Sample, dtype: Any) -> None:
    """The same numbers to the last bit, and a gradient that differs in rounding only."""
    arrays = sample.arrays(dtype)
    y, gradients = run(sample, tensors(sample, arrays))
    in_parts = replace(sample, op=sample.op._parts)  # type: ignore[arg-type]
    of_parts, wanted = run(in_parts, tensors(sample, arrays))
    np.testing.assert_array_equal(y, of_parts)
    assert_all_close(gradients, wanted)


@pytest.mark.parametrize("name", PUBLIC)
def test_no_op_is_forgotten(name: str) -> None:
    op = PUBLIC[name]
    assert op.name == name
    assert op.__doc__
    assert any(sample.op is op for sample in SAMPLES), f"{name} has no sample"
    assert any(sample.op is op for sample in ERRORS), f"{name} has no error sample"
    assert op._vjp is not None, f"{name} has no rule for its gradients"


def test_a_filter_gradient_may_lie_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of somebody's own kernel may: here columns before rows."""
    random = np.random.default_rng(0)
    x, branches, filters, bias = (
        random.standard_normal(shape) for shape in ((2, 3, 3, 5), (2, 3, 3, 4), (1, 1, 4, 5), (5,))
    )

    def gradient_of_filters() -> Array:
        weight = Tensor(filters, requires_grad=True)
        y = ops.residual_conv2d(x, branches, weight, bias, factor=0.5, with_relu=False)
        y.backward(np.ones_like(x))
        assert weight.grad is not None
        return weight.grad

    wanted = gradient_of_filters()
    known = registry.variants("conv2d")["im2col"]
    assert known.filter_gradient is not None
    gradient = known.filter_gradient
    turned = replace(known, filter_gradient=lambda *given: np.asfortranarray(gradient(*given)))
    monkeypatch.setitem(registry._variants["conv2d"], "im2col", turned)
    with registry.use(conv2d="im2col"):
        np.testing.assert_allclose(gradient_of_filters(), wanted, rtol=1e-12)
