"""Lanczos against dense matrices: the Neumann series, conjugate gradients, the spectrum; and the filter F(λ)."""

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reweigh.hypergrad import implicit, krylov


def matrix(size=20, scale=2.0, seed=0, shift=0.0):
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return scale * root @ root.T / size - shift * torch.eye(size, dtype=torch.float64)


def vector(size=20, seed=1):
    return (torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64),)


def space(hessian, start, steps=5):
    return krylov.krylov(lambda v: (hessian @ v[0],), start, steps)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 25), st.integers(1, 8), st.floats(0.1, 5), st.floats(0.01, 2), st.integers(0, 50))
def test_the_series_is_that_of_plain_products(size, terms, scale, step, seed):
    hessian, start = matrix(size, scale, seed, shift=0.3), vector(size, seed)
    plain, plain_norms = implicit.neumann(lambda v: (hessian @ v[0],), start, step, terms)
    found, norms = space(hessian, start, terms).neumann(step)
    assert torch.allclose(found[0], plain[0], rtol=1e-6, atol=1e-6 * float(plain[0].norm()))
    assert torch.allclose(norms, plain_norms, rtol=1e-6, atol=1e-6 * float(plain_norms.max()))


@pytest.mark.parametrize("eigenvalue", [0.001, 0.3, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0, 40.0, -1.0])
def test_the_filter_is_what_the_series_makes_of_an_eigenvalue(eigenvalue):
    """(1 − (1 − λ)⁶)/λ: damped below 2, zero there, the wrong sign beyond, and growing like λ⁵."""
    closed = (1 - (1 - eigenvalue) ** 6) / eigenvalue
    assert krylov.filter_gain(eigenvalue) == pytest.approx(closed, rel=1e-9, abs=1e-12)
    hessian, start = torch.tensor([[eigenvalue]], dtype=torch.float64), (torch.ones(1).double(),)
    assert float(space(hessian, start).neumann(1.0)[0][0]) == pytest.approx(closed, rel=1e-9, abs=1e-12)
    series, _ = implicit.neumann(lambda v: (hessian @ v[0],), start, 1.0, 5)
    assert float(series[0]) == pytest.approx(closed, rel=1e-9, abs=1e-12)


def test_the_filter_turns_sign_at_two_with_an_even_number_of_summands_only():
    assert krylov.filter_gain(2.0) == 0 and krylov.filter_gain(1.99) > 0 > krylov.filter_gain(2.01)
    assert krylov.filter_gain(2.01, terms=4) > 0
    assert [round(krylov.filter_gain(at)) for at in (10, 20, 40)] == [-53_144, -2_352_294, -87_968_594]
    assert min(krylov.filter_gain(at, step=1 / 50) for at in range(1, 51)) > 0


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_conjugate_gradients_are_those_of_the_textbook(damping):
    hessian, start = matrix(), vector()
    damped = hessian + damping * torch.eye(20).double()
    x, left = torch.zeros(20).double(), start[0].clone()
    along = left.clone()
    for _ in range(5):
        size = left @ left / (along @ damped @ along)
        x, after = x + size * along, left - size * (damped @ along)
        along, left = after + after @ after / (left @ left) * along, after
    assert torch.allclose(space(hessian, start).conjugate_gradients(damping)[0], x, rtol=1e-5, atol=1e-6)


def test_as_many_steps_as_dimensions_are_exact():
    hessian, start = matrix(6) + torch.eye(6).double(), vector(6)
    whole = space(hessian, start, 6)
    assert torch.allclose(whole.conjugate_gradients(0.0)[0], torch.linalg.solve(hessian, start[0]))
    values, shares = whole.spread()
    exact, vectors = torch.linalg.eigh(hessian)
    assert torch.allclose(values, exact)
    assert torch.allclose(shares, (vectors.T @ start[0]).square() / start[0].square().sum())


def test_the_spread_has_the_moments_of_the_true_one():
    hessian, start = matrix(), vector()
    values, shares = space(hessian, start).spread()
    for power in range(10):
        moment = start[0] @ torch.linalg.matrix_power(hessian, power) @ start[0] / start[0].square().sum()
        assert float((shares * values**power).sum()) == pytest.approx(float(moment), rel=1e-6)


def test_the_extremes_lie_inside_the_spectrum_and_near_its_end():
    hessian = matrix(shift=1.0)
    largest, smallest = space(hessian, vector(), 5).extremes()
    exact = torch.linalg.eigvalsh(hessian)
    assert exact[0] <= smallest < 0 < 0.9 * exact[-1] < largest <= exact[-1] + 1e-9


def test_a_small_space_is_exhausted_without_harm():
    hessian, start = torch.diag(torch.tensor([1.0, 3.0])).double(), (torch.ones(2).double(),)
    small = space(hessian, start, 5)
    assert torch.allclose(small.conjugate_gradients(0.0)[0], torch.tensor([1, 1 / 3]).double())
    assert torch.allclose(small.neumann(1.0)[0][0], torch.tensor([1.0, -21.0]).double())
    nothing = space(hessian, (torch.zeros(2).double(),), 5)
    assert nothing.neumann(1.0)[0][0].tolist() == nothing.conjugate_gradients(0.0)[0].tolist() == [0, 0]


def test_a_run_that_diverges_logs_no_eigenvalue_and_raises_nothing():
    lost = space(torch.full((2, 2), torch.nan).double(), (torch.ones(2).double(),), 3)
    assert lost.extremes()[0].isnan() and lost.neumann(1.0)[0][0].isnan().all()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.integers(0, 99))
def test_rotations_find_the_same_eigenvalues(size, seed):
    symmetric = matrix(size, seed=seed, shift=1.0)
    values, vectors = krylov.jacobi(symmetric)
    assert torch.allclose(values, torch.linalg.eigvalsh(symmetric), atol=1e-9)
    assert torch.allclose(vectors @ torch.diag(values) @ vectors.T, symmetric, atol=1e-9)


def test_the_examples_hold():
    assert doctest.testmod(krylov).failed == 0
