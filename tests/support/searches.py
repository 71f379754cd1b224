"""A small search by AutoBalance, in float64, and the same written out again with dense matrices and torch's SGD."""

import numpy as np
import torch
from torch import nn

from reweigh.data.arrays import Part
from reweigh.data.batches import Batch, DevicePart
from reweigh.methods import autobalance, base

EPOCHS, STEPS, SIZE = 4, 3, 8  # of the search; an epoch; a batch
RATE = 0.3


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, inputs):
        return self.head(inputs)


def part(counts, seed):
    """Inputs (n, 3) of four classes; groups are cells of two groups, class * 2 + group."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), counts)
    groups = labels * 2 + (np.arange(len(labels)) % 3 == 0)
    inputs = (rng.normal(size=(len(labels), 3)) * 2 + labels[:, None]).astype(np.float32)
    return DevicePart(inputs, Part(np.arange(len(labels)), labels, groups), "none", torch.device("cpu"))


def counted(values, count):
    return torch.bincount(values, minlength=count).double()


class Search:
    """A method by its options, its model and its steps; `taken` has α after each step, by name."""

    def __init__(self, options):
        train, validation = part([12, 6, 4, 4], 1), part([9, 6, 5, 5], 2)
        by_cell = options["by"] == "cell"
        if not by_cell:
            for one in (train, validation):
                one.groups = one.labels
        self.context = base.RunContext(
            seed=5,
            classes=4,
            class_counts=counted(train.labels, 4),
            group_counts=counted(train.groups, 8 if by_cell else 4),
            batch_size=SIZE,
            epochs=2,
            learning_rate=RATE,
            weight_decay=0.0,
            target=None,
            fresh=train.stream(SIZE, 5, "fresh-batches", True),
            train=train,
            validation=validation,
        )
        for one in (train, validation):
            one.scaled = lambda inputs: inputs.double()
        self.method = autobalance.Method(options, self.context)
        torch.manual_seed(0)
        self.model = Linear().double()
        self.batches = train.stream(SIZE, 5, "batches", True)
        self.stage = self.method.stages(2)[0]
        self.taken, self.programs, self.logged = [], [], []

    def position(self, number):
        return base.Position(number, number // STEPS, self.stage, number, STEPS, RATE)

    def run(self):
        method, model = self.method, self.model
        method.begin(self.stage, model)
        for number in range(EPOCHS * STEPS):
            at = self.position(number)
            if number % STEPS == 0:
                method.begin_epoch(at, model)
            program = method.prepare(at)
            step = base.Step(torch.tensor(number), program, model, self.batches.batch(number), None)
            method.logged = {}
            method.learn(step)
            losses = method.example_losses(model(step.batch.inputs), step.batch)
            loss = method.example_weights(step, losses.detach()) @ losses
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for value in model.parameters():
                    value -= RATE * value.grad
            self.note(program)
        method.logged = {}
        with torch.no_grad():
            method.end(self.stage, model)
        self.note("end")
        return self

    def note(self, program):
        self.programs.append(program)
        self.taken.append({name: value.clone() for name, value in self.method.design.values.items()})
        self.logged.append(self.method.logged)


# --- the same again --------------------------------------------------------------------------------------------------


class ByHand:
    """Algorithm 1 on the same batches with a dense Hessian; α by torch.optim.SGD, which coasts on gradients of zero."""

    def __init__(self, options, search):
        self.options, self.method = options, search.method  # the method for its streams alone
        self.counts, self.cells = search.context.class_counts, search.context.group_counts
        self.theta = torch.cat([value.detach().flatten() for value in Search(options).model.parameters()])
        names = options["design"]
        shape = (4, 2) if options["by"] == "cell" else (-(-4 // options["cluster_size"]),)
        start = {"l": torch.zeros(shape), "delta": torch.ones(shape), "tau": torch.full((1,), 0.0)}
        if options["start"] == "la":
            start["tau"] = torch.ones(1)
        self.alpha = {name: start[name].double().requires_grad_() for name in names}
        self.upper = torch.optim.SGD(
            self.alpha.values(),
            options["upper_learning_rate"],
            options["upper_momentum"],
            weight_decay=options["upper_weight_decay"],
        )
        self.batches, self.taken, self.before = search.batches, [], None

    def training_loss(self, theta, alpha, batch):
        logits = batch.inputs @ theta[:12].view(4, 3).T + theta[12:]
        rows = []
        for i, (label, cell) in enumerate(zip(batch.labels.tolist(), batch.groups.tolist(), strict=True)):
            seen = torch.stack([self.multiplier(alpha, k, cell) * logits[i, k] + self.offset(alpha, k, cell)
                                for k in range(4)])  # fmt: skip
            count = self.cells[cell] if self.options["by"] == "cell" else self.counts[label]
            weight = 1 / count if self.options["weights"] == "inverse" else torch.tensor(1.0).double()
            rows.append(torch.stack((weight * -torch.log_softmax(seen, 0)[label], weight)))
        total = torch.stack(rows).sum(0)
        return total[0] / total[1]

    def value(self, alpha, name, k, cell):
        table = alpha[name]
        return table[k, cell % 2] if self.options["by"] == "cell" else table[k // self.options["cluster_size"]]

    def multiplier(self, alpha, k, cell):
        raw = self.value(alpha, "delta", k, cell) if "delta" in alpha else torch.tensor(1.0).double()
        return 1 / (1 + torch.exp(-raw)) if self.options["multiplier"] == "sigmoid" else raw

    def offset(self, alpha, k, cell):
        if "tau" in alpha:
            return alpha["tau"][0] * torch.log(self.counts[k] / self.counts.sum())
        return self.value(alpha, "l", k, cell) if "l" in alpha else torch.tensor(0.0).double()

    def validation_loss(self, theta, batch, counts):
        losses = torch.nn.functional.cross_entropy(
            batch.inputs @ theta[:12].view(4, 3).T + theta[12:], batch.labels, reduction="none"
        )
        weights = 1 / counts[batch.labels]
        return (weights * losses).sum() / weights.sum()

    def pieces(self, stream, number):
        whole = stream.batch(number)
        parts = [
            values.split(self.options["batch_size"] or SIZE)
            for values in (whole.inputs, whole.labels, whole.groups, whole.rows)
        ]
        return [Batch(*piece) for piece in zip(*parts, strict=True)]

    def outer_step(self, number):
        train = self.pieces(self.method.outer_train, number)
        validation = self.pieces(self.method.outer_validation, number)
        counts = counted(self.method.context.validation.labels, 4)
        names, shapes = list(self.alpha), [value.shape for value in self.alpha.values()]
        flat = torch.cat([value.detach().flatten() for value in self.alpha.values()])

        def total(theta, design):
            parts = dict(zip(names, (one.view(shape) for one, shape in
                                     zip(design.split([s.numel() for s in shapes]), shapes, strict=True)),
                             strict=True))  # fmt: skip
            return torch.stack([self.training_loss(theta, parts, batch) for batch in train]).mean()

        (hessian, mixed), _ = torch.autograd.functional.hessian(total, (self.theta, flat))
        theta = self.theta.clone().requires_grad_()
        fair = torch.stack([self.validation_loss(theta, batch, counts) for batch in validation]).mean()
        v = torch.autograd.grad(fair, theta)[0]
        self.spectrum = torch.linalg.eigvalsh(hessian)
        gradient = -mixed.T @ self.solved(hessian, v)
        for value, one in zip(self.alpha.values(), gradient.split([s.numel() for s in shapes]), strict=True):
            value.grad = one.view(value.shape).clone()
        self.upper.step()

    def solved(self, hessian, v):
        options, one = self.options, torch.eye(len(v)).double()
        if options["solver"] == "exact":
            return torch.linalg.solve(hessian + options["damping"] * one, v)
        step = options["neumann_step"]
        return step * sum(torch.linalg.matrix_power(one - step * hessian, j) @ v for j in range(options["terms"] + 1))

    def coast(self):
        for value in self.alpha.values():
            value.grad = torch.zeros_like(value)
        self.upper.step()

    def inner_step(self, number):
        theta = self.theta.clone().requires_grad_()
        loss = self.training_loss(theta, {k: v.detach() for k, v in self.alpha.items()}, self.batches.batch(number))
        self.theta = self.theta - RATE * torch.autograd.grad(loss, theta)[0]

    def run(self):
        options, outer = self.options, 0
        for number in range(EPOCHS * STEPS):
            epoch, step = divmod(number, STEPS)
            active = epoch - options["from_epoch"]
            drops = sum(epoch >= milestone for milestone in options["upper_milestones"])
            warm = min(1.0, (active + 1) / max(1, options["upper_warmup_epochs"]))
            self.upper.param_groups[0]["lr"] = options["upper_learning_rate"] * options["upper_factor"] ** drops * warm
            if step == 0:
                self.before = {name: value.detach().clone() for name, value in self.alpha.items()}
            due = active >= 0 and step % options["outer_every"] == 0
            if due and options["order"] == "outer-first":
                self.outer_step(outer)
            self.inner_step(number)
            if due and options["order"] == "inner-first":
                self.outer_step(outer)
            outer += due
            if options["coast"] and active >= 0:
                self.coast()
            self.taken.append({name: value.detach().clone() for name, value in self.alpha.items()})
        if options["take"] == "last-epoch":
            self.taken.append(self.before)
        else:
            self.taken.append(self.taken[-1])
        return self
