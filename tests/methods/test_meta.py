"""META: the derivative by ε against finite differences and double backprop, its schedule, and what it leaves alone."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.absgd_methods import FOCAL, GCE, META, Problem, spec_of
from support.mnist_runs import finished, outcome, run_of
from support.mnist_runs import spec_of as tdr_spec
from support.positions import at
from torch.func import functional_call

from reweigh.errors import ConfigError
from reweigh.methods import meta
from reweigh.weights import effective_number


@pytest.fixture
def problem(monkeypatch):
    """All of it in float64: methods take losses in single precision."""
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)
    return Problem()


def weights_at(method, step):
    """The weights that the method gives after the pass of the step itself, as in the engine; and that pass's losses."""
    losses = method.example_losses(step.model(step.batch.inputs), step.batch)
    return method.example_weights(step, losses.detach()), losses


def priors(problem, step):
    """a_i: class weights ∝ 1/E_c that sum to C, E_c = Σ_{j<n_c} β^j. -> (B,)."""
    inverse = np.array([1 / sum(0.9999**j for j in range(int(n))) for n in problem.context.class_counts])
    return torch.tensor(3 * inverse / inverse.sum())[step.batch.labels]


def meta_loss_after(problem, step, weights, rate, losses_of, outer_of):
    """L_meta(θ − rate ∇ Σ_i w_i ℓ_i(θ)) by plain autograd on copies, both passes in training mode."""
    model = copy.deepcopy(problem.model).train()
    (weights @ losses_of(model(step.batch.inputs), step.batch.labels)).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= rate * parameter.grad
    target = problem.context.target.current()
    with torch.no_grad():
        return outer_of(model(target.inputs), target.labels).mean()


