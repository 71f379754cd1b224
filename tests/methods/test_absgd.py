"""SGD, ABSGD, ABAdam and EG: weights, gradients and updates against plain float64 computations, and whole real runs."""

import math

import numpy as np
import pytest
import torch
from support.absgd_methods import ABSGD, ADAM, DEFERRED, EG, FOCAL, GCE, LDAM, SGD, Problem
from support.positions import STEPS_PER_EPOCH, at

from reweigh.config.cards import check_options
from reweigh.errors import ConfigError
from reweigh.methods import abadam, absgd, base, eg, sgd
from reweigh.optimisers import MomentumSGD
from reweigh.weights import effective_number


@pytest.fixture
def problem():
    return Problem()


def losses_of(count, size=12, spread=2.0, seed=0):
    return torch.tensor(np.random.default_rng(seed).gamma(1.0, spread, size=(count, size)))


def weights_by(method, problem, batches, start=0):
    """The weights that a method gives to batches with these losses, from step `start` on."""
    found = []
    for number, losses in enumerate(batches, start):
        found.append(method.example_weights(problem.step(number, method), losses))
    return found


# --- the weights of ABSGD --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lambda_", [1.0, 5.0, -0.5, -3.0])
@pytest.mark.parametrize(("gamma", "alpha"), [(1.0, 1.0), (0.5, 1.0), (0.45, 0.3), (0.9, 0.5)])
def test_weights_are_those_of_the_moving_average_computed_directly(problem, lambda_, gamma, alpha):
    method = absgd.Method(ABSGD | {"lambda_": lambda_, "gamma": gamma, "alpha": alpha}, problem.context)
    batches, s = losses_of(30), 0.0
    for found, losses in zip(weights_by(method, problem, batches), batches.numpy(), strict=True):
        e = np.exp(losses / lambda_)
        s = (1 - gamma) * s + gamma * alpha * e.mean()
        np.testing.assert_allclose(found, e / (s * len(losses)), rtol=1e-12)
    assert method.log_s.exp().item() == pytest.approx(s, rel=1e-12)


def test_a_short_last_batch_has_its_own_size(problem):
    method = absgd.Method(ABSGD, problem.context)
    first, second = losses_of(1)[0], losses_of(1, size=5, seed=1)[0]
    _, found = weights_by(method, problem, [first, second])
    s = 0.25 * (first / 2).exp().mean() + 0.5 * (second / 2).exp().mean()
    torch.testing.assert_close(found, (second / 2).exp() / s / 5, rtol=1e-12, atol=0)


@pytest.mark.parametrize("lambda_", [1e-2, -1e-2])
def test_weights_are_finite_at_a_loss_of_plus_or_minus_ten_thousand_lambdas(problem, lambda_):
    """In float32, at ℓ/λ = ±1e4 one after the other, and mixed in a batch: never above 1/(γα)."""
    method = absgd.Method(ABSGD | {"lambda_": lambda_}, problem.context)
    high, low = torch.full((12,), 100.0), torch.full((12,), -100.0)
    mixed = torch.where(torch.arange(12) % 2 == 0, high, low)
    for found in weights_by(method, problem, [low, high, low, mixed, high, torch.zeros(12), mixed]):
        assert found.dtype == torch.float32 and found.isfinite().all() and (found >= 0).all()
        assert found.sum() <= 1 / 0.5 + 1e-6
    assert method.log_s.isfinite()


def test_the_losses_of_ldam_at_lambda_1_do_not_overflow(problem):
    method = absgd.Method(ABSGD | {"lambda_": 1.0}, problem.context)
    (found,) = weights_by(method, problem, [torch.tensor([300.0] * 6 + [0.0] * 6)])
    assert found.tolist() == pytest.approx([2 / 6] * 6 + [0] * 6)  # Σ = 1/(γα) = 2, on the large losses alone


