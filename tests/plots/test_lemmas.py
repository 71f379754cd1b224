"""AutoBalance's lemmas and its Neumann series, against second computations that share no code with them."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize
from scipy.special import softmax

from reweigh.hypergrad.implicit import neumann
from reweigh.plots.papers.autobalance import lemmas

SHARES, MULTIPLIERS = (0.5, 0.4, 0.1), (1.0, 0.5, 0.5)


# --- Lemma 1: unequal multipliers are not consistent -----------------------------------------------------------------


def test_the_flow_ends_where_the_sheet_says_and_the_likeliest_class_is_not_the_argmax():
    _, logits = lemmas.flow(SHARES, MULTIPLIERS, 600.0)
    assert logits[-1] == pytest.approx([0.814, 1.183, -1.590], abs=1e-3)
    assert logits[-1].argmax() == 1  # class 2, though class 1 is likelier
    assert lemmas.softmax(np.array(MULTIPLIERS) * logits[-1]) == pytest.approx(SHARES, abs=1e-5)


def test_the_flow_is_that_of_the_gradient_and_conserves_the_sum():
    """Against scipy's integration of the gradient that autograd takes of the loss itself."""
    shares, scale = torch.tensor(SHARES, dtype=torch.float64), torch.tensor(MULTIPLIERS, dtype=torch.float64)

    def slope(_, logits):
        at = torch.tensor(logits, requires_grad=True)
        loss = -(shares * torch.log_softmax(scale * at, 0)).sum()
        return -torch.autograd.grad(loss, at)[0].numpy()

    theirs = solve_ivp(slope, (0, 30), np.zeros(3), rtol=1e-10, atol=1e-12).y[:, -1]
    times, logits = lemmas.flow(SHARES, MULTIPLIERS, 30.0)
    assert logits[-1] == pytest.approx(theirs, abs=1e-8)
    assert times[-1] == 30 and (logits / np.array(MULTIPLIERS)).sum(1) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("multipliers", [(1.0, 1.0, 1.0), (0.3, 0.3, 0.3)])
def test_equal_multipliers_leave_the_order_of_the_classes(multipliers):
    assert lemmas.limit(SHARES, multipliers).argsort().tolist() == np.argsort(SHARES).tolist()


@pytest.mark.parametrize("share", [0.51, 0.7, 0.95])
@pytest.mark.parametrize("multipliers", [(1.0, 0.1), (0.1, 1.0), (0.5, 0.5)])
def test_of_two_classes_the_likelier_one_wins_whatever_the_multipliers(share, multipliers):
    assert lemmas.limit((share, 1 - share), multipliers).argmax() == 0


def test_the_formula_of_the_limit_is_where_any_flow_ends():
    draw = np.random.default_rng(0)
    for _ in range(5):
        shares, multipliers = softmax(draw.normal(0, 0.7, 4)), draw.uniform(0.4, 1.2, 4)
        _, logits = lemmas.flow(shares, multipliers, 2000.0)
        assert lemmas.limit(shares, multipliers) == pytest.approx(logits[-1], abs=1e-4)


# --- Lemma 2: balls of unequal radii ---------------------------------------------------------------------------------


def points(seed=0):
    draw = np.random.default_rng(seed)
    classes = np.repeat([0, 1], [15, 6])
    return draw.normal(0, 0.6, (21, 2)) + np.where(classes[:, None] == 0, [-2.0, -0.4], [2.0, 0.7]), classes


def by_slsqp(inputs, classes, radii):
    """min ‖w‖ with y (w·x + b) ≥ 1 + ε_y ‖w‖: the problem itself, by a general solver."""
    signs, balls = 2 * classes - 1, np.asarray(radii)[classes]
    limits = {"type": "ineq", "fun": lambda v: signs * (inputs @ v[:2] + v[2]) - 1 - balls * np.linalg.norm(v[:2])}
    found = minimize(lambda v: np.linalg.norm(v[:2]), [3.0, 1.0, 0.0], constraints=[limits], options={"ftol": 1e-12})
    length = np.linalg.norm(found.x[:2])
    return found.x[:2] / length, found.x[2] / length, 1 / length


