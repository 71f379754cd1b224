"""A small float64 problem whose model has a head: three classes, batch norm, a validation part."""

import torch
from torch import nn

from reweigh.data.batches import BatchStream
from reweigh.methods import base
from support.absgd_methods import part
from support.positions import at

RATE, DECAY, SIZE = 0.05, 0.002, 12


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.norm, self.head = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def features(self, inputs):
        return torch.tanh(self.norm(self.hidden(inputs)))

    def forward(self, inputs):
        return self.head(self.features(inputs))


class Problem:
    """60 training examples in batches of 12, 18 for validation; a model in float64, whose statistics have moved."""

    def __init__(self, examples=60):
        torch.set_num_threads(1)
        self.train, self.validation = part(examples, 1), part(18, 2)
        counts = torch.bincount(self.train.labels).double()
        self.context = base.RunContext(
            seed=0,
            classes=3,
            class_counts=counts,
            group_counts=counts,
            batch_size=SIZE,
            epochs=4,
            learning_rate=RATE,
            weight_decay=DECAY,
            target=None,
            fresh=BatchStream(self.train, SIZE, 0, "fresh-batches", augmented=False),
            train=self.train,
            validation=self.validation,
        )
        torch.manual_seed(0)
        self.model = Net().double()
        with torch.no_grad():
            for _ in range(3):
                self.model(torch.randn(9, 4).double() + 1)
        self.batches = BatchStream(self.train, SIZE, 0, "batches", augmented=False)

    def step(self, number, method):
        """Step `number` as the engine would give it to the method, which has heard of it."""
        return base.Step(torch.tensor(number), method.prepare(at(number)), self.model, self.batches.batch(number), None)

    def weights(self, method, step):
        """What the engine does of a step up to its weights. -> weights (B,), losses (B,) with their graph."""
        method.learn(step)
        with method.watch(self.model):
            logits = self.model(method.inputs(step, step.batch))
        losses = method.example_losses(logits, step.batch)
        return method.example_weights(step, losses.detach()), losses
