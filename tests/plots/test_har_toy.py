"""HAR's toy: its splines, risks and closed forms against second computations, and what it finds."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import expit
from support.pages import layout_faults
from support.project import ROOT

from reweigh.config.loading import load
from reweigh.plots.papers.har import toy, toy_best, toy_draws, toy_rows, toy_spline, toy_theory
from reweigh.plots.papers.har.toy_draws import PROBLEMS, Problem
from reweigh.provenance.explain import formula

OPTIONS: dict[str, Any] = load(ROOT).artifact("har", "toy").options
SMALL = {**OPTIONS, "points": 120, "draws": 3, "resamples": 20, "sizes": [10_000, 50_000]}


def examples(points: int, n: int, seed: int = 0) -> toy_spline.Data:
    draw = np.random.default_rng(seed)
    truth = toy_draws.truth_of(PROBLEMS[2], {**OPTIONS, "points": points})
    return toy_draws.draw_data(truth, n, draw)


def objective(logits: np.ndarray, data: toy_spline.Data, penalty: np.ndarray) -> float:
    """−(1/n) Σ log-lik + λ Σ ρ (Δf)²/Δx, example by example."""
    total = 0.0
    for f, n, k in zip(logits, data.examples, data.positives, strict=True):
        total -= k * math.log(expit(f)) + (n - k) * math.log(expit(-f))
    return total / data.examples.sum() + float((penalty * np.diff(logits) ** 2).sum()) * len(logits)


# --- the splines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lambda_", [1e-5, 1e-3, 0.1])
def test_the_spline_is_the_minimum_that_a_general_solver_finds(lambda_: float) -> None:
    data = examples(24, 500)
    penalty = lambda_ * toy_spline.between(np.linspace(0.5, 2, 24))
    ours = toy_spline.fit(data, penalty[None])[0]
    theirs = minimize(objective, np.zeros(24), (data, penalty), method="BFGS", options={"gtol": 1e-8})
    assert objective(ours, data, penalty) <= theirs.fun + 1e-12
    assert ours == pytest.approx(theirs.x, abs=2e-4)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(40, 100_000),
    exponent=st.floats(-7, 0),
    start=st.floats(-6, 6),
    half=st.integers(4, 30),
)
def test_the_gradient_vanishes_from_any_start(seed: int, n: int, exponent: float, start: float, half: int) -> None:
    """By central differences of the objective, written out a second time; the function is convex."""
    draw = np.random.default_rng(seed)
    counts = draw.multinomial(n, draw.dirichlet(np.ones(2 * half))) + (np.arange(2 * half) % half == 0)
    data = toy_spline.Data(counts, draw.binomial(counts, draw.uniform(0.2, 0.8, 2 * half)))
    for one in (0, half):  # a half of one label only has no finite minimum
        data.examples[one] += 2
        data.positives[one] += 1
    penalty = 10**exponent * toy_spline.between(draw.uniform(0.1, 3, 2 * half))
    found = toy_spline.fit(data, penalty[None], start)[0]
    for unit in np.eye(2 * half) * 1e-5:
        slope = (objective(found + unit, data, penalty) - objective(found - unit, data, penalty)) / 2e-5
        assert abs(slope) < 1e-6


def test_many_problems_at_once_are_the_problems_one_by_one() -> None:
    data = examples(60, 5000)
    penalties = np.geomspace(1e-6, 1e-2, 90)[:, None] * toy_spline.between(np.ones(60))
    together = toy_spline.fit(data, penalties)
    for place in (0, 41, 89):
        assert together[place] == pytest.approx(toy_spline.fit(data, penalties[[place]])[0], abs=1e-8)


def test_the_halves_do_not_touch_and_a_mirror_image_gives_a_mirror_image() -> None:
    """So that each problem stands for its swapped one, too: frequent on the right instead of the left."""
    data, penalty = examples(60, 5000), 1e-4 * toy_spline.between(np.linspace(0.3, 3, 60))
    found = toy_spline.fit(data, penalty[None])[0]
    mirrored = toy_spline.Data(data.examples[::-1], data.positives[::-1])
    assert toy_spline.fit(mirrored, penalty[None, ::-1])[0] == pytest.approx(found[::-1], abs=1e-8)
    other = toy_spline.Data(data.examples, np.where(np.arange(60) < 30, data.positives, data.examples - data.positives))
    assert toy_spline.fit(other, penalty[None])[0][:30] == pytest.approx(found[:30], abs=1e-8)


def test_what_does_not_converge_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_spline, "STEPS", 2)
    with pytest.raises(ArithmeticError, match="1 of 1 splines did not converge in 2 Newton steps"):
        toy_spline.fit(examples(60, 5000), 1e-6 * toy_spline.between(np.ones(60))[None])


# --- excess risk -----------------------------------------------------------------------------------------------------


def test_the_excess_risk_is_the_integral_of_the_divergence() -> None:
    def divergence(x: float) -> float:
        p, other = expit(2 * math.cos(4 * math.pi * x)), expit(1.5 * math.cos(4 * math.pi * x) + 0.3)
        return float(p * math.log(p / other) + (1 - p) * math.log((1 - p) / (1 - other)))

    wave = np.cos(4 * np.pi * toy_spline.centres(400))
    found = toy_spline.by_half(toy_spline.excess(1.5 * wave + 0.3, 2 * wave))
    assert found == pytest.approx([2 * quad(divergence, 0, 0.5)[0], 2 * quad(divergence, 0.5, 1)[0]], rel=1e-6)
    assert toy_spline.excess(wave, wave) == pytest.approx(0, abs=1e-15)


def test_the_excess_risk_weighs_halves_as_the_data_or_equally() -> None:
    """Against loss differences of many labels drawn from the truth."""
    truth, weights = toy_draws.truth_of(PROBLEMS[3], SMALL), toy_best.half_weights(SMALL)
    other = truth.logit * 0.6 + 0.4
    ours = toy_spline.by_half(toy_spline.excess(other, truth.logit))
    draw = np.random.default_rng(0)
    for name, density in (("data", truth.density), ("balanced", np.ones(120))):
        cells = draw.choice(120, 400_000, p=density / density.sum())
        signs = np.where(draw.random(400_000) < expit(truth.logit[cells]), 1, -1)
        losses = [np.logaddexp(0, -signs * f[cells]) for f in (other, truth.logit)]
        gaps = losses[0] - losses[1]
        assert ours @ weights[name] == pytest.approx(gaps.mean(), abs=4 * gaps.std() / math.sqrt(400_000))


# --- what is drawn ---------------------------------------------------------------------------------------------------


def test_flips_make_the_logit_of_the_labels_flatter_and_the_other_problem_has_one_curvature() -> None:
    clean, noisy = toy_draws.truth_of(Problem(True, True), OPTIONS).curvatures
    assert 3.5 < clean / noisy < 5
    same = toy_draws.truth_of(Problem(False, True), OPTIONS)
    wave = 0.5 * (4 * math.pi) ** 2 / math.sqrt(2)  # root mean square of the second derivative of half a cosine
    assert same.curvatures == pytest.approx([wave, wave], rel=0.01)
    informations = toy_spline.by_half(same.information)
    assert informations[1] > 4 * informations[0]
    flipped = toy_draws.truth_of(Problem(True, False), OPTIONS)
    peak = expit(3 * math.cos(2 * math.pi * 0.5 / 400 / 0.5))
    assert expit(flipped.logit[0]) == pytest.approx(0.4 + 0.2 * peak)
    assert flipped.density @ np.ones(400) / 400 == pytest.approx(1) and flipped.density[-1] == pytest.approx(0.2)


def test_the_strengths_are_those_of_har_for_two_classes() -> None:
    """r_c = e_c^.6 / n_c^.4, and ρ = q r, by hand; a class without a held-out error counts as having one."""
    held_out = toy_spline.Data(np.array([60, 20, 10, 10]), np.array([50, 5, 0, 0]))
    counted = toy_spline.Data(np.array([100, 80, 15, 5]), np.zeros(4, int))
    pilot = np.array([2.0, 1.0, -1.0, -1.0])
    by_error, by_spread = toy_draws.estimated_shapes(pilot, counted, held_out)
    errors, counts = np.array([(10 + 15) / 80, 1 / 20]), np.array([180, 20])
    expected = counts * errors**0.6 / counts**0.4
    assert by_error == pytest.approx(np.repeat(expected, 2))
    spreads = [(60 * expit(2) * expit(-2) + 20 * expit(1) * expit(-1)) / 80, expit(1) * expit(-1)]
    assert by_spread == pytest.approx(np.repeat(counts * np.array(spreads) ** 0.6 / counts**0.4, 2))


def test_the_shapes_are_powers_of_density_and_information() -> None:
    truth = toy_draws.truth_of(PROBLEMS[0], SMALL)
    shapes = toy_draws.known_shapes(truth, SMALL["gammas"])
    strengths = shapes / truth.density  # of an example
    p = expit(truth.logit)
    har = (p * (1 - p)) ** 0.6 / truth.density**0.4
    assert strengths[toy_best.har_place(SMALL)] == pytest.approx(har)
    assert strengths[-3:] == pytest.approx(np.array([np.ones(120), truth.density**-0.4, (p * (1 - p)) ** 0.6]))
    assert toy_spline.between(shapes).mean(1) == pytest.approx(1, abs=0.05)


def test_draws_repeat_by_their_seed_and_differ_otherwise() -> None:
    options = {**SMALL, "points": 40, "draws": 2}
    first = toy_draws.excess_risks(PROBLEMS[1], 4000, options)
    toy_draws._excess_risks.cache_clear()
    assert (toy_draws.excess_risks(PROBLEMS[1], 4000, options) == first).all()
    assert (toy_draws.excess_risks(PROBLEMS[1], 4000, {**options, "draws": 1})[0] == first[0]).all()
    assert (toy_draws.excess_risks(PROBLEMS[1], 4000, {**options, "seed": 1}) != first).all()
    assert (first[0] != first[1]).all() and (first > 0).all()


# --- theory ----------------------------------------------------------------------------------------------------------


def smoother_error(h: float, information: float, amplitude: float, cells: int = 2000) -> float:
    """Bias² and variance of the linear smoother (1 − h² D²)⁻¹ on half an interval, by its eigenvectors in numbers."""
    step = 0.5 / cells
    places = (np.arange(cells) + 0.5) * step
    second = (np.diag(np.ones(cells - 1), 1) + np.diag(np.ones(cells - 1), -1) - 2 * np.eye(cells)) / step**2
    second[0, 0] = second[-1, -1] = -1 / step**2  # flat ends
    smoother = np.linalg.inv(np.eye(cells) - h * h * second)
    wave = amplitude * np.cos(2 * math.pi * places / 0.5)
    return float(((smoother @ wave - wave) ** 2).mean() + (smoother**2).sum(1).mean() / (information * step))


@pytest.mark.parametrize(("h", "information"), [(0.02, 2000.0), (0.05, 300.0), (0.4, 50.0)])
def test_the_closed_form_is_the_error_of_the_smoother(h: float, information: float) -> None:
    ours = toy_theory.wave_error(h, information, 0.5, 1, 0.5)
    assert ours == pytest.approx(smoother_error(h, information, 0.5, 600), rel=2e-3)


@given(st.floats(1e-4, 2e-3), st.floats(10, 1e6), st.floats(0.1, 3))
def test_small_bandwidths_have_the_kernels_asymptotics(h: float, information: float, amplitude: float) -> None:
    """h⁴ b² + 1/(4 s h), and the variance at both ends: 1/(2 s L), whatever h is."""
    bend = amplitude * (2 * math.pi / 0.5) ** 2 / math.sqrt(2)
    rough = toy_theory.rough_error(h, information, bend) + 1 / (2 * information * 0.5)
    assert toy_theory.wave_error(h, information, amplitude, 1, 0.5) == pytest.approx(rough, rel=2e-3)


def test_the_kernels_integrals_are_those_of_the_asymptotics() -> None:
    h = 0.1

    def kernel(u: float) -> float:
        return math.exp(-abs(u) / h) / (2 * h)

    assert 2 * quad(kernel, 0, 5)[0] == pytest.approx(1)
    assert quad(lambda u: u * u * kernel(u), 0, 5)[0] == pytest.approx(h * h)  # half of the second moment
    assert 2 * quad(lambda u: kernel(u) ** 2, 0, 5)[0] == pytest.approx(1 / (4 * h))


@given(st.floats(1, 1e7), st.floats(1.1, 1e4), st.floats(0.1, 1e3))
def test_with_one_curvature_the_exponent_is_six_tenths_and_each_curvature_counts(
    information: float, ratio: float, bend: float
) -> None:
    pair = (information, information * ratio)
    both = tuple(toy_theory.rough_bandwidth(one, bend) for one in pair)
    assert toy_theory.exponent((both[0], both[1]), pair) == pytest.approx(0.6)
    flatter = (both[0], toy_theory.rough_bandwidth(pair[1], bend / 4))
    assert toy_theory.exponent(flatter, pair) == pytest.approx(0.6 + 0.8 * math.log(4) / math.log(ratio))


def test_for_many_examples_the_exponent_of_a_cosine_tends_to_six_tenths() -> None:
    truth = toy_draws.truth_of(toy_rows.SWEPT, OPTIONS)
    found = [toy_best.exponent_by_theory(truth, n, 0.5) for n in (3000, 30_000, 10**6, 10**9)]
    assert found == sorted(found) and found[0] < 0.35 and found[-1] == pytest.approx(0.6, abs=0.002)


# --- what is found ---------------------------------------------------------------------------------------------------


def test_the_lowest_point_is_found_between_the_points_of_a_grid() -> None:
    grid = np.linspace(-1, 2, 16)
    at, least = toy_best.lowest(grid, np.exp(2 * (grid - np.array([[0.33], [1.1]])) ** 2 + 1))
    assert at == pytest.approx([0.33, 1.1], abs=0.006) and least == pytest.approx(math.e, rel=1e-4)


def test_where_both_halves_have_one_curvature_the_best_exponent_is_about_six_tenths() -> None:
    """.55 by the closed form at this n; the band has .1 on either side, and leaves out 0.3 and 0.9."""
    options = {**OPTIONS, "draws": 16, "resamples": 50, "seed": 5}
    found = toy_best.outcome(toy_rows.SWEPT, 50_000, options)
    for weights in toy_best.half_weights(options).values():
        assert 0.45 < float(toy_best.best_exponent(found, weights, options).value) < 0.7
    assert 0.45 < float(toy_best.exponent_by_half(found, options).value) < 0.7


@pytest.fixture(scope="module")
def material() -> Any:
    artifact = SimpleNamespace(options=OPTIONS, kind="figure", title="Are HAR's strengths the best ones?")
    return SimpleNamespace(artifact=artifact, name="toy", trains=False)


@pytest.fixture(scope="module")
def rows(material: Any) -> pd.DataFrame:
    return toy.rows(material)


def test_the_rows_say_what_the_docs_say(rows: pd.DataFrame) -> None:
    page = (ROOT / "docs/har-strengths.md").read_text()
    assert toy_rows.table(rows) in page and toy_rows.arms_table(rows) in page


def test_the_intervals_hold_their_values_and_lambda_is_never_at_an_end(rows: pd.DataFrame) -> None:
    for axis, metrics in (
        ("x", (toy_rows.BEST, toy_rows.BEST_BY_HALF)),
        ("y", (toy_rows.OVER_HAR, toy_rows.OVER_LOWEST, toy_rows.BY_SIZE, toy_rows.RISK)),
    ):
        mine = rows[rows["metric"].isin(metrics)]
        assert (mine["low"] <= mine[axis] + 1e-9).all() and (mine[axis] <= mine["high"] + 1e-9).all()
        assert (mine["n"] == OPTIONS["draws"]).all()
    for problem in PROBLEMS:
        risks = toy_draws.excess_risks(problem, OPTIONS["n"], OPTIONS).mean(0)
        for weights in toy_best.half_weights(OPTIONS).values():
            assert set((risks @ weights).argmin(1)).isdisjoint({0, OPTIONS["lambdas"]["count"] - 1})


def test_the_figure_is_drawn_within_its_page(material: Any, rows: pd.DataFrame) -> None:
    figure = toy.draw(material, rows)
    assert layout_faults(figure.picture, table=False) == []
    written = " ".join(text.get_text() for text in figure.picture.texts)
    assert "40 draws of n = 50,000" in written and "95 % intervals" in written and "the same at every scale" in written


def test_explain_computes_its_lines_again() -> None:
    artifact = SimpleNamespace(options=SMALL)
    config: Any = SimpleNamespace(papers={"har": None}, artifact=lambda paper, name: artifact)
    made = pd.DataFrame(toy_rows.toy_rows(SMALL)).astype(object)
    lines = made.where(made.notna(), "").map(str).to_dict("records")
    for line in lines[::5]:
        found = formula.of_line(config, "paper", "har", "toy", line)
        assert found is not None and found.code == "plots/papers/har/toy_rows.py"
        assert {key: float(line[key]) for key in found.again} == pytest.approx(found.again)
        assert {"x", "y"} & set(found.again)