def test_an_underflow_of_the_whole_first_batch_gives_the_weights_of_the_formula(problem):
    method = absgd.Method(ABSGD | {"lambda_": -0.001, "alpha": 0.5}, problem.context)
    (found,) = weights_by(method, problem, [torch.full((12,), 7.0)])
    assert found.tolist() == pytest.approx([1 / (0.5 * 0.5 * 12)] * 12)


@pytest.mark.parametrize(("gamma", "alpha"), [(0.45, 0.3), (0.7, 0.5), (1.0, 1.0)])
def test_the_sum_of_the_weights_is_1_over_gamma_alpha_at_first_and_then_1_over_alpha(problem, gamma, alpha):
    method = absgd.Method(ABSGD | {"lambda_": 5.0, "gamma": gamma, "alpha": alpha}, problem.context)
    sums = [float(found.sum()) for found in weights_by(method, problem, losses_of(1500, spread=1.0))]
    assert sums[0] == pytest.approx(1 / (gamma * alpha), rel=1e-12)
    assert np.mean(sums[100:]) == pytest.approx(1 / alpha, rel=0.02)


def test_a_negative_lambda_gives_weights_that_fall_with_the_loss(problem):
    losses = losses_of(1)[0].sort().values
    (noise,) = weights_by(absgd.Method(ABSGD | {"lambda_": -1.0}, problem.context), problem, [losses])
    (imbalance,) = weights_by(absgd.Method(ABSGD | {"lambda_": 1.0}, problem.context), problem, [losses])
    assert (noise.diff() < 0).all() and (imbalance.diff() > 0).all()


def test_the_uniform_term_adds_the_plain_weights(problem):
    options = ABSGD | {"lambda_": -0.5, "alpha": 0.5}
    plain, both = (absgd.Method(options | {"uniform": value}, problem.context) for value in (False, True))
    for without, added in zip(
        weights_by(plain, problem, losses_of(9)), weights_by(both, problem, losses_of(9)), strict=True
    ):
        torch.testing.assert_close(added, without + 1 / 12, rtol=1e-15, atol=0)


def test_with_gamma_and_alpha_1_it_is_the_gradient_of_the_tilted_loss(problem):
    """λ log mean exp(ℓ/λ), differentiated by autograd, and softmax(ℓ/λ): the memoryless weights of EG too."""
    for lambda_ in (2.0, -0.5):
        method = absgd.Method(ABSGD | {"lambda_": lambda_, "gamma": 1.0}, problem.context)
        rival = eg.Method(EG | {"lambda_": lambda_}, problem.context)
        for number in range(3):
            step = problem.step(number, method)
            losses = method.example_losses(problem.model(step.batch.inputs), step.batch)
            tilted = lambda_ * torch.log(torch.mean(torch.exp(losses / lambda_)))
            expected = torch.autograd.grad(tilted, list(problem.model.parameters()), retain_graph=True)
            weights = method.example_weights(step, losses.detach())
            torch.testing.assert_close(weights, torch.softmax(losses.detach() / lambda_, 0), rtol=1e-12, atol=0)
            memoryless = rival.example_weights(problem.step(number, rival), losses.detach())
            torch.testing.assert_close(memoryless, weights, rtol=1e-12, atol=0)
            found = torch.autograd.grad(weights @ losses, list(problem.model.parameters()))
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-13)


# --- two stages ------------------------------------------------------------------------------------------------------


def test_lambda_changes_at_the_first_step_of_epoch_160_counted_from_0(problem):
    method = absgd.Method(ABSGD | {"from_epoch": 160, "gamma": 0.5, "alpha": 0.5}, problem.context)
    last = 160 * STEPS_PER_EPOCH - 1
    losses = losses_of(2)
    assert method.prepare(at(0)) == method.prepare(at(last)) == "plain" and method.prepare(at(last + 1)) == "lambda 2.0"
    before, after = weights_by(method, problem, losses, start=last)
    assert torch.equal(before, torch.full((12,), 1 / 12, dtype=torch.float64))
    assert after.sum().item() == pytest.approx(4)  # s was 0 until now: 1/(γα)


