"""Hypergradients against double backpropagation and central differences, in float64, with batch norm and dropout."""

import pytest
import torch
from support.small_nets import Net, NeverWaits, pass_at, state_bytes, trained_on
from torch import nn

from reweigh.hypergrad import double_backprop, lookahead

STEP_SIZE = 0.3


WAYS = {  # norm, dropout, batch norm of the inner pass, whether the outer pass is in training mode
    "plain": (False, False, None, False),
    "norm": (True, False, None, False),
    "norm+dropout": (True, True, None, False),
    "outer in training mode": (True, True, "batch", True),
    "running statistics": (True, True, "running", False),
}


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def problem(request):
    """(model, parameters, example losses of a batch of 7, outer loss on 5 other examples, weights)."""
    torch.manual_seed(0)
    norm, dropout, batch_norm, outer_training = request.param
    model = Net(norm, dropout).double()
    images, labels = torch.randn(7, 2, 6, 6).double(), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    outer_images, outer_labels = torch.randn(5, 2, 6, 6).double(), torch.tensor([0, 1, 2, 1, 2])
    parameters = trained_on(model, (2, 6, 6))
    losses = pass_at(model, images, labels, True, batch_norm)
    outer = pass_at(model, outer_images, outer_labels, outer_training, name="target")
    return model, parameters, losses, lambda at: outer(at).mean(), torch.rand(7).double() / 7


def outer_after_step(parameters, losses, outer, weights, decay):
    """The outer objective as a plain function of the weights, by nothing but ordinary gradients."""
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    inner = (weights * losses(leaves)).sum() + decay / 2 * sum((value**2).sum() for value in leaves.values())
    gradients = torch.autograd.grad(inner, list(leaves.values()))
    ahead = {name: (value - STEP_SIZE * g).detach() for (name, value), g in zip(leaves.items(), gradients, strict=True)}
    return float(outer(ahead) + decay / 2 * sum((value**2).sum() for value in ahead.values()))


@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_forward_mode_equals_double_backprop_and_central_differences(problem, decay):
    _, parameters, losses, outer, weights = problem
    found = lookahead.example_hypergradient(losses, outer, parameters, weights, STEP_SIZE, decay)
    twin = double_backprop.example_hypergradient(losses, outer, parameters, weights, STEP_SIZE, decay)
    torch.testing.assert_close(found, twin, rtol=1e-9, atol=1e-12)
    for i in range(len(weights)):
        nudge = torch.zeros_like(weights)
        nudge[i] = 1e-5
        above, below = (outer_after_step(parameters, losses, outer, weights + s * nudge, decay) for s in (1, -1))
        assert found[i].item() == pytest.approx((above - below) / 2e-5, rel=1e-5, abs=1e-9)


def test_zero_weights_need_no_look_ahead(problem):
    _, parameters, losses, outer, weights = problem
    short = lookahead.example_hypergradient(losses, outer, parameters, None, STEP_SIZE)
    long = lookahead.example_hypergradient(losses, outer, parameters, torch.zeros_like(weights), STEP_SIZE)
    torch.testing.assert_close(short, long, rtol=1e-12, atol=0)


def test_by_group_is_the_closed_form_of_tdr(problem):
    """h_c = −(η/B) Σ_{i: y_i=c} ⟨u, ∇ℓ_i⟩ (sheet §2.4), with per-example gradients taken one by one."""
    _, parameters, losses, outer, weights = problem
    groups = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    ahead = lookahead.look_ahead(losses, parameters, weights, STEP_SIZE)
    u = lookahead.gradient(outer, ahead)
    expected = torch.zeros(3).double()
    for i, group in enumerate(groups.tolist()):
        gradient = lookahead.gradient(lambda at, i=i: losses(at)[i], parameters)
        expected[group] -= STEP_SIZE / 7 * sum((u[name] * gradient[name]).sum() for name in u)
    derivatives = lookahead.example_hypergradient(losses, outer, parameters, weights, STEP_SIZE)
    torch.testing.assert_close(lookahead.by_group(derivatives, groups, 3) / 7, expected, rtol=1e-9, atol=1e-12)


def test_a_look_ahead_leaves_the_model_as_it_was(problem):
    model, parameters, losses, outer, weights = problem
    model.train()
    model.head.eval()  # a mode of its own must survive too
    before = state_bytes(model)
    lookahead.example_hypergradient(losses, outer, parameters, weights, STEP_SIZE, 0.02)
    double_backprop.example_hypergradient(losses, outer, parameters, weights, STEP_SIZE, 0.02)
    assert state_bytes(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())
    model(torch.randn(4, 2, 6, 6).double())  # an ordinary training pass still moves the running statistics
    assert (state_bytes(model) != before) == isinstance(model.norm, nn.BatchNorm2d)


def test_the_statistics_that_normalise_make_a_difference(problem):
    """Otherwise the ways above would test one thing."""
    model, parameters, _, outer, weights = problem
    images, labels = torch.randn(7, 2, 6, 6).double(), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    found = [
        lookahead.example_hypergradient(
            pass_at(model, images, labels, True, batch_norm), outer, parameters, weights, STEP_SIZE
        )
        for batch_norm in ("batch", "running")
    ]
    assert torch.equal(*found) == isinstance(model.norm, nn.Identity)


def test_losses_that_ignore_the_parameters_are_refused(problem):
    _, parameters, _, _outer, _weights = problem
    with pytest.raises(ValueError, match="do not depend"):
        lookahead.directional_derivatives(lambda at: torch.ones(3), parameters, parameters)


def test_a_look_ahead_never_waits_for_a_value(problem):
    _, parameters, losses, outer, weights = problem
    with NeverWaits():
        lookahead.example_hypergradient(losses, outer, parameters, weights, STEP_SIZE, 0.02)
    with NeverWaits(), pytest.raises(AssertionError, match="value of a tensor"):
        bool(weights.sum() > 0)
