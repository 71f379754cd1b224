"""How often the rules err: the integrals against scipy and against simulations, and the document that shows them."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy import stats as scipy_stats
from support.project import ROOT
from typer.testing import CliRunner

from reweigh import metrics, stats
from reweigh.cli import app
from reweigh.config.loading import load
from reweigh.errors import ReweighError
from reweigh.scorecard import error_rates, rates, simulations
from reweigh.scorecard.error_rates import ANY_SD, POINT
from reweigh.scorecard.rates import VERDICTS, Case, exact, simulate, verdicts_on
from reweigh.verdicts import verdict

ACCURACY = replace(metrics.of("test_accuracy"), low=-math.inf, high=math.inf)  # away from 0 and 1

DRAWS = 200_000
CASES = [
    Case(0.0, 0.005, 3),
    Case(0.0, 0.02, 5, prints_sd=True),
    Case(-0.02, 0.01, 10),
    Case(0.03, 0.02, 3),
    Case(0.0, 0.02, 5, published_runs=3, prints_sd=True),
    Case(-0.01, 0.01, 10, published_runs=5),
    Case(0.02, 0.005, 3, published_runs=5, prints_sd=True),
]
VALUES = st.floats(0, 1).map(lambda value: round(value, 3))


def near(share: float, probability: float, draws: int) -> bool:
    """Within five standard errors of a simulated share."""
    return abs(share - probability) <= 5 * math.sqrt(max(probability * (1 - probability), 1 / draws) / draws)


@settings(max_examples=300)
@given(VALUES, st.one_of(st.none(), st.floats(0, 0.2)), st.lists(VALUES, min_size=2, max_size=10))
def test_the_rule_for_many_samples_is_the_rule(published: float, sd: float | None, values: list[float]) -> None:
    x = np.array(values)
    reaches = (0.95, 1, 1), (0.9, -1, 2)  # the level of an interval, its sign, tolerances
    tau, error = max(0.01, sd or 0.0), x.std(ddof=1) / math.sqrt(len(x))
    edges = [times * tau + sign * stats.t_quantile(len(x) - 1, level) * error for level, sign, times in reaches]
    if min(abs(abs(x.mean() - published) - edge) for edge in edges) > 1e-9:  # else rounding decides
        assert verdicts_on(published, sd or 0.0, x[None]).tolist() == [verdict(published, sd, values, ACCURACY)]


def test_the_rule_for_many_samples_is_the_rule_on_what_is_simulated() -> None:
    random = np.random.default_rng(7)
    values, published, sds = random.normal(0, 0.01, (2000, 3)), random.normal(0, 0.02, 2000), random.random(2000) / 50
    expected = [verdict(p, s, v.tolist(), ACCURACY) for p, s, v in zip(published, sds, values, strict=True)]
    assert verdicts_on(published, sds, values).tolist() == expected
    assert set(expected) == set(VERDICTS)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_integrals_and_simulations_agree(case: Case) -> None:
    probabilities, shares = exact(case), simulate(case, DRAWS)
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-9)
    for word in VERDICTS:
        assert near(shares[word], probabilities[word], DRAWS), word


@pytest.mark.parametrize("case", [one for one in CASES if one.published_runs is None], ids=str)
def test_better_and_worse_are_tails_of_the_noncentral_t(case: Case) -> None:
    """low > τ says that (mean - τ) √n / sd > t, which is noncentral t."""
    tau, root = max(POINT, case.sd if case.prints_sd else 0), math.sqrt(case.n) / case.sd
    bound = scipy_stats.t.ppf(0.975, case.n - 1)
    found = exact(case)
    assert found["better"] == pytest.approx(scipy_stats.nct.sf(bound, case.n - 1, (case.gap - tau) * root), abs=1e-9)
    assert found["worse"] == pytest.approx(scipy_stats.nct.sf(bound, case.n - 1, (-case.gap - tau) * root), abs=1e-9)


def test_replicated_is_an_adaptive_integral() -> None:
    case, tau = Case(-0.015, 0.008, 5), 0.01
    wide, narrow = (scipy_stats.t.ppf(share, 4) / math.sqrt(5) for share in (0.975, 0.95))

    def density(s: float) -> float:
        reach, mean = min(2 * tau - narrow * s, tau + wide * s), scipy_stats.norm(case.gap, case.sd / math.sqrt(5))
        return (mean.cdf(reach) - mean.cdf(-reach)) * scipy_stats.chi.pdf(s * 2 / case.sd, 4) * 2 / case.sd

    kink = tau / (wide + narrow)
    found = integrate.quad(density, 0, kink)[0] + integrate.quad(density, kink, 2 * tau / narrow)[0]
    assert exact(case)["replicated"] == pytest.approx(found, abs=1e-8)


def test_what_the_rule_was_adopted_for() -> None:
    """A perfect replication with sd τ: 56 % at three runs, 95 at five. A gap of 2τ passes in 5 % at most, at any n."""
    assert [round(100 * exact(Case(0, POINT, n))["replicated"]) for n in (3, 5)] == [56, 95]
    for n in (3, 5, 10, 30):
        assert max(exact(Case(-2 * POINT, sd, n))["replicated"] for sd in ANY_SD) <= 0.05


# --- what chance would decide ---


def lines_of(*cells: tuple[str, float, float | None, int, float]) -> pd.DataFrame:
    """A scorecard's lines: verdict, published, its sd, n and our sd of each."""
    columns = ["verdict", "published", "published_sd", "n", "sd"]
    return pd.DataFrame(cells, columns=columns).assign(kind="number", metric="test_accuracy")


