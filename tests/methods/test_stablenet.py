"""StableNet: Fourier features and decorrelation loss by loops, the inner steps by torch's SGD, descent, its memory."""

import math

import numpy as np
import pytest
import torch
from support.headed_problem import SIZE, Problem
from support.positions import at
from torch import nn

from reweigh.errors import ConfigError
from reweigh.methods import base, stablenet
from reweigh.streams import rng

OPTIONS = {
    "features": 512, "strength": 70.0, "inner_steps": 20, "inner_rate": 1.0, "inner_momentum": 0.9, "memory": 0.9,
}  # fmt: skip
STAGE = base.Stage("train", 4)


@pytest.fixture
def problem(single_as_double):
    return Problem()


def method_of(problem, **options):
    method = stablenet.Method({**OPTIONS, **options}, problem.context)
    method.begin(STAGE, problem.model)
    for name in ("frequency", "phase", "keep", "features", "weights"):
        setattr(method, name, getattr(method, name).double())
    return method


def waves(features, frequency, phase):
    """φ by loops over examples and features."""
    found = np.zeros(features.shape)
    for i, row in enumerate(features):
        angles = [frequency * value + shift for value, shift in zip(row, phase, strict=True)]
        low, high = min(angles), max(angles)
        for a, angle in enumerate(angles):
            scaled = math.pi / 2 * (angle - low) / (high - low)
            found[i, a] = math.sqrt(2) * (math.cos(scaled) + math.sin(scaled))
    return found


def off_diagonal(values, weights):
    """Σ_{a≠b} Cov(a, b)² of weighted values by loops: Cov = E[(φ_a − E φ_a)(φ_b − E φ_b)]."""
    total, mean = 0.0, weights @ values
    for a in range(values.shape[1]):
        for b in range(values.shape[1]):
            if a != b:
                both = (values[:, a] - mean[a]) * (values[:, b] - mean[b])
                total += float(weights @ both) ** 2
    return total


def test_fourier_features_and_their_covariances_by_loops():
    generator = np.random.default_rng(0)
    features, phase = generator.normal(size=(9, 5)), generator.uniform(0, 6, 5)
    expected = waves(features, 0.7, phase)
    found = stablenet.fourier(torch.tensor(features), torch.tensor(0.7, dtype=torch.float64), torch.tensor(phase))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    weights = generator.dirichlet(np.ones(9))
    spread = stablenet.correlation(found, torch.tensor(weights))
    assert float(spread) == pytest.approx(off_diagonal(expected, weights), rel=1e-9)


def test_independent_features_have_no_correlation_and_equal_ones_have_it_all():
    grid = torch.cartesian_prod(torch.arange(3.0), torch.arange(4.0)).double()
    uniform = torch.full((12,), 1 / 12, dtype=torch.float64)
    assert stablenet.correlation(grid, uniform) == pytest.approx(0, abs=1e-20)
    same = grid[:, :1].expand(-1, 2)
    assert float(stablenet.correlation(same, uniform)) == pytest.approx(2 * (2 / 3) ** 2)  # Var(0, 1, 2) = 2/3