@pytest.mark.parametrize("radii", [(0.0, 0.0), (0.2, 0.2), (0.1, 0.6), (0.5, 0.0)])
def test_the_line_is_the_one_of_the_largest_margin(radii):
    normal, offset, clear = by_slsqp(*points(), radii)
    line = lemmas.max_margin(*points(), radii)
    assert line.normal == pytest.approx(normal, abs=1e-4)
    assert (line.offset, line.clear) == pytest.approx((offset, clear), abs=1e-4)


@pytest.mark.parametrize("ratio", [0.25, 1.0, 1.7, 3.0, 8.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_closed_form_gives_distances_in_the_ratio(ratio, seed):
    """ε₁ − ε₀ = 2γ (δ − 1) / (δ + 1), with 2γ what lies between the hulls, by the solver above."""
    inputs, classes = points(seed)
    _, _, clear = by_slsqp(inputs, classes, (0.0, 0.0))
    balls = lemmas.radii(clear, ratio)
    assert balls[1] - balls[0] == pytest.approx(2 * clear * (ratio - 1) / (ratio + 1))
    normal, offset, _ = by_slsqp(inputs, classes, balls)
    near = [float((sign * (inputs @ normal + offset))[classes == label].min()) for label, sign in ((0, -1), (1, 1))]
    assert near[1] / near[0] == pytest.approx(ratio, rel=1e-3)
    assert lemmas.distances(lemmas.max_margin(inputs, classes, balls), inputs, classes) == pytest.approx(near, abs=1e-4)


def test_equal_radii_move_nothing_and_unequal_ones_the_offset_alone():
    plain, equal, unequal = (lemmas.max_margin(*points(), balls) for balls in ((0, 0), (0.4, 0.4), (0.0, 0.8)))
    assert equal.normal == pytest.approx(plain.normal) and equal.offset == pytest.approx(plain.offset)
    assert unequal.normal == pytest.approx(plain.normal)
    assert unequal.offset == pytest.approx(plain.offset + 0.4)  # half of the difference, towards class 0


# --- the sign of the series ------------------------------------------------------------------------------------------

CURVATURES = np.array([0.001, 0.01, 0.1, 0.3, 1, 1.5, 2, 2.5, 3, 5, 10, 20, 40])


def test_the_filter_is_the_sum_of_the_series():
    for step in (1.0, 0.1, 0.01):
        for summands in (1, 4, 6):
            series = step * sum((1 - step * CURVATURES) ** j for j in range(summands))
            assert lemmas.filtered(CURVATURES, step, summands) == pytest.approx(series, rel=1e-9, abs=1e-12)


def test_the_filter_is_what_the_hypergradient_makes_of_each_eigenvector():
    """With a diagonal Hessian, the series of `hypergrad.implicit` multiplies each coordinate by the filter."""
    diagonal = torch.tensor(CURVATURES)
    found, _ = neumann(lambda vector: (diagonal * vector[0],), (torch.ones_like(diagonal),), 1.0, 5)
    assert found[0].numpy() == pytest.approx(lemmas.filtered(CURVATURES, 1.0, 6), rel=1e-9, abs=1e-12)


def test_with_a_step_of_one_the_sign_turns_at_two():
    values = lemmas.filtered(np.array([1.999, 2.0, 2.001, 2.5, 10.0]), 1.0, 6)
    assert values[0] > 0 and values[1] == 0 and values[2] < 0
    assert values[3] == pytest.approx(-4.15625) and values[4] == pytest.approx(-53_144.0)
    assert lemmas.filtered(np.array([1e-9]), 1.0, 6)[0] == pytest.approx(6, rel=1e-5)  # of flat directions
    large = np.array([100.0, 200.0])
    assert np.log2(np.divide(*lemmas.filtered(large, 1.0, 6)[::-1])) == pytest.approx(5, abs=0.05)  # as the fifth power


def test_with_a_step_of_one_over_the_largest_no_eigenvalue_changes_its_sign():
    below = np.linspace(0.001, 40, 500)
    values = lemmas.filtered(below, 1 / 40, 6)
    assert (values > 0).all() and (np.diff(values) < 0).all()
