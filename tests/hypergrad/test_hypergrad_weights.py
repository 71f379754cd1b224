"""Hypergradients of what produces weights (a weight network, soft split memberships), against two other ways."""

import pytest
import torch
from support.small_nets import Net, NeverWaits, pass_at, state_bytes, trained_on
from torch import nn
from torch.func import functional_call

from reweigh.hypergrad import double_backprop, lookahead, weight_network
from reweigh.models.layers import Dropout, hold_dropout, without_trace

STEP_SIZE = 0.3


class WeightNet(nn.Module):
    """One logit for each example of (B, features); batch norm and dropout, and smooth."""

    def __init__(self, features):
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(features, 6), nn.BatchNorm1d(6), Dropout(0.3)
        self.last = nn.Linear(6, 1)

    def forward(self, inputs):
        return self.last(self.drop(torch.tanh(self.norm(self.first(inputs.flatten(1)))))).squeeze(1)


class Problem:
    """A net, a batch of 7 and an outer batch of 5, and three ways in which parameters φ produce weights."""

    def __init__(self, kind, batch_norm):
        torch.manual_seed(1)
        self.model = Net(norm=True, dropout=True).double()
        self.images, self.labels = torch.randn(7, 2, 6, 6).double(), torch.tensor([0, 1, 2, 0, 1, 2, 0])
        self.outer_images, self.outer_labels = torch.randn(5, 2, 6, 6).double(), torch.tensor([0, 1, 2, 1, 2])
        self.parameters = trained_on(self.model, (2, 6, 6))
        self.losses = pass_at(self.model, self.images, self.labels, True, batch_norm)
        self.outer_losses = pass_at(self.model, self.outer_images, self.outer_labels, False)
        self.fixed_losses = self.losses(self.parameters).detach().unsqueeze(1)
        self.net = WeightNet({"images": 72, "losses": 1, "split": 75}[kind]).double()
        self.weight_parameters = trained_on(self.net, tuple(self.net.first.weight.shape[1:]))
        self.weights_of = {"images": self.by_image, "losses": self.by_loss, "split": self.by_membership}[kind]
        self.outer_loss = self.left_out_loss if kind == "split" else lambda at, _: self.outer_losses(at).mean()
        self.batch_norm = batch_norm

    def logits(self, phi, inputs):
        hold_dropout(self.net, torch.tensor(3), "weights")
        with without_trace(self.net, True, self.batch_norm):
            return functional_call(self.net, phi, (inputs,))

    def by_image(self, phi):
        """LRWOpt: w_i = g_φ(x_i), of mean 1 over the batch."""
        weights = torch.sigmoid(self.logits(phi, self.images))
        return weights / weights.sum()

    def by_loss(self, phi):
        """Meta-Weight-Net: w_i = g_φ(ℓ_i), the loss being a constant."""
        return torch.sigmoid(self.logits(phi, self.fixed_losses)) / 7

    def membership(self, phi, images, labels):
        return torch.sigmoid(self.logits(phi, torch.cat([images.flatten(1), torch.eye(3).double()[labels]], dim=1)))

    def by_membership(self, phi):
        return self.membership(phi, self.images, self.labels) * torch.linspace(0.5, 1.5, 7).double() / 7

    def left_out_loss(self, at, phi):
        left_out = 1 - self.membership(phi, self.outer_images, self.outer_labels)
        return (left_out * self.outer_losses(at)).sum() / left_out.sum()

    def arguments(self, decay=0.0):
        return self.losses, self.outer_loss, self.parameters, self.weights_of, self.weight_parameters, STEP_SIZE, decay

    def objective(self, phi, decay):
        """The outer objective after the step, by nothing but ordinary gradients."""
        leaves = {name: value.clone().requires_grad_() for name, value in self.parameters.items()}
        inner = (self.weights_of(phi).detach() * self.losses(leaves)).sum()
        inner = inner + decay / 2 * sum((value**2).sum() for value in leaves.values())
        steps = torch.autograd.grad(inner, list(leaves.values()))
        ahead = {name: (value - STEP_SIZE * g).detach() for (name, value), g in zip(leaves.items(), steps, strict=True)}
        return float(self.outer_loss(ahead, phi) + decay / 2 * sum((value**2).sum() for value in ahead.values()))


KINDS = ["images", "losses", "split"]


@pytest.fixture(params=KINDS)
def problem(request):
    return Problem(request.param, "batch")


