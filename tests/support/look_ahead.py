"""A float64 problem with a validation set, the engine's step on it, and look-aheads by plain double backpropagation."""

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from reweigh.methods import base
from reweigh.models.layers import Dropout, hold_dropout
from support import absgd_methods
from support.positions import at

ADAM = {"name": "adam", "learning_rate": 1e-3, "weight_decay": 1e-4}
SGD = {"name": "sgd", "learning_rate": 1e-3, "weight_decay": 5e-4, "momentum": 0.9, "nesterov": True}


class Problem(absgd_methods.Problem):
    """That of `absgd_methods`, with 24 validation examples of the three classes, and dropout in the model if wanted."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.context = replace(self.context, validation=absgd_methods.part(24, 3))
        if dropout:
            self.model = nn.Sequential(*self.model[:3], Dropout(dropout), self.model[3])

    def step(self, number, method, rate=0.05):
        seed = torch.tensor(11 + number) if any(isinstance(one, Dropout) for one in self.model) else None
        program = method.prepare(at(number, learning_rate=rate))
        return base.Step(torch.tensor(number), program, self.model, self.batches.batch(number), seed)

    def pass_of(self, method, step):
        """The step as the engine takes it, up to its weights, with the objective's value. -> weights (B,), scalar."""
        method.learn(step)
        hold_dropout(self.model, step.dropout_seed, "train")
        with method.watch(self.model):
            logits = self.model(method.inputs(step, step.batch))
        losses = method.example_losses(logits, step.batch)
        weights = method.example_weights(step, losses.detach())
        return weights, method.objective(step, logits, losses, weights)


def entropies(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def network_of(method):
    """The method's network as a module of its own, with its present values."""
    hidden, width = method.network["hidden.weight"].shape
    found = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid()).double()
    values = [method.network[name] for name in ("hidden.weight", "hidden.bias", "out.weight", "out.bias")]
    with torch.no_grad():
        for parameter, value in zip(found.parameters(), values, strict=True):
            parameter.copy_(value)
    return found


def same_network(method, network):
    """Fail unless the method's network has the values of that module."""
    for (name, value), other in zip(method.network.items(), network.parameters(), strict=True):
        torch.testing.assert_close(value, other.detach(), rtol=1e-10, atol=1e-14, msg=name)


def optimiser(said, network):
    """PyTorch's own optimiser by the option."""
    if said["name"] == "adam":
        return torch.optim.Adam(network.parameters(), said["learning_rate"], weight_decay=said["weight_decay"])
    return torch.optim.SGD(
        network.parameters(), said["learning_rate"], said["momentum"], weight_decay=said["weight_decay"],
        nesterov=said["nesterov"],
    )  # fmt: skip


def by_double_backpropagation(model, step, meta, direction_of, rate, meta_mask="meta"):
    """L_meta after a virtual step, with its graph; running statistics stay, and one pass has one dropout mask.

    `direction_of(logits)` is the gradient at the logits (B, C) along which the virtual step goes, with its graph.
    """
    model = copy.deepcopy(model).train()
    names, values = zip(*model.named_parameters(), strict=True)
    hold_dropout(model, step.dropout_seed, "train")
    logits = model(step.batch.inputs)
    gradients = torch.autograd.grad(logits, values, direction_of(logits), create_graph=True)
    ahead = {name: value - rate * slope for name, value, slope in zip(names, values, gradients, strict=True)}
    hold_dropout(model, step.dropout_seed, meta_mask)
    return entropies(functional_call(model, ahead, (meta.inputs,)), meta.labels).mean()


def weighted(weights, labels):
    """The gradient at the logits of a sum of weighted cross-entropies, by its formula w_i (p_i − y_i)."""
    return lambda logits: weights[:, None] * (logits.softmax(1) - F.one_hot(labels, logits.shape[1]))


class Mislabelled(Problem):
    """The same, of classes that lie apart, where a quarter of the training labels are wrong: bool (60,) `wrong`."""

    def __init__(self):
        super().__init__()
        for part in (self.train, self.context.validation):
            part.inputs += 3 * F.one_hot(part.labels, 4)
        self.wrong = torch.arange(60) % 4 == 1
        self.train.labels = torch.where(self.wrong, (self.train.labels + 1) % 3, self.train.labels)

    def trained(self, method_class, options, steps, rate=0.1):
        """Mean weights of examples with a wrong label and with a right one, in the last of so many passes over all."""
        method = method_class(options, self.context)
        engine = torch.optim.SGD(self.model.parameters(), rate)
        found = []
        for number in range(steps):
            step = self.step(number, method, rate)
            weights, objective = self.pass_of(method, step)
            engine.zero_grad()
            objective.backward()
            engine.step()
            found.append((weights, self.wrong[step.batch.rows]))
        weights, wrong = (torch.cat(values) for values in zip(*found[-5:], strict=True))
        return weights[wrong].mean().item(), weights[~wrong].mean().item()
