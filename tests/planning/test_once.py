"""What runs have in common costs once, and nothing where earlier runs have left it to take over."""

import json

import pytest
from support.written import leave_record

from reweigh.planning import once, plan
from reweigh.records import kept, record

CELL = "quick/tdr/mnist-4v9/rho0.1/tdr"


def test_what_runs_have_in_common_costs_once(project):
    """Six methods after one stage one; each seed has its own, and a record that is there needs none."""
    setting = "smoke/absgd/two-stage/lt-rho100"
    planned = {one.run: one for one in plan.make([setting], "", project)}
    methods = ["joint", "ncm", "crt", "tau_norm", "lws", "absgd_head"]
    assert [run.split("/")[-2] for run in planned] == methods  # one seed
    alone = {run: plan.make([run], "", project)[0] for run in planned}
    joint, ncm, crt, *_ = planned
    assert planned[joint].seconds == alone[joint].seconds > 0
    assert planned[ncm].seconds == 0 and planned[ncm].steps == planned[joint].steps
    spec = planned[crt].spec
    first, second = (steps * size for steps, size in plan._stages(spec))
    assert planned[crt].seconds == pytest.approx(alone[crt].seconds * second / (first + second))
    leave_record(project, joint)
    after = {one.run: one for one in plan.make([setting], "", project)}
    assert after[ncm].seconds == pytest.approx(plan.make([ncm], "", project)[0].seconds) and after[ncm].seconds > 0
    assert after[crt].seconds < plan.make([crt], "", project)[0].seconds


def keep(project, name, content=""):
    path = project / kept.FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def seconds_of(project, *targets):
    return [one.seconds for one in plan.make(list(targets), "", project)]


def test_first_stages_that_are_kept_cost_nothing(project):
    setting = "smoke/absgd/two-stage/lt-rho100"
    joint, ncm, crt = (f"{setting}/{method}/seed0" for method in ("joint", "ncm", "crt"))
    alone = [*seconds_of(project, ncm), *seconds_of(project, crt)]
    _, shared_crt = seconds_of(project, ncm, crt)
    leave_record(project, joint, prefix={"key": "k", "stages": 1})
    assert seconds_of(project, ncm, crt) == [alone[0], shared_crt]  # a record alone is nothing to take over
    keep(project, "k.pt")
    assert seconds_of(project, joint, ncm, crt)[1:] == [0, shared_crt]
    assert [*seconds_of(project, ncm), *seconds_of(project, crt)] == [
        0,
        shared_crt,
    ]  # also where joint is not asked for


@pytest.mark.parametrize(
    "change",
    [
        {"code": {"digest": "another"}},
        {"split": {"recipe_digest": "another"}},
        {"device": {"name": "another processor"}},
        {"environment": {"torch": "1.0", "numpy": "1.0", "pillow": None}},
        {"prefix": {"key": "another", "stages": 1}},
        {"prefix": {"key": "k", "stages": 2}},
        {"prefix": None},
        {"spec": {"uses": "no longer there", "method_options": {}}},
    ],
)
def test_first_stages_that_nothing_today_would_take_over_cost_as_before(project, change):
    joint, ncm = (f"smoke/absgd/two-stage/lt-rho100/{method}/seed0" for method in ("joint", "ncm"))
    before = [one.steps for one in plan.make([ncm], "", project) if one.seconds > 0]
    keep(project, "k.pt")
    leave_record(project, joint, **{"prefix": {"key": "k", "stages": 1}} | change)
    assert before and [one.steps for one in plan.make([ncm], "", project) if one.seconds > 0] == before


def twin_of(spec):
    return {**spec, "paper": "compare", "experiment": "mnist", "setting": "mild", "method": "learned"}


def test_a_run_under_two_names_costs_once_and_another_seed_does_not(config):
    spec = config.resolve("quick/tdr/mnist-4v9/rho0.1/tdr/seed0")
    parts = once.TrainedOnce()
    assert [parts.left(one, [9]) for one in (spec, {**spec, "seed": 1}, twin_of(spec))] == [1, 1, 0]


def test_a_run_whose_twin_has_left_a_record_costs_nothing(project):
    run = f"{CELL}/seed0"
    written = leave_record(project, run)

    def left():
        return once.TrainedOnce(once.kept_parts(project)).left(twin_of(written["spec"]), [9])

    assert left() == 1
    for content in ("damaged", "[]", json.dumps({"run": run, "digest": "that of an older record"})):
        keep(project, "whole/key.json", content)
        assert left() == 1
    keep(project, "whole/key.json", json.dumps({"run": run, "digest": written["digest"]}))
    assert left() == 0
    record.record_path(run, project).unlink()
    assert left() == 1
