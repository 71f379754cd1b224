"""Runs of LRW and LRWOpt on real MNIST, and one step of them in float64, to be held against plain autograd."""

import copy
from dataclasses import replace

import torch

from reweigh.config.methods import meta_network, train_twice
from reweigh.data.split import draw
from reweigh.methods import base
from reweigh.training.engine import Run
from support.every_method import spec_of

CPU = torch.device("cpu")
NETWORK = {**meta_network.NETWORK, "rate": 0.5, "head_sd": 0.3}  # weights that differ from the start
LRW = {
    "margins": train_twice.ONCE, "network": NETWORK, "validation": "hard", "removed": "validation", "share": 0.1,
    "outer_every": 3, "outer_batch_size": 16, "difficulty": None,
}  # fmt: skip


def run_of(uses, options, raw, epochs=3, batch_size=16, validation_size=40, seed=0):
    """A run on 4 against 9 that has taken no step."""
    spec = spec_of(uses, options)
    spec["seed"] = seed
    spec["training"].update(epochs=epochs, batch_size=batch_size, drop_last=True)
    spec["data"]["split"].update(target_size=0, target_inside=False, validation_size=validation_size)
    torch.set_num_threads(1)
    return Run(spec, raw, draw(raw, spec["data"]["split"], spec["seed"]), CPU)


def taken_to(run, stage_name, steps=0):
    """The run, taken to a step of a stage."""
    while run.course.stage.name != stage_name or run.stage_step < steps:
        run.advance()
    return run


def doubled(value):
    """A batch, a dictionary or a model with its floating-point numbers in float64."""
    if isinstance(value, dict):
        return {name: one.double() for name, one in value.items()}
    return replace(value, inputs=value.inputs.double())


def in_double(run, monkeypatch):
    """A step in float64 at the place where a run is: (method, step), of which the program is `outer`."""
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)
    method, model = run.method, copy.deepcopy(run.model).double()
    method.meta.parameters = doubled(method.meta.parameters)
    if hasattr(method.meta, "backbone"):
        method.meta.backbone.double()
        if "conv1.weight" in method.meta.parameters:
            method.meta.parameters |= base.parameters_of(method.meta.backbone)
    method.meta.rate = torch.tensor(0.2, dtype=torch.float64)
    method.meta.optimiser = Recorder()
    method.teacher.seek(0)
    held_out, batch = doubled(method.teacher.current()), doubled(run.course.batches.batch(0))
    monkeypatch.setattr(method.teacher, "current", lambda: held_out)
    return method, base.Step(torch.tensor(0), "outer", model, batch, None)


class Recorder:
    """An optimiser that keeps the gradient and moves nothing."""

    def step(self, gradient):
        self.gradient = gradient


def objective_of(method, step):
    """The step's weights (B,) and what it minimises, as the engine asks for them."""
    logits = step.model(step.batch.inputs)
    losses = method.example_losses(logits, step.batch)
    weights = method.example_weights(step, losses.detach())
    return weights, method.objective(step, logits, losses, weights)
