"""The scorecard's lines about claims: one for each claim, decided by paired seeds, corrected over the paper's claims.

Each kind of test is a function from a claim's evidence to comparisons, one for each place (a setting and a rival) at
which the claim must be true. `stats` turns comparisons into one p value, and p values into a verdict.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reweigh import stats
from reweigh.analysis.tables import (
    class_weights,
    fingerprint,
    inverse_frequency_correlation,
    join_runs,
    majority_and_minority_weights,
    why_not,
)
from reweigh.config.grid import Config
from reweigh.config.models import Claim
from reweigh.stats import Comparison


@dataclass(frozen=True)
class Evidence:
    """What a claim is decided from: the runs of its experiment at one scale, and their records."""

    config: Config
    claim: Claim
    scale: str
    paper: str
    runs: pd.DataFrame
    records: dict[str, dict[str, Any]]

    @property
    def settings(self) -> list[str]:
        """The claim's settings that exist at this scale."""
        there = self.config.settings_of(self.scale, self.paper, self.claim.experiment)
        return [name for name in there if self.claim.settings is None or name in self.claim.settings]

    @property
    def methods(self) -> list[str]:
        return self.claim.methods

    def cell(self, setting: str, method: str) -> pd.DataFrame:
        """The runs of one cell, by seed."""
        rows = self.runs[(self.runs["setting"] == setting) & (self.runs["method"] == method)]
        return rows.set_index("seed", drop=False)

    def used(self) -> pd.DataFrame:
        """All runs that the claim is about."""
        return self.runs[self.runs["setting"].isin(self.settings) & self.runs["method"].isin(self.methods)]

    def pairs(self) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
        """Every place: its label, and the runs of both sides with the seeds that both have."""
        several = len({better for better, _ in self.claim.contests}) > 1
        for setting in self.settings:
            for better, rival in self.claim.contests:
                ours, theirs = self.cell(setting, better), self.cell(setting, rival)
                seeds = ours.index.intersection(theirs.index)
                label = f"{setting}, {better}" if several else setting
                yield f"{label} against {rival}", ours.loc[seeds], theirs.loc[seeds]

    def values(self, setting: str, method: str) -> pd.Series:
        """The claim's metric in the runs of one cell, by seed."""
        return self.cell(setting, method)[self.claim.metric].astype(float)


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
        bodies = _finished(evidence, setting)
        ratios = [ratio for body in bodies if (ratio := _minority_ratio(body, evidence.config)) is not None]
        comparisons.append(stats.above(ratios, evidence.claim.margin or 1.0, setting))
    return comparisons


def _finished(evidence: Evidence, setting: str) -> list[dict[str, Any]]:
    """The records of the claim's method at a setting; what a run logged that diverged decides nothing."""
    bodies = [evidence.records[run] for run in evidence.cell(setting, evidence.claim.better or "")["run"]]
    return [body for body in bodies if body["status"] == "finished"]


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
        stats.below([pearson for pearson, _ in _correlations(evidence, setting)], evidence.claim.margin, setting)
        for setting in evidence.settings
    ]


def _correlations(evidence: Evidence, setting: str) -> list[tuple[float, float]]:
    """Pearson's and Spearman's correlation of each run that logged class weights."""
    correlations = []
    for body in _finished(evidence, setting):
        weights = class_weights(body, evidence.config.root)
        if weights is not None and len(weights):
            correlations.append(inverse_frequency_correlation(weights, body["split"]["sizes"]["train"]))
    return correlations


DIFFERENCES = ("greater", "greater_on_average", "grows", "within", "explained_by")  # tests whose effect is a difference
COSTS = ("costs_more", "costs_at_most")  # tests of what a step costs
SHOWN = 4  # missing cells that a note names