def by_torch(method, features, memory, remembered):
    """v by torch's own SGD on a loss that is written down with loops' covariances replaced by torch.cov."""
    raw = torch.ones(len(features), 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([raw], lr=1.0, momentum=0.9)
    for number in range(20):
        optimiser.param_groups[0]["lr"] = 1.0 if number < 10 else 0.1
        everything = torch.cat((features, memory))
        phi = everything * method.frequency[number] + method.phase[number]
        phi = phi - phi.min(1, keepdim=True)[0]
        phi = phi / phi.max(1, keepdim=True)[0] * math.pi / 2
        phi = math.sqrt(2.0) * (torch.cos(phi) + torch.sin(phi))
        weights = torch.softmax(torch.cat((raw[:, 0], remembered)), 0)
        matrix = torch.cov(phi.T, aweights=weights, correction=0)
        loss = (matrix**2).sum() - torch.trace(matrix**2)
        optimiser.zero_grad()
        (loss / 70 + torch.softmax(raw[:, 0], 0).pow(2).sum()).backward()
        optimiser.step()
    return raw.detach()[:, 0]


def test_the_inner_steps_are_sgd_with_a_drop_after_half(problem):
    method = method_of(problem)
    method.prepare(at(60))
    memory = torch.randn(SIZE, 6, dtype=torch.float64)
    method.features.copy_(memory)
    method.weights.copy_(torch.linspace(0.5, 1.5, SIZE))
    features = torch.randn(SIZE, 6, dtype=torch.float64)
    expected = by_torch(method, features, memory, torch.linspace(0.5, 1.5, SIZE).double())
    torch.testing.assert_close(method.learned(features) - 1, expected - 1, rtol=1e-9, atol=1e-14)
    assert expected.std() > 1e-5


def test_the_weights_decorrelate(problem):
    """On Fourier features that were not learned from, the weights correlate less than equal ones do."""
    method = method_of(problem, strength=0.01)
    method.prepare(at(60))
    generator = torch.Generator().manual_seed(0)
    features, memory = (torch.randn(SIZE, 6, generator=generator).double().relu() for _ in range(2))
    method.features.copy_(memory)
    weights, before, after = torch.softmax(method.learned(features), 0), 0.0, 0.0
    for number in range(200):
        fresh = rng(7, number)
        frequency, phase = torch.tensor(fresh.normal(size=1)), torch.tensor(fresh.uniform(0, 2 * math.pi, 6))
        phi = stablenet.fourier(features, frequency, phase)
        before += float(stablenet.correlation(phi, torch.full_like(weights, 1 / SIZE)))
        after += float(stablenet.correlation(phi, weights))
    assert after < 0.95 * before


def test_at_the_authors_strength_the_weights_are_all_but_equal(problem):
    """With λ_p = 70 twenty steps move weights of mean 1 by less than a thousandth, at 512 features too."""
    method, generator = method_of(problem), torch.Generator().manual_seed(0)
    features, memory = (torch.randn(128, 512, generator=generator).double().relu() for _ in range(2))
    method.features, method.weights = memory, torch.ones(128).double()
    method.phase = torch.rand(20, 512, generator=generator).double() * 2 * math.pi
    method.frequency.copy_(torch.randn(20, generator=generator))
    weights = 128 * torch.softmax(method.learned(features), 0)
    assert 0 < weights.std() < 1e-3


def test_weights_are_of_what_the_head_sees_and_the_memory_follows(problem):
    method = method_of(problem)
    seen, kept, raws = [], torch.zeros(SIZE, 6, dtype=torch.float64), torch.ones(SIZE, dtype=torch.float64)
    for number in (0, 1, 2, 60):
        step = problem.step(number, method)
        features = problem.model.features(step.batch.inputs).detach()
        torch.testing.assert_close(method.features, kept)
        raw = method.learned(features)
        weights, _ = problem.weights(method, step)
        torch.testing.assert_close(weights, torch.softmax(raw, 0))
        keep = {0: 0.0, 1: 1 / 2, 2: 2 / 3, 60: 0.9}[number]  # a running mean in the first ten steps
        kept, raws = keep * kept + (1 - keep) * features, keep * raws + (1 - keep) * raw
        seen.append(features)
        torch.testing.assert_close(method.weights, raws)
    torch.testing.assert_close(method.features, 0.9 * sum(seen[:3]) / 3 + 0.1 * seen[3])


def test_a_short_batch_changes_the_first_rows_of_the_memory(problem):
    method = method_of(problem)
    method.features.fill_(7.0)
    method.prepare(at(60))
    method.seen = torch.ones(5, 6, dtype=torch.float64) * torch.arange(6)
    step = problem.step(60, method)
    assert method.example_weights(step, torch.zeros(5)).sum() == pytest.approx(1)
    torch.testing.assert_close(method.features[5:], torch.full((7, 6), 7.0).double())
    torch.testing.assert_close(method.features[:5], 0.9 * 7 + 0.1 * torch.arange(6).double().expand(5, 6))


def test_a_fixed_subset_of_features_where_there_are_more(problem):
    subsets = [method_of(problem, features=3).columns for _ in range(2)]
    assert torch.equal(*subsets) and len(subsets[0].unique()) == 3


def test_one_feature_is_refused(problem):
    problem.model.hidden, problem.model.norm = nn.Linear(4, 1).double(), nn.BatchNorm1d(1).double()
    problem.model.head = nn.Linear(1, 3).double()
    with pytest.raises(ConfigError, match="one feature"):
        method_of(problem)