def test_chance_is_what_simulated_scorecards_decide() -> None:
    """Of numbers that are all at the edge of their tolerance, or all right: the share called better or worse."""
    draws = 40_000
    for gap in (0.0, POINT):
        cases = [Case(gap, sd, n) for sd, n in ((0.005, 3), (0.02, 5), (0.05, 3))]
        simulated = [simulate(case, draws) for case in cases]
        lines = lines_of(*(("replicated", 0.5, None, case.n, case.sd) for case in cases))
        found = rates.false_decisions(lines)
        expected = found.bound if gap else found.if_equal
        assert expected == pytest.approx(sum(one["better"] + one["worse"] for one in simulated), abs=0.005)


def test_chance_counts_the_numbers_that_could_be_decided() -> None:
    lines = lines_of(
        ("better", 0.7, None, 5, 0.002),
        ("quick: worse", 0.7, 0.15, 3, 0.002),
        ("inconclusive", 0.7, None, 1, float("nan")),
        ("degenerate", 0.7, None, 5, 0.0),
        ("not run", 0.7, None, 0, float("nan")),
        ("replicated", 0.7, None, 3, 0.0),
    )
    found = rates.false_decisions(lines)
    assert (found.judged, found.decided) == (3, 2)
    assert found.bound == pytest.approx(3 * 0.025, abs=1e-6) and found.if_equal < 1e-6
    assert found.text.startswith("2 of 3 published numbers with an interval of ours are better or worse.")
    assert "at most 0.075 so on average" in found.text
    assert rates.false_decisions(lines.iloc[3:5]).text == "No published number has an interval of ours yet."
    assert rates.false_decisions(lines.assign(kind="claim")).judged == 0


@given(st.floats(0.001, 0.2), st.integers(2, 10), st.floats(0.01, 0.1))
def test_the_bound_is_at_the_edge_of_the_tolerance(sd: float, n: int, tau: float) -> None:
    chances = [rates._wrong(share * tau, sd, n, tau) for share in (0.0, 0.3, 0.7, 1.0)]
    assert chances == sorted(chances) and 0.025 - 1e-9 <= chances[-1] <= 0.05 + 1e-9


