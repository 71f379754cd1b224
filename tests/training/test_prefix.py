"""Stages that runs share: real runs with and without them, damage, kills, interruptions, and what their key is."""

import copy
import io
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from support import needs, project
from support.two_stages import CPU, EPOCHS, METHODS, SECOND, THAT_TRAIN, spec_of

from reweigh.config.names import RunName
from reweigh.methods.base import Prefix
from reweigh.records import record
from reweigh.training import interleave, prefix, shared
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.run import Job, pick_device
from reweigh.training.shared import Lock, Surroundings

KEPT = Path(".reweigh/prefixes")


def trained(method, clock=None, progress=None, device=CPU, seed=0, since=None, **training):
    """The record of a run that is trained in this folder, and how many steps that took."""
    taken, job = [], Job(spec_of(method, seed, **training), device, clock, since=since)
    body = job.finish(lambda run: (taken.append(run.step), progress and progress(run)))
    return body, len(taken)


def outcome(body):
    """What must not depend on who trained the first stage."""
    curves = {name: values for name, values in body["curves"].items() if name != "train_seconds"}
    kept = ("run", "spec_digest", "code", "metrics", "stages", "steps", "status", "trace", "parameters")
    trace = body["trace"] and Path("results", body["run"] + ".npz").read_bytes()
    return {**{name: body[name] for name in kept}, "curves": curves, "bytes": trace}


