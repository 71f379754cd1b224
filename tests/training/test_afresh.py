"""A capture that fails: every run is saved, and all go on in a fresh process. On a CPU, with fake captures."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import project

from reweigh.errors import ConfigError, TrainingError
from reweigh.records.record import record_path
from reweigh.training import __main__ as training
from reweigh.training import afresh, graph
from reweigh.training.afresh import Afresh, Start
from reweigh.training.graph import WARM_UP_STEPS, CapturedSteps, reason_of, root_of

CELL = "smoke/tdr/mnist-4v9/rho0.1"
PROGRAM = Path(project.ROOT, "tests/support/fake_captures.py")
REASON = "_local_scalar_dense waits for a value: not permitted while a step is captured"


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.delenv(afresh.VARIABLE, raising=False)
    afresh.start.cache_clear()
    yield
    afresh.start.cache_clear()


@pytest.fixture
def folder(tmp_path, raw_root):
    return project.make(tmp_path, raw_root)


def train(folder, runs, *options, **changes):
    """The lines that the command printed; its records, by method."""
    specs = [project.spec_file(folder, run, epochs=4) for run in runs]
    path = os.pathsep.join((str(project.ROOT / "src"), str(project.ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, PROGRAM, *specs, *options],
        cwd=folder,
        env=project.environment(PYTHONPATH=path, TMPDIR=str(folder / "tmp"), **changes),
        capture_output=True,
        text=True,
        timeout=300,
    )
    bodies = {run: folder / record_path(run) for run in runs}
    bodies = {run.split("/")[-2]: json.loads(path.read_text()) for run, path in bodies.items() if path.exists()}
    return done, bodies


def test_after_a_refused_capture_all_go_on_in_a_fresh_process_where_the_others_are_captured(folder):
    (folder / "tmp").mkdir()
    runs = [f"{CELL}/{method}/seed0" for method in ("er", "tdr")]
    done, bodies = train(folder, runs)
    assert done.returncode == 0, done.stderr
    processes = re.findall(r"^process (\d+)$", done.stderr, re.MULTILINE)
    assert len(processes) == 2 and len(set(processes)) == 1  # the same process, with another program in it
    assert "going on in a fresh process: a step cannot be captured" in done.stderr
    er, tdr = (bodies[name]["device"]["graph"] for name in ("er", "tdr"))
    (program,) = er["eager"]
    assert er == {"captured": [], "eager": {program: REASON}}  # the first reason, not what hid it
    assert tdr["captured"] and not tdr["eager"]
    assert {name: (body["status"], body["resumed"]) for name, body in bodies.items()} == dict.fromkeys(
        ("er", "tdr"), ("finished", 1)
    )
    assert not list((folder / "tmp").glob("reweigh-*"))  # what the first process told the second


def test_what_was_finished_is_not_trained_again(folder):
    """With --again, a fresh process could not tell the records that the first one wrote from older ones."""
    (folder / "tmp").mkdir()
    runs = [f"{CELL}/{method}/seed0" for method in ("tdr", "er")]
    done, bodies = train(folder, runs, "--again", "--at-once", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("/tdr/seed0: finished") == 1 and done.stderr.count("/er/seed0: finished") == 1
    assert bodies["tdr"]["resumed"] == 0 and bodies["er"]["resumed"] == 1


def test_a_mistake_in_the_config_keeps_its_exit_code(folder):
    """The run fails in the first process, the second one ends the call."""
    (folder / "tmp").mkdir()
    runs = [f"{CELL}/{method}/seed0" for method in ("tdr", "er")]
    mistaken = json.loads(Path(project.spec_file(folder, runs[0])).read_text())
    mistaken["training"]["layer_weight_decay"] = {"no_layer": 0.1}
    path = folder / "mistaken.json"
    path.write_text(json.dumps(mistaken))
    done, bodies = train(folder, runs[1:], path)
    assert len(re.findall(r"^process (\d+)$", done.stderr, re.MULTILINE)) == 2, done.stderr
    assert done.returncode == 2 and bodies["er"]["status"] == "finished"
    assert done.stderr.splitlines()[-1] == f"1 of 2 runs failed: {runs[0]}"


def test_what_failed_is_of_the_same_kind_in_every_later_process():
    stop = Afresh("reason", failed={"of a device": "illegal access"})
    stop.add_failed({"a": ConfigError("mistake"), "b": TrainingError("bad luck"), "c": ValueError("a fault")})
    told = Start().and_then(stop, []).and_then(Afresh("another"), [])
    kinds = {run: (type(error), str(error)) for run, error in told.errors().items()}
    assert kinds == {
        "of a device": (TrainingError, "illegal access"),
        "a": (ConfigError, "mistake"),
        "b": (TrainingError, "bad luck"),
        "c": (TrainingError, "a fault"),
    }


def test_a_time_budget_goes_on_in_the_fresh_process():
    stop = Afresh("reason", {"er": {"step": "why"}}, {"run": "error"}, at_once=4)
    told = Start(eager={"er": {"other": "x"}}, finished=("a",), at_once=8).and_then(stop, ["b"], 123.0)
    assert told == Start({"er": {"other": "x", "step": "why"}}, {"run": "error"}, ("a", "b"), 4, 123.0)
    assert told.and_then(Afresh("reason"), [], 123.0, 7.0).since == 7.0
    assert Start(at_once=2).and_then(Afresh("reason"), [], None).at_once == 2


def told(tmp_path, monkeypatch, start):
    """Execute a stand-in for the program with what `start_again` tells it."""
    executed = []
    monkeypatch.setattr(afresh.os, "execv", lambda *command: executed.append(command))
    monkeypatch.setattr(afresh.os, "closerange", lambda *range: executed.append(range))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    afresh.start_again(start, {"CUDA_VISIBLE_DEVICES": "2,3"})
    return executed


def test_the_fresh_process_is_told_everything_and_its_children_nothing(tmp_path, monkeypatch):
    start = Start({"er 1": {"step": "why"}}, {"run": "error"}, ("done",), 4, 99.5, 7.0, ("run",))
    closed, (python, command) = told(tmp_path, monkeypatch, start)
    assert closed[0] == 3  # the lease, and the device
    assert python == sys.executable and command[1:] == sys.orig_argv[1:]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"  # as before the lease
    assert afresh.start() == start and afresh.VARIABLE not in os.environ and not list(tmp_path.iterdir())


ILLEGAL = "CUDA error: an illegal memory access was encountered"


def test_a_run_that_failed_before_counts_in_the_last_process_and_is_named(tmp_path, monkeypatch, capsys):
    run = f"{CELL}/tdr/seed0"
    told(tmp_path, monkeypatch, Start(failed={run: ILLEGAL}))
    spec = project.config.resolve(run, root=project.ROOT)
    outcome = training.train([spec])
    assert outcome.exit_code == 1 and str(outcome.failed[run]) == ILLEGAL
    assert capsys.readouterr().err == f"reweigh: {run}: {ILLEGAL}\n"  # and nothing of current records
    assert training.train([]).exit_code == 0  # another batch of the same process


@pytest.mark.parametrize("finished", [(), (f"{CELL}/none/seed0",)])
def test_what_failed_before_is_reported_when_the_others_are_over(folder, finished):
    failed, other, ended = (f"{CELL}/{method}/seed0" for method in ("er", "tdr", "none"))
    if finished:
        assert project.train(folder, project.spec_file(folder, ended)).returncode == 0
    start = {"failed": {failed: ILLEGAL, "a run of another call": "?"}, "finished": finished, "at_once": 1}
    (folder / "told.json").write_text(json.dumps(start))
    specs = [project.spec_file(folder, run) for run in (failed, other, *finished)]
    done = project.train(folder, *specs, REWEIGH_AFRESH="told.json")
    count = 3 if finished else 2
    first, *rest = done.stderr.splitlines()
    assert done.returncode == 1 and first.startswith(f"{other}: finished")
    assert rest == [f"reweigh: {failed}: {ILLEGAL}", f"1 of {count} runs failed: {failed}"]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"finished": [], "unknown": 1}'])
def test_what_cannot_be_read_of_the_process_before_is_refused_in_a_line(tmp_path, monkeypatch, content):
    path = tmp_path / "told.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(afresh.VARIABLE, str(path))
    with pytest.raises(ConfigError, match="unset it"):
        afresh.start()


# --- what failed ------------------------------------------------------------------------------------------------------


def hidden(first):
    """The error that the end of a capture raises while another is on its way."""
    try:
        try:
            raise first
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
    except RuntimeError as error:
        return error


def test_the_reason_is_the_first_error_not_the_one_that_hides_it():
    first = RuntimeError("operation not permitted when stream is capturing\nCompile with ...")
    assert root_of(hidden(first)) is first
    assert reason_of(root_of(hidden(first))) == "operation not permitted when stream is capturing"
    assert root_of(first) is first and reason_of(ValueError()) == "ValueError"
    effect = RuntimeError("effect")
    effect.__cause__ = cause = ValueError("cause")
    assert root_of(effect) is cause


def refused_by(error):
    executor = CapturedSteps()

    def refuse(side):
        raise error

    executor.capture = refuse
    return executor


def take(executor, program="step", steps=WARM_UP_STEPS + 2):
    return [executor(program, lambda: {"eager": torch.ones(())}) for _ in range(steps)]


def test_a_refused_capture_spoils_the_process_and_the_step_is_taken():
    executor = refused_by(hidden(RuntimeError("first")))
    assert len(take(executor)) == WARM_UP_STEPS + 2 and executor.spoiled
    assert executor.report() == {"captured": [], "eager": {"step": "first"}}


def test_a_program_that_is_known_not_to_be_captured_is_not_tried():
    executor = CapturedSteps({"step": "first"})
    executor.capture = None
    assert len(take(executor)) == WARM_UP_STEPS + 2 and not executor.spoiled
    assert executor.report() == {"captured": [], "eager": {"step": "first"}}


@pytest.mark.parametrize("hides", [True, False])
def test_memory_that_ran_out_in_a_capture_is_seen_through_the_error_that_hides_it(hides):
    first = torch.OutOfMemoryError("no room")
    executor = refused_by(hidden(first) if hides else first)
    take(executor, steps=WARM_UP_STEPS)
    with pytest.raises(torch.OutOfMemoryError):
        take(executor, steps=1)
    assert executor.spoiled == hides and not executor.refused


def test_programs_are_of_a_kind_where_their_work_is_the_same():
    spec = project.config.resolve(f"{CELL}/tdr/seed0", root=project.ROOT)
    other = project.config.resolve(f"{CELL}/tdr/seed1", root=project.ROOT)
    assert afresh.kind_of(spec) == afresh.kind_of(other) != afresh.kind_of({**spec, "uses": "er"})
    assert graph.WARM_UP_STEPS == 3
