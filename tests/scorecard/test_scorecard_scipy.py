"""The committed scorecard, line by line, from the raw records with scipy alone; and its verdicts, counted.

Nothing of the package computes what is expected here: json, numpy and scipy do.
"""

import csv
import json
import math
import re
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats
from support import metric_arithmetic
from support.cost_arithmetic import CostArithmetic
from support.curve_arithmetic import CurveArithmetic
from support.metric_arithmetic import LOWER, TOLERANCES, stated
from support.order_arithmetic import OrderArithmetic
from support.project import ROOT

from reweigh.config import files
from reweigh.config.loading import written_out

RESULTS = ROOT / "results/paper"
with open(RESULTS / "scorecard.csv", newline="") as file:
    LINES = list(csv.DictReader(file))
NUMBERS = [line for line in LINES if line["kind"] == "number"]
CLAIMS = [line for line in LINES if line["kind"] == "claim"]
TESTED = [line for line in CLAIMS if line["verdict"] != "not run"]
PAPERS = list(dict.fromkeys(line["paper"] for line in LINES))
CONFIG = {paper: files.plain(written_out(ROOT, paper)) for paper in PAPERS}

Side = dict[str, Any]  # effect, low, high, statistic, n, for, against


def cell(*names: str) -> dict[int, dict[str, Any]]:
    """The records of a cell by seed."""
    bodies = [json.loads(path.read_text()) for path in RESULTS.joinpath(*names).glob("seed*.json")]
    return {body["spec"]["seed"]: body for body in bodies}


def values(metric: str, *names: str) -> dict[int, float]:
    """A metric by seed, turned so that higher is better."""
    found = {seed: metric_arithmetic.turned(body, metric) for seed, body in cell(*names).items()}
    return {seed: value for seed, value in sorted(found.items()) if value is not None}


def printed(metric: str, *names: str) -> dict[int, float]:
    """A metric by seed, as it is printed."""
    found = {seed: stated(body, metric) for seed, body in cell(*names).items()}
    return {seed: value for seed, value in sorted(found.items()) if value is not None}


def digits(value: float | None) -> str:
    """As the csv writes a number."""
    return "" if value is None else f"{value:.6g}"


def interval(sample: list[float], level: float = 0.95) -> tuple[float | None, float | None]:
    if len(sample) < 2:
        return None, None
    return scipy_stats.t.interval(level, len(sample) - 1, np.mean(sample), scipy_stats.sem(sample))


SINGLE = [one for one in NUMBERS if one["n"] != "0" and not one.get("against")]
COMPARED = [one for one in NUMBERS if one["n"] != "0" and one.get("against")]


@pytest.mark.parametrize("line", SINGLE, ids=lambda line: line["id"])
def test_a_number_is_recomputed_from_its_records(line: dict[str, str]) -> None:
    place, metric = (line["paper"], line["experiment"], line["setting"]), line["metric"]
    known = printed(metric, *place, line["method"])
    ours = list(known.values())
    low, high = interval(ours)
    assert int(line["n"]) == len(ours)
    found = [line[name] for name in ("mean", "sd", "low", "high")]
    assert found == [digits(one) for one in (np.mean(ours), scipy_stats.tstd(ours), low, high)]
    baseline = CONFIG[line["paper"]]["published"].get("baseline", "none")
    at_printed_values = line["value_set"] == "printed" and f"{baseline}_p" in CONFIG[line["paper"]]["methods"]
    plain = printed(metric, *place, f"{baseline}_p" if at_printed_values else baseline)
    gains = [known[seed] - plain[seed] for seed in known if seed in plain] if known != plain else []
    expected = [np.mean(gains), *interval(gains)] if gains else [None] * 3
    assert [line[name] for name in ("gain", "gain_low", "gain_high")] == [digits(one) for one in expected]
    if line["verdict"] == "not comparable":
        stand_ins = CONFIG[line["paper"]]["published"]["stand_ins"]
        raw = [file["edition"] for body in cell(*place, line["method"]).values() for file in body["raw"]]
        assert set(raw) & set(stand_ins) and not line["difference"]
    elif line["verdict"] != "not judged":
        published, sd = float(line["published"]), float(line["published_sd"] or 0)
        assert line["difference"] == digits(np.mean(ours) - published)
        assert metric in ("test_accuracy", "minority_recall", *LOWER)  # else: is more better, or less?
        predicted = [np.array(body["metrics"]["confusion"]).sum(0) for body in cell(*place, line["method"]).values()]
        if all((counts > 0).sum() <= 1 for counts in predicted):
            assert line["verdict"] == "degenerate"
        elif line["verdict"] != "degenerate":  # it may also not have moved: a matter of curves
            sign = -1 if metric in LOWER else 1
            tau = max(TOLERANCES.get(metric, 0.01), sd)
            assert line["verdict"] == rule(sign * published, tau, [sign * value for value in ours])


