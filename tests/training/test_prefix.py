"""Stage one shared by methods: real runs with and without it, damage, kills, interruptions, and what its key is."""

import copy
import io
import json
import signal
from pathlib import Path

import pytest
import torch
from support import needs, project
from support.two_stages import CPU, EPOCHS, METHODS, SECOND, THAT_TRAIN, spec_of

from reweigh.config.names import RunName
from reweigh.records import record
from reweigh.training import stage_one
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.run import Job, pick_device

STAGES = Path(".reweigh/stages")


def trained(method, clock=None, progress=None, device=CPU, **training):
    """The record of a run that is trained in this folder, and how many steps that took."""
    taken, job = [], Job(spec_of(method, **training), device, clock)
    body = job.finish(lambda run: (taken.append(run.step), progress and progress(run)))
    return body, len(taken)


def outcome(body):
    """What must not depend on who trained stage one."""
    curves = {name: values for name, values in body["curves"].items() if name != "train_seconds"}
    kept = ("run", "spec_digest", "code", "metrics", "steps", "status", "trace", "parameters", "diverged_at_step")
    trace = body["trace"] and Path("results", body["run"] + ".npz").read_bytes()
    return {**{name: body[name] for name in kept}, "curves": curves, "bytes": trace}


@pytest.fixture
def folder(tmp_path, raw_root, monkeypatch):
    project.make(tmp_path, raw_root)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def alone(tmp_path_factory, raw_root):
    """The record of each method when it trains stage one itself, and its outcome."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for method in METHODS:
            patch.chdir(project.make(tmp_path_factory.mktemp(method), raw_root))
            body, steps = trained(method)
            assert steps == body["steps"] and body["stage_one"]["reused"] is False
            found[method] = body, outcome(body)
    return found


def the_file():
    (path,) = STAGES.iterdir()
    return path


@pytest.mark.parametrize("first", ["joint", "crt", "absgd_head"])
def test_a_run_that_takes_stage_one_over_ends_as_if_it_had_trained_it(first, alone, folder):
    body, _ = trained(first)
    assert outcome(body) == alone[first][1] and body["stage_one"] == {"key": the_file().stem, "reused": False}
    content = the_file().read_bytes()
    steps_of_stage_one = alone["joint"][0]["steps"]
    for method in METHODS:
        if method == first:
            continue
        body, steps = trained(method)
        own, expected = alone[method]
        assert outcome(body) == expected
        assert body["stage_one"] == {"key": own["stage_one"]["key"], "reused": True}
        assert steps == body["steps"] - steps_of_stage_one  # none of stage one's
    assert the_file().read_bytes() == content  # one file for all, written once


@pytest.mark.gpu
@needs.GPU
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_so_it_is_on_a_gpu_in_captured_steps(precision, folder):
    said = {"device": pick_device(), "precision": precision}
    own = {}
    for method in METHODS:
        own[method] = outcome(trained(method, **said)[0])
        the_file().unlink()
    trained("joint", **said)
    for method in METHODS:
        body, steps = trained(method, **said)
        assert outcome(body) == own[method] and body["stage_one"]["reused"] is True
        assert (steps > 0) is (method in THAT_TRAIN)


def test_costs_of_stage_one_are_in_every_record(alone, folder):
    joint, _ = trained("joint")
    spent = joint["curves"]["train_seconds"]
    for method in ("ncm", "crt"):
        body, _ = trained(method)
        assert body["curves"]["train_seconds"][:EPOCHS] == spent and body["seconds"] >= spent[-1] > 0
        assert body["peak_bytes"] >= joint["peak_bytes"]
    kept = torch.load(io.BytesIO(the_file().read_bytes()[32:]), weights_only=False)  # behind a digest of 32 bytes
    assert kept["state"]["seconds"] == spent[-1] and kept["peak_bytes"] <= joint["peak_bytes"]


def test_methods_that_do_not_share_say_nothing_of_it(folder):
    spec = spec_of("none")
    spec["method_options"] = {"scale": "mean"}
    assert Job(spec, CPU).finish()["stage_one"] is None and not STAGES.exists()


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
    assert outcome(body) == alone["ncm"][1] and body["stage_one"]["reused"] is False and steps == body["steps"]
    assert "damaged" in capsys.readouterr().err
    assert trained("tau_norm")[0]["stage_one"]["reused"] is True  # whole again


def test_a_file_under_another_ones_key_is_not_taken(alone, folder):
    trained("joint", seed=1)
    key = alone["joint"][0]["stage_one"]["key"]
    the_file().rename(STAGES / f"{key}.pt")
    body, _ = trained("joint")
    assert outcome(body) == alone["joint"][1] and body["stage_one"] == {"key": key, "reused": False}


KILLED = """
import os, signal
from reweigh.training import stage_one
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

atomic_file = stage_one.atomic_file

