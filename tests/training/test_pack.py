"""Runs side by side: identical to the last bit to the same runs alone, whatever happens to their neighbours."""

import copy
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import project
from support.processes import children, gone, wait_for

from reweigh.config import loading as config
from reweigh.errors import TrainingError
from reweigh.records.record import record_path
from reweigh.training import interleave, sealed
from reweigh.training.__main__ import at_once_of, automatic
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.run import Job

CELL = "smoke/tdr/mnist-4v9/rho0.1"
METHODS = ("tdr", "er", "none")
SEEDS = range(2)
EPOCHS = 4
CPU = torch.device("cpu")


def names():
    return [f"{CELL}/{method}/seed{seed}" for method in METHODS for seed in SEEDS]


def specs_of(runs, **training):
    """Resolved specs of smoke runs; a method that smoke does not have takes its options from paper."""
    found = []
    for run in runs:
        method, seed = run.split("/")[-2], int(run[-1])
        spec = copy.deepcopy(config.resolve(f"{CELL}/tdr/seed0", root=project.ROOT))
        paper = config.resolve(f"paper/tdr/mnist-4v9/rho0.1/{method}/seed0", root=project.ROOT)
        spec.update(method=method, uses=paper["uses"], method_options=paper["method_options"], seed=seed)
        spec["training"].update({"epochs": EPOCHS, **training})
        found.append(spec)
    return found


def spec_files(folder, specs):
    paths = []
    for spec in specs:
        paths.append(folder / f"{spec['method']}{spec['seed']}.json")
        paths[-1].write_text(json.dumps(spec))
    return paths


def outcomes(folder):
    return {run: project.outcome(folder / record_path(run)) for run in names()}


@pytest.fixture
def folder(tmp_path, raw_root):
    return project.make(tmp_path, raw_root)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, raw_root):
    """The outcome of each run when it is trained by itself."""
    folder = project.make(tmp_path_factory.mktemp("alone"), raw_root)
    done = project.train_from_command_line(folder, *spec_files(folder, specs_of(names())), "--at-once", "1")
    assert done.returncode == 0, done.stderr
    return outcomes(folder)


# --- worker processes, on a CPU --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", ["2", "6"])
def test_runs_in_worker_processes_are_identical_to_the_same_runs_alone(folder, alone, at_once):
    done = project.train(folder, *spec_files(folder, specs_of(names())), "--at-once", at_once)
    assert done.returncode == 0, done.stderr
    assert outcomes(folder) == alone
    body = json.loads((folder / record_path(names()[0])).read_text())
    assert body["device"]["runs_at_once"] == int(at_once) and body["device"]["threads"] == 1
    assert not (folder / ".reweigh" / "checkpoints").exists()


