"""Lanes: whose time it is, who is whose neighbour, and what one run's error means for the others."""

import copy
import functools
import itertools
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support import project
from support.mnist_runs import outcome

from reweigh.config import loading as config
from reweigh.errors import DataError, TrainingError
from reweigh.records.record import record_path
from reweigh.training import interleave
from reweigh.training.afresh import Afresh
from reweigh.training.checkpoint import Clock
from reweigh.training.interleave import Shares
from reweigh.training.run import Job

CPU = torch.device("cpu")
CELL = "smoke/tdr/mnist-4v9/rho0.1"


# --- time, by lanes ---------------------------------------------------------------------------------------------------


class World:
    """A clock, and what happens in it."""

    def __init__(self):
        self.now, self.written = 0.0, {}

    def clock(self):
        return self.now


class Run:
    """As much of a run as taking turns needs: each step makes the host wait for so many seconds."""

    def __init__(self, world, waits, evaluates):
        self.world, self.waits, self.evaluates = world, list(waits), evaluates
        self.clock, self.seconds, self.step, self.execute = world.clock, 0.0, 0, None
        self.course = SimpleNamespace(steps_per_epoch=0)

    @property
    def over(self):
        return self.step == len(self.waits)

    def advance(self):
        started = self.clock()
        self.world.now += self.waits[self.step]
        self.seconds += self.clock() - started
        self.step += 1
        self.world.now += self.evaluates


def job_of(spec, run, write=dict, keeper=lambda run: None):
    """As much of a job as taking turns needs."""
    return SimpleNamespace(spec=spec, run=run, write=write, keeper=keeper, ready=lambda: True, release=lambda: None)


def seconds_of(waits, at_once, evaluates=0.0, saves=0.0):
    """What runs are charged, by name, whose steps make the host wait so long; and how long all of it took."""
    world = World()

    def make(spec):
        world.now += 5  # reading data: on nobody's account
        run = Run(world, waits[spec["method"]], evaluates)

        def write():
            world.written[spec["method"]] = run.seconds
            return spec

        def keeper(run):
            world.now += saves

        return job_of(spec, run, write, keeper)

    specs = [{"method": name, "data": {"dataset": "mnist"}, "model": {"name": "lenet"}} for name in waits]
    interleave.train(specs, at_once, CPU, make, lambda record: None, clock=world.clock)
    return world.written, world.now


def test_a_run_that_waits_for_the_device_is_not_charged_the_time_of_all():
    charged, _ = seconds_of({"first": [9, 9], "second": [0, 0], "third": [0, 0]}, 3)
    assert charged == {"first": 6, "second": 6, "third": 6}


def test_the_time_is_shared_by_the_lanes_that_are_there():
    charged, _ = seconds_of({"short": [6], "long": [0, 4, 4], "later": [0, 2]}, 2)
    # 6 s for `short` and `long`, 4 + 4 s for `long` and `later`, 2 s for `later` alone.
    assert charged == {"short": 3, "long": 3 + 2 + 2, "later": 2 + 2 + 2}


def test_alone_a_run_is_charged_all_of_its_steps_and_nothing_else():
    charged, passed = seconds_of({"only": [1, 2, 3]}, 1, evaluates=100, saves=50)
    assert charged == {"only": 6} and passed > 300


def test_evaluation_and_checkpoints_are_nobodys():
    charged, _ = seconds_of({"one": [2, 2], "other": [2, 2]}, 2, evaluates=100, saves=50)
    assert charged == {"one": 1 + 1 + 1, "other": 1 + 1 + 1 + 2}  # its last step is alone on the device


def test_shares_of_lanes_that_come_and_go():
    world = World()
    shares = Shares(world.clock)
    shares.enter("a")
    world.now = 4
    assert shares.read("a") == 4
    shares.enter("b")
    world.now = 10
    assert (shares.read("a"), shares.read("b")) == (7, 3)
    world.now = 11
    shares.leave("a")  # between two readings: nobody's
    world.now = 15
    assert shares.read("b") == 7


def test_on_a_cpu_runs_count_processor_time_as_they_always_did(tmp_path, raw_root, monkeypatch):
    monkeypatch.chdir(project.make(tmp_path, raw_root))
    made = []
    interleave.train(specs("tdr")[:1], 1, CPU, lambda spec: made.append(Job(spec, CPU)) or made[-1], lambda body: None)
    assert made[0].run.clock is time.process_time


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
    specs = [{"data": {"dataset": "mnist"}, "model": {"name": "lenet"}, "seed": seed} for seed in range(lanes)]
    interleave.train(specs, lanes, CPU, make, lambda record: None)
    ends = [at[seed][23] for seed in range(lanes)]  # when each was at the end of its second epoch
    assert all(a - b >= 8 for a, b in itertools.pairwise(ends)), ends


# --- errors -----------------------------------------------------------------------------------------------------------


def specs(*methods, seeds=2, epochs=4):
    """Specs of smoke runs by method and seed."""
    found = []
    for method in methods:
        for seed in range(seeds):
            spec = copy.deepcopy(config.resolve(f"{CELL}/tdr/seed{seed}", root=project.ROOT))
            paper = config.resolve(f"paper/tdr/mnist-4v9/rho0.1/{method}/seed{seed}", root=project.ROOT)
            spec.update(method=method, uses=paper["uses"], method_options=paper["method_options"])
            spec["training"]["epochs"] = epochs
            found.append(spec)
    return found


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