def test_numbers_that_compare_two_methods_are_recomputed_from_their_pairs() -> None:
    """As many as there are: none where no paper's mapping names a method in `against`."""
    for line in COMPARED:
        folder, metric = [line[part] for part in ("paper", "experiment", "setting")], line["metric"]
        ours, theirs = (cell(*folder, line[name]) for name in ("method", "against"))
        both = [(ours[seed], theirs[seed]) for seed in sorted(ours) if seed in theirs]
        found = [value for pair in both if (value := between(metric, *pair)) is not None]
        assert int(line["n"]) == len(found), line["id"]
        low, high = interval(found)
        assert [line[name] for name in ("mean", "low", "high")] == list(map(digits, (np.mean(found), low, high)))
        assert not line["gain"] and not line["published_gain"]
        if line["verdict"] in ("not comparable", "not judged", "degenerate"):
            continue
        published, ratio = float(line["published"]), metric.startswith("runtime")
        tau, sign = (0.1 * published, -1) if ratio else (0.01, 1)
        if metric.endswith("lower_bound") and not ratio:
            assert line["verdict"] == at_least(published, tau, found), line["id"]
        elif not metric.startswith("runtime_multiple"):
            assert line["verdict"] == rule(sign * published, tau, [sign * value for value in found]), line["id"]


def at_least(published: float, tau: float, sample: list[float]) -> str:
    """The rule for a lower bound: whatever lies above it replicates it."""
    (_, high), (low, _) = interval(sample), interval(sample, 0.90)
    if high is None or low is None:
        return "inconclusive"
    return "worse" if high < published - tau else "replicated" if low >= published - 2 * tau else "inconclusive"


def between(metric: str, ours: dict[str, Any], theirs: dict[str, Any]) -> float | None:
    """A gain, a relative gain, or a ratio of seconds, of two runs; None where one of them says nothing of it."""
    if any(body["status"] != "finished" for body in (ours, theirs)):
        return None
    if metric.startswith("runtime"):
        one, other = ((body["device"]["name"], body["device"]["runs_at_once"]) for body in (ours, theirs))
        packed = ours["device"]["kind"] == "cuda" and one[1] > 1
        return ours["seconds"] / theirs["seconds"] if one == other and not packed else None
    a, b = (body["metrics"]["test_accuracy"] for body in (ours, theirs))
    return a - b if metric == "acc_gain" else a / b - 1


def rule(published: float, tau: float, sample: list[float]) -> str:
    """The declared rule, in the words of docs/verdicts.md."""
    low, high = interval(sample)
    if low is None or high is None:
        return "inconclusive"
    if low > published + tau:
        return "better"
    if high < published - tau:
        return "worse"
    narrow_low, narrow_high = interval(sample, 0.90)
    within = published - 2 * tau <= narrow_low and narrow_high <= published + 2 * tau
    return "replicated" if within else "inconclusive"


def test_a_number_without_runs_has_none() -> None:
    for line in NUMBERS:
        if line["n"] == "0" and line["status"] != "measured":
            assert line["verdict"] in ("not run", "not reported", "not judged", "degenerate"), line["id"]
            assert not line["experiment"] or not cell(
                *(line[part] for part in ("paper", "experiment", "setting", "method"))
            )


