"""Whole runs under two names: trained once, the same numbers under both, whatever happens to files and processes."""

import copy
import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from support import project, two_stages
from support.prefixes import counted, start_counted

from reweigh.config import loading as config
from reweigh.provenance import record_schema
from reweigh.provenance.consistency import contradictions, doubts
from reweigh.provenance.explain import tree
from reweigh.records import lineage, record
from reweigh.training import sealed
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.run import Job

CPU = torch.device("cpu")
RUN = "smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"
NAMES = {"scale": "quick", "paper": "compare", "experiment": "mnist", "setting": "mild", "method": "learned"}
TWIN = "quick/compare/mnist/mild/learned/seed0"
WHOLE = Path(".reweigh/prefixes/whole")


def spec_of(**names):
    return {**copy.deepcopy(config.resolve(RUN, root=project.ROOT)), **names}


def trained(spec, clock=None, since=None):
    """The record of a run that is trained in this folder, which is sound, and how many steps that took."""
    taken = []
    body = Job(spec, CPU, clock, since=since).finish(lambda run: taken.append(run.step))
    assert contradictions(body) == []
    return body, len(taken)


@pytest.fixture
def folder(tmp_path, raw_root, monkeypatch):
    monkeypatch.chdir(project.make(tmp_path, raw_root))
    return tmp_path


def test_a_twin_is_not_trained_and_says_whose_it_is(folder):
    first, steps = trained(spec_of())
    assert steps == first["steps"] > 0 and first["prefix"] is None
    second, steps = trained(spec_of(**NAMES))
    assert steps == 0 and second["run"] == TWIN and second["spec"] == spec_of(**NAMES)
    assert second["split"] == {**first["split"], "path": f"data/splits/{TWIN.replace('learned/', '')}.npz"}
    own = {"digest", "ended", "prefix", "run", "spec", "spec_digest", "split", "started"}
    assert {key: value for key, value in first.items() if key not in own} == {
        key: value for key, value in second.items() if key not in own
    }
    traces = [Path("results", f"{run}.npz").read_bytes() for run in (RUN, TWIN)]
    assert traces[0] == traces[1] and record.trace_path(record.record_path(TWIN), second)
    (link,) = WHOLE.iterdir()
    cost = {name: first[name] for name in ("seconds", "steps", "peak_bytes", "energy_joules", "run", "digest")}
    assert second["prefix"] == {"key": link.stem, "stages": 1, "of": 1, "reused": True, **cost, "begun_by": []}
    assert record.read(record.record_path(TWIN)) == second
    assert contradictions(second) + record_schema.faults(second) == []
    assert tree._taken_over(first) == "" and tree._taken_over(second) == f", all as trained by {RUN}"
    third, steps = trained(spec_of(**{**NAMES, "experiment": "again"}))
    assert steps == 0 and third["prefix"] == second["prefix"]  # the run that was trained, not the one in between


