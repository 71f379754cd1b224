"""The tests of claims: each a function from a claim's evidence to comparisons, one for each place.

A place is a setting and a rival at which the claim must be true. `TESTS` has every test by the name that a claim gives
it in the config. A module with more of them has a `TESTS` of its own, which is merged into the one here.
"""

from collections.abc import Callable
from typing import Any

from reweigh import stats
from reweigh.analysis.tables import class_weights, inverse_frequency_correlation, majority_and_minority_weights
from reweigh.config.grid import Config
from reweigh.scorecard.evidence import Evidence
from reweigh.stats import Comparison

Test = Callable[[Evidence], list[Comparison]]


def greater(evidence: Evidence) -> list[Comparison]:
    """`better` minus `worse`, seed by seed, above the margin: at each setting, against each rival."""
    metric = evidence.claim.metric
    return [
        stats.above((ours[metric] - theirs[metric]).dropna().tolist(), evidence.claim.margin, label)
        for label, ours, theirs in evidence.pairs()
    ]


def greater_on_average(evidence: Evidence) -> list[Comparison]:
    """The gain of `better` over `worse`, averaged over all settings and pairs, above the margin: a single test."""
    metric = evidence.claim.metric
    cells = [(ours[metric] - theirs[metric]).dropna().tolist() for _, ours, theirs in evidence.pairs()]
    return [stats.average_above(cells, evidence.claim.margin, f"{len(cells)} places on average")]


def smaller_spread(evidence: Evidence) -> list[Comparison]:
    """The sd over seeds of `better` below that of each rival, pooled over settings because each has few seeds."""
    metric = evidence.claim.metric
    cells = {
        method: [evidence.cell(setting, method)[metric].dropna().tolist() for setting in evidence.settings]
        for method in evidence.methods
    }
    return [stats.spread_ratio(cells[better], cells[rival], rival) for better, rival in evidence.claim.contests]


def within(evidence: Evidence) -> list[Comparison]:
    """`better` and `worse` differ by less than the margin, either way: at each setting, for each pair."""
    metric = evidence.claim.metric
    return [
        stats.within((ours[metric] - theirs[metric]).dropna().tolist(), evidence.claim.margin, label)
        for label, ours, theirs in evidence.pairs()
    ]


def grows(evidence: Evidence) -> list[Comparison]:
    """The gain of `better` over `worse` at the second setting exceeds that at the first by more than the margin."""
    if len(evidence.settings) != 2:
        return []
    comparisons = []
    for better, rival in evidence.claim.contests:
        first, second = (evidence.values(name, better) - evidence.values(name, rival) for name in evidence.settings)
        growth = (second - first).dropna().tolist()
        comparisons.append(stats.above(growth, evidence.claim.margin, f"{better} over {rival}"))
    return comparisons


def explained_by(evidence: Evidence) -> list[Comparison]:
    """`better` gains over `worse`, and `by` alone gains at least the share `margin` of that: at each setting."""
    claim, comparisons = evidence.claim, []
    for setting in evidence.settings:
        for better, rival in claim.contests:
            gain, gain_by = (
                evidence.values(setting, name) - evidence.values(setting, rival) for name in (better, claim.by or "")
            )
            excess = (gain_by - claim.margin * gain).dropna().tolist()
            comparisons.append(stats.above(gain.dropna().tolist(), 0.0, f"{setting}: {better} over {rival}"))
            comparisons.append(stats.above(excess, 0.0, f"{setting}: {claim.by} beyond {claim.margin:g} of that"))
    return comparisons


def costs_more(evidence: Evidence) -> list[Comparison]:
    """Seconds a step of `better` over those of each rival above the margin; only pairs of runs on the same device.

    Runs that shared a GPU do not count: their seconds are shares of the time of all.
    """
    comparisons = []
    for label, ours, theirs in evidence.pairs():
        comparable = (ours["device"] == theirs["device"]) & (ours["seconds"] > 0) & (theirs["seconds"] > 0)
        comparable &= ~(ours["packed"] | theirs["packed"])
        our_costs, their_costs = ((rows["seconds"] / rows["steps"])[comparable].tolist() for rows in (ours, theirs))
        comparisons.append(stats.cost_ratio(our_costs, their_costs, evidence.claim.margin or 1.0, label))
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
        comparisons.append(stats.above(ratios, evidence.claim.margin or 1.0, setting))
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
    return [
        stats.below([pearson for pearson, _ in correlations(evidence, setting)], evidence.claim.margin, setting)
        for setting in evidence.settings
    ]


def correlations(evidence: Evidence, setting: str) -> list[tuple[float, float]]:
    """Pearson's and Spearman's correlation of each run that logged class weights."""
    correlations = []
    for body in evidence.finished(setting):
        weights = class_weights(body, evidence.config.root)
        if weights is not None and len(weights):
            correlations.append(inverse_frequency_correlation(weights, body["split"]["sizes"]["train"]))
    return correlations


DIFFERENCES = ("greater", "greater_on_average", "grows", "within", "explained_by")  # tests whose effect is a difference
COSTS = ("costs_more", "costs_at_most")  # tests of what a step costs

TESTS: dict[str, Test] = {
    "greater": greater,
    "greater_on_average": greater_on_average,
    "grows": grows,
    "within": within,
    "explained_by": explained_by,
    "smaller_spread": smaller_spread,
    "costs_more": costs_more,
    "costs_at_most": costs_at_most,
    "weights_not_inverse_frequency": weights_not_inverse_frequency,
    "minority_weighs_more": minority_weighs_more,
}
