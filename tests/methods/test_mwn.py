"""Meta-Weight-Net and BiLAW: every number against plain double backpropagation and PyTorch's own optimisers."""

import copy
from dataclasses import replace

import pytest
import torch
from support import look_ahead
from support.look_ahead import ADAM, SGD, Problem

from reweigh.methods import bilaw, mwn
from reweigh.models.layers import hold_dropout

MWN = {
    "meta_set": "validation",
    "meta_every": 1,
    "hidden": 7,
    "optimiser": ADAM,
    "normalise": False,
    "virtual_step": "apart",
}
METHODS = [mwn.Method, bilaw.Method]


@pytest.fixture
def problem(single_as_double):
    return Problem()


def seen_by(method_class, logits, labels):
    """What the network sees, written out example by example."""
    if method_class is mwn.Method:
        return look_ahead.entropies(logits, labels).detach()[:, None]
    rows = []
    for row, label in zip(logits.detach(), labels.tolist(), strict=True):
        p = (row.exp() / row.exp().sum()).tolist()
        rows.append(sorted(p[label] - other for k, other in enumerate(p) if k != label))
    return torch.tensor(rows, dtype=torch.float64)


def shares(network, seen, normalise):
    weights = network(seen)[:, 0]
    return weights / weights.sum() if normalise else weights / len(weights)


def own_logits(model, step):
    model = copy.deepcopy(model).train()
    hold_dropout(model, step.dropout_seed, "train")
    return model(step.batch.inputs)


def meta_loss(problem, method_class, network, step, meta, rate, normalise):
    """L_meta as a function of the network's parameters, with its graph."""
    seen = seen_by(method_class, own_logits(problem.model, step), step.batch.labels)
    direction = look_ahead.weighted(shares(network, seen, normalise), step.batch.labels)
    return look_ahead.by_double_backpropagation(problem.model, step, meta, direction, rate)