def test_s_is_kept_where_a_finite_lambda_gives_way_to_another(problem):
    """The public code never sets its moving average back."""
    method = absgd.Method(ABSGD | {"from_epoch": 1, "first_lambda": 100.0, "lambda_": 1.0}, problem.context)
    batches, s = losses_of(8), 0.0
    for number, (found, losses) in enumerate(zip(weights_by(method, problem, batches), batches, strict=True)):
        e = (losses / (100.0 if number < 5 else 1.0)).exp()
        s = 0.5 * s + 0.5 * float(e.mean())
        torch.testing.assert_close(found, e / s / 12, rtol=1e-12, atol=0)


# --- class weights and averages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [None, LDAM])
def test_class_balanced_sgd_is_the_weighted_mean_of_pytorch(problem, loss):
    """From epoch 2 on; before it the plain mean."""
    method = sgd.Method(SGD | {"loss": loss, "class_balance": DEFERRED}, problem.context)
    weights = effective_number(problem.context.class_counts, 0.9999)
    raw = 0.5 * (problem.context.class_counts / 10) ** -0.25
    for epoch in range(4):
        method.begin_epoch(at(5 * epoch), problem.model)
        step = problem.step(5 * epoch, method)
        logits = problem.model(step.batch.inputs).detach().requires_grad_()
        losses = method.example_losses(logits, step.batch)
        total = method.example_weights(step, losses.detach()) @ losses
        if loss:
            margin = torch.zeros_like(logits).scatter_(1, step.batch.labels[:, None], raw[step.batch.labels][:, None])
            logits_of_loss = 30.0 * (logits - margin)
        else:
            logits_of_loss = logits
        criterion = torch.nn.CrossEntropyLoss(weight=weights if epoch >= 2 else None)
        expected = criterion(logits_of_loss, step.batch.labels)
        torch.testing.assert_close(total, expected, rtol=1e-11, atol=0)
        (found,), (gradient,) = torch.autograd.grad(total, logits), torch.autograd.grad(expected, logits)
        torch.testing.assert_close(found, gradient, rtol=1e-11, atol=1e-13)


def test_class_balanced_focal_loss_is_a_plain_mean_as_in_the_public_code(problem):
    method = sgd.Method(SGD | {"loss": FOCAL, "class_balance": {"beta": 0.9999, "from_epoch": 0}}, problem.context)
    method.begin_epoch(at(0), problem.model)
    step = problem.step(0, method)
    logits = problem.model(step.batch.inputs).detach()
    weights = effective_number(problem.context.class_counts, 0.9999)
    entropy = torch.nn.functional.cross_entropy(logits, step.batch.labels, weight=weights, reduction="none")
    losses = method.example_losses(logits, step.batch)
    total = method.example_weights(step, losses) @ losses
    torch.testing.assert_close(total, ((1 - torch.exp(-entropy)) * entropy).mean(), rtol=1e-11, atol=0)


@pytest.mark.parametrize("normalisation", ["none", "batch"])
def test_class_weights_inside_absgd_are_as_they_are_or_average_1_in_the_batch(problem, normalisation):
    balance = {"beta": 0.9999, "from_epoch": 1, "normalisation": normalisation}
    method = absgd.Method(ABSGD | {"class_balance": balance}, problem.context)
    class_weights, s = effective_number(problem.context.class_counts, 0.9999), 0.0
    for number in range(10):
        if number % 5 == 0:
            method.begin_epoch(at(number), problem.model)
        step = problem.step(number, method)
        entropy = torch.nn.functional.cross_entropy(
            problem.model(step.batch.inputs).detach(), step.batch.labels, reduction="none"
        )
        v = class_weights[step.batch.labels] if number >= 5 else torch.ones(12, dtype=torch.float64)
        losses = v * entropy / (v.mean() if normalisation == "batch" else 1)
        with torch.no_grad():
            found = method.example_losses(problem.model(step.batch.inputs), step.batch)
        torch.testing.assert_close(found, losses, rtol=1e-11, atol=1e-13)
        e = (found / 2).exp()
        s = 0.5 * s + 0.5 * float(e.mean())
        torch.testing.assert_close(method.example_weights(step, found), e / s / 12, rtol=1e-12, atol=0)


