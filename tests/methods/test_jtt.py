"""JTT: the errors of its first model, what they weigh, and that a weight stands for repeated examples."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.absgd_methods import batch_of
from support.headed_problem import SIZE, Problem
from support.mnist_runs import run_of, spec_of
from torch import nn

from reweigh.methods import base, jtt


class Known(nn.Module):
    """Predicts the class that the first input names; in training mode, another one."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 3)

    def forward(self, inputs):
        said = (inputs[:, 0].long() + self.training) % 3
        return torch.eye(3)[said]


@pytest.fixture
def problem():
    return Problem()


def after_first_stage(problem, upweight, wrong):
    """JTT as it begins to retrain, where the first model was wrong of these rows."""
    method = jtt.Method({"first_epochs": 2, "upweight": upweight}, problem.context)
    first, second = method.stages(4)
    said = problem.train.labels.clone()
    said[torch.tensor(wrong)] = (said[torch.tensor(wrong)] + 1) % 3
    problem.train.inputs[:, 0] = said.double()
    model = Known().train()
    method.begin(first, model)
    method.end(first, model)
    assert model.training
    method.begin(second, model)
    return method


def test_the_errors_are_those_of_the_first_model_on_the_training_set(problem):
    method = after_first_stage(problem, 5.0, [3, 17, 59])
    assert np.flatnonzero(method.wrong.numpy()).tolist() == [3, 17, 59]
    assert method.logged["error_share"] == pytest.approx(3 / 60)


def test_a_hand_computed_batch(problem):
    """Three of 60 are wrong and λ = 5, so that the mean of 1 + λ[i ∈ E] is 75/60 = 5/4."""
    method = after_first_stage(problem, 5.0, [3, 17, 59])
    batch = batch_of([0, 1, 2, 0], torch.tensor([17, 0, 1, 3]))
    step = base.Step(torch.tensor(0), "step", Known(), batch, None)
    weights = method.example_weights(step, torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(4 * weights, torch.tensor([4.8, 0.8, 0.8, 4.8]).double(), rtol=1e-6, atol=0)


@given(st.sets(st.integers(0, 59), max_size=60), st.integers(0, 100))
def test_weights_stand_for_repeated_examples(wrong, upweight):
    """The mean step over all batches is that on a set in which each error lies 1 + λ times, whatever the errors."""
    problem = Problem()
    method = after_first_stage(problem, float(upweight), sorted(wrong) or [0])
    wrong = wrong or {0}
    values = torch.arange(60).double() ** 2  # stand for the examples' gradients
    repeated = torch.cat([values[row].expand(1 + upweight * (row in wrong)) for row in range(60)]).mean()
    mean = 0.0
    for rows in torch.arange(60).split(SIZE):
        step = base.Step(torch.tensor(0), "step", Known(), batch_of(torch.zeros(SIZE).long(), rows), None)
        mean += method.example_weights(step, torch.zeros(SIZE, dtype=torch.float64)) @ values[rows] / (60 / SIZE)
    assert mean == pytest.approx(float(repeated), rel=1e-5)


def test_the_first_stage_is_plain_training(problem):
    method = jtt.Method({"first_epochs": 2, "upweight": 5.0}, problem.context)
    first, second = method.stages(4)
    assert (first.epochs, second.epochs, second.fresh) == (2, 4, True)
    method.begin(first, problem.model)
    method.wrong.fill_(1)
    weights, _ = problem.weights(method, problem.step(0, method))
    assert weights.tolist() == [1 / 12] * 12


def test_a_run_retrains_from_its_first_weights_and_is_plain_with_no_upweight(mnist):
    """With λ = 0 all examples weigh the same in both stages."""
    spec = spec_of("none")
    spec.update(uses="jtt", method_options={"first_epochs": 1, "upweight": 0.0})
    run = run_of(spec, mnist)
    start = {name: value.clone() for name, value in run.model.state_dict().items()}
    begun = {}

    def tick(run):
        if run.stage == 1 and run.stage_step == 0:
            begun.update({name: value.clone() for name, value in run.model.state_dict().items()})

    run.finish(tick)
    assert all(torch.equal(begun[name], value) for name, value in start.items())
    assert set(run.curves["effective_weight"]) == {1.0}
    assert 0 < run.trace()["error_share"][0] < 1