class dying:
    def __init__(self, path):
        self.inner = atomic_file(path)
    def __enter__(self):
        return Dying(self.inner.__enter__())
    def __exit__(self, *error):
        {at_the_end}
        return self.inner.__exit__(*error)

stage_one.atomic_file = dying
main(["spec.json", "--at-once", "1"])
"""
MOMENTS = {
    "in the middle": (1, "pass"),
    "before it has its name": (2, "os.kill(os.getpid(), signal.SIGKILL)"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_the_file_is_written(moment, alone, folder):
    limit, at_the_end = MOMENTS[moment]
    (folder / "spec.json").write_text(json.dumps(spec_of("crt")))
    code = KILLED.format(limit=limit, at_the_end=at_the_end)
    process = project.start(folder, code=code)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors
    (left,) = STAGES.iterdir()
    assert left.suffix != ".pt" and not Path("results").exists()
    body, _ = trained("crt")
    assert outcome(body) == alone["crt"][1] and body["stage_one"]["reused"] is False
    body, _ = trained("lws")
    assert outcome(body) == alone["lws"][1] and body["stage_one"]["reused"] is True


@pytest.mark.parametrize("reused", [True, False])
def test_a_run_interrupted_after_stage_one_knows_whether_it_trained_it(reused, alone, folder):
    if reused:
        trained("joint")
    clock, last = Clock(), alone["joint"][0]["steps"]

    def stop(run):
        if run.step == last + 3:
            clock.stop()

    with pytest.raises(OutOfTime):
        trained("crt", clock, stop)
    body, steps = trained("crt")
    assert outcome(body) == alone["crt"][1] and body["stage_one"]["reused"] is reused
    assert steps == body["steps"] - last - 3


def test_a_run_interrupted_in_stage_one_takes_over_what_another_has_finished_since(alone, folder):
    clock = Clock()
    clock.stop()
    with pytest.raises(OutOfTime):
        trained("lws", clock)
    trained("joint")
    body, steps = trained("lws")
    assert outcome(body) == alone["lws"][1] and body["stage_one"]["reused"] is True
    assert steps == body["steps"] - alone["joint"][0]["steps"]


def test_runs_at_the_same_time_may_all_train_it(alone, folder):
    paths = []
    for method in ("joint", "ncm"):
        paths.append(folder / f"{method}.json")
        paths[-1].write_text(json.dumps(spec_of(method)))
    done = project.train_from_command_line(folder, *paths, "--at-once", "2")
    assert done.returncode == 0, done.stderr
    for method in ("joint", "ncm"):
        body = record.read(record.record_path(str(RunName.of_spec(spec_of(method)))))
        assert outcome(body) == alone[method][1]
    assert len(list(STAGES.iterdir())) == 1


def test_a_diverged_stage_one_is_not_kept(folder):
    body, _ = trained("crt", momentum=0.0, gradient_clip=None, weight_decay=1e30)
    assert body["status"] == "diverged" and not STAGES.exists()


# --- the key ---------------------------------------------------------------------------------------------------------


def key(spec, split="split", device="cpu", name="a processor"):
    return stage_one.key_of(spec, ("stage_one",), split, device, name)


def test_methods_and_their_second_stages_share_a_key(alone):
    assert len({alone[method][0]["stage_one"]["key"] for method in METHODS}) == 1
    longer = spec_of("crt")
    longer["method_options"]["second_stage"] = {**SECOND, "epochs": 7}
    named = {**spec_of("joint"), "experiment": "another", "setting": "tau", "scale": "paper"}
    assert len({key(spec_of(method)) for method in METHODS} | {key(longer), key(named)}) == 1


def test_everything_that_stage_one_depends_on_is_in_the_key(monkeypatch):
    base = spec_of("joint")
    changed = [base]
    for path, value in {
        "seed": 1,
        "data.split.imbalance_ratio": 20.0,
        "data.augment": "crop-flip",
        "data.scale_inputs": "raw",
        "model.options.width": 0.25,
        "training.epochs": 3,
        "training.learning_rate": 0.1,
        "training.threads": 2,
        "training.precision": "tf32",
        "method_options.stage_one.sampling": "class-aware",
    }.items():
        spec = copy.deepcopy(base)
        *parents, last = path.split(".")
        place = spec
        for parent in parents:
            place = place[parent]
        assert place[last] != value
        place[last] = value
        changed.append(spec)
    keys = [key(spec) for spec in changed]
    keys += [key(base, split="other"), key(base, device="cuda"), key(base, name="another processor")]
    monkeypatch.setattr(torch, "__version__", "9.9")
    keys.append(key(base))
    monkeypatch.setattr(stage_one.record, "code_digest", lambda spec: f"code of {spec['uses']}")
    keys += [key(base), key(spec_of("crt"))]
    assert keys[-1] == keys[-2]  # the code of stage one, not that of what comes after it
    assert len(set(keys)) == len(keys) - 1
