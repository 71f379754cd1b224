"""Cells of class and group, as of Waterbirds: a linear model on small batches of them, and a split that has them."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from reweigh.data.arrays import Part
from reweigh.data.batches import DevicePart
from reweigh.data.split import draw
from reweigh.methods import base

FEATURES, CELLS = 3, 4
SIZES = (30, 5, 3, 12)  # of the cells, in their order: class 0 with group 0, 0 with 1, 1 with 0, 1 with 1
BATCHES = ((0, 1, 2, 3) * 4, (0, 0, 0, 1, 3, 3, 0, 1), (0, 3, 0, 3, 3), (2, 3, 2, 0, 1, 1))  # cells of the examples


def part(cells, seed):
    """A part of examples of these cells (N,), whose features depend on both class and group."""
    cells = np.asarray(cells, np.int64)
    labels = cells // 2
    rng = np.random.default_rng(seed)
    inputs = (
        rng.normal(size=(len(cells), FEATURES)) + labels[:, None] * [1.0, 0, 0] + (cells % 2)[:, None] * [0, 1.5, 0]
    )
    rows = np.arange(len(cells))
    return DevicePart(inputs.astype(np.float32), Part(rows, labels, cells), "none", torch.device("cpu"))


def context(sizes=SIZES, validation=None):
    """What a method is told of a run on cells of these sizes."""
    train = part(np.repeat(np.arange(CELLS), sizes), 1)
    return base.RunContext(
        seed=0,
        classes=2,
        class_counts=torch.bincount(train.labels, minlength=2).float(),
        group_counts=torch.bincount(train.groups, minlength=CELLS).float(),
        batch_size=16,
        epochs=4,
        learning_rate=0.5,
        weight_decay=0.0,
        target=None,
        fresh=train.stream(16, 0, "fresh-batches", False),
        train=train,
        validation=validation,
    )


def batches():
    """The batches of `BATCHES`: the first has all cells, each other lacks some."""
    return [next(iter(part(cells, number).in_order(100))) for number, cells in enumerate(BATCHES)]


def linear():
    """A linear model of two classes, float64, with weights that are not 0."""
    torch.manual_seed(0)
    return nn.Linear(FEATURES, 2).double()


def steps(method, model, rate):
    """Steps of gradient descent as the engine takes them, one a batch -> the weights (B,) of each, the objectives."""
    weights, objectives = [], []
    for number, batch in enumerate(batches()):
        position = base.Position(number, number, base.Stage("train", 9), number, 1, rate)
        step = base.Step(torch.tensor(number), method.prepare(position), model, batch, None)
        logits = model(method.inputs(step, batch).double())
        losses = method.example_losses(logits, batch)
        weights.append(method.example_weights(step, losses.detach()))
        objectives.append(method.objective(step, logits, losses, weights[-1]))
        model.zero_grad()
        objectives[-1].backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= rate * parameter.grad
    return [one.numpy() for one in weights], [float(one.detach()) for one in objectives]


class Softmax:
    """The same model by numpy: float64 weights (2, FEATURES) and biases (2,), and their gradients written out."""

    def __init__(self, model):
        self.weight, self.bias = (value.detach().numpy().copy() for value in (model.weight, model.bias))

    def logits(self, batch):
        return batch.inputs.numpy().astype(np.float64) @ self.weight.T + self.bias

    def descend(self, batch, slopes, rate):
        """A step along Σ_i slopes_i · x_i, slopes (B, 2) those of the objective by the logits."""
        self.weight -= rate * slopes.T @ batch.inputs.numpy().astype(np.float64)
        self.bias -= rate * slopes.sum(0)


def losses_and_slopes(logits, labels):
    """Cross-entropies (B,) and their slopes by the logits (B, 2), by numpy."""
    shifted = logits - logits.max(1, keepdims=True)
    shares = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    right = np.eye(logits.shape[1])[labels]
    return -np.log((shares * right).sum(1)), shares - right


def drawn_in_cells(raw, said, seed):
    """The split that `draw` makes, with a group of two for each class: those of even rows, those of odd."""
    split = draw(raw, said, seed)
    parts = {
        name: replace(one, group=2 * one.label + np.arange(len(one)) % 3 % 2)
        for name, one in vars(split).items()
        if isinstance(one, Part)
    }
    return replace(split, **parts, group_names=("0/0", "0/1", "1/0", "1/1"))