CHANGES = {
    "another seed": lambda spec: spec.update(seed=1),
    "another rate": lambda spec: spec["training"].update(learning_rate=0.03),
    "other arrays": lambda spec: spec["training"].update(keep_margins=True),
    "another method": lambda spec: spec.update(uses="none", method_options={"scale": "mean"}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_training_is_no_twin(what, folder):
    trained(spec_of())
    other = spec_of(**NAMES)
    CHANGES[what](other)
    body, steps = trained(other)
    assert steps == body["steps"] > 0 and body["prefix"] is None


def forged(path):
    body = json.loads(path.read_text())
    body["metrics"]["test_accuracy"] = 1.0
    record.write(path, {key: value for key, value in body.items() if key != "digest"})


DAMAGE = {
    "deleted": lambda path: path.unlink(),
    "altered": lambda path: path.write_text(path.read_text().replace('"finished"', '"diverged"')),
    "forged with a digest": forged,
    "no record": lambda path: path.write_text("{}"),
    "its trace deleted": lambda path: path.with_suffix(".npz").unlink(),
    "its trace altered": lambda path: path.with_suffix(".npz").write_bytes(b"PK"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_record_that_is_not_as_it_was_is_not_taken(what, folder):
    first, _ = trained(spec_of())
    DAMAGE[what](record.record_path(RUN))
    body, steps = trained(spec_of(**NAMES))
    assert steps == body["steps"] and body["prefix"] is None and body["metrics"] == first["metrics"]
    second, steps = trained(spec_of(**{**NAMES, "experiment": "again"}))
    assert steps == 0 and second["prefix"]["run"] == TWIN


NOWHERE = [b"", b"[]", b'{"run": 1}', b'{"run": "a/b", "digest": "0"}', b'{"run": "%s"}' % RUN.encode(), b"\xff\x00"]


@pytest.mark.parametrize("content", NOWHERE)
def test_a_link_that_leads_nowhere_is_ignored(content, folder):
    trained(spec_of())
    (link,) = WHOLE.iterdir()
    link.write_bytes(content)
    body, steps = trained(spec_of(**NAMES))
    assert steps == body["steps"] and body["prefix"] is None


def test_a_link_under_the_name_of_another_training_is_ignored(folder):
    """As where a file system or a hand has exchanged two files: both lead to sound records."""
    other = spec_of(seed=1)
    trained(other)
    (wrong,) = WHOLE.iterdir()
    first, _ = trained(spec_of())
    (link,) = set(WHOLE.iterdir()) - {wrong}
    link.write_bytes(wrong.read_bytes())
    body, steps = trained(spec_of(**NAMES))
    assert steps == body["steps"] and body["prefix"] is None and body["metrics"] == first["metrics"]


def test_a_diverged_run_is_one_under_both_names(folder):
    spec, other = spec_of(), spec_of(**NAMES)
    for one in (spec, other):
        one["training"] |= {"learning_rate": 1e30, "gradient_clip": None}
    first, _ = trained(spec)
    second, steps = trained(other)
    assert first["status"] == second["status"] == "diverged" and steps == 0
    assert second["prefix"]["steps"] == first["steps"] and contradictions(second) == []


def test_again_trains_again(folder):
    trained(spec_of())
    began = time.time()
    body, steps = trained(spec_of(**NAMES), since=began)
    assert steps == body["steps"] and body["prefix"] is None
    body, steps = trained(spec_of(**{**NAMES, "experiment": "again"}), since=began)
    assert steps == 0 and body["prefix"]["run"] == TWIN  # trained since


def test_the_command_with_again_trains_again(folder, capsys):
    from reweigh.training.__main__ import main

    paths = []
    for number, names in enumerate(({}, NAMES)):
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(json.dumps(spec_of(**names)))
    assert main([str(paths[0])]) == 0 and main([str(paths[1])]) == 0
    assert record.read(record.record_path(TWIN))["prefix"]["run"] == RUN
    assert main(["--again", str(paths[1])]) == 0
    assert record.read(record.record_path(TWIN))["prefix"] is None


def test_a_run_that_was_stopped_takes_its_twin_over(folder):
    clock = Clock()
    clock.stop()
    with pytest.raises(OutOfTime):
        trained(spec_of(**NAMES), clock)
    first, _ = trained(spec_of())
    body, steps = trained(spec_of(**NAMES))
    assert steps == 0 and body["metrics"] == first["metrics"] and not list(Path(".reweigh/checkpoints").glob("*"))


def test_two_processes_at_the_same_time_train_twins_once(folder):
    processes = [start_counted(folder, spec_of(), name="one"), start_counted(folder, spec_of(**NAMES), name="two")]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    bodies = [record.read(record.record_path(run)) for run in (RUN, TWIN)]
    assert len(counted()) == bodies[0]["steps"]
    assert sorted(body["prefix"] is None for body in bodies) == [False, True]
    assert bodies[0]["metrics"] == bodies[1]["metrics"]


def test_two_processes_on_the_very_same_run_train_it_once(folder):
    processes = [start_counted(folder, spec_of(), name=name) for name in ("one", "two")]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    body = record.read(record.record_path(RUN))
    assert len(counted()) == body["steps"] and body["prefix"] is None


def longer(**names):
    """Four epochs of it, 20 steps."""
    spec = spec_of(**names)
    spec["training"]["epochs"] = 4
    return spec


def killed(folder, spec, step, every="0"):
    """Train in a process that kills itself in a step, before it is saved."""
    process = start_counted(folder, spec, DIES=str(step), REWEIGH_CHECKPOINT_SECONDS=every)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors


def test_a_twin_of_a_run_that_was_killed_before_it_was_saved_trains_itself(folder):
    killed(folder, longer(), 3, every="60")
    body, steps = trained(longer(**NAMES))
    assert steps == body["steps"] and body["prefix"] is None
    body, steps = trained(longer())
    assert steps == 0 and body["prefix"]["run"] == TWIN


@pytest.fixture(scope="module")
def alone(tmp_path_factory, raw_root):
    """What the run gives that trains all by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.make(tmp_path_factory.mktemp("alone"), raw_root))
        return outcome(trained(longer())[0])


def outcome(body):
    """What must not depend on who trained what."""
    curves = {name: values for name, values in body["curves"].items() if name != "train_seconds"}
    kept = ("code", "metrics", "stages", "steps", "status", "parameters")
    trace = record.trace_path(record.record_path(body["run"]), body)
    return {**{name: body[name] for name in kept}, "curves": curves, "trace": trace and trace.read_bytes()}


def test_a_twin_goes_on_where_a_killed_run_was_saved_and_that_one_takes_the_record(alone, folder):
    killed(folder, longer(), 7)
    body, steps = trained(longer(**NAMES))
    assert outcome(body) == alone and steps == body["steps"] - 6 and body["resumed"] == 1 and body["prefix"] is None
    assert not list(WHOLE.glob("*.part"))
    (begun,) = body["begun_by"]
    assert (begun["run"], begun["steps"]) == (RUN, 6) and 0 < begun["seconds"] < body["seconds"]
    assert tree._taken_over(lineage.facts(body)) == f", 6 steps taken by {RUN}"
    body, steps = trained(longer())
    assert outcome(body) == alone and steps == 0 and body["prefix"]["run"] == TWIN
    assert body["prefix"]["begun_by"] == [begun] and body["begun_by"] == []
    assert not list(Path(".reweigh/checkpoints").glob("*"))


@pytest.mark.parametrize("last", [{}, NAMES, {**NAMES, "experiment": "again"}], ids=["first", "second", "third"])
@pytest.mark.parametrize("steps_of_the_second", [3, 9], ids=["killed before it was saved", "killed further on"])
def test_whoever_is_next_goes_on_from_the_furthest(steps_of_the_second, last, alone, folder):
    killed(folder, longer(), 7)
    second = max(steps_of_the_second, 7)
    killed(folder, longer(**NAMES), second)
    body, steps = trained(longer(**last))
    assert outcome(body) == alone and steps == body["steps"] - max(6, second - 1)
    taken = {RUN: 6, TWIN: second - 7, body["run"]: steps}  # those by others are in the record
    begun = {one["run"]: one["steps"] for one in body["begun_by"]}
    assert begun == {run: count for run, count in taken.items() if run != body["run"] and count}


def test_a_checkpoint_of_ones_own_that_is_further_is_kept(alone, folder):
    killed(folder, longer(), 9)
    (told,) = WHOLE.glob("*.part")
    (own,) = Path(".reweigh/checkpoints", RUN).glob("*.pt")
    shutil.copytree(".reweigh/checkpoints", "further")
    own.unlink()
    told.unlink()
    killed(folder, longer(**NAMES), 4)
    shutil.copytree("further", ".reweigh/checkpoints", dirs_exist_ok=True)
    body, steps = trained(longer())
    assert outcome(body) == alone and steps == body["steps"] - 8


def test_a_twin_goes_on_in_the_second_stage_of_a_run_whose_first_is_shared(folder):
    """The record of a run that went on in another one's second stage says who trained the first."""
    spec = two_stages.spec_of("crt")
    own = Job(spec, CPU).finish()
    shutil.rmtree(".reweigh")
    record.record_path(own["run"]).unlink()
    killed(folder, spec, own["prefix"]["steps"] + 5)
    other = {**copy.deepcopy(spec), **NAMES}
    body, steps = trained(other)
    assert outcome(body) == outcome(own) and steps == body["steps"] - own["prefix"]["steps"] - 4
    assert body["prefix"]["reused"] is True and body["prefix"]["run"] == own["run"]
    assert [(one["run"], one["steps"]) for one in body["begun_by"]] == [(own["run"], 4)]  # beside its prefix


ELSEWHERE = {"run": "smoke/tdr/mnist-4v9/rho0.1/none/seed0", "checkpoint": "victim.pt"}
DAMAGED_PARTS = {
    "empty": lambda part, checkpoint: part.write_bytes(b""),
    "no object": lambda part, checkpoint: part.write_text("[]"),
    "no path": lambda part, checkpoint: part.write_text('{"run": "a", "checkpoint": 5}'),
    "no bytes of JSON": lambda part, checkpoint: part.write_bytes(b"\xff\x00"),
    "a path elsewhere": lambda part, checkpoint: part.write_text(json.dumps(ELSEWHERE)),
    "a path above": lambda part, checkpoint: part.write_text(json.dumps({**ELSEWHERE, "checkpoint": "../victim.pt"})),
    "a name that climbs": lambda part, checkpoint: part.write_text(json.dumps({**ELSEWHERE, "run": "../../x"})),
    "its checkpoint deleted": lambda part, checkpoint: checkpoint.unlink(),
    "its checkpoint damaged": lambda part, checkpoint: checkpoint.write_bytes(checkpoint.read_bytes()[:999]),
    "its checkpoint a folder": lambda part, checkpoint: (checkpoint.unlink(), checkpoint.mkdir()),
}


@pytest.mark.parametrize("what", DAMAGED_PARTS)
def test_what_leads_to_no_checkpoint_costs_only_time(what, alone, folder):
    killed(folder, longer(), 7)
    (part,), (checkpoint,) = WHOLE.glob("*.part"), Path(".reweigh/checkpoints").rglob("*.pt")
    sealed.previous_of(checkpoint).unlink()
    Path("victim.pt").write_text("not to be touched")
    DAMAGED_PARTS[what](part, checkpoint)
    body, steps = trained(longer(**NAMES))
    assert Path("victim.pt").read_text() == "not to be touched"
    assert outcome(body) == alone and steps == body["steps"]


def test_again_goes_on_with_no_other_beginning(alone, folder):
    killed(folder, longer(), 7)
    body, steps = trained(longer(**NAMES), since=time.time() + 1)
    assert outcome(body) == alone and steps == body["steps"]


def stopped(spec, step, seconds=0.0):
    """Train up to a step and stop at a checkpoint, after so many seconds more than it took."""
    clock = Clock()
    job = Job(spec, CPU, clock)
    job.run.seconds += seconds
    with pytest.raises(OutOfTime):
        job.finish(lambda run: run.step == step and clock.stop())


def test_the_record_says_what_another_run_took_and_the_times_are_its_own(folder, monkeypatch):
    """Not those of the run that began; so its seconds need not fit between `started` and `ended`."""
    times = iter(f"2026-01-0{day}T00:00:00Z" for day in range(1, 9))
    monkeypatch.setattr("reweigh.training.run.now", lambda: next(times))
    stopped(longer(), 6, seconds=1000.0)  # of a slow machine
    body, steps = trained(longer(**NAMES))
    assert steps == body["steps"] - 6
    assert (body["started"], body["ended"]) == ("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z")
    (begun,) = body["begun_by"]
    assert (begun["run"], begun["steps"]) == (RUN, 6) and 1000 < begun["seconds"] < body["seconds"]


def test_a_run_that_goes_on_after_another_went_on_with_it_still_knows_when_it_started(folder, monkeypatch):
    times = iter(f"2026-01-0{day}T00:00:00Z" for day in range(1, 9))
    monkeypatch.setattr("reweigh.training.run.now", lambda: next(times))
    stopped(longer(), 6)
    stopped(longer(**NAMES), 9)
    body, steps = trained(longer())
    assert steps == body["steps"] - 9 and (body["started"], body["resumed"]) == ("2026-01-01T00:00:00Z", 2)
    assert [(one["run"], one["steps"]) for one in body["begun_by"]] == [(TWIN, 3)]


def test_a_clock_that_was_set_back_between_two_parts_makes_no_contradiction(folder, monkeypatch):
    """The second part begins a week before the first; it ends so early that its training would not fit."""
    times = iter(("2026-01-09T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-02T00:00:01Z"))
    monkeypatch.setattr("reweigh.training.run.now", lambda: next(times))
    stopped(longer(), 6, seconds=1000.0)  # of a slow machine
    body, _ = trained(longer())
    assert body["resumed"] == 1 and body["started"].startswith("2026-01-01T23:") and body["ended"][-3:] == "01Z"
    assert not [*doubts(body), *(line for line in contradictions(body) if "start" in line)]


def test_a_checkpoint_of_another_training_is_not_taken_for_that_of_a_twin(alone, folder):
    killed(folder, longer(), 7)
    killed(folder, {**longer(), "seed": 1}, 9)
    others = Path(".reweigh/checkpoints", RUN.replace("seed0", "seed1"))
    (theirs,) = others.glob("*.pt")
    for part in WHOLE.glob("*.part"):
        part.write_text(json.dumps({"run": "another", "checkpoint": theirs.as_posix()}))
    body, steps = trained(longer(**NAMES))
    assert outcome(body) == alone and steps == body["steps"] and body["begun_by"] == []
