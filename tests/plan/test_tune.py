"""Tuning: other chunks, the same bits."""

import numpy as np
import pytest

import minincep as mi
from minincep.plan import bounds, tune
from minincep.plan.plan import Plan
from minincep_kernels.program.step import Kind


@pytest.fixture(scope="module")
def plan() -> Plan:
    network = mi.create_model("inception_v4", width=0.1, blocks=(1, 1, 1), num_classes=7)
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
        Plan, "time_steps", lambda self, x, repeats: self.program.steps["rows"][None].astype(float)
    )
    tuned = tune.tune(plan, repeats=1).program.steps
    fewest = np.min([tune._chunks(plan.program.steps, 2, *f)["rows"] for f in tune.FACTORS], axis=0)
    np.testing.assert_array_equal(tuned["rows"], fewest)


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
