"""The noise adaptation layer: losses and slopes by autograd, its steps by one PyTorch optimiser, where Q begins."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.headed_problem import RATE, SIZE, Net, Problem
from support.mnist_runs import finished, spec_of
from torch import nn

from reweigh.config import effects
from reweigh.config.cards import check_options
from reweigh.config.methods.noise_adaptation import CONFUSION, DIAGONAL
from reweigh.errors import ConfigError
from reweigh.methods import base, noise_adaptation

K = 3
START = 0.9 * np.eye(K) + 0.1 / K


def method_of(problem, **options):
    method = noise_adaptation.Method({**DIAGONAL, **options}, problem.context)
    method.begin(method.stages(4)[0], problem.model)
    return method


def at_adapted(problem, **options):
    """The method at its last stage, and Q as it begins there."""
    method = method_of(problem, **options)
    for stage in method.stages(4)[1:]:
        method.begin(stage, problem.model)
    return method, method.scores.softmax(1).numpy().copy()


def position(stage, number):
    return base.Position(number, number // 5, stage, number, 5, RATE)


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- the loss --------------------------------------------------------------------------------------------------------


def plain_losses(logits, scores, labels):
    """−log (pᵀ Q)_y as it is written down."""
    p, matrix = logits.softmax(1), scores.softmax(1)
    return -(p @ matrix)[torch.arange(len(labels)), labels].log()


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(2, 6), st.floats(0.1, 5))
def test_losses_and_slopes_are_those_of_autograd(seed, size, classes, scale):
    logits, scores = scale * random(seed, size, classes), scale * random(seed + 1, classes, classes)
    labels = torch.randint(classes, (size,), generator=torch.Generator().manual_seed(seed))
    weights = random(seed + 2, size).abs()
    leaf = scores.clone().requires_grad_()
    (expected,) = torch.autograd.grad(weights @ plain_losses(logits, leaf, labels), leaf)
    losses = -noise_adaptation.joint(logits, scores, labels).logsumexp(1)
    torch.testing.assert_close(losses, plain_losses(logits, scores, labels))
    torch.testing.assert_close(noise_adaptation.slope(logits, scores, labels, weights), expected)


def test_a_loss_of_sure_and_wrong_logits_is_a_number():
    """pᵀ Q is 0 in single precision there."""
    logits, scores = torch.tensor([[200.0, 0.0]]), torch.tensor([[200.0, 0.0]] * 2)
    assert float(-noise_adaptation.joint(logits, scores, torch.tensor([1])).logsumexp(1)) == pytest.approx(200)


def test_at_the_shares_of_labels_among_sure_predictions_the_slope_is_0():
    """Where p is sure of the class, the best Q is the confusion: 3 of 4 labels 0 of class 0, 1 of 3 of class 1."""
    truth, labels = torch.tensor([0, 0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 0, 1, 0, 1, 1])
    logits = 200.0 * torch.eye(2).double()[truth]
    scores = torch.tensor([[3 / 4, 1 / 4], [1 / 3, 2 / 3]]).double().log()
    weights = torch.full((7,), 1 / 7).double()
    torch.testing.assert_close(noise_adaptation.slope(logits, scores, labels, weights), torch.zeros(2, 2).double())
    away = noise_adaptation.slope(logits, torch.zeros(2, 2).double(), labels, weights)
    np.testing.assert_allclose(away.numpy() * 7, [[-1, 1], [0.5, -0.5]], atol=1e-12)


# --- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("rate", [None, 0.02])
def test_net_and_matrix_move_as_by_optimisers_of_torch(optimiser, rate):
    """Three joint steps; the net by plain SGD, with the same batches, from the same start."""
    problem = Problem()
    method = method_of(problem, optimiser=optimiser, rate=rate, momentum=0.9 if optimiser == "sgd" else 0.0)
    twin, scores = Net().double(), torch.from_numpy(START).log().requires_grad_()
    twin.load_state_dict(copy.deepcopy(problem.model.state_dict()))
    of_net = torch.optim.SGD(twin.parameters(), lr=RATE)
    kinds = {"sgd": lambda: torch.optim.SGD([scores], lr=rate or RATE, momentum=0.9)}
    kinds["adam"] = lambda: torch.optim.Adam([scores], lr=rate or RATE)
    of_matrix = kinds[optimiser]()
    stage = method.stages(4)[0]
    for number in range(3):
        batch = problem.batches.batch(number)
        step = base.Step(torch.tensor(number), method.prepare(position(stage, number)), problem.model, batch, None)
        logits = problem.model(method.inputs(step, batch))
        losses = method.example_losses(logits, batch)
        weights = method.example_weights(step, losses.detach())
        assert weights.tolist() == [1 / SIZE] * SIZE
        problem.model.zero_grad()
        method.objective(step, logits, losses, weights).backward()
        with torch.no_grad():
            for value in problem.model.parameters():
                value -= RATE * value.grad
        of_net.zero_grad()
        of_matrix.zero_grad()
        plain_losses(twin(batch.inputs), scores, batch.labels).mean().backward()
        of_net.step()
        of_matrix.step()
    torch.testing.assert_close(method.scores, scores.detach())
    for found, expected in zip(problem.model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
    assert not np.allclose(method.scores.softmax(1).numpy(), START)
    method.end(stage, problem.model)
    torch.testing.assert_close(method.logged["noise_matrix"].sum(1), torch.ones(K).double())
    torch.testing.assert_close(method.logged["noise_matrix"], scores.detach().softmax(1))


def test_predictions_are_those_of_the_net():
    problem = Problem()
    method = method_of(problem)
    method.scores.copy_(random(0, K, K))
    inputs = problem.train.inputs[:7]
    assert torch.equal(method.predict(problem.model.eval(), inputs), problem.model(inputs))


# --- where it begins -------------------------------------------------------------------------------------------------


def test_the_diagonal_start():
    _, found = at_adapted(Problem())
    np.testing.assert_allclose(found, [[28 / 30, 1 / 30, 1 / 30], [1 / 30, 28 / 30, 1 / 30], [1 / 30, 1 / 30, 28 / 30]])


class Known(nn.Module):
    """Predicts the class that the first input names; in training mode, another one."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, K)

    def forward(self, inputs):
        return torch.eye(K)[(inputs[:, 0].long() + self.training) % K]