# --- EG --------------------------------------------------------------------------------------------------------------


def test_persistent_weights_are_products_over_all_visits_of_an_example(problem):
    method = eg.Method(EG | {"lambda_": -2.0, "persistent": True, "from_epoch": 1}, problem.context)
    v, batches = np.ones(60), losses_of(20)
    for number, losses in enumerate(batches):
        step = problem.step(number, method)
        found = method.example_weights(step, losses)
        rows = step.batch.rows.numpy()
        if number >= 5:
            v[rows] *= np.exp(-0.5 * losses.numpy())
            np.testing.assert_allclose(found, v[rows] / v[rows].sum(), rtol=1e-12)
        else:
            assert found.tolist() == [1 / 12] * 12
    assert len(np.unique(v)) == 60


# --- ABAdam ----------------------------------------------------------------------------------------------------------


def test_abadam_is_the_update_of_the_paper_in_float64(problem):
    method = abadam.Method(ABSGD | ADAM | {"stability": 1e-3, "beta1": 0.8}, problem.context)
    model, decays = problem.model, [0.01, 0.01, 0.002, 0.002, 0.002, 0.002]
    named = dict(model.named_parameters())
    parameters, names = list(named.values()), list(named)
    optimiser = method.optimiser(named, dict(zip(names, decays, strict=True)))
    state = [(value.detach().numpy().copy(), 0.0, 0.0) for value in parameters]
    s = 0.0
    for number in range(12):
        rate = 0.05 / (number + 1)
        optimiser.prepare(rate)
        rate = float(optimiser.rate)
        step = problem.step(number, method)
        losses = method.example_losses(model(step.batch.inputs), step.batch)
        e = np.exp(losses.detach().numpy() / 2)
        s = 0.5 * s + 0.5 * e.mean()
        gradients = torch.autograd.grad(torch.tensor(e / s / 12) @ losses, parameters, retain_graph=True)
        for place, gradient in enumerate(value.numpy() for value in gradients):
            w, v, u = state[place]
            v = 0.8 * v + 0.2 * gradient
            u = 0.999 * u + 0.001 * gradient**2
            state[place] = w - rate * (v / (np.sqrt(u) + 1e-3) + decays[place] * w), v, u
        moved = torch.autograd.grad(method.example_weights(step, losses.detach()) @ losses, parameters)
        optimiser.step(dict(zip(names, moved, strict=True)))
        for name, parameter, (w, v, u) in zip(names, parameters, state, strict=True):
            np.testing.assert_allclose(parameter.detach(), w, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(optimiser.v[name], v, rtol=1e-9, atol=1e-15)
            np.testing.assert_allclose(optimiser.u[name], u, rtol=1e-9, atol=1e-15)


# --- pruning --------------------------------------------------------------------------------------------------------


def test_a_refresh_asks_the_model_in_inference_mode_and_changes_nothing_of_it(problem):
    method = sgd.Method(SGD | {"loss": GCE}, problem.context)
    problem.model.train()
    problem.model(problem.train.inputs)
    with torch.no_grad():
        problem.model[-1].weight.mul_(6)
    before = {name: value.clone() for name, value in problem.model.state_dict().items()}
    method.begin_epoch(at(5), problem.model)
    assert problem.model.training
    assert all(torch.equal(value, before[name]) for name, value in problem.model.state_dict().items())
    problem.model.eval()
    likely = torch.softmax(problem.model(problem.train.inputs), 1).gather(1, problem.train.labels[:, None])[:, 0] > 0.5
    assert 0 < likely.sum() < 60 and torch.equal(method.loss.kept, likely)


# --- state and options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uses", "options", "says"),
    [
        ("absgd", ABSGD | {"lambda_": 0.0}, "null is plain SGD"),
        ("absgd", ABSGD | {"first_lambda": 0}, "null is plain SGD"),
        ("absgd", ABSGD | {"gamma": 0.0}, "gamma"),
        ("absgd", ABSGD | {"gamma": 1.5}, "gamma"),
        ("absgd", {**ABSGD, "lamda": 5.0}, "unknown key 'lamda'; did you mean 'lambda_'?"),
        ("absgd", ABSGD | {"class_balance": DEFERRED}, "class_balance.normalisation"),
        ("eg", EG | {"lambda_": None}, "lambda_"),
        ("sgd", SGD | {"sampling": "class-aware"}, "sampling"),
        ("sgd", {"loss": None}, "missing"),
    ],
)
def test_impossible_options_are_refused(uses, options, says):
    with pytest.raises(ConfigError) as refused:
        check_options(uses, options, "here")
    assert says in str(refused.value)


