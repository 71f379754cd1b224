"""How many runs shared a device, as records say it: no cost of one that did may decide a claim."""

import functools

import pytest
import torch
from support import project
from support.lanes import CPU, specs
from support.two_stages import spec_of

from reweigh.analysis import tables
from reweigh.errors import ConfigError
from reweigh.training import __main__ as program
from reweigh.training import interleave
from reweigh.training import run as training
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.device import SLOTS, slots_per_device
from reweigh.training.run import Job


@pytest.fixture
def folder(tmp_path, raw_root, monkeypatch):
    monkeypatch.chdir(project.make(tmp_path, raw_root))


def told(monkeypatch, kind, runs):
    """How many runs share the device, as `train` tells the jobs of so many runs."""
    heard = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(training, "pick_device", lambda: torch.device(kind))
    monkeypatch.setattr(program, "is_current", lambda spec: False)
    monkeypatch.setattr(training, "Job", lambda spec, **known: heard.append(known["at_once"]))

    def turns(specs, at_once, device, make, *others):
        assert at_once == runs
        make(specs[0])

    monkeypatch.setattr(interleave, "train", turns)
    program.train(specs("tdr", seeds=runs), at_once=runs)
    return heard


@pytest.mark.parametrize(("slots", "runs", "shared"), [("", 1, 1), ("1", 3, 3), ("2", 1, 2), ("3", 2, 6)])
def test_the_runs_of_processes_that_may_share_a_device_count(monkeypatch, slots, runs, shared):
    monkeypatch.setenv(SLOTS, slots)
    assert told(monkeypatch, "cuda", runs) == [shared]


def test_slots_that_are_no_number_are_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setenv(SLOTS, "two")
    with pytest.raises(ConfigError, match=f"{SLOTS}=two: set it to a whole number from 1"):
        slots_per_device()
    with pytest.raises(ConfigError):
        told(monkeypatch, "cuda", 1)


def test_a_run_that_was_not_alone_in_every_part_says_so(folder):
    (spec,), clock = specs("tdr", seeds=1), Clock()
    with pytest.raises(OutOfTime):
        Job(spec, CPU, clock, at_once=4).finish(lambda run: clock.stop())
    with pytest.raises(OutOfTime):
        Job(spec, CPU, clock, at_once=1).finish()
    body = Job(spec, CPU, at_once=2).finish()
    assert (body["resumed"], body["device"]["runs_at_once"]) == (2, 4) and "runs_at_once" not in body


def test_nor_does_one_that_takes_over_stages_of_a_run_that_was_not_alone(folder):
    first = Job(spec_of("joint"), CPU, at_once=3).finish()
    second = Job(spec_of("crt"), CPU).finish()
    assert second["prefix"]["reused"] and "runs_at_once" not in second["prefix"]
    assert [body["device"]["runs_at_once"] for body in (first, second)] == [3, 3]
    alone = functools.partial(Job, spec_of("lws", seed=1), CPU)
    assert alone().finish()["device"]["runs_at_once"] == 1


def test_such_a_record_is_one_whose_cost_decides_nothing(folder):
    body = Job(specs("tdr", seeds=1)[0], CPU, at_once=2).finish()
    on_gpu = {**body, "device": {**body["device"], "kind": "cuda"}}
    assert tables.table({body["run"]: on_gpu})["packed"].tolist() == [True]
    assert tables.table({body["run"]: body})["packed"].tolist() == [False]