@pytest.fixture
def folder(tmp_path, raw_root, monkeypatch):
    project.make(tmp_path, raw_root)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def alone(tmp_path_factory, raw_root):
    """The record of each method when it trains all stages itself, and its outcome."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for method in METHODS:
            patch.chdir(project.make(tmp_path_factory.mktemp(method), raw_root))
            body, steps = trained(method)
            assert steps == body["steps"] and body["prefix"]["reused"] is False
            found[method] = body, outcome(body)
    return found


def the_file():
    (path,) = KEPT.glob("*.pt")
    return path


def locks():
    return list(KEPT.rglob("*.lock"))


# --- taken over ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["joint", "crt", "absgd_head"])
def test_a_run_that_takes_a_prefix_over_ends_as_if_it_had_trained_it(first, alone, folder):
    body, _ = trained(first)
    assert outcome(body) == alone[first][1] and body["prefix"]["key"] == the_file().stem
    content, owned = the_file().read_bytes(), body["prefix"]
    assert owned["reused"] is False and owned["run"] == body["run"]
    steps_of_prefix = alone["joint"][0]["steps"]
    for method in METHODS:
        if method == first:
            continue
        body, steps = trained(method)
        own, expected = alone[method]
        assert outcome(body) == expected
        assert body["prefix"] == {**owned, "reused": True} and body["prefix"]["key"] == own["prefix"]["key"]
        assert steps == body["steps"] - steps_of_prefix  # none of the prefix
    assert the_file().read_bytes() == content and not locks()  # one file for all, written once


@pytest.mark.gpu
@needs.GPU
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_so_it_is_on_a_gpu_in_captured_steps(precision, folder):
    options = {"device": pick_device(), "precision": precision}
    own = {}
    for method in METHODS:
        own[method] = outcome(trained(method, since=time.time(), **options)[0])
        the_file().unlink()
    trained("joint", since=time.time(), **options)
    for method in METHODS[1:]:
        body, steps = trained(method, **options)
        assert outcome(body) == own[method] and body["prefix"]["reused"] is True
        assert (steps > 0) is (method in THAT_TRAIN)


def test_the_record_says_whose_prefix_it_is_and_what_it_cost(alone, folder):
    joint, _ = trained("joint")
    spent, file = joint["curves"]["train_seconds"], the_file()
    said = {"stages": 1, "of": 2, "run": joint["run"], "seconds": joint["prefix"]["seconds"], "steps": joint["steps"]}
    assert spent[-1] <= said["seconds"] <= joint["seconds"]
    for method in ("ncm", "crt"):
        body, _ = trained(method)
        assert body["prefix"].items() >= said.items()
        assert body["prefix"]["digest"] == record.file_digest(file) and body["prefix"]["energy_joules"] is None
        assert body["curves"]["train_seconds"][:EPOCHS] == spent and body["seconds"] >= said["seconds"] > 0
        assert body["peak_bytes"] >= body["prefix"]["peak_bytes"] > 0
    kept = torch.load(io.BytesIO(file.read_bytes()[32:]), weights_only=False)  # behind a digest of 32 bytes
    assert kept["state"]["seconds"] == said["seconds"] and kept["facts"]["peak_bytes"] <= joint["peak_bytes"]


def test_methods_that_do_not_share_say_nothing_of_it(folder):
    spec = spec_of("none")
    spec["method_options"] = {"scale": "mean"}
    assert Job(spec, CPU).finish()["prefix"] is None and not list(KEPT.glob("*.*"))


def test_a_run_that_diverges_before_the_end_of_its_prefix_keeps_nothing(folder):
    body, _ = trained("crt", momentum=0.0, gradient_clip=None, weight_decay=1e30)
    assert body["status"] == "diverged" and body["prefix"] is None and not list(KEPT.glob("*.*"))


def test_again_trains_again(alone, folder):
    trained("joint")
    began, old = time.time(), the_file().stat().st_mtime_ns
    body, steps = trained("crt", since=began)
    assert outcome(body) == alone["crt"][1] and steps == body["steps"] and body["prefix"]["reused"] is False
    assert the_file().stat().st_mtime_ns > old
    body, steps = trained("lws", since=began)  # what was trained since is today's
    assert outcome(body) == alone["lws"][1] and body["prefix"]["reused"] is True


# --- damage, kills, interruptions ------------------------------------------------------------------------------------

DAMAGE = {
    "a flipped bit": lambda content: content[:-2000] + bytes([content[-2000] ^ 1]) + content[-1999:],
    "a flipped bit of the digest": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "cut short": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "something else": lambda content: b"PK" + bytes(500),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_file_is_ignored_and_made_again(what, alone, folder, capsys):
    trained("joint")
    path = the_file()
    content = path.read_bytes()
    path.write_bytes(DAMAGE[what](content))
    body, steps = trained("ncm")
    assert outcome(body) == alone["ncm"][1] and body["prefix"]["reused"] is False and steps == body["steps"]
    assert "damaged" in capsys.readouterr().err
    assert trained("tau_norm")[0]["prefix"]["reused"] is True  # whole again


def test_a_file_under_another_ones_key_is_not_taken(alone, folder):
    trained("joint", seed=1)
    key = alone["joint"][0]["prefix"]["key"]
    the_file().rename(KEPT / f"{key}.pt")
    body, _ = trained("joint")
    assert outcome(body) == alone["joint"][1] and body["prefix"]["key"] == key and not body["prefix"]["reused"]


KILLED = """
import os, signal
from reweigh.training import prefix
from reweigh.training.__main__ import main

