"""GDW: Λ, its update and the step against a computation example by example; what the constraint does and what not."""

import copy

import pytest
import torch
import torch.nn.functional as F
from support import look_ahead
from support.look_ahead import ADAM, SGD, Problem
from torch.func import functional_call

from reweigh.methods import gdw
from reweigh.models.layers import hold_dropout

GDW = {"meta_set": "validation", "hidden": 7, "optimiser": ADAM, "class_rate": 100.0, "clip": 0.2}


@pytest.fixture
def problem(single_as_double):
    return Problem()


def constrained(table, shares, labels):
    """The label's weight of each example such that the weighted gradient sums to 0; a row at a time, with the graph."""
    rows = []
    for row, p, label in zip(table, shares, labels.tolist(), strict=True):
        entries = list(row)
        entries[label] = ((row * p).sum() - row[label] * p[label]) / (1 - p[label])
        rows.append(torch.stack(entries))
    return torch.stack(rows)


def first_table(network, losses, shares, labels):
    """Λ as the network gives it, constrained, with the graph to the network."""
    given = network(losses.detach()[:, None])
    return constrained(given.expand(-1, shares.shape[1]), shares, labels)


def meta_loss(model, step, meta, table, shares, rate):
    """L_meta after the virtual step along (p − y) ⊙ Λ / B, with its graph to Λ."""
    error = shares - F.one_hot(step.batch.labels, shares.shape[1])
    return look_ahead.by_double_backpropagation(model, step, meta, lambda _: table * error / len(error), rate)


def second_table(table, slopes, options, shares, labels):
    """Λ after its own step, an entry at a time."""
    total = sum(abs(value) for row in slopes.tolist() for value in row)
    moved = table.clone()
    for i in range(len(table)):
        for c in range(table.shape[1]):
            update = min(max(options["class_rate"] * slopes[i, c].item() / total, -options["clip"]), options["clip"])
            moved[i, c] = min(max(table[i, c].item() - update, 1e-6), 1e6)
    return constrained(moved, shares, labels)


def forward(model, step):
    """Logits of a pass on a copy, losses, and probabilities cut at 0.999."""
    model = copy.deepcopy(model).train()
    hold_dropout(model, step.dropout_seed, "train")
    logits = model(step.batch.inputs)
    return look_ahead.entropies(logits, step.batch.labels), logits.softmax(1).detach().clamp(max=0.999)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"meta_set": "target", "optimiser": SGD},
        {"class_rate": 1.0, "clip": 0.02},
        {"class_rate": 1e6, "clip": 5.0},  # many an entry is at the lower clamp
    ],
)
@pytest.mark.parametrize(("dropout", "sureness"), [(0.0, 1.0), (0.4, 1.0), (0.0, 30.0)])
def test_it_trains_as_double_backpropagation_does(single_as_double, options, dropout, sureness):
    """Five steps of Λ, V and the model against a loop of plain autograd, an example and a class at a time.

    A model that is sure of itself has probabilities above 0.999, of labels and of other classes.
    """
    options = GDW | options
    problem, plain = Problem(dropout), Problem(dropout)
    with torch.no_grad():
        for one in (problem, plain):
            one.model[-1].weight.mul_(sureness)
    method = gdw.Method(options, problem.context)
    network = look_ahead.network_of(method)
    upper = look_ahead.optimiser(options["optimiser"], network)
    engines = [torch.optim.SGD(one.model.parameters(), 0.3, 0.9, weight_decay=0.01) for one in (problem, plain)]
    stream = plain.context.validation.stream(12, 0, "meta-batches", True)
    metas = stream if options["meta_set"] == "validation" else plain.context.target
    for number in range(5):
        step = problem.step(number, method, 0.3)
        labels = step.batch.labels
        losses, shares = forward(plain.model, step)
        assert (shares == 0.999).any() or sureness == 1
        table = first_table(network, losses, shares, labels)
        table.retain_grad()
        upper.zero_grad()
        meta_loss(plain.model, step, metas.batch(number), table, shares, 0.3).backward()
        upper.step()
        wanted = second_table(table.detach(), table.grad, options, shares, labels)
        error = shares - F.one_hot(labels, 3)
        weights, objective = problem.pass_of(method, step)
        torch.testing.assert_close(method.direction, wanted * error / 12, rtol=1e-9, atol=1e-13)
        torch.testing.assert_close(weights, wanted.gather(1, labels[:, None])[:, 0] / 12, rtol=1e-9, atol=1e-13)
        look_ahead.same_network(method, network)
        hold_dropout(plain.model, step.dropout_seed, "train")
        logits = plain.model(step.batch.inputs)
        for engine in engines:
            engine.zero_grad()
        objective.backward()
        logits.backward(wanted * error / 12)
        for engine in engines:
            engine.step()
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(problem.model.state_dict()[name], value, rtol=1e-8, atol=1e-12)


