"""The implicit hypergradient against a dense Hessian, an exact solve, an unrolled twin and a true inner optimum."""

import weakref

import pytest
import torch
from support.small_nets import NeverWaits, pass_at, state_bytes, trained_on
from torch import nn

from reweigh.hypergrad import double_backprop, implicit, linear_head
from reweigh.losses import cross_entropy
from reweigh.models.layers import Dropout, hold_dropout, without_trace


class SmallNet(nn.Module):
    """43 parameters, with batch norm and dropout; smooth."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(4, 4), nn.BatchNorm1d(4), Dropout(0.3)
        self.last = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.last(self.drop(torch.tanh(self.norm(self.first(inputs)))))


class NetProblem:
    """AutoBalance's training loss (multipliers Δ, offsets l) on 2 training batches; 3 validation batches."""

    def __init__(self, direct=False):
        torch.manual_seed(4)
        self.model = SmallNet().double()
        self.parameters = trained_on(self.model, (4,))
        self.design = {"multiplier": torch.randn(3).double(), "offset": torch.randn(3).double()}
        batches = [(torch.randn(8, 4).double(), torch.randint(0, 3, (8,))) for _ in range(5)]
        self.training = [self.training_loss(*batch, f"train {k}") for k, batch in enumerate(batches[:2])]
        self.validation = [self.validation_loss(*batch, direct) for batch in batches[2:]]

    def logits(self, at, inputs, name, training):
        hold_dropout(self.model, torch.tensor(2), name)
        with without_trace(self.model, training):
            return torch.func.functional_call(self.model, at, (inputs,))

    def training_loss(self, inputs, labels, name):
        def loss(at, design):
            logits = self.logits(at, inputs, name, True)
            return cross_entropy(torch.sigmoid(design["multiplier"]) * logits + design["offset"], labels).mean()

        return loss

    def validation_loss(self, inputs, labels, direct):
        losses = pass_at(self.model, inputs, labels, training=True, name="validation")
        return lambda at, design: losses(at).mean() + (0.1 * design["offset"].square().sum() if direct else 0.0)

    def hypergradient(self, **options):
        return implicit.hypergradient(self.training, self.validation, self.parameters, self.design, **options)

    def dense(self):
        """(H, ∂g_T/∂α by column, v, direct term), each by torch.autograd.functional on one flat vector (θ, α)."""
        both = {**self.parameters, **self.design}
        sizes = [value.numel() for value in both.values()]
        cut = sum(value.numel() for value in self.parameters.values())

        def mean(losses):
            def of(flat):
                parts = [part.view(v.shape) for part, v in zip(flat.split(sizes), both.values(), strict=True)]
                named = dict(zip(both, parts, strict=True))
                sides = [{name: named[name] for name in side} for side in (self.parameters, self.design)]
                return sum(loss(*sides) for loss in losses) / len(losses)

            return of

        flat = torch.cat([value.flatten() for value in both.values()])
        second = torch.autograd.functional.hessian(mean(self.training), flat)
        first = torch.autograd.functional.jacobian(mean(self.validation), flat)
        return second[:cut, :cut], second[:cut, cut:], first[:cut], first[cut:]