@pytest.mark.parametrize("degrees", [1, 2, 4, 9])
def test_the_expectation_of_a_sample_variance_is_the_variance(degrees: int) -> None:
    for kinks in ((), (0.01,), (0.03, 0.01), (9.0, 0.0)):
        assert rates.expect(lambda s: s**2, 0.02, degrees, *kinks) == pytest.approx(0.02**2, rel=1e-9)


def test_a_gap_and_its_mirror_image() -> None:
    curves = error_rates.curves()
    for _, rows in curves.groupby(["sd", "n"]):
        assert rows["better"].to_numpy() == pytest.approx(rows["worse"].to_numpy()[::-1], abs=1e-12)
    assert len(curves) == 2 * 3 * 101


# --- claims ---


@pytest.mark.parametrize(("gain", "sd", "n", "tests"), [(0, 0.01, 3, 1), (0.01, 0.005, 5, 10), (0.02, 0.02, 10, 3)])
def test_the_power_of_a_claim_is_that_of_the_t_test(gain: float, sd: float, n: int, tests: int) -> None:
    bound, centre = scipy_stats.t.ppf(1 - 0.025 / tests, n - 1), gain * math.sqrt(n) / sd
    found = error_rates.claim_rates(gain, sd, n, tests)
    assert found["holds"] == pytest.approx(scipy_stats.nct.sf(bound, n - 1, centre), abs=1e-9)
    assert found["fails"] == pytest.approx(scipy_stats.nct.cdf(-bound, n - 1, centre), abs=1e-9)


def test_holm_lies_between_alone_and_first_of_all() -> None:
    """One true gain among four claims without; and whatever is decided of those four is wrong in 5 % at most."""
    draws, n, sd = 1500, 5, 0.01
    random, gains, found = np.random.default_rng(0), (0.02, 0, 0, 0, 0), []
    for _ in range(draws):  # by the functions that decide claims: t tests, then Holm over all
        tests = [stats.above(random.normal(gain, sd, n).tolist(), 0.0) for gain in gains]
        p = stats.holm([stats.two_sided(one.p_for, one.p_against) for one in tests])
        found.append([stats.claim_verdict(t.p_for, t.p_against, c) for t, c in zip(tests, p, strict=True)])
    columns = list(zip(*found, strict=True))
    first, *others = [{word: column.count(word) / draws for word in ("holds", "fails")} for column in columns]
    low, high = (error_rates.claim_rates(0.02, sd, n, tests)["holds"] for tests in (5, 1))
    error = 4 * math.sqrt(0.25 / draws)
    assert low - error < first["holds"] < high + error
    assert sum(one["holds"] + one["fails"] for one in others) <= 0.05 + 4 * math.sqrt(0.05 / draws)


def test_claims_at_several_places() -> None:
    draws, random = 2000, np.random.default_rng(1)
    for gain in (0.0, 0.01):
        words = []
        for _ in range(draws):
            places = [stats.above(random.normal(gain, 0.01, 5), 0.0) for _ in range(3)]
            sides = stats.claim_p(places)
            words.append(stats.claim_verdict(*sides, stats.two_sided(*sides)))
        for word, rate in error_rates.claim_rates(gain, 0.01, 5, places=3).items():
            assert near(words.count(word) / draws, rate, draws), (gain, word)


def test_equivalence() -> None:
    draws, random = 3000, np.random.default_rng(2)
    for difference, n in ((0.0, 5), (0.006, 10)):
        tests = [stats.within(random.normal(difference, 0.005, n), 0.01) for _ in range(draws)]
        held = [stats.claim_verdict(t.p_for, t.p_against, stats.two_sided(t.p_for, t.p_against)) for t in tests]
        assert near(held.count("holds") / draws, error_rates.within_rate(difference, 0.005, n, 0.01), draws)


def test_without_a_collapse_among_three_the_mean_is_missed() -> None:
    """With three runs of which each collapses in one of ten cases, none does in 0.9³ of all cells."""
    found, claimed = error_rates.simulate_collapses(3, 0.001, 0.1, 0.4)
    assert found["better"] == pytest.approx(0.9**3, abs=0.01)
    assert found["replicated"] == 0
    assert claimed < 0.06