# --- claims ----------------------------------------------------------------------------------------------------------


def t_test(sample: list[float], margin: float, sign: int = 1, step: float = 0.0) -> Side:
    """Is the mean above the margin (sign 1) or below it (-1)? `step`: in which each value is known; see verdicts.md."""
    n, effect, least = len(sample), np.mean(sample), step / math.sqrt(12)
    error = max(np.std(sample, ddof=1), least) / math.sqrt(n)
    low, high = scipy_stats.t.interval(0.95, n - 1, effect, error)
    statistic = (effect - margin) / error
    sides = [scipy_stats.t.sf(statistic, n - 1), scipy_stats.t.cdf(statistic, n - 1)][::sign]
    return {"effect": effect, "low": low, "high": high, "statistic": statistic, "n": n,
            "for": sides[0], "against": sides[1]}  # fmt: skip


def lost(body: dict[str, Any], metric: str = "") -> bool:
    """Whether a run diverged or predicts one class, though it was trained; at its best epoch: beats no constant."""
    if body["status"] != "finished":
        return True
    table = np.array(body["metrics"]["confusion"])
    if metric == "best_epoch_test_accuracy" and body["metrics"][metric] > table.sum(1).max() / table.sum():
        return False
    return bool(body["steps"]) and np.count_nonzero(table.sum(0)) <= 1


def degenerate(side: Side, *names: tuple[str, ...], metric: str = "") -> Side:
    """A side without its test where all runs of a cell are lost."""
    if not any(all(lost(body, metric) for body in cell(*one).values()) for one in names):
        return side
    return {**side, "low": None, "high": None, "statistic": None, "for": None, "against": None}


def step_of(metric: str, *names: str) -> float:
    """The coarsest step of a metric among a cell's runs."""
    steps = [0.0]
    for body in (one for one in cell(*names).values() if one["status"] == "finished"):
        steps.append(metric_arithmetic.step(body, metric))
    return max(steps)


def greater(claim: dict[str, Any], settings: list[str], folder: tuple[str, str]) -> list[Side]:
    sides, metric = [], claim.get("metric", "test_accuracy")
    contests = claim.get("pairs") or [(claim["better"], rival) for rival in claim["worse"]]
    for setting in settings:
        for pair in contests:
            names = [(*folder, setting, name) for name in pair]
            ours, theirs = (values(metric, *one) for one in names)
            pairs = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
            step = math.hypot(*(step_of(metric, *one) for one in names))
            sides.append(degenerate(t_test(pairs, claim.get("margin", 0.0), step=step), *names, metric=metric))
    return sides


def gains_more(claim: dict[str, Any], settings: list[str], folder: tuple[str, str]) -> list[Side]:
    """(a - b) - (c - d), over the seeds of all four."""
    sides, metric = [], claim.get("metric", "test_accuracy")
    for setting in settings:
        names = [(*folder, setting, name) for pair in claim["pairs"] for name in pair]
        a, b, c, d = (values(metric, *one) for one in names)
        sample = [a[seed] - b[seed] - c[seed] + d[seed] for seed in a if seed in b and seed in c and seed in d]
        step = math.hypot(*(step_of(metric, *one) for one in names))
        sides.append(degenerate(t_test(sample, claim.get("margin", 0.0), step=step), *names, metric=metric))
    return sides


def greater_on_average(claim: dict[str, Any], settings: list[str], folder: tuple[str, str]) -> list[Side]:
    """Each seed by its average over the places, of which all must have it."""
    metric, gains, steps, names = claim.get("metric", "test_accuracy"), defaultdict(list), [], []
    contests = claim.get("pairs") or [(claim["better"], rival) for rival in claim["worse"]]
    for setting in settings:
        for pair in contests:
            both = [(*folder, setting, name) for name in pair]
            ours, theirs = (values(metric, *one) for one in both)
            for seed in set(ours) & set(theirs):
                gains[seed].append(ours[seed] - theirs[seed])
            names += both
            steps += [step_of(metric, *one) for one in both]
    places = len(settings) * len(contests)
    averages = [float(np.mean(found)) for _, found in sorted(gains.items()) if len(found) == places]
    side = t_test(averages, claim.get("margin", 0.0), step=math.hypot(*steps) / places)
    return [degenerate(side, *names, metric=metric)]