@pytest.mark.parametrize("method_class", METHODS)
@pytest.mark.parametrize(
    "options", [{}, {"normalise": True, "optimiser": SGD}, {"meta_set": "target"}, {"normalise": True, "hidden": 3}]
)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("virtual_step", ["apart", "shared"])
def test_it_trains_as_double_backpropagation_does(single_as_double, method_class, options, dropout, virtual_step):
    """Seven steps, every second of them with a step of V, against a loop of plain autograd and torch.optim.

    With a shared virtual step V moves after the weights of the step are made.
    """
    options = MWN | {"meta_every": 2, "virtual_step": virtual_step} | options
    problem, plain = Problem(dropout), Problem(dropout)
    method = method_class(options, problem.context)
    network = look_ahead.network_of(method)
    upper = look_ahead.optimiser(options["optimiser"], network)
    engines = [torch.optim.SGD(one.model.parameters(), 0.05, 0.9, weight_decay=0.01) for one in (problem, plain)]
    size = 12
    metas = (
        plain.context.validation.stream(size, 0, "meta-batches", True)
        if options["meta_set"] == "validation"
        else plain.context.target
    )
    for number in range(7):
        rate = 0.05 if number < 4 else 0.02  # of the virtual step, which follows the schedule
        step = problem.step(number, method, rate)
        logits = own_logits(plain.model, step)
        before = shares(network, seen_by(method_class, logits, step.batch.labels), options["normalise"]).detach()
        if number % 2 == 0:
            meta = metas.batch(number // 2)
            loss = meta_loss(plain, method_class, network, step, meta, rate, options["normalise"])
            upper.zero_grad()
            loss.backward()
            upper.step()
        after = shares(network, seen_by(method_class, logits, step.batch.labels), options["normalise"]).detach()
        wanted = before if virtual_step == "shared" else after
        found, objective = problem.pass_of(method, step)
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-14)
        look_ahead.same_network(method, network)
        hold_dropout(plain.model, step.dropout_seed, "train")
        losses = look_ahead.entropies(plain.model(step.batch.inputs), step.batch.labels)
        torch.testing.assert_close(objective, wanted @ losses)
        for engine, total in zip(engines, (objective, wanted @ losses), strict=True):
            engine.zero_grad()
            total.backward()
            engine.step()
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(problem.model.state_dict()[name], value, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("method_class", METHODS)
@pytest.mark.parametrize("normalise", [False, True])
def test_the_hypergradient_by_finite_differences(problem, method_class, normalise):
    method = method_class(MWN | {"normalise": normalise}, problem.context)
    network, step = look_ahead.network_of(method), problem.step(3, method, 0.7)
    meta = method.meta.current()
    problem.pass_of(method, step)
    # The network has moved by now: what it sees is what it saw.
    seen = seen_by(method_class, method.logits, step.batch.labels)
    with torch.no_grad():
        for value, parameter in zip(method.network.values(), network.parameters(), strict=True):
            value.copy_(parameter)
    found = method.hypergradient(step, seen)
    size, largest = 1e-5, 0.0
    for (name, slopes), parameter in zip(found.items(), network.parameters(), strict=True):
        for place in range(0, parameter.numel(), 3):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[place] += sign * size
                ends.append(meta_loss(problem, method_class, network, step, meta, 0.7, normalise).item())
                with torch.no_grad():
                    parameter.view(-1)[place] -= sign * size
            wanted = (ends[0] - ends[1]) / (2 * size)
            largest = max(largest, abs(wanted))
            assert slopes.view(-1)[place].item() == pytest.approx(wanted, rel=1e-5, abs=1e-9), name
    assert largest > 1e-4


@pytest.mark.parametrize("method_class", METHODS)
def test_what_the_network_sees_is_constant(problem, method_class):
    """Of weights that do not depend on φ's input through θ: the plain gradient of the step has no term for it."""
    method = method_class(MWN, problem.context)
    step = problem.step(0, method)
    weights, objective = problem.pass_of(method, step)
    gradients = torch.autograd.grad(objective, list(problem.model.parameters()), retain_graph=True)
    plain = torch.autograd.grad(weights.detach() @ method.losses, list(problem.model.parameters()))
    assert not weights.requires_grad and all(
        torch.equal(one, other) for one, other in zip(gradients, plain, strict=True)
    )


@pytest.mark.parametrize("method_class", METHODS)
def test_the_look_ahead_leaves_the_model_to_the_pass_of_the_step(problem, method_class):
    plain, method = copy.deepcopy(problem.model), method_class(MWN, problem.context)
    step = problem.step(0, method)
    problem.pass_of(method, step)
    plain(step.batch.inputs)
    assert problem.model.training
    for name, value in plain.state_dict().items():
        assert torch.equal(problem.model.state_dict()[name], value), name


@pytest.mark.parametrize("method_class", METHODS)
def test_a_network_step_costs_three_passes_more_and_the_others_none(problem, method_class):
    """What the cost in `reweigh bench` comes from: the step's own, one on the meta batch, one of dual numbers."""
    method, passes = method_class(MWN | {"meta_every": 3}, problem.context), []
    problem.model[0].register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    counts = []
    for number in range(6):
        passes.clear()
        problem.pass_of(method, problem.step(number, method))
        counts.append(list(passes))
    assert counts == [[True, True, False], [True], [True]] * 2


@pytest.mark.parametrize("method_class", METHODS)
def test_a_shared_virtual_step_costs_one_backward_pass_less_and_is_the_step_to_the_last_bit(problem, method_class):
    backward = {}
    for kind in ("apart", "shared"):
        method, passes = method_class(MWN | {"virtual_step": kind}, problem.context), []
        hook = problem.model[-1].register_full_backward_hook(lambda *_, passes=passes: passes.append(1))
        step = problem.step(0, method)
        weights, objective = problem.pass_of(method, step)
        found = torch.autograd.grad(objective, list(problem.model.parameters()))
        hook.remove()
        backward[kind] = len(passes)
        losses = look_ahead.entropies(problem.model(step.batch.inputs), step.batch.labels)
        plain = torch.autograd.grad(weights @ losses, list(problem.model.parameters()))
        assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))
    assert backward["shared"] == backward["apart"] - 1


