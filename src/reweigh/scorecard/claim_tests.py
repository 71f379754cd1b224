"""The tests of claims: each a function from a claim's evidence to comparisons, one for each place.

A place is a setting and a rival at which the claim must be true. `TESTS` has every test by the name that a claim gives
it in the config. A module with more of them has a `TESTS` of its own, which is merged into the one here. `compared` is
how a claim is asked.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd

from reweigh import stats
from reweigh.analysis.degenerate import degenerate
from reweigh.analysis.learned import shares
from reweigh.analysis.resolution import FLOAT32, ratio_resolution
from reweigh.analysis.tables import class_weights, inverse_frequency_correlation, majority_and_minority_weights
from reweigh.config.grid import Config
from reweigh.scorecard import curve_tests, feature_tests, order_tests, trace_tests, trade_off_tests
from reweigh.scorecard.evidence import Evidence, cost_pairs
from reweigh.scorecard.possible import cut, possible
from reweigh.stats import Comparison

Test = Callable[[Evidence], list[Comparison]]


def greater(evidence: Evidence) -> list[Comparison]:
    """`better` beyond `worse`, seed by seed, by more than the margin: at each setting, against each rival."""
    return [_gain(evidence, stats.above, *place) for place in evidence.pairs()]


def within(evidence: Evidence) -> list[Comparison]:
    """`better` and `worse` differ by less than the margin, either way: at each setting, for each pair."""
    return [_gain(evidence, stats.within, *place) for place in evidence.pairs()]


def _gain(
    evidence: Evidence, test: Callable[..., Comparison], label: str, ours: pd.DataFrame, theirs: pd.DataFrame
) -> Comparison:
    gains, step = evidence.gains(ours, theirs), evidence.resolution(ours, theirs)
    return evidence.judged(test(gains.tolist(), evidence.claim.margin, label, step), ours, theirs)


def greater_on_average(evidence: Evidence) -> list[Comparison]:
    """The gain of `better` over `worse`, averaged over all settings and pairs, above the margin: a single test.

    Each seed counts once, by its average over all places, because places share seeds.
    """
    places = [(ours, theirs) for _, ours, theirs in evidence.pairs()]
    gains = [evidence.gains(*place).to_dict() for place in places]
    step = evidence.resolution(*(side for place in places for side in place)) / max(1, len(places))
    found = stats.average_above(gains, evidence.claim.margin, f"{len(gains)} places on average", step)
    whys = dict.fromkeys(why for place in places if (why := evidence.why_degenerate(*place)))
    return [stats.undecided(found, ", ".join(whys))]


def smaller_spread(evidence: Evidence) -> list[Comparison]:
    """The sd over seeds of `better` below that of each rival, pooled over settings because each has few seeds."""
    comparisons = []
    for better, rival in evidence.claim.contests:
        sides = [[evidence.cell(setting, method) for setting in evidence.settings] for method in (better, rival)]
        ours, others = ([evidence.scores(cell).to_dict() for cell in side] for side in sides)
        cells = [cell for side in sides for cell in side]
        step = max(map(evidence.resolution, cells), default=0.0)
        whys = dict.fromkeys(why for cell in cells if (why := degenerate(evidence.read(cell))))
        comparisons.append(stats.undecided(stats.spread_ratio(ours, others, rival, step), ", ".join(whys)))
    return comparisons


def grows(evidence: Evidence) -> list[Comparison]:
    """The gain of `better` over `worse` at the second setting exceeds that at the first by more than the margin."""
    if len(evidence.settings) != 2:
        return []
    comparisons = []
    for better, rival in evidence.claim.contests:
        first, second = ([evidence.cell(name, method) for method in (better, rival)] for name in evidence.settings)
        growth, step = evidence.gains(*second) - evidence.gains(*first), evidence.resolution(*first, *second)
        found = stats.above(growth.tolist(), evidence.claim.margin, f"{better} over {rival}", step)
        comparisons.append(evidence.judged(found, *first, *second))
    return comparisons


def gains_more(evidence: Evidence) -> list[Comparison]:
    """The first pair's gain exceeds the second pair's by more than the margin, seed by seed: at each setting.

    A difference in differences, (a - b) - (c - d), over the seeds that all four have.
    """
    comparisons = []
    for setting in evidence.settings:
        first, second = ([evidence.cell(setting, name) for name in pair] for pair in evidence.claim.pairs)
        excess, step = (evidence.gains(*first) - evidence.gains(*second)).dropna(), evidence.resolution(*first, *second)
        label = f"{setting}: {' beyond '.join(f'{one} over {other}' for one, other in evidence.claim.pairs)}"
        found = stats.above(excess.tolist(), evidence.claim.margin, label, step)
        comparisons.append(evidence.judged(found, *first, *second))
    return comparisons


def explained_by(evidence: Evidence) -> list[Comparison]:
    """`better` gains over `worse`, and `by` alone gains at least the share `margin` of that: at each setting."""
    claim, comparisons = evidence.claim, []
    for setting in evidence.settings:
        for better, rival in claim.contests:
            whole, part, plain = cells = [evidence.cell(setting, name) for name in (better, claim.by or "", rival)]
            gain, step = evidence.gains(whole, plain), evidence.resolution(whole, plain)
            excess = evidence.gains(part, plain) - claim.margin * gain
            found = stats.above(gain.tolist(), 0.0, f"{setting}: {better} over {rival}", step)
            comparisons.append(evidence.judged(found, whole, plain))
            step = evidence.resolution(*cells)
            found = stats.above(excess.tolist(), 0.0, f"{setting}: {claim.by} beyond {claim.margin:g} of that", step)
            comparisons.append(evidence.judged(found, *cells))
    return comparisons


def costs_more(evidence: Evidence) -> list[Comparison]:
    """Seconds a step of `better` over those of each rival above the margin; only pairs that can be compared.

    With `per` run the seconds of whole runs, all of their stages, those that others trained for them included.
    What a step costs does not depend on what a run has learned: none is degenerate.
    """
    comparisons = []
    for label, ours, theirs, comparable in cost_pairs(evidence):
        ours, theirs = ours[comparable], theirs[comparable]
        step = max(map(ratio_resolution, ours["seconds"], theirs["seconds"]), default=0.0)
        whole = evidence.claim.per == "run"
        costs, others = (rows["seconds"] / (1 if whole else rows["steps"]) for rows in (ours, theirs))
        comparisons.append(stats.cost_ratio(costs, others, evidence.claim.margin or 1.0, label, step))
    return comparisons


def costs_at_most(evidence: Evidence) -> list[Comparison]:
    """Seconds a step of `better` over those of each rival below the margin: the opposite of `costs_more`."""
    return [stats.opposite(comparison) for comparison in costs_more(evidence)]


def minority_weighs_more(evidence: Evidence) -> list[Comparison]:
    """The mean weight of an example of the rare half of the classes over that of the others, above the margin.

    A seed's value is the mean ratio over weighted epochs, from the weights by class and epoch that its run logged.
    """
    comparisons = []
    for setting in evidence.settings:
        bodies = evidence.finished(setting)
        ratios = [ratio for body in bodies if (ratio := _minority_ratio(body, evidence.config)) is not None]
        step = FLOAT32 * max(stats.numbers(ratios), default=0.0)
        found = stats.above(ratios, evidence.claim.margin or 1.0, setting, step)
        comparisons.append(evidence.judged(found, evidence.cell(setting, evidence.claim.better or "")))
    return comparisons


def _minority_ratio(body: dict[str, Any], config: Config) -> float | None:
    """Mean weight of the rare half of the classes over that of the other half; None if no epoch was weighted."""
    weights = majority_and_minority_weights(body, config.root)
    if weights is None:
        return None
    weighted = weights[weights["epoch"] > body["spec"]["method_options"]["from_epoch"]]
    return None if weighted.empty else float((weighted["minority"] / weighted["majority"]).mean())


def weights_not_inverse_frequency(evidence: Evidence) -> list[Comparison]:
    """Pearson's correlation of time-averaged class weights with 1/n, one value for each seed, below the margin."""
    comparisons = []
    for setting in evidence.settings:
        values = [pearson for pearson, _ in correlations(evidence, setting)]
        found = stats.below(values, evidence.claim.margin, setting, FLOAT32)
        comparisons.append(evidence.judged(found, evidence.cell(setting, evidence.claim.better or "")))
    return comparisons