def smaller_spread(claim: dict[str, Any], settings: list[str], folder: tuple[str, str]) -> list[Side]:
    """A t test on each seed's distance from the median of its cell, averaged over the settings."""
    sides, metric = [], claim.get("metric", "test_accuracy")
    for rival in claim["worse"]:
        names = [[(*folder, setting, name) for setting in settings] for name in (claim["better"], rival)]
        found = [[values(metric, *one) for one in side] for side in names]
        seeds = [sorted(set.intersection(*map(set, side))) for side in found]
        cells = [np.array([[one[seed] for seed in kept] for one in side])
                 for side, kept in zip(found, seeds, strict=True)]  # fmt: skip
        distances = [abs(one - np.median(one, 1, keepdims=True)).mean(0) for one in cells]
        tests = [scipy_stats.ttest_ind(*distances[::-1], alternative=side) for side in ("greater", "less")]
        least = max(step_of(metric, *one) for side in names for one in side) ** 2 / 12
        variances = [max(one.var(axis=1, ddof=1).mean(), least) for one in cells]
        freedom, ratio = scipy_stats.f(*(len(kept) - 1 for kept in seeds)), variances[0] / variances[1]
        roots = [math.sqrt(ratio / q) for q in (1, freedom.ppf(0.975), freedom.ppf(0.025))]
        side = {"effect": roots[0], "low": roots[1], "high": roots[2], "statistic": tests[0].statistic,
                "n": min(map(len, seeds)), "for": tests[0].pvalue, "against": tests[1].pvalue}  # fmt: skip
        sides.append(degenerate(side, *(one for side in names for one in side), metric=metric))
    return sides


def weights_not_inverse_frequency(claim: dict[str, Any], settings: list[str], folder: tuple[str, str]) -> list[Side]:
    sides = []
    for setting in settings:
        found = []
        for _, body in sorted(cell(*folder, setting, claim["better"]).items()):
            with np.load(RESULTS.joinpath(*folder, setting, claim["better"], body["trace"]["file"])) as trace:
                weights = np.maximum(trace["class_weights"].astype(float), 0)  # as they act: by their share of the sum
            mean = (weights / weights.sum(1)[:, None]).mean(0)
            found.append(scipy_stats.pearsonr(mean, 1 / np.array(body["split"]["sizes"]["train"])).statistic)
        side = t_test(found, claim["margin"], sign=-1, step=2.0**-23)
        sides.append(degenerate(side, (*folder, setting, claim["better"])))
    return sides


WRITTEN = (greater, gains_more, greater_on_average, smaller_spread, weights_not_inverse_frequency)
POSSIBLE = {"weights_near_equal": (0.0, 0.5)}  # of two classes
POSSIBLE |= dict.fromkeys(("collapses_less", "dominates", "follows_frequency"), (-1.0, 1.0))
ARITHMETIC = {one.__name__: one for one in WRITTEN} | CurveArithmetic(RESULTS, cell, t_test).of()
ARITHMETIC |= CostArithmetic(cell, t_test).of()
ARITHMETIC |= OrderArithmetic(RESULTS, cell, values, step_of, t_test, degenerate).of()


