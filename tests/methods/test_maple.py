"""MAPLE-lite: its projection, its outer gradient, the hypergradient by double backward, slopes of the mask, epochs."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.headed_problem import RATE, Problem
from torch.func import functional_call
from torch.nn import functional as F

from reweigh.errors import ConfigError
from reweigh.methods import base, maple

OPTIONS = {"keep": 0.9, "from_epoch": 0, "outer_learning_rate": 1.5, "rex": 1.0}
SCORES = st.lists(st.floats(-5, 5, allow_subnormal=False), min_size=2, max_size=30)


@pytest.fixture
def problem(single_as_double):
    return Problem()


# --- the projection --------------------------------------------------------------------------------------------------


@given(SCORES, st.floats(0.01, 0.99))
def test_the_projection_keeps_the_sum_the_box_and_the_order(values, share):
    scores = torch.tensor(values, dtype=torch.float64)
    found, total = maple.projected(scores, share * len(values)), share * len(values)
    assert float(found.sum()) == pytest.approx(total, abs=1e-9)
    assert found.min() >= 0 and found.max() <= 1
    ordered = found[scores.argsort()]
    assert (ordered.diff() >= 0).all()


@given(SCORES, st.floats(0.01, 0.99), st.integers(0, 10**6))
def test_no_other_point_of_the_set_is_nearer(values, share, seed):
    """Of a convex set the nearest point p is the one with ⟨s − p, q − p⟩ ≤ 0 for every q of it."""
    scores, total = torch.tensor(values, dtype=torch.float64), share * len(values)
    found = maple.projected(scores, total)
    generator = torch.Generator().manual_seed(seed)
    other = maple.projected(5 * torch.randn(len(values), generator=generator, dtype=torch.float64), total)
    assert float((scores - found) @ (other - found)) <= 1e-8


def test_hand_computed_projections():
    """Scores 2.4 and −0.6 to a sum of 1.2: the first is 1 at whatever shift gives the others 0.1 each."""
    found = maple.projected(torch.tensor([2.4, -0.6, -0.6], dtype=torch.float64), 1.2)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.1, 0.1], dtype=torch.float64))
    inside = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    torch.testing.assert_close(maple.projected(inside, 1.5), inside)


# --- the hypergradient -----------------------------------------------------------------------------------------------


def outer_loss(model, at_, validation, rex):
    """R by its definition: the mean loss and the variance of the classes' means, in evaluation mode."""
    twin = copy.deepcopy(model).eval()
    batch = next(iter(validation.in_order(100)))
    losses = F.cross_entropy(functional_call(twin, at_, (batch.inputs,)), batch.labels, reduction="none")
    means = torch.stack([losses[batch.labels == label].mean() for label in batch.labels.unique()])
    return losses.mean() + rex * means.var(correction=0)


@pytest.mark.parametrize("classes", [[0, 1, 2], [0, 2]])
def test_the_outer_gradient_is_that_of_the_mean_and_the_variance_over_classes(problem, monkeypatch, classes):
    """Taken in batches of 5, and where validation lacks a class too."""
    monkeypatch.setattr(maple, "AT_ONCE", 5)
    kept = torch.isin(problem.validation.labels, torch.tensor(classes))
    for name in ("inputs", "labels", "groups"):
        setattr(problem.validation, name, getattr(problem.validation, name)[kept])
    method = maple.Method({**OPTIONS, "rex": 0.7}, problem.context)
    leaves = {name: value.detach().requires_grad_() for name, value in problem.model.named_parameters()}
    expected = torch.autograd.grad(outer_loss(problem.model, leaves, problem.validation, 0.7), list(leaves.values()))
    for found, slope in zip(method.outer_gradient(problem.model).values(), expected, strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-9, atol=1e-12)


def test_the_hypergradient_is_that_of_double_backward(problem, monkeypatch):
    """∂R/∂m_i of θ − η Σ_i m_i ∇ℓ_i / Σ_j m_j around θ itself, with the divisor held, by a kept graph."""
    monkeypatch.setattr(maple, "AT_ONCE", 7)
    method = maple.Method(OPTIONS, problem.context)
    method.mask = (torch.arange(60) % 4 > 0).double()
    names, values = zip(*problem.model.named_parameters(), strict=True)
    batch, twin = next(iter(problem.train.in_order(100))), copy.deepcopy(problem.model).eval()
    leaves = [value.detach().requires_grad_() for value in values]
    losses = F.cross_entropy(
        functional_call(twin, dict(zip(names, leaves, strict=True)), (batch.inputs,)), batch.labels, reduction="none"
    )
    moved = torch.zeros(60, dtype=torch.float64, requires_grad=True)
    slopes = torch.autograd.grad(moved @ losses / method.mask.sum(), leaves, create_graph=True)
    ahead = {name: value - RATE * slope for name, value, slope in zip(names, leaves, slopes, strict=True)}
    (expected,) = torch.autograd.grad(outer_loss(problem.model, ahead, problem.validation, 1.0), moved)
    found = method.derivatives(problem.model)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)
    assert found.std() > 1e-6


