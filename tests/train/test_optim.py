"""Optimisers: step by step as PyTorch and TensorFlow, restored to the last bit, guarded."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minincep.autograd import Tensor, ops
from minincep.io.errors import WeightError
from minincep.nn.module import Parameter
from minincep.train.optim import (
    OPTIMIZERS,
    SGD,
    Adam,
    Group,
    Optimizer,
    RMSProp,
    clip_by_norm,
    clip_by_value,
    create_optimizer,
)
from minincep_kernels import Array, machine
from minincep_kernels.errors import ConfigError, DTypeError, ShapeError

pytestmark = pytest.mark.usefixtures("one_thread")

REFERENCES = {
    name: dict(np.load(Path(__file__).parents[1] / f"data/training/{name}.npz"))
    for name in ("torch", "tensorflow")
}
WORDS = {name: json.loads(str(data["words"])) for name, data in REFERENCES.items()}
CASES = [(library, name) for library, words in WORDS.items() for name in words["cases"]]
SHAPES: dict[str, tuple[int, ...]] = {k: tuple(v) for k, v in WORDS["torch"]["shapes"].items()}
EACH_KIND = pytest.mark.parametrize("name", OPTIMIZERS)
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}  # a few roundings, relative to the largest weight

Parameters = dict[str, Parameter]


def parts(flat: Array) -> dict[str, Array]:
    """Arrays by path, from one after the other."""
    ends = np.cumsum([np.prod(shape) for shape in SHAPES.values()])
    cut = np.split(flat, ends[:-1].astype(int))
    return {p: c.reshape(shape) for (p, shape), c in zip(SHAPES.items(), cut, strict=True)}


def parameters(dtype: str = "float32", seed: int = 0) -> Parameters:
    """Random weights with random gradients."""
    random = np.random.default_rng(seed)
    made = {p: Parameter(random.standard_normal(s).astype(dtype)) for p, s in SHAPES.items()}
    give_gradients(made, seed)
    return made


def give_gradients(given: Parameters, seed: int) -> None:
    random = np.random.default_rng([seed, 1])
    for p in given.values():
        p.grad = random.standard_normal(p.shape).astype(p.dtype)


def joined(arrays: Mapping[str, Array]) -> Array:
    return np.concatenate([array.ravel() for array in arrays.values()])


def weights(given: Parameters) -> Array:
    return joined({path: p.data for path, p in given.items()})


def test_the_references_have_all_optimizers() -> None:
    found = {WORDS[library]["cases"][name]["optimizer"] for library, name in CASES}
    assert found == set(OPTIMIZERS)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("library", "name"), CASES)
def test_agrees_step_by_step(library: str, name: str, dtype: str) -> None:
    data, case = REFERENCES[library], WORDS[library]["cases"][name]
    given = {p: Parameter(a.astype(dtype)) for p, a in parts(data["start"]).items()}
    groups = [Group(**case["group"])] if "group" in case else []
    optimizer = create_optimizer(case["optimizer"], given, groups=groups, **case["settings"])
    for step, (rate, wanted) in enumerate(zip(data["rates"], data[f"{name}/{dtype}"], strict=True)):
        for path, gradient in parts(data["gradients"][step].astype(dtype)).items():
            gap = path == case.get("gaps") and step % 3 == 1
            given[path].grad = None if gap else gradient.copy()
        if "clip_norm" in case:
            clip_by_norm(given, case["clip_norm"])
        if "clip_value" in case:
            clip_by_value(given, case["clip_value"])
        optimizer.step(rate)
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(
            weights(given), wanted, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=f"step {step}"
        )


@EACH_KIND
def test_large_arrays_and_small_alike(name: str) -> None:
    """Cut into pieces or not, on one thread or two: each number is worked out by itself."""
    random = np.random.default_rng(0)
    w, g = random.standard_normal((2, 40_003))
    results = []
    for cuts, threads in (((), 1), ((5, 17_000, 17_001), 1), ((5, 17_000, 17_001), 2)):
        given = {
            f"{index}/weight": Parameter(part.astype(np.float32))
            for index, part in enumerate(np.split(w, cuts))
        }
        for p, part in zip(given.values(), np.split(g, cuts), strict=True):
            p.grad = part.astype(np.float32)
        with machine.num_threads(threads):
            optimizer = create_optimizer(name, given, weight_decay=0.01)
            for _ in range(3):
                optimizer.step(0.1)
        results.append(weights(given))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    assert np.abs(results[0] - w).min() > 0


@EACH_KIND
def test_going_on_from_a_state_is_bit_for_bit_the_same(name: str) -> None:
    def train(given: Parameters, optimizer: Optimizer, first: int, last: int) -> None:
        for step in range(first, last):
            give_gradients(given, step)
            optimizer.step(0.1 / (1 + step))

    whole = parameters()
    train(whole, create_optimizer(name, whole, weight_decay=0.01), 0, 7)

    first = parameters()
    optimizer = create_optimizer(name, first, weight_decay=0.01)
    train(first, optimizer, 0, 4)
    saved = {key: array.copy() for key, array in optimizer.state().items()}
    then = {path: Parameter(p.data.copy()) for path, p in first.items()}
    other = create_optimizer(name, then, weight_decay=0.01)
    train(then, other, 20, 22)  # what it remembers of this must be gone
    for path, p in first.items():
        then[path].data = p.data.copy()
    other.load_state(saved)
    train(then, other, 4, 7)
    np.testing.assert_array_equal(weights(then), weights(whole))
    assert "steps" in saved
    assert all(np.all(array == 4) for key, array in saved.items() if key == "steps")


def test_names_of_the_state() -> None:
    found = Adam(parameters()).state()
    assert set(found) == {"steps"} | {f"{n}/{path}" for n in ("mean", "square") for path in SHAPES}
    assert all(found[f"mean/{path}"].shape == shape for path, shape in SHAPES.items())


def test_the_state_cannot_be_changed_from_outside() -> None:
    state = SGD(parameters()).state()
    for array in state.values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("momentum/head/bias"), "'momentum/head/bias' is missing"),
        (lambda s: s.update(what=np.zeros(1)), "'what' is unexpected"),
        (
            lambda s: s.update({"momentum/head/bias": np.zeros(3, np.float32)}),
            r"'momentum/head/bias' is float32 \(3,\), should be float32 \(2,\)",
        ),
        (
            lambda s: s.update({"momentum/head/bias": np.zeros(2)}),
            "is float64 .* should be float32",
        ),
        (lambda s: s.update(steps=np.zeros(4)), "'steps' is float64"),
        (lambda s: s.clear(), "and 0 more|is missing"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change: Any, message: str) -> None:
    given = parameters()
    optimizer = SGD(given)
    optimizer.step(0.1)
    before = {key: array.copy() for key, array in optimizer.state().items()}
    state = {key: array + 1 for key, array in before.items()}
    change(state)
    with pytest.raises(WeightError, match=message):
        optimizer.load_state(state)
    for key, array in optimizer.state().items():
        np.testing.assert_array_equal(array, before[key])


def test_weight_decay_leaves_out_all_but_weights() -> None:
    given = parameters()
    for p in given.values():
        p.grad = np.zeros(p.shape, p.dtype)
    before = {path: p.data.copy() for path, p in given.items()}
    SGD(given, weight_decay=0.5, groups=[Group("head", weight_decay=0.25)]).step(1.0)
    factors = {"conv/weight": 0.5, "head/weight": 0.75}
    for path, p in given.items():
        np.testing.assert_allclose(p.data, before[path] * factors.get(path, 1), rtol=1e-6)


def test_the_first_group_that_matches_wins() -> None:
    given = parameters()
    before = {path: p.data.copy() for path, p in given.items()}
    groups = [Group("*/bias", rate=0.0), Group("head", rate=2.0)]
    SGD(given, momentum=0, groups=groups).step(1.0)
    for (path, p), factor in zip(given.items(), (1, 1, 2, 0), strict=True):
        assert p.grad is not None
        np.testing.assert_allclose(p.data, before[path] - factor * p.grad, rtol=1e-5)


def test_rmsprop_carries_the_rate_inside_the_momentum() -> None:
    """As TensorFlow 1: a rate of zero stops what is added, not what is under way."""
    given = parameters()
    optimizer = RMSProp(given)
    optimizer.step(0.1)
    before = weights(given)
    optimizer.step(0.0)
    assert np.abs(weights(given) - before).min() > 0


def test_frozen_parameters_are_left_out() -> None:
    given = parameters()
    given["conv/weight"].requires_grad = False
    before = given["conv/weight"].data.copy()
    optimizer = SGD(given, weight_decay=0.1)
    optimizer.step(1.0)
    np.testing.assert_array_equal(given["conv/weight"].data, before)
    assert "momentum/conv/weight" not in optimizer.state()


@EACH_KIND
def test_a_parameter_without_gradient_is_left_alone(name: str) -> None:
    given = parameters()
    given["conv/weight"].grad = None
    before = given["conv/weight"].data.copy()
    optimizer = create_optimizer(name, given, weight_decay=0.1)
    optimizer.step(1.0)
    np.testing.assert_array_equal(given["conv/weight"].data, before)
    np.testing.assert_array_equal(optimizer.state()["steps"], [0, 1, 1, 1])


def test_weights_on_a_tape_that_is_kept_are_not_touched() -> None:
    p = Parameter(np.array([3.0, 4.0]))
    loss = ops.mean(ops.multiply(p, p))
    loss.backward(retain_tape=True)
    assert p.grad is not None
    first, held = p.grad.copy(), p.data
    SGD({"weight": p}).step(0.5)
    np.testing.assert_array_equal(held, [3, 4])
    np.testing.assert_array_equal(p.data, [1.5, 2])
    p.grad = None
    loss.backward()
    np.testing.assert_array_equal(p.grad, first)


def test_gradients_that_do_not_lie_together() -> None:
    given = {"weight": Parameter(np.zeros((2, 3)))}
    gradient = np.arange(6.0).reshape(3, 2).T
    given["weight"].grad = gradient
    SGD(given, momentum=0).step(1.0)
    np.testing.assert_array_equal(given["weight"].data, -gradient)


def test_weights_that_do_not_lie_together() -> None:
    given = {"weight": Parameter(np.zeros((3, 2)).T)}
    given["weight"].grad = np.arange(6.0).reshape(2, 3)
    SGD(given, momentum=0).step(1.0)
    np.testing.assert_array_equal(given["weight"].data, -given["weight"].grad)


@pytest.mark.parametrize("rate", [-1.0, np.nan, np.inf, "0.1", True, None])
def test_a_rate_out_of_range(rate: Any) -> None:
    given = parameters()
    before = weights(given)
    with pytest.raises(
        ConfigError, match=r"^the learning rate must be a finite number of at least 0"
    ):
        SGD(given).step(rate)
    np.testing.assert_array_equal(weights(given), before)


def test_a_gradient_of_another_shape_changes_nothing() -> None:
    given = parameters()
    before = weights(given)
    for wrong in (np.zeros(3, np.float32), np.zeros(2)):
        given["head/bias"].grad = wrong
        with pytest.raises(ShapeError, match=r"^the gradient of head/bias is float.*\(2,\)"):
            SGD(given).step(1.0)
        with pytest.raises(ShapeError, match=r"^the gradient of head/bias is float"):
            clip_by_norm(given, 1.0)
    np.testing.assert_array_equal(weights(given), before)


@pytest.mark.parametrize("now", [np.zeros(3, np.float32), np.zeros(2)])
def test_a_parameter_that_is_another_one_now(now: Array) -> None:
    given = parameters()
    optimizer = SGD(given)
    given["head/bias"].data = now
    given["head/bias"].grad = now
    with pytest.raises(ShapeError, match=r"^head/bias was float32 \(2,\) .* make a new optimiser"):
        optimizer.step(1.0)


BAD = [
    ("sgd", {"momentum": 1.0}, "momentum must be a finite number of at least 0 and below 1"),
    ("sgd", {"momentum": np.nan}, "momentum must be"),
    ("sgd", {"momentum": 0.0, "nesterov": True}, "nesterov needs a momentum above 0"),
    ("sgd", {"nesterov": "no"}, "nesterov must be True or False, got 'no'"),
    ("sgd", {"weight_decay": -1e-4}, "weight_decay must be a finite number of at least 0, got"),
    ("sgd", {"weight_decay": np.nan}, "weight_decay must be"),
    ("rmsprop", {"decay": 1.0}, "decay must be"),
    ("rmsprop", {"momentum": -0.1}, "momentum must be"),
    ("rmsprop", {"eps": 0}, "eps must be a finite number above 0, got 0"),
    ("adam", {"betas": (0.9, 1.0)}, "each of betas must be"),
    ("adam", {"betas": 0.9}, "betas must be two numbers, got 0.9"),
    ("adam", {"betas": (0.9,)}, "betas must be two numbers"),
    ("adamw", {"eps": np.nan}, "eps must be"),
    ("adamw", {"momentum": 0.9}, "optimizer 'adamw' has no setting 'momentum', only: betas, eps"),
    ("adagrad", {}, "there is no optimizer 'adagrad', only: sgd, rmsprop, adam, adamw"),
    ("sgd", {"groups": [Group("heat/*")]}, "'heat/.' matches no weight; the nearest path is 'head"),
]


@pytest.mark.parametrize(("name", "settings", "message"), BAD)
def test_settings_out_of_range(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_optimizer(name, parameters(), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": -1.0}, "rate of group 'head' must be a finite number of at least 0"),
        ({"rate": np.nan}, "rate of group 'head' must be"),
        ({"weight_decay": -1.0}, "weight_decay of group 'head' must be"),
    ],
)
def test_groups_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Group("head", **settings)


def test_parameters_that_cannot_be_trained() -> None:
    given = parameters()
    with pytest.raises(DTypeError, match="all float32 or all float64, got both"):
        SGD(given | {"last": Parameter(np.zeros(2))})
    with pytest.raises(ConfigError, match="one parameter is here under two paths"):
        SGD(given | {"last": given["head/bias"]})
    for p in given.values():
        p.requires_grad = False
    with pytest.raises(ConfigError, match="nothing to train: all weights are frozen"):
        SGD(given)


def gradients(given: Parameters) -> Array:
    return joined({path: p.grad for path, p in given.items() if p.grad is not None})


def test_clipping_by_norm() -> None:
    given = parameters("float64")
    before = gradients(given)
    norm = float(np.sqrt(np.sum(before**2)))
    assert clip_by_norm(given, norm + 1) == pytest.approx(norm, rel=1e-14)
    np.testing.assert_array_equal(gradients(given), before)  # within the limit
    assert clip_by_norm(given, None) == pytest.approx(norm, rel=1e-14)
    np.testing.assert_array_equal(gradients(given), before)
    assert clip_by_norm(given, 0.5) == pytest.approx(norm, rel=1e-14)
    np.testing.assert_allclose(gradients(given), before * 0.5 / norm, rtol=1e-6)
    assert clip_by_norm({}, 0.5) == 0


def test_the_norm_of_large_arrays() -> None:
    x = np.random.default_rng(0).standard_normal((3, 20_011)).astype(np.float32)
    given = {"a": Parameter(x), "b": Parameter(x[0])}
    given["a"].grad, given["b"].grad = x.T.copy().T, x[1]
    wanted = np.sqrt(np.sum(x.astype(float) ** 2) + np.sum(x[1].astype(float) ** 2))
    norms = []
    for threads in (1, 2):
        with machine.num_threads(threads):
            norms.append(clip_by_norm(given, 1e9))
    assert norms[0] == norms[1] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite_are_left_as_they_are(bad: float) -> None:
    given = parameters()
    assert given["head/bias"].grad is not None
    given["head/bias"].grad[0] = bad
    before = gradients(given)
    assert not np.isfinite(clip_by_norm(given, 0.1))
    np.testing.assert_array_equal(gradients(given), before)


def test_clipping_by_value() -> None:
    given = {"a": Parameter(np.zeros(6)), "b": Parameter(np.zeros(2))}
    given["a"].grad = np.array([-3.0, -0.5, 0.0, 0.5, 3.0, np.nan])
    clip_by_value(given, 0.5)
    np.testing.assert_array_equal(given["a"].grad, [-0.5, -0.5, 0, 0.5, 0.5, np.nan])
    assert given["b"].grad is None


def test_clipping_of_a_read_only_gradient() -> None:
    given = {"a": Parameter(np.zeros(2))}
    mine = np.array([3.0, 4.0])
    mine.flags.writeable = False
    given["a"].grad = mine
    clip_by_value(given, 1.0)
    np.testing.assert_array_equal(mine, [3, 4])
    np.testing.assert_array_equal(given["a"].grad, [1, 1])


@pytest.mark.parametrize("limit", [0.0, -1.0, np.nan, np.inf, "1"])
def test_limits_out_of_range(limit: Any) -> None:
    with pytest.raises(ConfigError, match=r"^the norm to clip to must be a finite number above 0"):
        clip_by_norm(parameters(), limit)
    with pytest.raises(ConfigError, match=r"^the value to clip to must be a finite number above 0"):
        clip_by_value(parameters(), limit)


def test_a_training_in_earnest() -> None:
    """Each optimiser finds the smallest value of a square."""
    for name in OPTIMIZERS:
        p = Parameter(np.array([3.0, -2.0]))
        optimizer = create_optimizer(name, {"weight": p})
        for _ in range(400):
            loss = ops.mean(ops.multiply(p, p))
            p.grad = None
            loss.backward()
            optimizer.step(0.05)
        assert isinstance(loss, Tensor)
        assert loss.item() < 1e-3, name