@pytest.mark.parametrize("correlation", [0.0, 0.75])
def test_equal_spreads_are_seldom_told_apart(correlation: float) -> None:
    few, many = (simulations.simulate_spreads(n, 4, correlation, draws=800) for n in (3, 10))
    assert few < many < 0.06


def test_the_simulations_apply_the_rules() -> None:
    """Drawn again with the functions that decide claims: as often, within Monte-Carlo error."""
    draws, n = 3000, 3
    places = simulations.correlated(("again",), (draws, 8, n), simulations.TOGETHER)
    found = [stats.average_above([dict(enumerate(place)) for place in draw], 0.0) for draw in places]
    averages = sum(stats.two_sided(one.p_for, one.p_against) < stats.ALPHA for one in found) / draws
    assert near(averages, simulations.simulate_averages(n, 8, simulations.TOGETHER), draws)
    assert simulations.simulate_averages(n, 8, simulations.TOGETHER, by_seed=False) > 0.25
    random = np.random.default_rng(5)
    sides = np.round(random.uniform(-0.5, 0.5, (draws, 1)) + 0.3 * random.standard_normal((2, draws, 5)))
    found = [stats.above(row, 0.0, resolution=math.sqrt(2)) for row in sides[0] - sides[1]]
    ties = sum(stats.two_sided(one.p_for, one.p_against) < stats.ALPHA for one in found) / draws
    assert near(ties, simulations.simulate_ties(5, 0.3), draws)


@pytest.mark.parametrize("sd", [0.1, 0.3, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_ties_pass_no_correction(n: int, sd: float) -> None:
    """The first of ten claims may be wrong in 0.5 %; whole steps make it 0.7 % at worst, ties that decide 12 %."""
    assert simulations.simulate_ties(n, sd) < 0.053
    assert simulations.simulate_ties(n, sd, tests=10) < 0.008
    if n < 4 and 0.3 < sd < 2:
        assert simulations.simulate_ties(n, sd, tests=10, floor=False) > 0.02


# --- the document ---


def test_the_document_shows_what_the_rules_give_now() -> None:
    text = (ROOT / "docs/verdicts.md").read_text()
    for name, table in error_rates.markdown_tables(load(ROOT)).items():
        found = re.search(f"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", text, flags=re.DOTALL)
        assert found and found[1] == table, f"{name} is out of date: reweigh scorecard --error-rates --to docs"
    assert (ROOT / "docs/verdicts.png").read_bytes().startswith(b"\x89PNG")


def test_spreads_are_those_of_the_records() -> None:
    found = error_rates.spreads(load(ROOT)).set_index("sd of")
    published = load(ROOT).project.papers
    assert [name for name in found.index if name.startswith("what")] == [f"what {paper} prints" for paper in published]
    assert found.loc["one run of ours", "number"] >= 20
    levels = found.loc[found["number"] > 0, list(error_rates.QUANTILES)]
    assert found.loc["what autobalance prints", "number"] == 0  # it prints no standard deviation
    assert (levels.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)


def test_the_command_prints_them_and_writes_only_where_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(error_rates, "markdown_tables", lambda config: {"perfect": "| a |"})
    done = CliRunner().invoke(app, ["scorecard", "--error-rates"])
    assert done.exit_code == 0
    assert done.stdout.startswith(error_rates.CAPTIONS["perfect"])
    document = tmp_path / "verdicts.md"
    document.write_text("before\n<!-- perfect -->\nold\n<!-- /perfect -->\nafter\n")
    done = CliRunner().invoke(app, ["scorecard", "--error-rates", "--to", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert document.read_text() == "before\n<!-- perfect -->\n| a |\n<!-- /perfect -->\nafter\n"
    assert (tmp_path / "verdicts.png").is_file()
    with pytest.raises(ReweighError, match="put the lines <!-- perfect --> and <!-- /perfect -->"):
        error_rates.write(tmp_path / "elsewhere", ROOT)
