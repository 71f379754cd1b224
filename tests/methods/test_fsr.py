"""FSR: weights and scores by double backward through the head, its momentum in a run, its dictionary and its probe."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.headed_problem import DECAY, SIZE, Problem
from support.mnist_runs import run_of, spec_of
from support.positions import at
from torch.nn import functional as F

from reweigh.methods import base, fsr

OPTIONS = {
    "mode": "imbalance", "from_epoch": 0, "capacity_per_class": 5, "probe_per_class": 4,
    "meta_step": 0.1, "meta_momentum": 0.9, "score_memory": 0.9, "label_smoothing": 0.0,
}  # fmt: skip
STAGE = base.Stage("train", 4)


@pytest.fixture
def problem(single_as_double):
    return Problem()


def method_of(problem, **options):
    method = fsr.Method({**OPTIONS, **options}, problem.context)
    method.begin(STAGE, problem.model)
    method.scores = method.scores.double()
    return method


def by_double_backward(problem, method, step):
    """Weights before they are normalised, losses after the virtual step, and the buffer, as the authors' code has it.

    One graph: ε is a leaf, the head after the step a function of it, and the outer loss is differentiated through it.
    """
    smoothing, buffer = method.options["label_smoothing"], {k: v.clone() for k, v in method.velocity.items()}
    twin = copy.deepcopy(problem.model).train()
    features = twin.features(step.batch.inputs).detach()
    probe = method.probe.current()
    probed = copy.deepcopy(problem.model).train().features(probe.inputs).detach()
    head = {name: value.detach().requires_grad_() for name, value in twin.head.named_parameters()}
    epsilon = torch.full((SIZE,), 1 / SIZE, dtype=torch.float64, requires_grad=True)

    def losses(at_, seen, labels, smoothing):
        return F.cross_entropy(
            F.linear(seen, at_["weight"], at_["bias"]), labels, None, None, -100, None, "none", smoothing
        )

    own = losses(head, features, step.batch.labels, smoothing)
    squares = sum((value**2).sum() for value in head.values())
    slopes = torch.autograd.grad(epsilon @ own + DECAY / 2 * squares, list(head.values()), create_graph=True)
    ahead = {
        name: value - 0.1 * (0.9 * buffer[name] + slope)
        for (name, value), slope in zip(head.items(), slopes, strict=True)
    }
    outer = losses(ahead, probed, probe.labels, smoothing).mean()
    outer = outer + DECAY / 2 * sum((value**2).sum() for value in ahead.values())
    (derivative,) = torch.autograd.grad(outer, epsilon)
    raw = (epsilon - derivative).detach()
    after = losses(ahead, features, step.batch.labels, 0.0).detach()
    return raw, own.detach(), after


def normalised(raw, mode):
    """The two modes of the authors' code."""
    kept = (raw - 1 / SIZE).clamp(min=0) if mode == "noise" else raw - raw.min() + 1 / SIZE
    return kept / (kept.sum() + 1e-5)


@pytest.mark.parametrize("mode", ["noise", "imbalance"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weights_and_scores_are_those_of_double_backward(problem, mode, smoothing):
    method = method_of(problem, mode=mode, label_smoothing=smoothing)
    scores = torch.linspace(-1, 1, 60).double()
    method.scores.copy_(scores)
    for name, value in method.velocity.items():
        value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(len(name))))
    step = problem.step(3, method)
    raw, before, after = by_double_backward(problem, method, step)
    weights, losses = problem.weights(method, step)
    torch.testing.assert_close(losses.detach(), before, rtol=1e-12, atol=0)
    torch.testing.assert_close(weights, normalised(raw, mode), rtol=1e-9, atol=1e-13)
    assert weights.std() > 1e-4 and float(weights.sum()) == pytest.approx(1, abs=1e-2)
    expected = scores.clone()
    for place, row in enumerate(step.batch.rows.tolist()):
        expected[row] = 0.9 * scores[row] - 0.1 * (before[place] - after[place])
    torch.testing.assert_close(method.scores, expected, rtol=1e-9, atol=1e-13)
    assert method.scored.sum() == SIZE and method.scored[step.batch.rows].all()


def test_before_it_begins_weights_are_equal_but_scores_are_kept(problem):
    early, late = method_of(problem), method_of(problem, from_epoch=1)
    weights, _ = problem.weights(late, problem.step(3, late))
    assert weights.tolist() == [1 / SIZE] * SIZE
    problem.weights(early, problem.step(3, early))
    torch.testing.assert_close(late.scores, early.scores, rtol=1e-12, atol=0)
    assert late.prepare(at(4)) == "plain" and late.prepare(at(5)) == "meta"


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=12), st.sampled_from(["noise", "imbalance"]))
def test_weights_fall_with_the_derivative_and_sum_to_one(derivatives, mode):
    method = fsr.Method.__new__(fsr.Method)
    method.options = {"mode": mode}
    found = method.weights(torch.tensor(derivatives, dtype=torch.float64))
    assert found.min() >= 0
    assert (found[torch.tensor(derivatives).argsort()].diff() <= 1e-12).all()
    helps = mode == "imbalance" or min(derivatives) < -0.1
    assert not helps or 0.9 < float(found.sum()) <= 1