@pytest.mark.parametrize("decay", [0.0, 0.02])
@pytest.mark.parametrize("batch_norm", ["batch", "running"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_double_backprop_and_central_differences(kind, batch_norm, decay):
    problem = Problem(kind, batch_norm)
    found = lookahead.weight_hypergradient(*problem.arguments(decay))
    twin = double_backprop.weight_hypergradient(*problem.arguments(decay))
    assert found.keys() == twin.keys() == problem.weight_parameters.keys()
    scale = max(value.abs().max() for value in twin.values())
    assert scale > 1e-4
    torch.testing.assert_close(found, twin, rtol=1e-9, atol=1e-12 * float(scale))
    for seed in range(4):
        torch.manual_seed(seed)
        along = {name: torch.randn_like(value) for name, value in problem.weight_parameters.items()}
        above, below = (
            problem.objective(
                {name: v + s * 1e-5 * along[name] for name, v in problem.weight_parameters.items()}, decay
            )
            for s in (1, -1)
        )
        slope = sum(float((found[name] * along[name]).sum()) for name in found)
        assert slope == pytest.approx((above - below) / 2e-5, rel=1e-5, abs=1e-9)


def test_the_soft_split_has_a_direct_and_an_indirect_part():
    """Neither is negligible, and the outer loss without the one gives the other."""
    problem = Problem("split", "batch")
    whole = lookahead.weight_hypergradient(*problem.arguments())["last.weight"]
    ahead = lookahead.look_ahead(
        problem.losses, problem.parameters, problem.weights_of(problem.weight_parameters), STEP_SIZE
    )
    _, direct = lookahead.partial_gradients(problem.outer_loss, ahead, problem.weight_parameters)
    fixed = problem.weight_parameters
    problem.outer_loss = lambda at, _: problem.left_out_loss(at, fixed)
    through = lookahead.weight_hypergradient(*problem.arguments())["last.weight"]
    assert min(direct["last.weight"].norm(), through.norm()) > 0.01 * whole.norm()
    torch.testing.assert_close(whole, direct["last.weight"] + through, rtol=1e-10, atol=1e-14)


def test_free_and_shared_weights_are_special_cases(problem):
    """φ = the weights themselves, and φ = one weight for each class."""
    outer = lambda at: problem.outer_losses(at).mean()  # noqa: E731
    shared = torch.tensor([0.2, 0.5, 0.3]).double()
    arguments = (problem.losses, lambda at, _: outer(at), problem.parameters)
    derivatives = lookahead.example_hypergradient(
        problem.losses, outer, problem.parameters, shared[problem.labels] / 7, STEP_SIZE
    )
    free = lookahead.weight_hypergradient(
        *arguments, lambda phi: phi["w"], {"w": shared[problem.labels] / 7}, STEP_SIZE
    )
    torch.testing.assert_close(free["w"], derivatives, rtol=1e-12, atol=0)
    by_class = lookahead.weight_hypergradient(
        *arguments, lambda phi: phi["w"][problem.labels] / 7, {"w": shared}, STEP_SIZE
    )
    expected = lookahead.by_group(derivatives, problem.labels, 3) / 7
    torch.testing.assert_close(by_class["w"], expected, rtol=1e-12, atol=1e-16)


def test_nothing_is_left_behind_and_no_value_is_waited_for(problem):
    before = state_bytes(problem.model), state_bytes(problem.net)
    with NeverWaits():
        lookahead.weight_hypergradient(*problem.arguments(0.02))
    double_backprop.weight_hypergradient(*problem.arguments(0.02))
    assert (state_bytes(problem.model), state_bytes(problem.net)) == before
    assert all(parameter.grad is None for net in (problem.model, problem.net) for parameter in net.parameters())


def test_parts_of_phi_that_are_not_used():
    problem = Problem("losses", "batch")
    problem.weight_parameters["spare"] = torch.ones(2).double()
    weights_of = problem.weights_of
    problem.weights_of = lambda phi: weights_of({name: phi[name] for name in phi if name != "spare"})
    found = lookahead.weight_hypergradient(*problem.arguments())
    assert torch.equal(found["spare"], torch.zeros(2).double()) and found["last.weight"].norm() > 0
    problem.weights_of = lambda phi: torch.ones(7).double()
    with pytest.raises(RuntimeError, match="does not require grad"):
        lookahead.weight_hypergradient(*problem.arguments())


@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_sharing_the_pass_that_the_network_reads_changes_nothing(batch_norm):
    problem = Problem("losses", batch_norm)

    def weights_of(phi, losses):
        torch.testing.assert_close(losses, problem.fixed_losses[:, 0], rtol=1e-12, atol=0)
        assert not losses.requires_grad
        return torch.sigmoid(problem.logits(phi, losses.unsqueeze(1))) / 7

    before = state_bytes(problem.model)
    with NeverWaits():
        expected = lookahead.weight_hypergradient(
            problem.losses,
            problem.outer_loss,
            problem.parameters,
            problem.by_loss,
            problem.weight_parameters,
            STEP_SIZE,
        )
    found = weight_network.loss_weight_hypergradient(
        problem.losses,
        lambda at: problem.outer_loss(at, None),
        problem.parameters,
        weights_of,
        problem.weight_parameters,
        STEP_SIZE,
    )
    assert found.keys() == expected.keys() and state_bytes(problem.model) == before
    leaves = {name: value.clone().requires_grad_() for name, value in problem.parameters.items()}
    own = problem.losses(leaves)
    same = weight_network.loss_weight_hypergradient(
        problem.losses,
        lambda at: problem.outer_loss(at, None),
        problem.parameters,
        weights_of,
        problem.weight_parameters,
        STEP_SIZE,
        own=(own, list(leaves.values())),
    )
    assert all(torch.equal(same[name], value) for name, value in found.items())
    own.sum().backward()  # the graph of the pass is still there
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-14)
