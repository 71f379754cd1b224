"""Mixup: what the model is shown and what it is asked, against a loop in numpy; its draws; runs that are plain."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from support.absgd_methods import GCE
from support.headed_problem import SIZE, Problem
from support.mnist_runs import finished, outcome, spec_of
from support.positions import at

from reweigh.config.cards import check_options
from reweigh.config.methods.mixup import CODE
from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.methods import base, mixup
from reweigh.weights import effective_number

BALANCE = {"beta": 0.9, "from_epoch": 0}


def method_of(problem, **options):
    return mixup.Method({**CODE, **options}, problem.context)


def shown(problem, method, number, size=SIZE):
    """A step's batch of so many examples, and what the model is shown of it."""
    step, whole = problem.step(number, method), problem.batches.batch(number)
    batch = Batch(whole.inputs[:size], whole.labels[:size], whole.groups[:size], whole.rows[:size])
    return batch, method.inputs(step, batch)


@given(st.integers(0, 10**6), st.floats(0.05, 20), st.integers(1, SIZE))
def test_inputs_and_losses_are_those_of_the_formula(number, alpha, size):
    """Example by example in numpy, for a permutation and a λ that are read off the inputs; short batches too."""
    problem = Problem()
    method = method_of(problem, alpha=alpha)
    batch, inputs = shown(problem, method, number % 50, size)
    share, order = float(method.share), method.order.tolist()
    assert sorted(order) == list(range(size)) and 0 <= share <= 1
    logits = torch.randn(size, 3, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
    losses = method.example_losses(logits, batch)
    for i, j in enumerate(order):
        one, other = batch.inputs[i].numpy(), batch.inputs[j].numpy()
        np.testing.assert_allclose(inputs[i].numpy(), share * one + (1 - share) * other, rtol=1e-12)
        row = logits[i].numpy()
        entropy = np.log(np.exp(row).sum()) - row
        expected = share * entropy[batch.labels[i]] + (1 - share) * entropy[batch.labels[j]]
        assert float(losses[i]) == pytest.approx(expected, rel=1e-10)


def test_the_step_is_that_of_the_usual_mixed_criterion():
    """λ CE(f, y_a) + (1 − λ) CE(f, y_b) of PyTorch's means, by its gradient; with class weights too."""
    for balance in (None, BALANCE):
        problem = Problem()
        method = method_of(problem, class_balance=balance)
        method.begin_epoch(at(0), problem.model)
        step, twin = problem.step(3, method), copy.deepcopy(problem.model).train()
        weights, losses = problem.weights(method, step)
        method.objective(step, torch.zeros(0), losses, weights).backward()
        batch, order, share = step.batch, method.order, method.share
        logits = twin(share * batch.inputs + (1 - share) * batch.inputs[order])
        by_class = effective_number(problem.context.class_counts, 0.9) if balance else None
        mean = [F.cross_entropy(logits, labels, weight=by_class) for labels in (batch.labels, batch.labels[order])]
        (share * mean[0] + (1 - share) * mean[1]).backward()
        for found, expected in zip(problem.model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(found.grad, expected.grad)
        _, total = method.counted(batch, weights)
        assert float(total) == pytest.approx(1)


# --- draws -----------------------------------------------------------------------------------------------------------


def test_draws_depend_on_the_seed_and_the_step_alone():
    problem = Problem()
    first, again = method_of(problem), method_of(problem)
    for number in range(5):  # the other one takes step 4 first
        first.prepare(at(number))
    again.prepare(at(4))
    assert torch.equal(first.share, again.share) and torch.equal(first.keys, again.keys)
    for other in (3, 5):  # of the same epoch, and of the next
        again.prepare(at(other))
        assert not torch.equal(first.share, again.share) and not torch.equal(first.keys, again.keys)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_have_the_moments_of_a_beta(alpha):
    """Mean ½, variance 1/(4 (2α + 1)); five standard errors of 4,000 draws."""
    method = method_of(Problem(), alpha=alpha)
    drawn = []
    for number in range(4000):
        method.prepare(at(number))
        drawn.append(float(method.share))
    variance = 1 / (4 * (2 * alpha + 1))
    assert np.mean(drawn) == pytest.approx(0.5, abs=5 * (variance / 4000) ** 0.5)
    assert np.var(drawn) == pytest.approx(variance, rel=0.1)


def test_every_place_is_equally_likely_to_be_a_partner():
    problem = Problem()
    method, counts = method_of(problem), np.zeros((4, 4))
    for number in range(2000):
        shown(problem, method, number, 4)
        counts[np.arange(4), method.order.numpy()] += 1
    assert np.abs(counts - 500).max() < 5 * (2000 * 0.25 * 0.75) ** 0.5


# --- runs ------------------------------------------------------------------------------------------------------------


def test_with_a_share_of_1_it_is_plain_training(mnist, monkeypatch):
    def alone(self, at):
        self.share.fill_(1)
        return "step"

    plain = outcome(finished(spec_of("none"), mnist))
    spec = spec_of("none")
    spec.update(uses="mixup", method_options=CODE)
    mixed = outcome(finished(spec, mnist))
    monkeypatch.setattr(mixup.Method, "prepare", alone)
    assert outcome(finished(spec, mnist)) == plain != mixed


def test_images_keep_their_layout():
    problem = Problem()
    images = torch.randn(SIZE, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    method = method_of(problem)
    step = problem.step(0, method)
    batch = Batch(images, step.batch.labels, step.batch.groups, step.batch.rows)
    assert method.inputs(step, batch).is_contiguous(memory_format=torch.channels_last)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, -1.0])
def test_an_alpha_of_no_beta_is_refused(alpha):
    with pytest.raises(ConfigError, match="alpha"):
        check_options("mixup", {**CODE, "alpha": alpha}, "here")


def test_a_loss_that_drops_examples_is_refused():
    with pytest.raises(ConfigError, match="drops examples"):
        method_of(Problem(), loss=GCE)
    assert isinstance(method_of(Problem(), loss={"name": "sce", "alpha": 0.1, "beta": 1.0}), base.Method)