def test_a_state_is_written_into_the_tensors_that_a_captured_step_reads(problem):
    for module, options in ((absgd, ABSGD), (eg, EG | {"persistent": True})):
        method = module.Method(options, problem.context)
        tensors = [value for value in method.state().values() if isinstance(value, torch.Tensor)]
        places = [value.data_ptr() for value in tensors]
        assert isinstance(method, base.Method) and tensors
        method.load_state(
            {name: torch.clone(v) if isinstance(v, torch.Tensor) else v for name, v in method.state().items()}
        )
        again = [value for value in method.state().values() if isinstance(value, torch.Tensor)]
        assert [value.data_ptr() for value in again] == places
    assert math.isinf(absgd.Method(ABSGD, problem.context).log_s)


# --- eq. (2) and torch's momentum ------------------------------------------------------------------------------------


def moved_by(optimiser, values, gradients, rates):
    """Where an optimiser takes `values` along gradients, one rate a step."""
    for gradient, rate in zip(gradients, rates, strict=True):
        optimiser.prepare(rate)
        optimiser.step({"w": gradient})
    return values["w"]


def test_the_momentum_of_equation_2_is_torchs_until_the_rate_drops():
    gradients = torch.tensor(np.random.default_rng(0).normal(size=(12, 5)))

    def both(rates):
        found = []
        for make in (
            lambda values: absgd.HeavyBall(values, {"w": 0.01}, 0.9),
            lambda values: MomentumSGD(values, rates[0], 0.9, False, 0.01),
        ):
            values = {"w": torch.linspace(-1, 1, 5, dtype=torch.float64)}
            found.append(moved_by(make(values), values, gradients, rates))
        return found

    torch.testing.assert_close(*both([0.1] * 12), rtol=1e-12, atol=0)
    rates = [0.1] * 6 + [0.001] * 6
    ours, torchs = both(rates)
    weight = before = torch.linspace(-1, 1, 5, dtype=torch.float64)  # eq. (2), by hand
    for gradient, rate in zip(gradients, rates, strict=True):
        weight, before = weight - rate * (gradient + 0.01 * weight) + 0.9 * (weight - before), weight
    torch.testing.assert_close(ours, weight, rtol=1e-12, atol=0)
    assert (ours - torchs).abs().max() > 0.1  # the steps before the drop go on; torch's form cuts them by 100


def test_the_momentum_of_equation_2_is_taken_where_the_options_ask_for_it(problem):
    weight = {"w": torch.zeros(3)}
    made = [
        absgd.Method(ABSGD | more, problem.context).optimiser(weight, {"w": 0.0}) for more in ({}, {"heavy_ball": 0.9})
    ]
    assert made[0] is None and isinstance(made[1], absgd.HeavyBall)
    assert "heavy_ball" not in check_options("absgd", {**ABSGD, "heavy_ball": None}, "")
    with pytest.raises(ConfigError, match="heavy_ball"):
        check_options("abadam", {**ABSGD, **ADAM, "heavy_ball": 0.9}, "")