def test_hand_computed_weights():
    method = fsr.Method.__new__(fsr.Method)
    derivatives = torch.tensor([-3.0, 1.0, -1.0, 0.0], dtype=torch.float64)
    method.options = {"mode": "noise"}  # 3, 0, 1, 0
    torch.testing.assert_close(method.weights(derivatives), torch.tensor([3.0, 0.0, 1.0, 0.0]).double() / 4.00001)
    method.options = {"mode": "imbalance"}  # 1/4 − d less its least, −3/4, plus 1/4: 4.25, 0.25, 2.25, 1.25
    torch.testing.assert_close(method.weights(derivatives), torch.tensor([4.25, 0.25, 2.25, 1.25]).double() / 8.00001)
    assert method.weights(torch.tensor([0.0, float("nan")])).isnan().all()


def test_the_probe_leaves_the_model_alone(problem):
    method = method_of(problem)
    step, before = problem.step(0, method), copy.deepcopy(problem.model.state_dict())
    method.learn(step)
    assert all(torch.equal(before[name], value) for name, value in problem.model.state_dict().items())
    torch.testing.assert_close(
        method.probed[0], copy.deepcopy(problem.model).train().features(method.probe.current().inputs).detach()
    )


def test_the_momentum_is_that_of_the_optimiser(mnist):
    """Its own buffer of the head against the engine's, in a run on pictures, before and after it begins."""
    spec = spec_of("none", momentum=0.9, weight_decay=0.01)
    spec.update(uses="fsr", method_options={**OPTIONS, "from_epoch": 2, "mode": "noise"})
    run, compared = run_of(spec, mnist), 0

    def tick(run):
        nonlocal compared
        if run.optimiser is not None and run.stage_step:
            for name, value in run.method.velocity.items():
                kept = run.optimiser.velocity[f"head.{name}"]
                torch.testing.assert_close(value, kept, rtol=1e-3, atol=1e-5)
                compared += 1

    run.finish(tick)
    assert compared > 10


# --- the dictionary --------------------------------------------------------------------------------------------------


def rows_by_class(problem, rows):
    labels = problem.train.labels.numpy()[rows]
    return [rows[labels == label].tolist() for label in range(3)]


def test_at_first_it_has_equally_many_of_each_class_drawn_by_the_seed(problem):
    first, again = method_of(problem), method_of(problem)
    assert [len(set(rows)) for rows in rows_by_class(problem, first.dictionary)] == [5, 5, 5]
    assert np.array_equal(first.dictionary, again.dictionary)
    large = method_of(problem, capacity_per_class=25)
    assert [len(set(rows)) for rows in rows_by_class(problem, large.dictionary)] == [25, 20, 10]  # of 30, 20 and 10


def test_it_is_refilled_with_the_lowest_scores_of_each_class(problem):
    method = method_of(problem)
    kept = set(method.dictionary)
    method.scores.copy_(torch.linspace(1, -1, 60))
    method.scored.fill_(True)
    method.scored[55:] = False  # the lowest of all, but no step has seen them
    method.begin_epoch(at(0), problem.model)
    assert set(method.dictionary) == kept
    method.begin_epoch(at(5), problem.model)
    labels = problem.train.labels.tolist()
    lowest = [[row for row in range(54, -1, -1) if labels[row] == label][:5] for label in range(3)]
    assert rows_by_class(problem, method.dictionary) == lowest
    assert float(method.logged["dictionary_kept"]) == pytest.approx(len(kept & set(method.dictionary)) / 15)


def test_a_class_that_no_step_has_seen_keeps_its_place(problem):
    method = method_of(problem)
    before = rows_by_class(problem, method.dictionary)
    method.scored.copy_(problem.train.labels != 1)
    method.begin_epoch(at(5), problem.model)
    assert rows_by_class(problem, method.dictionary)[1] == before[1]


def test_the_probe_is_drawn_anew_from_the_dictionary_equally_many_of_each_class(problem):
    method, drawn = method_of(problem), []
    for number in range(20):
        method.prepare(at(number))
        batch = method.probe.current()
        assert torch.bincount(batch.labels).tolist() == [4, 4, 4]
        rows = batch.rows.tolist()
        assert set(rows) <= set(method.dictionary.tolist()) and len(set(rows)) == 12
        drawn.append(tuple(sorted(rows)))
    assert len(set(drawn)) > 10
    method.dictionary = method.dictionary[:-3]  # two of the last class are left, of which it draws four
    assert np.bincount(problem.train.labels.numpy()[method.probe_rows(0)]).tolist() == [4, 4, 4]