def test_passes_for_the_scores_leave_the_model_alone(problem):
    before = copy.deepcopy(problem.model.state_dict())
    maple.Method(OPTIONS, problem.context).derivatives(problem.model)
    assert problem.model.training
    assert all(torch.equal(before[name], value) for name, value in problem.model.state_dict().items())


# --- the mask --------------------------------------------------------------------------------------------------------


def test_the_mask_is_kept_with_the_probability_of_its_score():
    method = maple.Method(OPTIONS, Problem(examples=6000).context)
    method.scores.copy_(torch.linspace(0.05, 0.95, 6000))
    noise = torch.rand(6000, generator=torch.Generator().manual_seed(0)).logit()
    method.draw(noise, 7.0)
    for third in range(3):
        rows = slice(2000 * third, 2000 * (third + 1))
        assert float(method.mask[rows].mean()) == pytest.approx(float(method.scores[rows].mean()), abs=0.03)


@pytest.mark.parametrize("temperature", [1.0, 5.0, 33.0])
def test_slopes_of_the_mask_are_those_of_the_relaxed_one(problem, temperature):
    method = maple.Method(OPTIONS, problem.context)
    scores = torch.linspace(0.02, 0.98, 60, dtype=torch.float64).requires_grad_()
    noise = torch.randn(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    relaxed = torch.sigmoid(temperature * (torch.logit(scores) + noise))
    (expected,) = torch.autograd.grad(relaxed.sum(), scores)
    method.scores, method.mask, method.slopes = scores.detach(), torch.zeros(60), torch.zeros(60).double()
    method.draw(noise, temperature)
    torch.testing.assert_close(method.slopes, expected, rtol=1e-7, atol=1e-12)
    assert torch.equal(method.mask.bool(), relaxed >= 0.5)


def test_scores_at_the_ends_of_the_box_give_numbers():
    method = maple.Method(OPTIONS, Problem().context)
    method.scores.copy_(torch.arange(60) % 2)
    for temperature in (1.0, 33.0):
        method.draw(torch.linspace(-20, 20, 60), temperature)
        assert method.slopes.isfinite().all() and torch.equal(method.mask, (torch.arange(60) % 2).float())


def test_weights_are_means_over_what_is_kept(problem):
    method = maple.Method(OPTIONS, problem.context)
    method.mask.copy_((torch.arange(60) >= 12).float())  # 48 of 60
    step = problem.step(0, method)
    weights = method.example_weights(step, torch.zeros(12, dtype=torch.float64))
    expected = torch.where(step.batch.rows >= 12, 60 / 48 / 12, 0.0).double()
    torch.testing.assert_close(weights, expected, rtol=1e-6, atol=0)


# --- epochs ----------------------------------------------------------------------------------------------------------


def test_an_outer_step_lies_between_masks_and_the_temperature_falls(problem, monkeypatch):
    method, done = maple.Method({**OPTIONS, "from_epoch": 1}, problem.context), []
    monkeypatch.setattr(method, "outer_step", lambda model: done.append("outer step"))
    monkeypatch.setattr(method, "draw", lambda noise, temperature: done.append(round(1 / temperature, 6)))
    for epoch in range(5):
        method.begin_epoch(base.Position(0, epoch, base.Stage("train", 5), 5 * epoch, 5, 0.05), problem.model)
        done.append(f"epoch {epoch}")
    first, *others = [round(0.97 * left + 0.03, 6) for left in (1, 0.75, 0.5, 0.25)]
    expected = ["epoch 0", first, "epoch 1"]
    for number, temperature in enumerate(others):
        expected += ["outer step", temperature, f"epoch {number + 2}"]
    assert done == expected


def test_an_outer_step_lowers_the_scores_of_harmful_examples_by_adam(problem):
    """The first step of Adam has the rate as its size; then the sum is K again."""
    method = maple.Method({**OPTIONS, "outer_learning_rate": 0.05}, problem.context)
    method.draw(torch.linspace(-3, 3, 60), 1.0)
    slopes = method.derivatives(problem.model) * method.slopes
    method.outer_step(problem.model)
    moved = maple.projected(0.9 - 0.05 * slopes / (slopes.abs() + 1e-8), 54.0)
    torch.testing.assert_close(method.scores, moved.to(method.scores), rtol=1e-4, atol=1e-5)
    assert float(method.scores.sum()) == pytest.approx(54, abs=1e-3)
    harmful = slopes > 1e-6
    assert method.scores[harmful].max() < method.scores[slopes < -1e-6].min()


def test_it_needs_examples_that_are_held_out(problem):
    with pytest.raises(ConfigError, match="maple: the split holds nothing out"):
        maple.Method(OPTIONS, replace(problem.context, validation=None))
