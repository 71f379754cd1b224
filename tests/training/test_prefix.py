"""Stages that runs share: real runs with and without them, damage, kills and interruptions."""

import json
import signal
import time
from pathlib import Path

import pytest
from support import needs, project
from support.prefixes import KEPT, locks, outcome, the_file, trained
from support.two_stages import CPU, EPOCHS, METHODS, THAT_TRAIN, spec_of

from reweigh.methods import crt, two_stage
from reweigh.records import record
from reweigh.training import sealed
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.prefix import SharedPrefix
from reweigh.training.run import Job, pick_device
from reweigh.training.shared import Shared
from reweigh.training.twins import Twin

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


def test_what_a_method_makes_of_the_model_at_the_end_is_its_own(folder, monkeypatch):
    """The method that trained the stages had another `end`, or none; it is called on the model that they left."""

    def end(self, stage, model):
        if stage.name == two_stage.STAGE_ONE:
            self.log(norm_of_the_head=model.head.weight.norm())

    monkeypatch.setattr(crt.Method, "end", end)
    own, _ = trained("crt", since=time.time())
    assert own["trace"]
    kept = outcome(own)
    the_file().unlink()
    trained("joint", since=time.time())
    taken, _ = trained("crt")
    assert taken["prefix"]["reused"] is True and outcome(taken) == kept


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
    kept = sealed.read(file, CPU)[0]
    assert kept["state"]["seconds"] == said["seconds"] and kept["facts"]["peak_bytes"] <= joint["peak_bytes"]


def test_a_run_that_takes_its_own_stages_over_again_has_a_sound_record(alone, folder):
    """As after a change of its second stage: the first is there, and the run itself trained it."""
    first, _ = trained("crt")
    record.record_path(first["run"]).unlink()
    body, steps = trained("crt", keep_margins=True)
    assert steps == body["steps"] - first["prefix"]["steps"] and body["prefix"] == {**first["prefix"], "reused": True}
    assert body["prefix"]["run"] == body["run"] and body["resumed"] == 0


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
    assert capsys.readouterr().err.count(": damaged") == 1
    assert trained("tau_norm")[0]["prefix"]["reused"] is True  # whole again


def test_a_file_under_another_ones_key_is_not_taken(alone, folder):
    trained("joint", seed=1)
    key = alone["joint"][0]["prefix"]["key"]
    the_file().rename(KEPT / f"{key}.pt")
    body, _ = trained("joint")
    assert outcome(body) == alone["joint"][1] and body["prefix"]["key"] == key and not body["prefix"]["reused"]


KILLED = """
import os, signal
from reweigh.training import sealed
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

atomic_file = sealed.atomic_file

class dying:
    def __init__(self, path):
        self.inner = atomic_file(path)
    def __enter__(self):
        return Dying(self.inner.__enter__())
    def __exit__(self, *error):
        {at_the_end}
        return self.inner.__exit__(*error)

sealed.atomic_file = lambda path: (dying if path.match("prefixes/*.pt") else atomic_file)(path)
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
TAKEN = {"at its first step": lambda steps: 0, "in the middle of it": lambda steps: steps // 2 - 1}  # steps, and saved


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
    saved = TAKEN.get(moment, lambda steps: steps - 1)(steps_of_prefix) if every == "0" else 0
    assert steps == other["steps"] - (steps_of_prefix if kept else saved)  # what the killed run had saved is not lost
    assert other["resumed"] == (saved > 0 and not kept) and not list(KEPT.glob("*.part"))
    body, steps = trained("crt")
    assert outcome(body) == alone["crt"][1] and body["prefix"]["reused"] is True
    assert body["resumed"] == kept and (body["prefix"]["run"] == body["run"]) is kept
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


def interrupted(method, step, **options):
    """Train a method until it has taken `step` steps, and save it."""
    clock = Clock()
    with pytest.raises(OutOfTime):
        trained(method, clock, lambda run: run.step == step and clock.stop(), **options)
    assert not locks()


@pytest.mark.parametrize("method", ["crt", "lws"])
def test_a_run_interrupted_in_its_prefix_goes_on_with_it_or_another_does(method, alone, folder):
    interrupted("crt", 3)
    body, steps = trained(method)
    assert outcome(body) == alone[method][1] and body["prefix"]["reused"] is False and steps == body["steps"] - 3
    assert body["prefix"]["run"] == body["run"] and body["resumed"] == 1
    assert body["prefix"]["seconds"] >= body["curves"]["train_seconds"][0] > 0  # those three steps too
    begun = [] if method == "crt" else [(alone["crt"][0]["run"], 3)]  # said where another run took them
    for part in (body, body["prefix"]):
        assert [(one["run"], one["steps"]) for one in part["begun_by"]] == begun
        assert all(0 < one["seconds"] < body["prefix"]["seconds"] for one in part["begun_by"])
    assert trained("ncm")[0]["prefix"] == {**body["prefix"], "reused": True}


def test_again_goes_on_with_its_own_beginning_and_with_no_other(alone, folder):
    interrupted("crt", 3)
    since = time.time() + 1
    body, steps = trained("lws", since=since)
    assert outcome(body) == alone["lws"][1] and steps == body["steps"]
    the_file().unlink()
    interrupted("crt", 3)
    body, steps = trained("crt", since=time.time() + 1)
    assert outcome(body) == alone["crt"][1] and steps == body["steps"] - 3


def test_a_run_that_diverges_in_its_prefix_leaves_no_beginning(folder, monkeypatch):
    monkeypatch.setenv("REWEIGH_CHECKPOINT_SECONDS", "0")
    body, _ = trained("crt", learning_rate=1e9)
    assert body["status"] == "diverged" and not list(KEPT.glob("*.p*t")) and not locks()


@pytest.mark.parametrize("kind", [Twin, SharedPrefix])
def test_an_error_while_it_is_looked_for_leaves_no_lock(kind, folder, monkeypatch):
    """Else another worker would wait for ever."""

    def take_over(self):
        raise OSError("no space left on device")

    def is_there(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        return isinstance(self, kind)

    monkeypatch.setattr(kind, "take_over", take_over)
    monkeypatch.setattr(Shared, "is_there", is_there)
    with pytest.raises(OSError, match="no space") as caught:
        trained("crt")
    assert not locks(), caught
