"""The library's classes in a loop as anyone writes it, against the engine's runs of the same method: the same bits."""

import pytest
import torch
import torch.nn.functional as F
from support import every_method
from support.small_nets import state_bytes

from reweigh.config.methods.absgd import BENCH as ABSGD
from reweigh.config.methods.autobalance import CODE as AUTOBALANCE
from reweigh.config.methods.autobalance import PRINTED
from reweigh.config.methods.penalised import PENALTY
from reweigh.config.methods.sgd import PLAIN
from reweigh.config.methods.tdr import CODE as TDR
from reweigh.methods.base import Step
from reweigh.torch import (
    ABSGDWeights,
    AutoBalanceLoss,
    FocalLoss,
    HARPenalty,
    LDAMLoss,
    LogitAdjustedLoss,
    TDRWeights,
    VSLoss,
    har_strengths,
)
from reweigh.torch.alone import batch_of


class Loop:
    """A loop over the batches of a run, from its first weights, in plain torch."""

    def __init__(self, uses, options, raw):
        self.engine = every_method.run_of(uses, options, raw, execute=lambda program, device_side: device_side())
        self.twin = every_method.run_of(uses, options, raw, execute=None)
        self.model, self.counts = self.twin.model, self.twin.method.context.class_counts
        training = self.twin.spec["training"]
        self.optimiser = torch.optim.SGD(
            self.model.parameters(),
            lr=training["learning_rate"],
            momentum=training["momentum"],
            weight_decay=training["weight_decay"],
            nesterov=training["nesterov"],
            foreach=True,
        )

    def batches(self):
        for number in range(self.twin.course.steps):
            self.optimiser.param_groups[0]["lr"] = self.twin.course.at(number).learning_rate
            self.twin.course.batches.seek(number)
            yield number, self.twin.course.batches.current()

    def step(self, loss):
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def check(self):
        """The engine takes its run to the end, and has the same model."""
        self.engine.finish()
        assert self.engine.step > 5 and self.engine.diverged_at is None
        assert state_bytes(self.engine.model) == state_bytes(self.model)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
@pytest.mark.parametrize("lam", [2.0, -1.0, None])
def test_absgd(lam, gamma, mnist):
    loop = Loop("absgd", {**ABSGD, "lambda_": lam, "gamma": gamma, "alpha": 0.5}, mnist)
    absgd = ABSGDWeights(lam, gamma, alpha=0.5)
    for _, batch in loop.batches():
        losses = F.cross_entropy(loop.model(batch.inputs), batch.labels, reduction="none")
        loop.step((absgd(losses.detach()) * losses).sum())
    loop.check()
    assert torch.equal(loop.engine.method.log_s, absgd.log_s)


@pytest.mark.parametrize(
    ("said", "make"),
    [
        ({"name": "ldam", "max_margin": 0.5, "scale": 30.0}, LDAMLoss),
        ({"name": "focal", "gamma": 2.0, "weight_leaks": False}, lambda counts: FocalLoss(2.0)),
        ({"name": "parametric", "tau": 1.0, "gamma": 0.0}, LogitAdjustedLoss),
        ({"name": "parametric", "tau": 0.5, "gamma": 0.2}, lambda counts: VSLoss(counts, tau=0.5, gamma=0.2)),
    ],
    ids=["ldam", "focal", "la", "vs"],
)
def test_losses(said, make, mnist):
    loop = Loop("sgd", {**PLAIN, "loss": said}, mnist)
    loss = make(loop.counts.tolist())
    for _, batch in loop.batches():
        losses = loss(loop.model(batch.inputs), batch.labels)
        loop.step(losses.mul(1 / len(losses)).sum())
    loop.check()


@pytest.mark.parametrize("normalisation", ["class", "batch"])
def test_tdr(normalisation, mnist):
    options = {**TDR, "outer_every": 3, "outer_learning_rate": 5.0, "normalisation": normalisation}
    loop = Loop("tdr", options, mnist)
    known, training = loop.twin.method.context, loop.twin.spec["training"]
    tdr = TDRWeights(
        loop.counts, every=3, learning_rate=training["learning_rate"], outer_learning_rate=5.0,
        normalisation=normalisation, weight_decay=training["weight_decay"],
    )  # fmt: skip
    moved = 0
    for number, batch in loop.batches():
        for stream in (known.fresh, known.target):
            stream.seek(number // 3)
        fresh, target = known.fresh.current(), known.target.current()
        moved += tdr.update(loop.model, (fresh.inputs, fresh.labels), (target.inputs, target.labels))
        losses = F.cross_entropy(loop.model(batch.inputs), batch.labels, reduction="none")
        loop.step((tdr(batch.labels) * losses).sum())
    loop.check()
    assert moved == len(loop.engine.trace()["outer_step"]) > 2
    assert torch.equal(loop.engine.method.weights, tdr.weights) and tdr.weights[0] != tdr.weights[1]


@pytest.mark.parametrize("aggregate", ["sum", "rss"])
def test_hars_penalty(aggregate, mnist):
    loop = Loop("uniform_penalty", {**PENALTY, "lambda_": 0.3, "aggregate": aggregate}, mnist)
    strengths = har_strengths([0.2, 0.4], [100, 10])
    loop.engine.method.strengths.copy_(strengths)
    har = HARPenalty(strengths, PENALTY["layers"], lam=0.3, aggregate=aggregate)
    for _, batch in loop.batches():
        with har.watch(loop.model):
            logits = loop.model(batch.inputs)
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        loss = torch.full_like(losses, 1 / len(losses)) @ losses
        loop.step(loss + har(loss, batch.labels))
    loop.check()


@pytest.mark.parametrize("base", [PRINTED, AUTOBALANCE], ids=["printed", "code"])
def test_autobalances_loss_and_search(base, mnist):
    """At the engine's α, after its search, the loss and its gradient are the same bits; dL_V/dα is the same."""
    changed = {"start": "la", "weights": "none", "neumann_step": "auto", "batches": 1, "cluster_size": 1, "take": "end"}
    loop = Loop("autobalance", {**base, **changed}, mnist)
    while loop.engine.stage == 0:
        loop.engine.advance()
    searched, method = loop.engine.method.design.values, loop.twin.method
    ours = AutoBalanceLoss(loop.counts, start="la")
    for name, value in ours.alpha.items():
        assert torch.equal(value, method.design.values[name]) and not torch.equal(value, searched[name])
        value.data.copy_(searched[name])
        method.design.values[name].copy_(searched[name])
    method._use_design()
    _, batch = next(loop.batches())
    one = results(loop.model, batch, lambda logits: ours(logits, batch.labels))
    other = results(loop.model, batch, lambda logits: method.example_losses(logits, batch))
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))

    for stream in (method.outer_train, method.outer_validation):
        stream.seek(1)
    gradient, _ = method.hypergradient(Step(torch.tensor(0), "outer", loop.model, batch, None))
    train, held_out = ([(one.inputs, one.labels) for one in method._batches(stream)]
                       for stream in (method.outer_train, method.outer_validation))  # fmt: skip
    ours.search(loop.model, train, held_out, lambda logits, labels: method.fair(logits, batch_of(logits, labels)))
    for name, value in gradient.items():
        assert value.abs().max() > 1e-3
        torch.testing.assert_close(ours.alpha[name].grad, value, rtol=1e-5, atol=1e-8)


def results(model, batch, losses_of):
    """The losses of a batch, and the gradients of their sum."""
    model.zero_grad()
    losses = losses_of(model(batch.inputs))
    losses.sum().backward()
    return losses.detach(), *(value.grad.clone() for value in model.parameters())