@given(st.lists(st.integers(0, K - 1), min_size=60, max_size=60))
def test_the_confusion_is_that_of_predictions_and_labels(said):
    """By counting in Python; a class that is never predicted begins on the diagonal."""
    problem = Problem()
    problem.train.inputs[:, 0] = torch.tensor(said).double()
    method = method_of(problem, **CONFUSION)
    model = Known().train()
    first, second = method.stages(4)
    method.end(first, model)
    method.begin(second, model)
    assert model.training and (first.epochs, second.epochs, second.fresh) == (1, 3, False)
    found, labels = method.scores.softmax(1).numpy(), problem.train.labels.tolist()
    for predicted in range(K):
        among = [label for one, label in zip(said, labels, strict=True) if one == predicted]
        expected = [among.count(label) / len(among) for label in range(K)] if among else START[predicted]
        np.testing.assert_allclose(found[predicted], expected, atol=1e-7)


def test_the_first_stage_is_plain_training_and_leaves_q_alone():
    problem = Problem()
    method = method_of(problem, **CONFUSION)
    weights, losses = problem.weights(method, problem.step(0, method))
    logits = copy.deepcopy(problem.model)(problem.batches.batch(0).inputs)
    expected = nn.functional.cross_entropy(logits, problem.batches.batch(0).labels, reduction="none")
    torch.testing.assert_close(losses, expected)
    method.objective(problem.step(0, method), logits, losses, weights)
    np.testing.assert_allclose(method.scores.softmax(1).numpy(), START)


def test_a_run_with_the_identity_for_a_matrix_is_nearly_plain_training(mnist, monkeypatch):
    """Q is held at I up to e⁻³⁰; the runs differ by rounding alone."""
    monkeypatch.setattr(noise_adaptation, "diagonal", lambda counts: (30 * torch.eye(len(counts))).exp())
    plain = finished(spec_of("none"), mnist)
    spec = spec_of("none")
    spec.update(uses="noise_adaptation", method_options={**DIAGONAL, "rate": 1e-9, "momentum": 0.0})
    run = finished(spec, mnist)
    assert run.curves["train_loss"] == pytest.approx(plain.curves["train_loss"], rel=1e-3)
    monkeypatch.undo()
    assert finished(spec, mnist).curves["train_loss"] != pytest.approx(plain.curves["train_loss"], rel=1e-3)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({**DIAGONAL, "warm_epochs": 3}, "warm_epochs: initial confusion"),
        ({**CONFUSION, "warm_epochs": None}, "warm_epochs: initial confusion"),
        ({**DIAGONAL, "second_schedule": {"name": "constant", "warmup_epochs": 0}}, "second_schedule: with initial"),
        ({**DIAGONAL, "optimiser": "adam"}, "adam has its own"),
        ({**DIAGONAL, "rate": 0.0}, "rate"),
    ],
)
def test_options_that_cannot_be_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        check_options("noise_adaptation", options, "here")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"warm_epochs": 4}, "warm_epochs is 4, but there are 4 epochs"),
        (
            {"second_schedule": {"name": "step", "milestones": [2, 3], "factor": 0.1, "warmup_epochs": 0}},
            "second_schedule has a milestone at epoch 3, but there are 3 epochs",
        ),
    ],
)
def test_a_second_stage_that_never_comes_to_it_is_refused_before_any_job(options, says):
    spec = {"uses": "noise_adaptation", "method_options": {**CONFUSION, **options}, "training": {"epochs": 4}}
    with pytest.raises(ConfigError, match=says):
        effects.check_ends(spec, "here")