def correlations(evidence: Evidence, setting: str) -> list[tuple[float | None, float | None]]:
    """Pearson's and Spearman's correlation of each run that logged class weights; None where these do not vary.

    Of the weights as they act: negative ones are none, and each counts by its share of its step's sum (`learned`).
    """
    correlations = []
    for body in evidence.finished(setting):
        weights = class_weights(body, evidence.config.root)
        if weights is not None and len(weights):
            correlations.append(inverse_frequency_correlation(shares(weights), body["split"]["sizes"]["train"]))
    return correlations


# Tests whose effect is a difference of shares, shown in points; tests of time, for which runs must be comparable.
DIFFERENCES = (
    "greater",
    "greater_on_average",
    "grows",
    "gains_more",
    "within",
    "explained_by",
    *curve_tests.DIFFERENCES,
    *feature_tests.DIFFERENCES,
    *trade_off_tests.DIFFERENCES,
)
COSTS = ("costs_more", "costs_at_most", "reaches_in_less_time")

TESTS: dict[str, Test] = {
    "greater": greater,
    "greater_on_average": greater_on_average,
    "grows": grows,
    "gains_more": gains_more,
    "within": within,
    "explained_by": explained_by,
    "smaller_spread": smaller_spread,
    "costs_more": costs_more,
    "costs_at_most": costs_at_most,
    "weights_not_inverse_frequency": weights_not_inverse_frequency,
    "minority_weighs_more": minority_weighs_more,
    **curve_tests.TESTS,
    **feature_tests.TESTS,
    **order_tests.TESTS,
    **trace_tests.TESTS,
    **trade_off_tests.TESTS,
}


def compared(evidence: Evidence) -> list[Comparison]:
    """What the claim's test finds at each place, with intervals cut at what is possible."""
    least, most = possible(evidence)
    return [cut(comparison, least, most) for comparison in TESTS[evidence.claim.test](evidence)]