WITHOUT_COMPILER = """
import sys
from reweigh.training.__main__ import main
assert main(sys.argv[1:]) == 0
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""


def test_nobody_imports_torchs_compiler_for_the_workers(folder):
    """What the parent imports, each worker has; the compiler takes more time than many small runs."""
    paths = map(str, spec_files(folder, specs_of(names()[:2], epochs=1)))
    command = [sys.executable, "-c", WITHOUT_COMPILER, *paths, "--at-once", "2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=project.environment())
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def start(folder, how=project.start_slowly):
    """Start training in two workers; wait until both have saved something."""
    paths = spec_files(folder, specs_of(names()))
    process = how(folder, *paths, "--at-once", "2", REWEIGH_CHECKPOINT_SECONDS="0")
    wait_for(lambda: len(project.checkpoints(folder)) >= 2, "two checkpoints", process)
    return process, paths


def test_a_killed_worker_hands_its_run_to_the_others(folder, alone):
    process, _ = start(folder, project.start)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0 and "a worker was killed; continuing with 1 runs side by side" in said
    assert outcomes(folder) == alone


def test_the_last_worker_killed_ends_the_call_in_one_line_and_the_next_goes_on(folder, alone):
    process, paths = start(folder)
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1 and "ended with code -9" in said and "Traceback" not in said
    assert project.train(folder, *paths, "--at-once", "2").returncode == 0
    assert outcomes(folder) == alone


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_every_run_and_asks_to_be_started_again(folder, alone, number):
    process, paths = start(folder)
    workers = children(process.pid)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75 and re.search(r"stopped with \d of 6 runs left", said), said
    assert all(gone(pid) for pid in workers) and "Traceback" not in said
    assert project.train(folder, *paths, "--at-once", "3").returncode == 0
    assert outcomes(folder) == alone


def test_workers_do_not_outlive_a_parent_that_is_killed(folder, alone):
    process, paths = start(folder)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: all(gone(pid) for pid in workers), "the end of workers without a parent")
    assert project.train(folder, *paths, "--at-once", "2").returncode == 0
    assert outcomes(folder) == alone


def test_a_time_budget_holds_for_every_worker(folder, alone):
    paths = spec_files(folder, specs_of(names()))
    done = project.train(folder, *paths, "--at-once", "2", "--time-budget", "0.001s")
    assert done.returncode == 75 and "6 of 6 runs left" in done.stderr
    assert project.train(folder, *paths, "--at-once", "2").returncode == 0
    assert outcomes(folder) == alone


def test_one_run_that_cannot_be_trained_is_named_and_the_others_go_on(folder):
    specs = specs_of(names()[:3])
    specs[1]["data"]["split"]["total"] = 50_000  # more than there are
    done = project.train(folder, *spec_files(folder, specs), "--at-once", "3")
    assert done.returncode == 1 and "wanted as subsample" in done.stderr and "Traceback" not in done.stderr
    assert "1 of 3 runs failed: smoke/tdr/mnist-4v9/rho0.1/tdr/seed1" in done.stderr
    assert len(list((folder / "results").rglob("*.json"))) == 2


def test_automatic_fills_the_cores_to_the_end(monkeypatch):
    specs = specs_of(names())
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2))
    assert automatic(specs, "cpu") == 6 and automatic(specs * 2, "cpu") == 2 and automatic(specs * 2, "cuda") == 12
    assert automatic(specs * 4, "cuda") == 16
    threaded = [{**spec, "training": {**spec["training"], "threads": 2}} for spec in specs]
    assert automatic(threaded, "cpu") == 1
    assert at_once_of("auto") is None and at_once_of("3") == 3
    for wrong in ("0", "-1", "two"):
        with pytest.raises(Exception, match="auto or a whole number"):
            at_once_of(wrong)


# --- in turns in one process, as on a GPU ----------------------------------------------------------------------------


class InTurns:
    """Runs trained in turns, on the CPU; `fails(job)` may raise before a step."""

    def __init__(self, folder, monkeypatch, fails=lambda job: None, clock=None, **training):
        monkeypatch.chdir(folder)
        self.specs, self.fails = specs_of(names(), **training), fails
        self.clock, self.written, self.made = clock or Clock(), [], []

    def make(self, spec):
        job = Job(spec, CPU, self.clock, at_once=3)
        advance = job.run.advance

        def guarded():
            self.fails(job)
            advance()

        job.run.advance = guarded
        self.made.append(job.name)
        return job

    def train(self, at_once=3, specs=None):
        interleave.train(specs or self.specs, at_once, CPU, self.make, lambda body: self.written.append(body["run"]))


def test_runs_that_take_turns_are_identical_to_the_same_runs_alone(folder, alone, monkeypatch):
    turns = InTurns(folder, monkeypatch)
    turns.train()
    assert sorted(turns.written) == sorted(names()) and outcomes(folder) == alone


def test_out_of_memory_halves_the_pack_and_changes_nothing_else(folder, alone, monkeypatch, capsys):
    failures = iter([30, 45])
    state = {"steps": 0, "at": next(failures)}

    def fails(job):
        state["steps"] += 1
        if state["steps"] == state["at"]:
            state["at"] = next(failures, None)
            with torch.no_grad():  # a step that fails may have left anything behind
                next(iter(job.run.model.parameters())).fill_(float("nan"))
            raise torch.OutOfMemoryError("CUDA out of memory")

    turns = InTurns(folder, monkeypatch, fails)
    turns.train(at_once=4)
    said = capsys.readouterr().err
    assert "with 4 runs side by side; continuing with 2" in said
    assert "with 2 runs side by side; continuing with 1" in said
    assert outcomes(folder) == alone


def test_out_of_memory_while_a_run_is_prepared_counts_too(folder, alone, monkeypatch, capsys):
    turns = InTurns(folder, monkeypatch)
    make, tried = turns.make, []

    def third_does_not_fit(spec):
        tried.append(spec)
        if len(tried) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return make(spec)

    turns.make = third_does_not_fit
    turns.train(at_once=3)
    assert "with 3 runs side by side; continuing with 1" in capsys.readouterr().err
    assert outcomes(folder) == alone


def test_a_single_run_that_does_not_fit_is_an_error_that_says_so(folder, monkeypatch):
    def never_fits(job):
        raise torch.OutOfMemoryError("CUDA out of memory")

    turns = InTurns(folder, monkeypatch, never_fits)
    with pytest.raises(TrainingError, match="with a single run on the device"):
        turns.train(at_once=4)


def test_a_run_whose_loss_is_no_number_ends_alone_as_diverged(folder, alone, monkeypatch):
    turns = InTurns(folder, monkeypatch)
    wild = copy.deepcopy(turns.specs[0])
    wild.update(seed=7)
    wild["training"].update(learning_rate=1e6, momentum=0.0)
    turns.train(specs=[wild, *turns.specs])
    body = json.loads(Path("results", f"{CELL}/{METHODS[0]}/seed7.json").read_text())
    assert body["status"] == "diverged" and body["diverged_at_step"] > 0
    assert outcomes(folder) == alone


def test_time_up_saves_every_run_of_the_pack(folder, alone, monkeypatch):
    clock, taken = Clock(), []

    def fails(job):
        taken.append(job.name)
        if len(taken) == 20:
            clock.stop()

    turns = InTurns(folder, monkeypatch, fails, clock)
    with pytest.raises(OutOfTime):
        turns.train(at_once=3)
    saved = list(Path(".reweigh/checkpoints").rglob("*.pt"))
    steps = sorted(sealed.read(path, CPU)[0]["position"][-1] for path in saved)
    assert sum(steps) == 20 and steps == [6, 6, 8]  # the last lane is getting ahead
    InTurns(folder, monkeypatch).train()
    assert outcomes(folder) == alone