def entropy(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def focal(logits, labels):
    p = torch.softmax(logits, 1).gather(1, labels[:, None])[:, 0]
    return -(1 - p) * p.log()


@pytest.mark.parametrize(
    ("options", "losses_of", "outer_of"),
    [
        ({}, entropy, entropy),
        ({"loss": FOCAL}, focal, entropy),
        ({"loss": FOCAL, "meta_loss": "own"}, focal, focal),
    ],
)
def test_weights_are_class_weights_less_the_derivative_by_finite_differences(problem, options, losses_of, outer_of):
    method = meta.Method(META | {"weight_rate": 0.5} | options, problem.context)
    step = problem.step(3, method)
    found, _ = weights_at(method, step)
    prior, size = priors(problem, step), 1e-4
    derivatives = []
    for place in range(12):
        nudge = torch.zeros(12, dtype=torch.float64)
        nudge[place] = size
        above, below = (
            meta_loss_after(problem, step, prior + sign * nudge, 0.1, losses_of, outer_of) for sign in (1, -1)
        )
        derivatives.append((above - below) / (2 * size))
    derivatives = torch.stack(derivatives)
    assert derivatives.abs().max() > 1e-3
    torch.testing.assert_close((prior - 12 * found) / 0.5, derivatives, rtol=1e-6, atol=1e-9)


def test_the_derivative_is_that_of_double_backpropagation(problem):
    """As the public code has it: ε = 0, a kept graph, −rate · ∂L_meta/∂ε."""
    method = meta.Method(META | {"meta_learning_rate": 0.3}, problem.context)
    step = problem.step(0, method)
    found, _ = weights_at(method, step)
    prior, target = method.prior[step.batch.labels], problem.context.target.current()
    epsilon = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    names, values = zip(*problem.model.named_parameters(), strict=True)
    losses = entropy(problem.model(step.batch.inputs), step.batch.labels)
    gradients = torch.autograd.grad((prior + epsilon) @ losses, values, create_graph=True)
    ahead = {name: value - 0.3 * gradient for name, value, gradient in zip(names, values, gradients, strict=True)}
    outer = entropy(functional_call(problem.model, ahead, (target.inputs,)), target.labels).mean()
    (derivative,) = torch.autograd.grad(outer, epsilon)
    torch.testing.assert_close(found, (prior - 0.01 * derivative) / 12, rtol=1e-12, atol=1e-15)


def test_the_class_weights_are_those_of_the_training_set(problem):
    method = meta.Method(META, problem.context)
    torch.testing.assert_close(method.prior, effective_number(problem.context.class_counts, 0.9999))
    step = problem.step(0, method)
    torch.testing.assert_close(method.prior[step.batch.labels], priors(problem, step), rtol=1e-11, atol=0)


def test_the_weights_leave_the_model_to_the_pass_of_the_step_alone(problem):
    """Parameters and running statistics are those after one plain pass, and so is the gradient that the step takes."""
    plain, method = copy.deepcopy(problem.model), meta.Method(META, problem.context)
    step = problem.step(0, method)
    weights, losses = weights_at(method, step)
    (weights @ losses).backward()
    (weights @ entropy(plain(step.batch.inputs), step.batch.labels)).backward()
    assert problem.model.training and not weights.requires_grad
    for name, value in plain.state_dict().items():
        assert torch.equal(problem.model.state_dict()[name], value), name
    for one, other in zip(problem.model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_the_look_ahead_follows_a_schedule_of_its_own(problem):
    """0.1, from epoch 160 on 0.001, from 180 on 1e-5, counted from 0; the optimiser's rate falls an epoch earlier."""
    options = META | {"from_epoch": 160, "meta_milestones": [160, 180]}
    method = meta.Method(options, problem.context)
    programs = {
        epoch: {method.prepare(at(5 * epoch + place)) for place in range(5)} for epoch in (0, 159, 160, 179, 180)
    }
    assert programs[0] == programs[159] == {"plain"}
    assert programs[160] == programs[179] == {"meta 0.001"} and len(programs[180]) == 1
    assert method.step_size == pytest.approx(1e-5)
    early = meta.Method(options | {"from_epoch": 0}, problem.context)
    assert early.prepare(at(5 * 159 + 4)) == "meta 0.1" and early.prepare(at(5 * 160)) == "meta 0.001"


def test_epochs_before_it_are_plain_and_cost_nothing(mnist, monkeypatch):
    calls = []
    real = meta.directional_derivatives
    monkeypatch.setattr(meta, "directional_derivatives", lambda *given: calls.append(1) or real(*given))
    late = outcome(finished(spec_of("meta", META | {"from_epoch": 4}), mnist))
    assert not calls and late == outcome(finished(tdr_spec("none"), mnist))
    run = run_of(spec_of("meta", META | {"from_epoch": 2}), mnist)
    seeks, seek = [], run.method.context.target.seek
    run.method.context.target.seek = lambda number: seeks.append(number) or seek(number)
    run.finish()
    assert len(calls) == len(seeks) == 10 and seeks == list(range(10, 20))
    assert run.curves["effective_weight"][:2] == [1, 1] and run.curves["effective_weight"][2] != 1


def test_each_step_has_a_batch_of_the_meta_set_of_the_size_that_the_config_gives(mnist):
    spec = spec_of("meta", META, target_batch_size=7)
    run = run_of(spec, mnist)
    sizes, batches = [], []
    real = run.method.meta_loss

    def watched(logits, batch):
        sizes.append(len(batch))
        batches.append(batch.inputs.sum().item())
        return real(logits, batch)

    run.method.meta_loss = watched
    run.advance()
    run.advance()
    assert set(sizes) == {7} and len(set(batches)) == 2


def test_three_passes_forward_there_and_one_of_dual_numbers(problem, monkeypatch):
    """What the cost in `reweigh bench` comes from: the step's own pass, one on the meta batch, one of dual numbers."""
    method, passes = meta.Method(META, problem.context), []
    problem.model[0].register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    weights, losses = weights_at(method, problem.step(0, method))
    (weights @ losses).backward()
    assert passes == [True, True, False]


def test_a_loss_that_remembers_training_examples_is_not_asked_of_the_meta_set(problem):
    meta.Method(META | {"loss": GCE}, problem.context)
    with pytest.raises(ConfigError, match="meta_loss"):
        meta.Method(META | {"loss": GCE, "meta_loss": "own"}, problem.context)
