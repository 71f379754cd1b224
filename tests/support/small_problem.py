"""A small net with real gradients, and what a method and plain backward passes make of it."""

import copy

import numpy as np
import torch
from torch import nn

from reweigh.config.methods.tdr import CODE
from reweigh.data.arrays import Part
from reweigh.data.batches import BatchStream, DevicePart
from reweigh.methods import base
from support.positions import at

TDR_CODE = CODE
TDR_PAPER = {
    **TDR_CODE,
    "outer_learning_rate": 0.2,
    "clip_max": None,
    "normalisation": "batch",
    "hypergradient_batch": "last",
    "look_ahead_decay": False,
}
RATE, DECAY = 0.05, 0.002


def part(examples, seed):
    rng = np.random.default_rng(seed)
    labels = (np.arange(examples) % 5 > 0).astype(np.int64)  # a fifth are the minority, label 0
    inputs = (rng.normal(size=(examples, 4)) + labels[:, None]).astype(np.float32)
    return DevicePart(inputs, Part(np.arange(examples), labels, labels), "none", torch.device("cpu"))


def problem():
    """(context, step): 50 training examples in batches of 10, a target set of 10 in batches of 5."""
    train, target = part(50, 1), part(10, 2)
    context = base.RunContext(
        seed=0,
        classes=2,
        class_counts=torch.tensor([10.0, 40.0]),
        group_counts=torch.tensor([10.0, 40.0]),
        batch_size=10,
        epochs=4,
        learning_rate=RATE,
        weight_decay=DECAY,
        target=BatchStream(target, 5, 0, "target-batches", augmented=False),
        fresh=BatchStream(train, 10, 0, "fresh-batches", augmented=False),
        train=train,
        validation=None,
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2))
    batches = BatchStream(train, 10, 0, "batches", augmented=False)

    def step(number, method=None):
        program = method.prepare(at(number)) if method else "step"
        return base.Step(torch.tensor(number), program, model, batches.batch(number), None)

    return context, step


def weights_at(method, step):
    """The weights that a method gives to the batch of a step, of which it hears first as from the engine."""
    method.prepare(at(int(step.number)))
    method.learn(step)
    with method.watch(step.model):
        method.example_losses(step.model(method.inputs(step, step.batch)), step.batch)
    return method.example_weights(step, torch.zeros(len(step.batch))).clone()


def gradient_of(model, batch, weights=None, training=True):
    """∇ of the weighted loss (the mean if no weights are given), by a plain backward pass on a copy of the model."""
    twin = copy.deepcopy(model).train(training)
    losses = nn.functional.cross_entropy(twin(batch.inputs), batch.labels, reduction="none")
    (losses.mean() if weights is None else (weights * losses).sum()).backward()
    return twin, torch.cat([parameter.grad.flatten() for parameter in twin.parameters()])


def moved(model, change):
    twin, start = copy.deepcopy(model), 0
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter += change[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()
    return twin


def flat(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