def expected_claims(paper: str) -> dict[str, tuple[Side, float | None, float | None, bool]]:
    """By claim: its weakest place, p for and p against over all places, and whether any place is degenerate."""
    known, found = {claim["id"]: claim for claim in CONFIG[paper]["claims"]}, {}
    for line in (one for one in TESTED if one["paper"] == paper):
        claim = known[line["id"]]
        assert claim["test"] in ARITHMETIC, (
            f"write the arithmetic of {claim['test']} here: {line['id']} is decided by it"
        )
        settings = line["setting"].split()
        assert claim.get("settings", settings) == settings
        sides = ARITHMETIC[claim["test"]](claim, settings, (paper, claim["experiment"]))
        tested = [side for side in sides if side["for"] is not None]
        some_lost = len(tested) < len(sides) and not any(side.get("untested") for side in sides)
        weakest = (
            next(side for side in sides if side["for"] is None)
            if some_lost
            else max(sides, key=lambda side: 2.0 if side["for"] is None else side["for"])
        )
        sided = (None, None)
        if tested and not any(side.get("untested") for side in sides):
            against = min(1.0, len(sides) * min(side["against"] for side in tested))
            sided = (1.0 if some_lost else weakest["for"], against)
        if claim["test"] in POSSIBLE and weakest["low"] is not None:  # no interval is shown beyond what is possible
            low, high = np.clip([weakest["low"], weakest["high"]], *POSSIBLE[claim["test"]]).tolist()
            weakest = {**weakest, "low": low, "high": high}
        found[line["id"]] = ({**weakest, "n": min(side["n"] for side in sides)}, *sided, some_lost)
    return found


@pytest.mark.parametrize("paper", PAPERS)
def test_claims_are_recomputed_from_their_records(paper: str) -> None:
    expected = expected_claims(paper)
    p = {
        name: None if for_it is None else min(1.0, 2 * min(for_it, against))
        for name, (_, for_it, against, _) in expected.items()
    }
    family = {name: value for name, value in p.items() if value is not None}
    corrected, so_far = dict.fromkeys(p), 0.0
    for rank, name in enumerate(sorted(family, key=lambda name: family[name])):  # Holm: times m, m - 1, never falling
        so_far = max(so_far, min(1.0, family[name] * (len(family) - rank)))
        corrected[name] = so_far
    for line in (one for one in TESTED if one["paper"] == paper):
        weakest, for_it, against, some_lost = expected[line["id"]]
        found = [line[name] for name in ("n", "effect", "effect_low", "effect_high", "statistic", "p", "p_holm")]
        numbers = [weakest[name] for name in ("effect", "low", "high", "statistic")] + [
            p[line["id"]],
            corrected[line["id"]],
        ]
        assert found == [str(weakest["n"]), *map(digits, numbers)], line["id"]
        verdict = "degenerate" if some_lost else "inconclusive"
        if corrected[line["id"]] is not None and corrected[line["id"]] < 0.05:
            verdict = "fails" if against < for_it else "holds"
        assert line["verdict"] == verdict, line["id"]


def test_there_is_something_to_recompute() -> None:
    assert sum(line["n"] != "0" for line in NUMBERS) >= 2
    assert len(TESTED) >= 9
    assert all(not line["p"] for line in CLAIMS if line["verdict"] == "not run")


# --- verdicts are counted, never averaged ----------------------------------------------------------------------------


def counts_of(lines: list[dict[str, str]]) -> dict[tuple[str, str], Counter[str]]:
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for line in lines:
        found[line["paper"], line["kind"]][line["verdict"]] += 1
    return found


def test_the_text_counts_the_lines_of_the_csv() -> None:
    counts, text = counts_of(LINES), (RESULTS / "scorecard.md").read_text()
    tables = re.findall(r"^\| verdict \| numbers \| claims \|\n\| --- .*\n((?:\|.*\n?)+)", text, flags=re.MULTILINE)
    assert len(tables) == len(PAPERS)
    for paper, table in zip(PAPERS, tables, strict=True):
        rows = [[part.strip() for part in row.strip("|").split("|")] for row in table.strip().split("\n")]
        for place, kind in ((1, "number"), (2, "claim")):
            assert {row[0]: int(row[place]) for row in rows if row[place]} == counts[paper, kind]


def test_the_csv_has_a_word_in_every_line_and_no_line_for_all() -> None:
    assert {line["kind"] for line in LINES} == {"number", "claim"}
    words = {"replicated", "better", "worse", "inconclusive", "degenerate", "not run", "not reported", "not judged"}
    words |= {"not comparable"}
    words |= {"holds", "fails"}
    assert {line["verdict"] for line in LINES} <= words
