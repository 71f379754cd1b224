"""Co-teaching: what each net is taught, how much is forgotten when, and whole runs against a plain loop of two nets."""

import copy
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.headed_problem import Net, Problem
from support.mnist_runs import killed_and_resumed, outcome, run_of
from support.mnist_runs import spec_of as plain_spec
from support.positions import at
from torch import nn
from torch.nn import functional as F

from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.methods import base, co_teaching

SGD = {"name": "sgd"}
ADAM = {"name": "adam", "decay_from": 2, "late_beta1": 0.1}
OPTIONS = {"noise_rate": 0.4, "rises_over": 3, "optimiser": SGD}


def spec_of(batch_norm=False, options=OPTIONS, **training):
    spec = plain_spec("none", **training)
    spec.update(uses="co_teaching", method_options=copy.deepcopy(options))
    if batch_norm:
        spec["model"] = {"name": "sce_cnn", "options": {"width": 0.125}}
    return spec


# --- how much is kept ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noise_rate", "rises_over", "rates"),
    [
        (0.45, 10, [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.45, 0.45]),
        (0.4, 3, [0.0, 0.2, 0.4, 0.4]),
        (0.4, 2, [0.0, 0.4, 0.4]),
        (0.4, 1, [0.4, 0.4]),
        (0.0, 10, [0.0] * 12),
    ],
)
def test_the_forget_rate_rises_to_the_noise_rate_and_stays(noise_rate, rises_over, rates):
    found = [co_teaching.forget_rate(epoch, noise_rate, rises_over) for epoch in range(len(rates))]
    assert found == pytest.approx(rates, abs=1e-12)


@given(st.integers(0, 100), st.integers(1, 512))
def test_what_is_kept_is_the_share_rounded_down_but_at_least_one(percent, size):
    """With the share as an exact fraction, whatever 1 - R is as a float."""
    exact = Fraction(100 - percent, 100) * size
    assert co_teaching.kept(1 - percent / 100, size) == max(1, exact.numerator // exact.denominator)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]), min_size=1, max_size=20), st.floats(0.01, 1))
def test_the_smallest_are_chosen_and_the_first_of_equal_ones(losses, share):
    found = co_teaching.smallest(torch.tensor(losses, dtype=torch.float64), share).numpy()
    size = co_teaching.kept(share, len(losses))
    expected = np.zeros(len(losses))
    expected[sorted(range(len(losses)), key=lambda row: (losses[row], row))[:size]] = 1 / size
    np.testing.assert_array_equal(found, expected)


# --- the exchange ----------------------------------------------------------------------------------------------------


class Says(nn.Module):
    """Logits (0, a) where a is one of the input's columns, times one parameter; label 0 then has loss log(1 + eᵃ)."""

    def __init__(self, column):
        super().__init__()
        self.column, self.scale = column, nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, inputs):
        return torch.stack([torch.zeros_like(inputs[:, 0]), self.scale * inputs[:, self.column]], 1)


def test_each_net_learns_what_the_other_finds_easy(single_as_double):
    """Five examples of label 0; net f finds 4, 2, 0 easiest, net g 1, 2, 3. R = 0.4, so that three are kept."""
    said = torch.tensor([[1.0, 9.0], [8.0, -1.0], [0.5, 0.0], [7.0, 1.0], [-2.0, 8.0]], dtype=torch.float64)
    labels = torch.zeros(5, dtype=torch.int64)
    f, g = Says(0), Says(1)
    method = co_teaching.Method(OPTIONS, replace(Problem().context, new_model=lambda stream: g))
    method.begin(method.stages(4)[0], f)
    step = base.Step(torch.tensor(10), method.prepare(at(10)), f, Batch(said, labels, labels, labels), None)
    assert method.kept_share == pytest.approx(0.6)
    logits = f(said)
    losses = method.example_losses(logits, step.batch)
    weights = method.example_weights(step, losses.detach())
    torch.testing.assert_close(weights, torch.tensor([0, 1, 1, 1, 0]).double() / 3)
    torch.testing.assert_close(method.peer_weights, torch.tensor([1, 0, 1, 0, 1]).double() / 3)
    assert method.common.tolist() == pytest.approx([1 / 3, 1])  # only example 2 is chosen by both
    method.objective(step, logits, losses, weights).backward()
    slopes = [said[:, net] * torch.sigmoid(said[:, net]) for net in (0, 1)]  # of log(1 + exp(s a)) by s, at s = 1
    torch.testing.assert_close(f.scale.grad, slopes[0][[1, 2, 3]].mean())
    torch.testing.assert_close(g.scale.grad, slopes[1][[0, 2, 4]].mean())


# --- whole runs ------------------------------------------------------------------------------------------------------


def plain_loop(run, rates, optimiser, pace=lambda optimiser, epoch: None):
    """Two nets as the run begins with them, trained on its batches by a loop that knows nothing of the method.

    `rates` are R by epoch. -> the state of each net.
    """
    nets = [copy.deepcopy(run.model).train(), copy.deepcopy(run.model.peer).train()]
    del nets[0].peer
    moved = [optimiser(net.parameters()) for net in nets]
    for number in range(run.total_steps):
        epoch, batch = number // run.course.steps_per_epoch, run.course.batches.batch(number)
        losses = [F.cross_entropy(net(batch.inputs), batch.labels, reduction="none") for net in nets]
        size = int((1 - rates[epoch]) * len(batch))
        easy = [np.argsort(one.detach().numpy())[:size] for one in losses]
        for one, chosen, mover in zip(losses, easy[::-1], moved, strict=True):
            pace(mover, epoch)
            mover.zero_grad()
            one[torch.from_numpy(chosen)].mean().backward()
            mover.step()
    return [net.state_dict() for net in nets]