TESTS: dict[str, Callable[[Evidence], list[Comparison]]] = {
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


def claim_rows(
    config: Config, scale: str, paper: str, runs: pd.DataFrame, records: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The lines of a paper's claims, in the config's order, with p values corrected over all that could be tested."""
    claims = config.paper(paper).claims
    evidence = [
        Evidence(config, claim, scale, paper, runs[runs["experiment"] == claim.experiment], records) for claim in claims
    ]
    gaps = [_missing(part) for part in evidence]
    tested = [[] if gap else TESTS[part.claim.test](part) for part, gap in zip(evidence, gaps, strict=True)]
    sides = [stats.claim_p(comparisons) for comparisons in tested]  # p for each claim, and p against it
    p_values = [stats.two_sided(*side) for side in sides]
    corrected = stats.holm(p_values)
    return [
        {
            **_row(part, comparisons),
            "p": p,
            "p_holm": p_holm,
            "verdict": "not run" if gap else stats.claim_verdict(side[0], side[1], p_holm),
            "note": gap or _note(part, comparisons),
        }
        for part, gap, comparisons, side, p, p_holm in zip(
            evidence, gaps, tested, sides, p_values, corrected, strict=True
        )
    ]


def _missing(evidence: Evidence) -> str:
    """Which cells of a claim have no record, and why; empty if all have one. A claim is never decided in part."""
    config, paper, name = evidence.config, evidence.paper, evidence.claim.experiment
    experiment = config.experiment(paper, name)
    if experiment.status != "ready":
        return experiment.reason or "not run"
    if not evidence.settings:
        return f"not part of scale {evidence.scale}"
    if evidence.claim.test == "grows" and len(evidence.settings) < 2:
        return f"scale {evidence.scale} has one of its two settings only"
    cells = [(setting, method) for setting in evidence.settings for method in evidence.methods]
    gaps = [cell for cell in cells if evidence.cell(*cell).empty]
    if not gaps:
        return _shared(evidence)
    reasons = dict.fromkeys(why_not(config, evidence.scale, paper, name, *cell) for cell in gaps)
    if len(gaps) == len(cells):
        return ", ".join(reasons)
    shown = ["/".join(gap) for gap in gaps[:SHOWN]] + (["..."] if len(gaps) > SHOWN else [])
    return f"{len(gaps)} of {len(cells)} cells have no record ({', '.join(reasons)}): {', '.join(shown)}"


def _shared(evidence: Evidence) -> str:
    """Why a claim about cost has no evidence at one of its places: all pairs of runs there shared a GPU with others."""
    if evidence.claim.test in COSTS:
        for label, ours, theirs in evidence.pairs():
            if len(ours) and (ours["packed"] | theirs["packed"]).all():
                return f"the runs at {label} shared a GPU, which measures no cost; train them alone: --at-once 1"
    return ""


def _row(evidence: Evidence, comparisons: list[Comparison]) -> dict[str, Any]:
    claim, used = evidence.claim, evidence.used()
    weakest = max(comparisons, key=lambda place: 2.0 if place.p_for is None else place.p_for, default=None)
    return {
        "paper": evidence.paper,
        "kind": "claim",
        "id": claim.id,
        "source": claim.source,
        "text": claim.text,
        "experiment": claim.experiment,
        "setting": " ".join(evidence.settings),
        "method": " ".join(evidence.methods),
        "metric": claim.metric,
        "n": min((place.n for place in comparisons), default=0),
        "effect": weakest.effect if weakest else None,
        "effect_low": weakest.low if weakest else None,
        "effect_high": weakest.high if weakest else None,
        "statistic": weakest.statistic if weakest else None,
        "scale_note": evidence.config.cut(evidence.scale, evidence.paper, claim.experiment),
        "status": "run" if comparisons else "not run",
        "runs": join_runs(used["run"]) if comparisons else "",
        "records": fingerprint(used["digest"]) if comparisons else "",
    }


def _note(evidence: Evidence, comparisons: list[Comparison]) -> str:
    """The rule, the effect at every place (the line itself shows the weakest), and runs that diverged or collapsed."""
    notes = [f"rule: {evidence.claim.rule}"]
    if len(comparisons) > 1:
        sign = "+" if evidence.claim.test in DIFFERENCES else ""  # ratios and correlations have none
        effects = (f"{_effect(place.effect, sign)} at {place.label}" for place in comparisons)
        notes.append(f"effects: {', '.join(effects)}")
    if evidence.claim.test == "weights_not_inverse_frequency":
        ranks = [spearman for setting in evidence.settings for _, spearman in _correlations(evidence, setting)]
        if ranks:
            notes.append(f"Spearman's correlation: {sum(ranks) / len(ranks):.3f}")
    for method, runs in evidence.used().groupby("method", sort=False):
        for count, what in ((runs["status"] == "diverged", "diverged"), (runs["collapsed"], "predict one class only")):
            if count.any():
                notes.append(f"{int(count.sum())} of {len(runs)} runs of {method} {what}")
    return "; ".join(notes)


def _effect(effect: float | None, sign: str) -> str:
    return "unknown" if effect is None else f"{effect:{sign}.4f}"
