"""Tuning: other chunks, the same bits."""

import numpy as np
import pytest

import minincep as mi
from minincep.plan import bounds, tune
from minincep.plan.plan import Plan
from minincep_kernels import Array
from minincep_kernels.program.step import Kind


@pytest.fixture(scope="module")
def plan() -> Plan:
    network = mi.create_model("inception_v4", width=0.1, blocks=(3, 1, 1), num_classes=7)
    return mi.compile(network, image_size=(139, 107), batch_size=2)


def test_the_same_bits_from_any_chunks(plan: Plan) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (2, 139, 107, 3)).astype(np.float32)
    wanted = plan(x)
    changed = 0
    for factors in tune.FACTORS:
        steps = tune._chunks(plan.program.steps, 2, *factors)
        changed += (steps["rows"] != plan.program.steps["rows"]).sum()
        changed += (steps["columns"] != plan.program.steps["columns"]).sum()
        trial = tune._with_steps(plan, steps)
        bounds.check(trial.program)
        np.testing.assert_array_equal(trial(x), wanted)
    assert changed > 20
    tuned = tune.tune(plan, repeats=1)
    bounds.check(tuned.program)
    np.testing.assert_array_equal(tuned(x), wanted)


def test_the_fastest_wins_for_all_steps_that_are_alike(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a chunk of few rows is always the faster one."""
    monkeypatch.setattr(
        Plan, "time_steps", lambda self, x: self.program.steps["rows"].astype(float)
    )
    monkeypatch.setattr(tune, "_take_turns", lambda plans, x, repeats: [[2.0], [1.0]])
    tuned = tune.tune(plan, repeats=1).program.steps
    fewest = np.min([tune._chunks(plan.program.steps, 2, *f)["rows"] for f in tune.FACTORS], axis=0)
    np.testing.assert_array_equal(tuned["rows"], fewest)


@pytest.mark.parametrize(("gain", "slower"), [(0.98, False), (0.5, True)])
def test_luck_is_not_enough(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, gain: float, slower: bool
) -> None:
    """A candidate that is hardly faster, and one that is in parts, but not as a whole."""

    def seconds(trial: Plan, _: Array) -> Array:
        first = trial.program.steps["rows"] == plan.program.steps["rows"]
        return np.where(first, 1.0, gain)

    monkeypatch.setattr(Plan, "time_steps", seconds)
    whole = [[1.0], [1.1]] if slower else [[1.1], [1.0]]
    monkeypatch.setattr(tune, "_take_turns", lambda plans, x, repeats: whole)
    tuned = tune.tune(plan, repeats=1)
    np.testing.assert_array_equal(tuned.program.steps, plan.program.steps)


def test_whole_runs_take_turns(plan: Plan) -> None:
    x = np.zeros((1, 139, 107, 3), np.float32)
    times = tune._take_turns((plan, plan), x, 3)
    assert [len(seconds) for seconds in times] == [3, 3]
    assert min(map(min, times)) > 0


def test_only_chunks_are_tuned(plan: Plan) -> None:
    before = plan.program.steps
    for factors in tune.FACTORS:
        after = tune._chunks(before, 2, *factors)
        for name in before.dtype.names or ():
            same = before[name] == after[name]
            assert name in ("rows", "columns") or same.all()
        pools = ~np.isin(before["kind"], [int(kind) for kind in tune.PRODUCTS])
        assert (before[pools] == after[pools]).all()
        assert Kind.MAX_POOL in before["kind"][pools]


def test_alike_are_steps_that_differ_in_places_alone(plan: Plan) -> None:
    cases = tune._cases(plan.program.steps)
    assert sorted(index for group in cases.values() for index in group) == list(
        range(len(plan.program.steps))
    )
    for group in cases.values():
        for name in ("kind", "height", "width", "channels", "out_channels", "rows", "columns"):
            assert len(set(plan.program.steps[name][group])) == 1
    assert max(map(len, cases.values())) > 1