class Dying:
    def __init__(self, file):
        self.file, self.left = file, {limit}

    def write(self, content):
        self.left -= 1
        if self.left < 0:
            self.file.write(content[: len(content) // 2])
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self.file.write(content)

atomic_file = prefix.atomic_file

class dying:
    def __init__(self, path):
        self.inner = atomic_file(path)
    def __enter__(self):
        return Dying(self.inner.__enter__())
    def __exit__(self, *error):
        {at_the_end}
        return self.inner.__exit__(*error)

prefix.atomic_file = dying
main(["spec.json", "--at-once", "1"])
"""
AT_A_STEP = """
import os, signal
from reweigh.training import run
from reweigh.training.__main__ import main

advance = run.Run.advance

def dying(self):
    advance(self)
    if self.step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)

run.Run.advance = dying
main(["spec.json", "--at-once", "1"])
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
MOMENTS = {
    "at its first step": lambda steps: AT_A_STEP.format(step=1),
    "in the middle of it": lambda steps: AT_A_STEP.format(step=steps // 2),
    "at its end": lambda steps: AT_A_STEP.format(step=steps),
    "while its file is written": lambda steps: KILLED.format(limit=0, at_the_end="pass"),
    "before the file has its name": lambda steps: KILLED.format(limit=9, at_the_end=KILL),
}


@pytest.mark.parametrize("every", ["0", "60"], ids=["saved at each step", "never saved"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_with_a_prefix_in_hand(moment, every, alone, folder):
    steps_of_prefix = alone["joint"][0]["steps"]
    (folder / "spec.json").write_text(json.dumps(spec_of("crt")))
    code = MOMENTS[moment](steps_of_prefix)
    process = project.start(folder, code=code, REWEIGH_CHECKPOINT_SECONDS=every)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors
    kept = moment == "at its end"
    assert len(list(KEPT.glob("*.pt"))) == kept and not Path("results").exists()
    assert kept or len(locks()) == 2  # the files are left, but nobody holds them
    other, steps = trained("lws")
    assert outcome(other) == alone["lws"][1] and other["prefix"]["reused"] is kept
    assert steps == other["steps"] - kept * steps_of_prefix
    body, steps = trained("crt")
    assert outcome(body) == alone["crt"][1] and body["prefix"]["reused"] is True
    assert steps == body["steps"] - steps_of_prefix and not [path for path in locks() if path.parent == KEPT]


@pytest.mark.parametrize("reused", [True, False])
def test_a_run_interrupted_after_its_prefix_knows_whether_it_trained_it(reused, alone, folder):
    if reused:
        trained("joint")
    clock, last = Clock(), alone["joint"][0]["steps"]

    def stop(run):
        if run.step == last + 3:
            clock.stop()

    with pytest.raises(OutOfTime):
        trained("crt", clock, stop)
    body, steps = trained("crt")
    assert outcome(body) == alone["crt"][1] and body["prefix"]["reused"] is reused
    assert steps == body["steps"] - last - 3 and body["peak_bytes"] >= body["prefix"]["peak_bytes"]


def test_a_run_interrupted_in_its_prefix_takes_over_what_another_has_finished_since(alone, folder):
    clock = Clock()
    clock.stop()
    with pytest.raises(OutOfTime):
        trained("lws", clock)
    assert not locks()
    trained("joint")
    body, steps = trained("lws")
    assert outcome(body) == alone["lws"][1] and body["prefix"]["reused"] is True
    assert steps == body["steps"] - alone["joint"][0]["steps"]


def test_a_run_interrupted_in_its_prefix_goes_on_with_it_if_nobody_else_does(alone, folder):
    clock = Clock()

    def stop(run):
        if run.step == 3:
            clock.stop()

    with pytest.raises(OutOfTime):
        trained("crt", clock, stop)
    assert not locks()
    body, steps = trained("crt")
    assert outcome(body) == alone["crt"][1] and body["prefix"]["reused"] is False and steps == body["steps"] - 3
    assert trained("lws")[0]["prefix"] == {**body["prefix"], "reused": True}


# --- at the same time ------------------------------------------------------------------------------------------------

COUNTED = """
import os, sys
from reweigh.training import run
from reweigh.training.__main__ import main

advance = run.Run.advance

def counted(self):
    with open("steps.log", "a") as log:
        log.write(f"{self.spec['method']} {self.stage} {self.step}\\n")
    advance(self)

run.Run.advance = counted
sys.exit(main(sys.argv[1:]))
"""


def started(folder, *methods, at_once="1", **changes):
    """The training command on some methods, in a process of its own that logs every step."""
    paths = []
    for method in methods:
        paths.append(folder / f"{method}.json")
        paths[-1].write_text(json.dumps(spec_of(method)))
    return project.start(folder, *paths, "--at-once", at_once, code=COUNTED, **changes)


def steps_taken(stage):
    rows = [line.split() for line in Path("steps.log").read_text().splitlines()]
    return [(method, int(step)) for method, number, step in rows if int(number) == stage]


def ended(method):
    return record.read(record.record_path(str(RunName.of_spec(spec_of(method)))))


def test_two_processes_at_the_same_time_train_a_prefix_once(alone, folder):
    processes = [started(folder, method) for method in ("crt", "lws")]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert len(steps_taken(0)) == alone["joint"][0]["steps"] and {method for method, _ in steps_taken(1)} == {
        "crt",
        "lws",
    }
    bodies = {method: ended(method) for method in ("crt", "lws")}
    assert {method: outcome(body) for method, body in bodies.items()} == {m: alone[m][1] for m in bodies}
    assert sorted(body["prefix"]["reused"] for body in bodies.values()) == [False, True]
    assert len({json.dumps({**body["prefix"], "reused": None}) for body in bodies.values()}) == 1
    assert any("to train stages that they share" in text for text in errors) and not locks()


def test_workers_train_a_prefix_once(alone, folder):
    process = started(folder, "joint", "ncm", "crt", at_once="3")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert len(steps_taken(0)) == alone["joint"][0]["steps"]
    for method in ("joint", "ncm", "crt"):
        assert outcome(ended(method)) == alone[method][1]


def test_a_process_takes_over_from_one_that_is_killed_while_it_waits(alone, folder):
    first = started(folder, "crt")
    wait_for(lambda: Path("steps.log").exists() and len(steps_taken(0)) >= 2)
    os.kill(pid_of_the_holder(), signal.SIGSTOP)
    second = started(folder, "lws")
    wait_for(lambda: list(Path("data/splits").rglob("*.npz")))
    time.sleep(2)  # long enough to have begun, were it not for the lock
    assert {method for method, _ in steps_taken(0)} == {"crt"}
    os.kill(pid_of_the_holder(), signal.SIGKILL)
    first.communicate(timeout=60)
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert outcome(ended("lws")) == alone["lws"][1] and ended("lws")["prefix"]["reused"] is False


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def pid_of_the_holder():
    (path,) = KEPT.glob("*.lock")
    return int(path.read_text().split()[1])


def a_lock_of_another_process(path):
    """Hold a lock from a process that sleeps; the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(600)"
    )
    import subprocess

    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def test_a_run_that_waits_stops_when_its_time_is_up(alone, folder):
    path = KEPT / f"{alone['crt'][0]['prefix']['key']}.lock"
    process = a_lock_of_another_process(path)
    try:
        with pytest.raises(OutOfTime):
            trained("crt", Clock(time.monotonic() + 1))
        assert locks() == [path]  # its own, of the whole run, is free
        clock = Clock()
        clock.stop()
        with pytest.raises(OutOfTime):
            trained("crt", clock)
    finally:
        process.kill()
        process.wait()
    body, steps = trained("crt")
    assert outcome(body) == alone["crt"][1] and steps == body["steps"] and not locks()


def test_runs_in_turns_wait_for_a_neighbour(alone, folder):
    bodies, taken, alive = {}, [], []

    def make(spec):
        alive.append(job := Job(spec, CPU, Clock()))
        advance = job.run.advance
        job.run.advance = lambda: (taken.append((job.run.stage, job.name)), advance())
        return job

    specs = [spec_of(method) for method in ("crt", "lws", "ncm")]
    interleave.train(specs, 3, CPU, make, lambda body: bodies.update({body["spec"]["method"]: body}))
    assert {method: outcome(body) for method, body in bodies.items()} == {m: alone[m][1] for m in bodies}
    assert len([name for stage, name in taken if stage == 0]) == alone["joint"][0]["steps"] and not locks()


def test_a_run_of_this_process_that_nobody_steps_is_not_waited_for(alone, folder, capsys):
    abandoned = Job(spec_of("crt"), CPU)
    abandoned.run.advance()
    body, steps = trained("lws")
    assert outcome(body) == alone["lws"][1] and steps == body["steps"] and body["prefix"]["reused"] is False
    assert "stands still" in capsys.readouterr().err
    abandoned.release()


def test_a_lock_is_one_processes_and_leaves_no_file(folder):
    run = Job(spec_of("joint"), CPU).run
    first, second = (Lock(Path("a/b.lock")) for _ in range(2))
    assert first.take(run, "one") and first.take(run, "one") and not second.take(run, "two")
    assert first.holder() == f"one (process {os.getpid()})" and second.holder_here() is run
    opened = open(first.path)  # noqa: SIM115 - as a process that has opened it and not yet locked it
    first.release()
    assert not first.path.exists() and second.take(run, "two") and not first.take(run, "one")
    opened.close()
    second.release()
    assert first.take(run, "one")
    first.release()


# --- the key ---------------------------------------------------------------------------------------------------------

AROUND = Surroundings("split", ("a", "b"), "cpu", "a processor", {"torch": "1", "numpy": "2"})


def key(spec, around=AROUND, stages=1):
    options = {"stage_one": spec["method_options"]["stage_one"]}
    return prefix.key_of(spec, Prefix(stages, "two_stage", options), around)


def test_methods_and_their_second_stages_share_a_key(alone):
    assert len({alone[method][0]["prefix"]["key"] for method in METHODS}) == 1
    longer = spec_of("crt")
    longer["method_options"]["second_stage"] = {**SECOND, "epochs": 7}
    named = {**spec_of("joint"), "experiment": "another", "setting": "tau", "scale": "paper", "method": "plain"}
    kept = spec_of("joint", keep_features=5, keep_margins=True)
    assert len({key(spec_of(method)) for method in METHODS} | {key(longer), key(named), key(kept)}) == 1


CHANGES = {
    "seed": 1,
    "a_key_to_come": 1,
    "spec_version": 2,
    "data.split.imbalance_ratio": 20.0,
    "data.augment": "crop-flip",
    "data.scale_inputs": "raw",
    "data.options": {"an": "option"},
    "model.name": "lenet",
    "model.options.width": 0.25,
    "training.epochs": 3,
    "training.batch_size": 49,
    "training.learning_rate": 0.1,
    "training.schedule.name": "constant",
    "training.threads": 2,
    "training.precision": "tf32",
    "training.evaluate_every": 2,  # it decides the curves
    "training.evaluate_on": "validation",
    "training.also_measure": ["train"],
    "method_options.stage_one.sampling": "class-aware",
}


def changed(base, path, value):
    spec = copy.deepcopy(base)
    *parents, last = path.split(".")
    place = spec
    for parent in parents:
        place = place[parent]
    assert place.get(last) != value
    place[last] = value
    return spec


def test_everything_that_a_prefix_depends_on_is_in_the_key(monkeypatch):
    base = spec_of("joint")
    keys = [key(base), *(key(changed(base, path, value)) for path, value in CHANGES.items())]
    keys.append(key(base, stages=2))
    others = {
        "split": "other",
        "raw": ("a", "c"),
        "device": "cuda",
        "device_name": "another processor",
        "versions": {"torch": "1", "numpy": "3"},
    }
    assert others.keys() == AROUND.__dict__.keys()
    keys += [key(base, Surroundings(**{**AROUND.__dict__, name: value})) for name, value in others.items()]
    monkeypatch.setattr(shared.record, "code_digest", lambda spec: f"code of {spec['uses']}")
    keys += [key(base), key(spec_of("crt"))]
    assert keys[-1] == keys[-2]  # the code of the prefix, not that of what comes after it
    assert len(set(keys)) == len(keys) - 1


def test_a_whole_run_has_a_key_without_names_but_with_all_else(monkeypatch):
    def whole(spec, around=AROUND):
        return shared.key_of(spec, None, around)

    base = spec_of("crt")
    named = {**base, "experiment": "another", "setting": "tau", "scale": "paper", "paper": "tdr", "method": "plain"}
    assert whole(named) == whole(base)
    more = {**CHANGES, "training.keep_features": 5, "method_options.second_stage.epochs": 7, "uses": "lws"}
    keys = [whole(base), key(base), *(whole(changed(base, path, value)) for path, value in more.items())]
    assert len(set(keys)) == len(more) + 2