def test_the_rate_of_the_network_is_not_that_of_the_model(problem):
    """A schedule moves the virtual step, and nothing else: Adam's first step is its own rate, whatever the gradient."""
    moves = []
    for rate in (0.05, 0.005):
        method = mwn.Method(MWN | {"optimiser": ADAM | {"weight_decay": 0.0}}, problem.context)
        before = method.network["out.bias"].clone()
        problem.pass_of(method, problem.step(0, method, rate))
        moves.append((method.network["out.bias"] - before).abs().item())
    assert moves == pytest.approx([1e-3, 1e-3], rel=1e-3)


@pytest.mark.parametrize("method_class", METHODS)
def test_examples_with_a_wrong_label_come_to_weigh_less(single_as_double, method_class):
    options = MWN | {"hidden": 100, "normalise": True, "optimiser": ADAM | {"learning_rate": 0.02}}
    before, after = (look_ahead.Mislabelled().trained(method_class, options, steps) for steps in (5, 200))
    assert after[0] / after[1] < 0.5 and before[0] / before[1] > 0.7


def test_the_network_begins_as_linear_layers_do(problem):
    """Uniform in ±1/√fan_in, weights and biases; another seed, another network."""
    method = mwn.Method(MWN | {"hidden": 4000}, problem.context)
    hidden, out = method.network["hidden.weight"], method.network["out.weight"]
    assert hidden.shape == (4000, 1) and out.shape == (1, 4000) and method.network["out.bias"].shape == (1,)
    for values, bound in ((hidden, 1), (method.network["hidden.bias"], 1), (out, 4000**-0.5)):
        assert values.abs().max() <= bound and values.abs().max() > 0.99 * bound
        assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    other = mwn.Method(MWN | {"hidden": 4000}, replace(problem.context, seed=1))
    assert not torch.equal(other.network["hidden.weight"], hidden)


def test_margins_are_sorted_and_leave_the_label_out():
    logits = torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [1.0, 1e-30, 1e-30]]).log()
    found = bilaw.margins(logits, torch.tensor([0, 2, 0]))
    torch.testing.assert_close(found, torch.tensor([[-0.5, -0.2], [0.4, 0.4], [1.0, 1.0]]))


def test_the_spread_that_is_logged_is_that_of_weights_with_mean_one(problem):
    method = mwn.Method(MWN | {"meta_every": 2}, problem.context)
    weights, _ = problem.pass_of(method, problem.step(0, method))
    mean_one = 12 * weights / weights.sum()
    torch.testing.assert_close(method.logged["weight_sd"], ((mean_one - 1) ** 2).mean().sqrt())
    method.logged = {}
    problem.pass_of(method, problem.step(1, method))
    assert not method.logged


def test_a_network_is_a_perceptron_of_one_hidden_layer(problem):
    """Against the formula, number by number."""
    method = bilaw.Method(MWN | {"hidden": 2}, problem.context)
    seen, net = torch.tensor([[0.3, -0.2]], dtype=torch.float64), method.network
    hidden = [
        max(0.0, sum(net["hidden.weight"][unit, k].item() * seen[0, k].item() for k in range(2)) + bias.item())
        for unit, bias in enumerate(net["hidden.bias"])
    ]
    score = sum(net["out.weight"][0, unit].item() * value for unit, value in enumerate(hidden)) + net["out.bias"].item()
    found = method.shares(net, seen)
    assert found.item() == pytest.approx(1 / (1 + torch.tensor(-score, dtype=torch.float64).exp().item()))
