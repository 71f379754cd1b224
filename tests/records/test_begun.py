"""What a record says of the runs that began its training: who, how much, and that it fits with the rest."""

import copy

import pytest
import torch
from support import project
from support.forgeries import forged

from reweigh.config import loading as config
from reweigh.provenance import record_schema
from reweigh.provenance.consistency import contradictions, doubts
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.run import Job

CPU = torch.device("cpu")
CRT = "smoke/absgd/two-stage/lt-rho100/crt/seed0"
LWS = CRT.replace("crt", "lws")


def stopped_at(spec, step):
    """Train a run until it has taken `step` steps: others go on from there."""
    clock = Clock()
    with pytest.raises(OutOfTime):
        Job(spec, CPU, clock).finish(lambda run: run.step == step and clock.stop())


@pytest.fixture(scope="module")
def trained(tmp_path_factory, raw_root):
    """A record whose stage one another run began, and one whose second stage another began too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.make(tmp_path_factory.mktemp("begun"), raw_root))
        stopped_at({**config.resolve(CRT), "experiment": "one"}, 2)
        within = Job(config.resolve(LWS), CPU).finish()
        for name, step in (("one", 2), ("two", 23)):
            stopped_at({**config.resolve(CRT), "experiment": name, "seed": 1}, step)
        after = Job({**config.resolve(CRT), "seed": 1}, CPU).finish()
    return {"within": within, "after": after}


def parts(body):
    return [(one["run"], one["steps"]) for one in body["begun_by"]]


def test_a_record_says_who_began_it_and_how_much(trained):
    within, after = trained["within"], trained["after"]
    for body in trained.values():
        assert contradictions(body) + record_schema.faults(body) == []
    one = CRT.replace("two-stage", "one")
    assert parts(within) == parts(within["prefix"]) == [(one, 2)] and not within["prefix"]["reused"]
    one, two = (CRT.replace("two-stage", name).replace("seed0", "seed1") for name in ("one", "two"))
    assert parts(after) == [(two, 3)] and parts(after["prefix"]) == [(one, 2)]
    assert after["prefix"]["reused"] and after["prefix"]["run"] == two
    for body in (within, after):
        (begun,) = body["begun_by"]
        assert 0 < begun["seconds"] < body["seconds"]


def test_a_record_of_before_says_nothing_of_it_and_is_sound(trained):
    body = copy.deepcopy(trained["within"])
    del body["begun_by"], body["prefix"]["begun_by"]
    assert record_schema.faults(body) == [] and not [line for line in contradictions(body) if "begun" in line]


BEGUN_FORGERIES = [
    ("within", {"begun_by": []}, "prefix.begun_by has 2 steps of"),
    ("within", {"begun_by.0.steps": 1}, "prefix.begun_by has 2 steps of"),
    ("within", {"begun_by.0.seconds": 0.0}, "prefix.begun_by has 2 steps of"),
    ("within", {"begun_by.0.steps": 10**6}, "begun_by has 1000000 steps, more than"),
    (
        "within",
        {"prefix.begun_by.0.steps": 21, "begun_by.0.steps": 21},
        "prefix.begun_by has 21 steps, more",
    ),
    ("within", {"begun_by.0.run": LWS}, "it must name other runs than"),
    ("within", {"begun_by.0.run": "somebody"}, "begun cannot be checked"),
    ("after", {"begun_by.0.seconds": -1.0}, "begun_by has -1.0 seconds"),
    ("after", {"begun_by.0.steps": 14}, "begun_by has 14 steps, more than the 13"),
    ("after", {"begun_by.0.seconds": 1e9}, "begun_by has 1000000000.0 seconds"),
    ("after", {"prefix.begun_by.0.steps": 21}, "prefix.begun_by has 21 steps, more than the 20"),
    ("after", {"record_version": 2}, "which does not have also_measured, begun_by"),
]


@pytest.mark.parametrize(("name", "changes", "says"), BEGUN_FORGERIES)
def test_what_others_began_is_no_more_than_there_is(trained, name, changes, says):
    body = forged(trained[name], changes)
    assert any(says in one for one in contradictions(body)), contradictions(body)


def test_what_others_took_need_not_fit_into_the_time_of_the_run(trained):
    """But what it took itself must."""
    body = copy.deepcopy(trained["within"])
    for part in (body, body["prefix"], body["begun_by"][0], body["prefix"]["begun_by"][0]):
        part["seconds"] += 1e6
    body["curves"]["train_seconds"] = [spent + 1e6 for spent in body["curves"]["train_seconds"]]
    assert contradictions(body) == []
    for part in (body, body["prefix"]):
        part["begun_by"][0]["seconds"] -= 1e6
    late = {**body, "resumed": 0}
    assert any("do not fit between started and ended" in one for one in contradictions(late)) and not doubts(late)
    (doubt,) = doubts({**body, "resumed": 1})
    assert "do not fit between started and ended" in doubt and "clock was set back" in doubt
