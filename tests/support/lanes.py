"""Runs and jobs that are made up, as far as taking turns needs them, and specs of real ones that are short."""

import copy
from types import SimpleNamespace

import torch

from reweigh.config import loading as config
from support import project

CPU = torch.device("cpu")
CELL = "smoke/tdr/mnist-4v9/rho0.1"


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


def plain_specs(count):
    """As much of specs as taking turns needs."""
    return [{"data": {"dataset": "mnist"}, "model": {"name": "lenet"}, "seed": seed} for seed in range(count)]


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
