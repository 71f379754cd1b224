"""Lanes: who is whose neighbour, what one run's error means for the others, and what is freed when."""

import contextlib
import errno
import functools
import gc
import itertools
import json
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support import project
from support.lanes import CELL, CPU, Run, World, job_of, plain_specs, specs
from support.mnist_runs import outcome

from reweigh.errors import DataError, TrainingError
from reweigh.records.record import record_path
from reweigh.training import interleave
from reweigh.training.afresh import Afresh
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.run import Job

# --- neighbours -------------------------------------------------------------------------------------------------------


def test_runs_on_the_same_data_and_model_are_neighbours():
    kinds = [("mnist", "lenet"), ("cifar10", "resnet32"), ("mnist", "mlp"), ("cifar10", "resnet20"), ("mnist", "lenet")]
    order = []

    def make(spec):
        order.append((spec["data"]["dataset"], spec["model"]["name"], spec["seed"]))
        return job_of(spec, Run(World(), [], 0))

    specs = [{"data": {"dataset": d}, "model": {"name": m}, "seed": seed} for seed, (d, m) in enumerate(kinds)]
    interleave.train(specs, 2, CPU, make, lambda record: None)
    assert [seed for *_, seed in order] == [3, 1, 0, 4, 2] and order == sorted(order)


def test_new_runs_get_ahead_of_each_other_so_that_they_do_not_all_evaluate_at_once():
    at, lanes = {}, 4

    def make(spec):
        run = Run(World(), [0] * 40, 0)
        run.course.steps_per_epoch = 12
        advance = run.advance

        def noted():
            advance()
            at.setdefault(spec["seed"], []).append(turn[0])

        run.advance = noted
        return job_of(spec, run, keeper=lambda run: turn.__setitem__(0, turn[0] + 1))

    turn = [0]
    interleave.train(plain_specs(lanes), lanes, CPU, make, lambda record: None)
    ends = [at[seed][23] for seed in range(lanes)]  # when each was at the end of its second epoch
    assert all(a - b >= 8 for a, b in itertools.pairwise(ends)), ends


# --- errors -----------------------------------------------------------------------------------------------------------


class Trained:
    """Runs trained in turns on the CPU; `before(job)` may raise before a step, `making(spec)` before it is made."""

    def __init__(self, folder, monkeypatch, before=lambda job: None, making=lambda spec: None):
        monkeypatch.chdir(folder)
        self.before, self.making, self.written, self.jobs = before, making, [], {}

    def make(self, spec):
        self.making(spec)
        job = Job(spec, CPU, Clock(), at_once=3)
        job.run.advance = functools.partial(self.advance, job, job.run.advance)
        self.jobs[job.name] = job
        return job

    def advance(self, job, advance):
        self.before(job)
        advance()

    def train(self, specs, at_once=3):
        interleave.train(specs, at_once, CPU, self.make, lambda body: self.written.append(body["run"]))


@pytest.fixture
def folder(tmp_path, raw_root):
    return project.make(tmp_path, raw_root)


SAVED = ("tdr/seed0", "tdr/seed1", "er/seed0", "er/seed1")
FAULTY = f"{CELL}/er/seed0"


@pytest.mark.parametrize("error", [RuntimeError("a fault of this run"), DataError("a fault of this run")])
def test_an_error_in_one_lane_leaves_the_others_alive_and_saved(folder, monkeypatch, capsys, error):
    saved = []

    def before(job):
        if job.name == FAULTY and job.run.step == 5:
            raise error
        if FAULTY in "".join(saved) or not list(Path(".reweigh/checkpoints").rglob("*.pt")):
            return
        saved.extend([*sorted(str(path) for path in Path(".reweigh/checkpoints").rglob("*.pt")), FAULTY])

    trained = Trained(folder, monkeypatch, before)
    with pytest.raises(TrainingError, match=f"^{FAULTY}: a fault of this run$"):
        trained.train(specs("tdr", "er"))
    assert sorted(trained.written) == [f"{CELL}/{name}" for name in ("er/seed1", "tdr/seed0", "tdr/seed1")]
    assert sum("/tdr/seed" in path for path in saved) == 2  # both neighbours, when the error came
    shown = capsys.readouterr().err
    assert ("Traceback" in shown) == isinstance(error, RuntimeError)  # an error of ours says enough
    assert not (folder / record_path(FAULTY)).exists()


@pytest.mark.parametrize(
    ("ended_by", "unsaved", "saved"),
    [
        ("time", "tdr/seed1", {"tdr/seed0", "er/seed0", "er/seed1"}),
        ("error", "tdr/seed1", {"tdr/seed0", "er/seed0"}),
        ("memory", "er/seed0", set()),  # the one that is put off
    ],
)
def test_a_run_that_cannot_be_saved_keeps_no_other_from_being_saved(
    folder, monkeypatch, capsys, ended_by, unsaved, saved
):
    clock, ended, done, failed = Clock(), [], [], []

    def refuse(run):
        raise OSError(errno.ENOSPC, "No space left on device")

    def before(job):
        job.keeper.clock = clock
        if job.name.endswith(unsaved):
            job.keeper.save = refuse  # as on a full disk
        if ended or not (job.name.endswith("er/seed1") and job.run.step == 3):
            return
        ended.append(job)
        if ended_by == "time":
            clock.stop()
        else:
            raise DataError("a fault") if ended_by == "error" else torch.OutOfMemoryError("CUDA out of memory")

    def found(steps):
        if ended and len(ended) == 1:
            ended.append({name for name in SAVED if list(Path(".reweigh/checkpoints", CELL, name).glob("*.pt"))})

    trained = Trained(folder, monkeypatch, before)
    with pytest.raises(OutOfTime) if ended_by == "time" else contextlib.nullcontext():
        interleave.train(
            specs("tdr", "er"), 4, CPU, trained.make, done.append, found, lambda spec, error: failed.append(error)
        )
    found(0)
    assert ended[1] == saved
    assert (len(done), len(failed)) == {"time": (0, 0), "error": (3, 1), "memory": (4, 0)}[ended_by]
    said = capsys.readouterr().err
    assert f"{CELL}/{unsaved}: cannot be saved ([Errno 28] No space left on device)" in said
    assert "Traceback" not in said