def check_against(run, nets):
    run.finish()
    found = run.model.state_dict()
    for beginning, net in zip(("", "peer."), nets, strict=True):
        for name, value in net.items():
            torch.testing.assert_close(found[beginning + name], value, rtol=2e-4, atol=2e-5, msg=beginning + name)
    assert len(found) == 2 * len(nets[0])


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_run_is_a_plain_loop_of_two_nets(mnist, batch_norm):
    """With momentum and weight decay, and batch norm whose running statistics are compared too."""
    spec = spec_of(batch_norm, momentum=0.9, weight_decay=0.01, learning_rate=0.01, drop_last=False)

    def sgd(parameters):
        return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=0.01)

    nets = plain_loop(run_of(spec, mnist), [0, 0.2, 0.4, 0.4], sgd)
    check_against(run_of(spec, mnist), nets)


def test_adam_decays_as_in_the_code(mnist):
    """Four epochs, decay from epoch 2 of 4 on: factors 1, 1, 1, 1/2, and β₁ falls to 0.1 in the third."""
    spec = spec_of(options={**OPTIONS, "optimiser": ADAM}, learning_rate=1e-3, weight_decay=0.01)

    def pace(optimiser, epoch):
        group = optimiser.param_groups[0]
        group["lr"] = 1e-3 * [1, 1, 1, 0.5][epoch]
        group["betas"] = ([0.9, 0.9, 0.1, 0.1][epoch], 0.999)

    nets = plain_loop(
        run_of(spec, mnist),
        [0, 0.2, 0.4, 0.4],
        lambda parameters: torch.optim.Adam(parameters, weight_decay=0.01),
        pace,
    )
    check_against(run_of(spec, mnist), nets)


def test_the_nets_begin_at_different_weights_and_the_first_at_those_of_plain_training(mnist):
    run, again, plain = run_of(spec_of(), mnist), run_of(spec_of(), mnist), run_of(plain_spec("none"), mnist)
    for name, value in plain.model.state_dict().items():
        own, peer = run.model.state_dict()[name], run.model.peer.state_dict()[name]
        assert torch.equal(own, value)
        assert torch.equal(peer, again.model.peer.state_dict()[name])
        assert not torch.equal(peer, own) or not own.any()  # biases are 0
    spec = spec_of()
    spec["seed"] = 1
    assert not torch.equal(run_of(spec, mnist).model.peer.head.weight, run.model.peer.head.weight)


def test_without_noise_the_first_net_trains_as_without_the_other(mnist):
    run, plain = run_of(spec_of(options={**OPTIONS, "noise_rate": 0.0}), mnist), run_of(plain_spec("none"), mnist)
    run.finish()
    plain.finish()
    for name, value in plain.model.state_dict().items():
        assert torch.equal(run.model.state_dict()[name], value), name
    assert run.results()["metrics"] == plain.results()["metrics"]
    assert run.results()["parameters"] == 2 * plain.results()["parameters"]
    assert run.trace()["chosen_by_both"].tolist() == [1, 1, 1, 1]


def test_what_both_chose_is_the_mean_of_an_epoch(mnist):
    run, seen = run_of(spec_of(), mnist), []

    def tick(run):
        method, size = run.method, len(run.method.peer_losses)
        chosen = (method.peer_weights > 0) & (co_teaching.smallest(method.peer_losses, method.kept_share) > 0)
        seen.append(int(chosen.sum()) / co_teaching.kept(method.kept_share, size))

    run.finish(tick)
    by_epoch = np.array(seen).reshape(4, -1).mean(1)
    np.testing.assert_allclose(run.trace()["chosen_by_both"], by_epoch, rtol=1e-5)
    assert by_epoch[0] == 1 and 0 < by_epoch[2] < 1


@pytest.mark.parametrize("optimiser", [SGD, ADAM])
def test_a_resumed_run_ends_the_same_with_batch_norm(mnist, optimiser):
    spec = spec_of(batch_norm=True, options={**OPTIONS, "optimiser": optimiser})
    whole = run_of(spec, mnist)
    whole.finish()
    assert outcome(killed_and_resumed(spec, mnist, whole.total_steps // 2 + 1)) == outcome(whole)


def test_weight_decay_by_layer_is_refused(mnist):
    with pytest.raises(ConfigError, match="layer_weight_decay would reach the first alone: leave it out"):
        run_of(spec_of(layer_weight_decay={"fc1": 0.01}), mnist)


def test_paced_adam_is_that_of_torch(single_as_double):
    mine, theirs = Net().double(), Net().double()
    theirs.load_state_dict(mine.state_dict())
    own = co_teaching.PacedAdam(dict(mine.named_parameters()), 1.0, decay=0.01)
    other = torch.optim.Adam(theirs.parameters(), weight_decay=0.01)
    for number in range(6):
        rate, beta1 = 1e-3 * (number + 1), 0.9 if number < 3 else 0.1
        group = other.param_groups[0]
        group["lr"], group["betas"] = rate, (beta1, 0.999)
        own.prepare(7.0)  # the engine's rate: not used
        own.pace(rate, beta1)
        torch.manual_seed(number)
        for value in theirs.parameters():
            value.grad = torch.randn_like(value)
        slopes = {name: value.grad for name, value in theirs.named_parameters()}
        own.step(slopes)
        other.step()
    for value, expected in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(value, expected)