def test_the_slopes_of_every_weight_by_finite_differences(problem):
    method = gdw.Method(GDW, problem.context)
    step = problem.step(2, method, 0.5)
    meta = method.meta.current()
    losses, shares = forward(problem.model, step)
    table = first_table(look_ahead.network_of(method), losses, shares, step.batch.labels).detach()
    hold_dropout(problem.model, None, "train")
    method.example_losses(problem.model(step.batch.inputs), step.batch)
    error = (shares - F.one_hot(step.batch.labels, 3)) / 12
    found = method.slopes(step, table * error) * error
    assert found.abs().max() > 1e-4
    for i in range(12):
        for c in range(3):
            ends = []
            for sign in (1, -1):
                nudged = table.clone()
                nudged[i, c] += sign * 1e-4
                ends.append(meta_loss(problem.model, step, meta, nudged, shares, 0.5).item())
            assert found[i, c].item() == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-5, abs=1e-9)


def table_of(shares, labels):
    """Λ of a network that says 0.4 for the first example, 0.7 for the next, and so on; before and after Z."""
    given = torch.linspace(0.4, 0.7, len(shares), dtype=torch.float64)[:, None].expand_as(shares)
    of_label = labels[:, None] == torch.arange(shares.shape[1])
    return given, gdw.zero_mean(given, shares, of_label), of_label