def flat(named):
    return torch.cat([value.flatten() for value in named.values()])


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("step", "terms"), [(1.0, 5), (0.25, 5), (1.0, 0), (0.5, 1)])
def test_it_is_the_series_with_the_dense_hessian(step, terms, sign, direct):
    problem = NetProblem(direct)
    hessian, mixed, v, direct_term = problem.dense()
    found, log = problem.hypergradient(step=step, terms=terms, sign=sign)
    powers = [v]
    for _ in range(terms):
        powers.append(powers[-1] - step * hessian @ powers[-1])
    expected = direct_term + sign * mixed.T @ (step * sum(powers))
    assert found.keys() == problem.design.keys()
    torch.testing.assert_close(flat(found), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(log["direction_norms"], torch.stack([c.norm() for c in powers]), rtol=1e-9, atol=0)
    assert bool(direct_term.norm() > 0) == direct


@pytest.mark.parametrize("direct", [False, True])
def test_graphs_made_anew_for_each_batch_give_the_same(direct):
    problem = NetProblem(direct)
    kept, log = problem.hypergradient(step=0.25, terms=4, power_iterations=2)
    found, same_log = problem.hypergradient(step=0.25, terms=4, power_iterations=2, keep_graphs=False)
    torch.testing.assert_close(found, kept, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(same_log, log, rtol=1e-10, atol=0)


class Token:
    """Lives as long as the graph of one pass."""

    alive, most = weakref.WeakSet(), 0


class Tracked(torch.autograd.Function):
    """The identity, whose node in the graph holds a token."""

    @staticmethod
    def forward(ctx, values):
        ctx.token = Token()
        Token.alive.add(ctx.token)
        Token.most = max(Token.most, len(Token.alive))
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


@pytest.mark.parametrize(("keep_graphs", "most"), [(True, 8), (False, 1)])
def test_without_kept_graphs_there_is_that_of_one_batch_at_a_time(keep_graphs, most):
    problem = NetProblem()
    Token.most = 0
    problem.training = [lambda at, design, of=of: Tracked.apply(of(at, design)) for of in problem.training * 4]
    problem.hypergradient(terms=2, keep_graphs=keep_graphs)
    assert Token.most == most


@pytest.mark.parametrize("direct", [False, True])
def test_it_is_the_unrolled_twin(direct):
    problem = NetProblem(direct)
    twin = double_backprop.implicit_hypergradient(
        problem.training, problem.validation, problem.parameters, problem.design, step=0.7, terms=3
    )
    found, _ = problem.hypergradient(step=0.7, terms=3)
    torch.testing.assert_close(found, twin, rtol=1e-9, atol=1e-12)


def test_the_defaults_are_those_of_the_authors_code():
    problem = NetProblem()
    found, log = problem.hypergradient()
    named, _ = problem.hypergradient(step=1.0, terms=5, sign=-1)
    assert all(torch.equal(found[name], named[name]) for name in found) and log["direction_norms"].shape == (6,)


def test_the_dominant_eigenvalue_is_that_of_the_dense_hessian():
    problem = NetProblem()
    values = torch.linalg.eigvalsh(problem.dense()[0])
    dominant = values[values.abs().argmax()]
    _, log = problem.hypergradient(power_iterations=200)
    torch.testing.assert_close(log["dominant_eigenvalue"], dominant, rtol=1e-8, atol=0)
    assert "dominant_eigenvalue" not in problem.hypergradient()[1]


def test_power_iteration_gives_the_sign_and_survives_zero():
    def product(vector):
        return (torch.tensor([1.0, -3.0]).double() * vector[0], 2 * vector[1])

    start = (torch.ones(2).double(), torch.ones(3).double())
    assert implicit.dominant_eigenvalue(product, start, 60).item() == pytest.approx(-3, rel=1e-9)
    assert implicit.dominant_eigenvalue(product, start, 1).item() == pytest.approx((1 - 3 + 6) / 5)
    assert implicit.dominant_eigenvalue(product, tuple(0 * part for part in start), 5).item() == 0


def test_a_series_is_as_good_as_its_step():
    """Within 2 / λ_max it converges to the solve; beyond, its summands grow without end."""
    torch.manual_seed(0)
    root = torch.randn(6, 6).double()
    hessian, v = root @ root.T / 6 + 0.2 * torch.eye(6).double(), torch.randn(6).double()
    bound = 2 / torch.linalg.eigvalsh(hessian)[-1].item()

    def product(vector):
        return (hessian @ vector[0],)

    (solution,), norms = implicit.neumann(product, (v,), 0.9 * bound, 400)
    torch.testing.assert_close(solution, torch.linalg.solve(hessian, v), rtol=1e-9, atol=1e-12)
    assert norms[-1] < 1e-9 * norms[0]
    _, norms = implicit.neumann(product, (v,), 1.1 * bound, 400)
    assert norms[-1] > 1e6 * norms[0]


def test_it_is_the_slope_of_the_validation_loss_at_the_inner_optimum():
    """Ridge regression of 2 × 3 targets with a penalty e^α for each feature: θ*(α) and so L_V(θ*(α)) in closed form."""
    torch.manual_seed(2)
    batches = [(torch.randn(12, 3).double(), torch.randn(12).double()) for _ in range(4)]
    alpha = {"log_penalty": torch.tensor([-1.0, 0.2, 0.5]).double()}

    def training(inputs, targets):
        def loss(at, design):
            ridge = (design["log_penalty"].exp() * at["slopes"].square()).sum() / 2
            return (inputs @ at["slopes"] - targets).square().mean() / 2 + ridge

        return loss

    def validation(inputs, targets):
        return lambda at, design: (inputs @ at["slopes"] - targets).square().mean() + design["log_penalty"].sum().sin()

    def optimum(log_penalty):
        hessian = sum(x.T @ x / 12 for x, _ in batches[:2]) / 2 + torch.diag(log_penalty.exp())
        return torch.linalg.solve(hessian, sum(x.T @ y / 12 for x, y in batches[:2]) / 2), hessian

    def reached(log_penalty):
        at = {"slopes": optimum(log_penalty)[0]}
        return float(sum(validation(*batch)(at, {"log_penalty": log_penalty}) for batch in batches[2:]) / 2)

    at, hessian = optimum(alpha["log_penalty"])
    step = 1.5 / torch.linalg.eigvalsh(hessian)[-1].item()
    found, _ = implicit.hypergradient(
        [training(*batch) for batch in batches[:2]],
        [validation(*batch) for batch in batches[2:]],
        {"slopes": at},
        alpha,
        step=step,
        terms=300,
    )
    for i in range(3):
        nudge = 1e-5 * torch.eye(3).double()[i]
        slope = (reached(alpha["log_penalty"] + nudge) - reached(alpha["log_penalty"] - nudge)) / 2e-5
        assert found["log_penalty"][i].item() == pytest.approx(slope, rel=1e-7)


def test_a_loss_linear_in_some_parameters_has_no_curvature_there():
    """H = diag(2α, 0): the series solves the first part and sums the second, whose gradient is 3 α."""
    parameters = {"curved": torch.tensor(0.7).double(), "flat": torch.tensor(0.3).double()}
    found, _ = implicit.hypergradient(
        [lambda at, design: design["a"] * (at["curved"] ** 2 + 3 * at["flat"])],
        [lambda at, design: at["curved"] + at["flat"]],
        parameters,
        {"a": torch.tensor(2.0).double()},
        step=0.1,
        terms=4,
    )
    p_curved = 0.1 * sum((1 - 0.1 * 4.0) ** j for j in range(5))
    assert found["a"].item() == pytest.approx(-(1.4 * p_curved + 3 * 0.5))
    found, _ = implicit.hypergradient(  # a part of g_T that is a plain constant
        [lambda at, design: design["a"] * at["curved"] ** 2 + 3 * at["flat"]],
        [lambda at, design: at["curved"] + at["flat"]],
        parameters,
        {"a": torch.tensor(2.0).double()},
        step=0.1,
        terms=4,
    )
    assert found["a"].item() == pytest.approx(-1.4 * p_curved)


def test_nothing_is_left_behind_and_no_value_is_waited_for():
    problem = NetProblem()
    before = state_bytes(problem.model)
    with NeverWaits():
        problem.hypergradient(power_iterations=3)
    assert state_bytes(problem.model) == before
    assert all(parameter.grad is None for parameter in problem.model.parameters())


@pytest.mark.parametrize("options", [{"sign": 0}, {"sign": 2}, {"terms": -1}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match="expected"):
        NetProblem().hypergradient(**options)


def test_missing_batches_and_idle_parameters_are_refused():
    problem = NetProblem()
    with pytest.raises(ValueError, match="at least one"):
        implicit.hypergradient([], problem.validation, problem.parameters, problem.design)
    with pytest.raises(ValueError, match="at least one"):
        implicit.hypergradient(problem.training, [], problem.parameters, problem.design)
    problem.design["idle"] = torch.ones(1).double()
    with pytest.raises(RuntimeError, match="not have been used"):
        problem.hypergradient()


# --- routes of a product with H, and the exact one of a linear model -------------------------------------------------


def product_by(route, problem, along):
    training = implicit.TrainingGradient(
        problem.training, problem.parameters, problem.design, keep_graphs=False, route=route
    )
    return torch.cat([value.flatten() for value in training.hessian_product(along)])


@pytest.mark.parametrize("route", ["reverse", "forward", "difference"])
def test_each_route_gives_the_product_with_a_dense_hessian(route):
    problem = NetProblem()
    torch.manual_seed(9)
    along = tuple(torch.randn_like(value) for value in problem.parameters.values())
    expected = problem.dense()[0] @ torch.cat([value.flatten() for value in along])
    exact = route != "difference"
    found = product_by(route, problem, along)
    assert torch.allclose(found, expected, rtol=1e-8, atol=1e-10) if exact else (
        (found - expected).norm() < 0.02 * expected.norm() and not torch.allclose(found, expected, rtol=1e-6)
    )  # fmt: skip


def test_along_nothing_every_route_gives_nothing():
    problem = NetProblem()
    nowhere = tuple(torch.zeros_like(value) for value in problem.parameters.values())
    for route in ("reverse", "forward", "difference"):
        assert product_by(route, problem, nowhere).abs().max() == 0


class LinearProblem:
    """A weighted cross-entropy of m f + l, f = W x + b: 4 classes, 3 features, 11 examples; m of 2 groups."""

    def __init__(self):
        torch.manual_seed(3)
        self.inputs, self.labels = torch.randn(11, 3).double(), torch.randint(0, 4, (11,))
        self.groups, self.table = torch.arange(11) % 2, torch.rand(4, 2).double() + 0.2
        self.multiplier, self.offset = self.table.T[self.groups], torch.randn(11, 4).double()
        self.weights = torch.rand(11).double()
        self.at = (torch.randn(4, 3).double(), torch.randn(4).double())

    def loss(self, flat):
        weight, bias = flat.view(4, 4)[:, :3], flat.view(4, 4)[:, 3]
        seen = self.multiplier * (self.inputs @ weight.T + bias) + self.offset
        return self.weights @ (seen.logsumexp(1) - seen.gather(1, self.labels[:, None])[:, 0])

    def hessian(self):
        logits = self.inputs @ self.at[0].T + self.at[1]
        shares = (self.multiplier * logits + self.offset).softmax(1)
        return linear_head.hessian(self.inputs, shares, self.weights, self.table, self.groups)


def test_the_hessian_of_a_linear_model_is_that_of_two_derivatives():
    problem = LinearProblem()
    flat = torch.cat((problem.at[0], problem.at[1][:, None]), 1).flatten()
    expected = torch.autograd.functional.hessian(problem.loss, flat)
    assert torch.allclose(problem.hessian(), expected, atol=1e-12)


def test_the_exact_solve_is_the_limit_of_the_series_where_that_converges():
    hessian = LinearProblem().hessian()
    damping = 0.05
    damped = hessian + damping * torch.eye(16).double()
    right = (torch.randn(4, 3).double(), torch.randn(4).double())
    found = linear_head.solve(hessian, *right, damping=damping)

    def product(along):
        moved = damped @ torch.cat((along[0], along[1][:, None]), 1).flatten()
        return moved.view(4, 4)[:, :3], moved.view(4, 4)[:, 3]

    step = 1 / float(torch.linalg.eigvalsh(damped)[-1])
    series, _ = implicit.neumann(product, right, step, 3000)
    assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-8) for a, b in zip(series, found, strict=True))