def test_a_run_that_cannot_be_prepared_is_reported_when_the_others_are_finished(folder, monkeypatch):
    def making(spec):
        if spec["seed"] == 1:
            raise DataError(f"no data for {spec['method']}")

    trained = Trained(folder, monkeypatch, making=making)
    with pytest.raises(TrainingError) as caught:
        trained.train(specs("tdr", "er"))
    assert str(caught.value) == (
        f"2 runs could not be trained; {CELL}/tdr/seed1: no data for tdr; {CELL}/er/seed1: no data for er"
    )
    assert sorted(trained.written) == [f"{CELL}/er/seed0", f"{CELL}/tdr/seed0"]


def test_a_run_that_does_not_fit_alone_does_not_stop_the_others(folder, monkeypatch):
    def before(job):
        if job.name == FAULTY:
            raise torch.OutOfMemoryError("CUDA out of memory")

    trained = Trained(folder, monkeypatch, before)
    with pytest.raises(TrainingError, match=f"{FAULTY}: out of memory with a single run on the device"):
        trained.train(specs("tdr", "er"))
    assert len(trained.written) == 3


def test_where_the_device_is_of_no_use_any_more_each_run_is_tried_alone_in_a_fresh_process(folder, monkeypatch):
    broken = []

    def before(job):
        if broken or (job.name == FAULTY and job.run.step == 5):
            broken.append(job.name)
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    trained = Trained(folder, monkeypatch, before)
    monkeypatch.setattr(interleave, "_answers", lambda device: not broken)
    with pytest.raises(Afresh) as several:
        trained.train(specs("tdr", "er"))
    assert (several.value.at_once, several.value.failed) == (1, {})  # an error of the device may be any run's
    del broken[:]
    with pytest.raises(Afresh) as alone:
        trained.train(specs("er")[:1], at_once=1)
    assert alone.value.failed == {FAULTY: "CUDA error: an illegal memory access was encountered"}


def test_lanes_end_with_the_bits_of_the_same_runs_alone(folder, monkeypatch, tmp_path_factory, raw_root):
    trained = Trained(folder, monkeypatch)
    trained.train(specs("tdr", "er", "none", seeds=1))
    together = {name: outcome(job.run) for name, job in trained.jobs.items()}
    monkeypatch.chdir(project.make(tmp_path_factory.mktemp("alone"), raw_root))
    for spec in specs("tdr", "er", "none", seeds=1):
        job = Job(spec, CPU)
        job.finish()
        assert outcome(job.run) == together[job.name]
        assert json.loads(Path(record_path(job.name)).read_text())["seconds"] > 0


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", [None, time.perf_counter], ids=["as on a CPU", "as on a GPU"])
def test_runs_that_are_over_are_freed_before_the_next_is_made(folder, monkeypatch, clock):
    """Finished, failed and put-off ones, whatever keeps the errors of those that failed."""
    monkeypatch.chdir(folder)
    runs, alive, errors, out_of_memory = [], [], [], []

    def make(spec):
        alive.append(sum(run() is not None for run in runs))
        if (spec["method"], spec["seed"]) == ("none", 1):
            raise DataError("cannot be prepared")
        job = Job(spec, CPU, Clock())
        known, advance = weakref.ref(job.run), type(job.run).advance
        runs.append(known)

        def guarded():
            run = known()
            if spec["method"] == "er" and run.step == 2:
                raise DataError("a fault of this run")
            if spec["seed"] == 3 and run.step == 5 and not out_of_memory:
                out_of_memory.append(spec)
                raise torch.OutOfMemoryError("CUDA out of memory")
            advance(run)

        job.run.advance = guarded
        return job

    wanted = [*specs("tdr", seeds=4, epochs=2), *specs("er", "none", seeds=2, epochs=2)]
    written = []
    interleave.train(wanted, 4, CPU, make, written.append, failed=lambda spec, error: errors.append(error), clock=clock)
    assert out_of_memory and len(written) == 5 and len(errors) == 3
    assert alive[:4] == [0, 1, 2, 3] and max(alive[4:]) == 1, alive  # two at once from then on
    del written
    gc.collect()
    assert not any(run() is not None for run in runs)


def test_the_peak_of_a_run_trained_alone_is_not_that_of_those_before_it(monkeypatch):
    """Memory counts from when the device is empty."""
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    allocated = SimpleNamespace(now=0, peak=0)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: setattr(allocated, "peak", allocated.now))
    sizes = [100, 10, 40, 1]

    def peaks(at_once):
        found = {}

        def make(spec):
            size = sizes[spec["seed"]]
            allocated.now += size
            allocated.peak = max(allocated.peak, allocated.now)

            def write():
                found[size] = allocated.peak
                allocated.now -= size
                return spec

            return job_of(spec, Run(World(), [0], 0), write)

        interleave.train(plain_specs(4), at_once, torch.device("cuda"), make, lambda record: None)
        return found

    assert peaks(1) == {size: size for size in sizes}
    assert peaks(2) == {100: 110, 10: 110, 40: 41, 1: 41}