def test_at_first_the_constraint_changes_no_value_but_where_a_probability_is_cut():
    logits = torch.tensor([[0.3, -1.0, 0.2], [6.8, 0.0, 0.0], [9.0, 0.0, 0.5]], dtype=torch.float64)
    labels = torch.tensor([1, 0, 0])
    shares = logits.softmax(1).clamp(max=gdw.CEILING)
    assert (logits.softmax(1)[:, 0] > 0.999).tolist() == [False, False, True]
    given, table, of_label = table_of(shares, labels)
    torch.testing.assert_close(table[:2], given[:2], rtol=1e-12, atol=0)
    assert torch.equal(table[2, 1:], given[2, 1:])
    left = logits.softmax(1)[2, 1:].sum() / 0.001  # of what the others have, over what the cut leaves them
    assert table[2, 0].item() == pytest.approx(0.7 * left.item()) and left < 0.5
    gradient = table * (shares - of_label.to(shares))
    torch.testing.assert_close(gradient[:2].sum(1), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_it_matters_by_which_weights_the_slope_is_taken(problem):
    """By Λ after Z, as the authors' code has it, whose table keeps its gradient from there on; by the Λ that Z is
    given, the label's entry would have none and the others more. To V both are the same."""
    method = gdw.Method(GDW, problem.context)
    step, network = problem.step(0, method, 0.5), look_ahead.network_of(method)
    losses, shares = forward(problem.model, step)
    labels, meta = step.batch.labels, method.meta.current()
    given = network(losses.detach()[:, None]).expand(-1, 3).clone()
    given.retain_grad()
    table = constrained(given, shares, labels)
    table.retain_grad()
    meta_loss(problem.model, step, meta, table, shares, 0.5).backward()
    own = labels[:, None]
    assert (given.grad.gather(1, own) == 0).all() and (table.grad.gather(1, own) != 0).all()
    assert (given.grad - table.grad).abs().max() > 0.1 * table.grad.abs().max()
    torch.testing.assert_close(given.grad.sum(1), table.grad.sum(1), rtol=1e-10, atol=1e-16)


def test_the_step_sums_to_zero_over_the_classes_and_the_constraint_is_what_does_it(problem):
    method = gdw.Method(GDW, problem.context)
    problem.pass_of(method, problem.step(1, method))
    torch.testing.assert_close(method.direction.sum(1), torch.zeros(12, dtype=torch.float64), rtol=0, atol=1e-12)
    spread = 12 * method.direction / (method.logits.softmax(1) - F.one_hot(problem.batches.batch(1).labels, 3))
    assert (spread.max(1).values - spread.min(1).values > 0.01).any()  # rows are not of one weight any more


def test_the_update_is_clipped_and_clamped_and_the_constraint_comes_last():
    """A row whose entries are pushed below the clamp: the label's weight is a mean of the others', not clamped."""
    method = object.__new__(gdw.Method)
    method.options = {"class_rate": 100.0, "clip": 0.2}
    shares = torch.tensor([[0.999, 0.0004, 0.0005], [0.2, 0.3, 0.5]], dtype=torch.float64)
    of_label = torch.tensor([[True, False, False], [False, True, False]])
    weights = torch.full((2, 3), 0.15, dtype=torch.float64)
    slopes = torch.tensor([[1.0, 1.0, 1.0], [0.001, 0.0, -1.0]], dtype=torch.float64)
    found = method.updated(weights, slopes, shares, of_label)
    small = 0.15 - 100 * 0.001 / 4.001  # neither clipped nor clamped
    torch.testing.assert_close(
        found,
        torch.tensor([[1e-6 * 0.9, 1e-6, 1e-6], [small, (0.2 * small + 0.5 * 0.35) / 0.7, 0.35]], dtype=torch.float64),
    )
    assert found[0, 0] < 1e-6


def test_no_slope_at_all_leaves_the_weights():
    method = object.__new__(gdw.Method)
    method.options = {"class_rate": 100.0, "clip": 0.2}
    shares = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
    weights, of_label = torch.full((1, 3), 0.4, dtype=torch.float64), torch.tensor([[True, False, False]])
    torch.testing.assert_close(method.updated(weights, torch.zeros_like(weights), shares, of_label), weights)
    assert method.updated(weights, torch.full_like(weights, torch.nan), shares, of_label).isnan().any()


def test_of_weights_that_are_all_one_it_is_plain_training(problem):
    """Without an update and with V = 1 the gradient is that of the mean cross-entropy."""
    method = gdw.Method(GDW | {"clip": 1e-300}, problem.context)
    for name in ("hidden.weight", "hidden.bias", "out.weight"):
        method.network[name].zero_()
    method.network["out.bias"].fill_(60.0)  # sigmoid: 1
    _, objective = problem.pass_of(method, problem.step(0, method))
    parameters = list(problem.model.parameters())
    found = torch.autograd.grad(objective, parameters, retain_graph=True)
    plain = torch.autograd.grad(method.losses.mean(), parameters)
    for one, other in zip(found, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-15)


def test_the_look_ahead_leaves_the_model_to_the_pass_of_the_step(problem):
    plain, method, passes = copy.deepcopy(problem.model), gdw.Method(GDW, problem.context), []
    problem.model[0].register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    step = problem.step(0, method)
    problem.pass_of(method, step)
    plain(step.batch.inputs)
    assert passes == [True, True, False]  # the step's own pass, one on the meta batch, one of dual numbers
    for name, value in plain.state_dict().items():
        assert torch.equal(problem.model.state_dict()[name], value), name


def test_a_step_of_the_weights_lowers_the_meta_loss(problem):
    """Along G the virtual step with the new Λ has the lower loss on the same meta batch."""
    method = gdw.Method(GDW | {"class_rate": 1.0}, problem.context)
    step = problem.step(0, method, 0.5)
    losses, shares = forward(problem.model, step)
    table = first_table(look_ahead.network_of(method), losses, shares, step.batch.labels).detach()
    problem.pass_of(method, step)
    ends = []
    parameters = dict(problem.model.named_parameters())
    for direction in (table * (shares - F.one_hot(step.batch.labels, 3)) / 12, method.direction):
        slopes = torch.autograd.grad(method.logits, list(parameters.values()), direction, retain_graph=True)
        ahead = {name: value - 0.5 * slope for (name, value), slope in zip(parameters.items(), slopes, strict=True)}
        meta = method.meta.current()
        ends.append(look_ahead.entropies(functional_call(problem.model, ahead, (meta.inputs,)), meta.labels).mean())
    assert ends[1] < ends[0] - 1e-3


def test_examples_with_a_wrong_label_weigh_less(single_as_double):
    wrong, right = look_ahead.Mislabelled().trained(gdw.Method, GDW, 100)
    assert wrong < 0.8 * right
