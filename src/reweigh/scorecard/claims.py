"""The scorecard's lines about claims: one for each claim, decided by paired seeds, corrected over the paper's claims.

`claim_tests` turns a claim's evidence into comparisons, one for each place at which the claim must be true. `stats`
turns comparisons into one p value, and p values into a verdict.
"""

from typing import Any

import pandas as pd

from reweigh import stats
from reweigh.analysis.degenerate import counted
from reweigh.analysis.tables import fingerprint, join_runs, why_not
from reweigh.config.grid import Config
from reweigh.records import lineage
from reweigh.scorecard import in_print
from reweigh.scorecard.claim_tests import COSTS, DIFFERENCES, compared, correlations, cost_pairs
from reweigh.scorecard.evidence import Evidence
from reweigh.scorecard.text import DEGENERATE
from reweigh.stats import Comparison

SHOWN = 4  # missing cells that a note names


def claim_rows(
    config: Config, scale: str, paper: str, runs: pd.DataFrame, records: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The lines of a paper's claims, in the config's order, with p values corrected over all that could be tested."""
    claims = config.paper(paper).claims
    experiments = {claim.experiment for claim in claims}
    runs_in = {name: runs[runs["experiment"] == name] for name in experiments}  # of all claims about it, grouped once
    evidence = [Evidence(config, claim, scale, paper, runs_in[claim.experiment], records) for claim in claims]
    gaps = [_missing(part) for part in evidence]
    tested = [[] if gap else compared(part) for part, gap in zip(evidence, gaps, strict=True)]
    sides = [stats.claim_p(comparisons) for comparisons in tested]  # p for each claim, and p against it
    p_values = [stats.two_sided(*side) for side in sides]
    corrected = stats.holm(p_values)
    return [
        {
            **_row(part, comparisons),
            "p": p,
            "p_holm": p_holm,
            "verdict": "not run" if gap else _verdict(side, p_holm, comparisons),
            "note": gap or _note(part, comparisons),
        }
        for part, gap, comparisons, side, p, p_holm in zip(
            evidence, gaps, tested, sides, p_values, corrected, strict=True
        )
    ]


def _verdict(side: tuple[float | None, float | None], corrected: float | None, comparisons: list[Comparison]) -> str:
    return stats.claim_verdict(side[0], side[1], corrected, stats.any_degenerate(comparisons))


def _missing(evidence: Evidence) -> str:
    """Why a claim is not decided: by no run at all, or which cells have no record; empty if all have one.

    A claim is never decided in part.
    """
    config, paper, name = evidence.config, evidence.paper, evidence.claim.experiment
    if evidence.claim.reason:
        return _reason(evidence)
    experiment = config.experiment(paper, name)
    if experiment.status != "ready":
        return experiment.reason or "not run"
    if not evidence.settings:
        return f"not part of scale {evidence.scale}"
    if len(evidence.settings) < evidence.claim.fewest_settings:
        fewest = evidence.claim.fewest_settings
        return f"scale {evidence.scale} has {len(evidence.settings)} of the {fewest} settings that it takes"
    cells = [(setting, method) for setting in evidence.settings for method in evidence.methods]
    gaps = [cell for cell in cells if evidence.cell(*cell).empty]
    if not gaps:
        return _incomparable(evidence)
    reasons = dict.fromkeys(why_not(config, evidence.scale, paper, name, *cell) for cell in gaps)
    if len(gaps) == len(cells):
        return ", ".join(reasons)
    shown = ["/".join(gap) for gap in gaps[:SHOWN]] + (["..."] if len(gaps) > SHOWN else [])
    return f"{len(gaps)} of {len(cells)} cells have no record ({', '.join(reasons)}): {', '.join(shown)}"


def _reason(evidence: Evidence) -> str:
    """Why no run decides a claim, and what the paper's own tables say of it where it asks them."""
    claim, published = evidence.claim, evidence.config.paper(evidence.paper).published
    if not claim.in_print or not published:
        return claim.reason or ""
    return f"{claim.reason}; {in_print.text(evidence.config.root, published.file, claim.in_print)}"


def _incomparable(evidence: Evidence) -> str:
    """Why a claim about cost has no evidence at one of its places: no pair of runs there can be compared."""
    for label, ours, theirs, comparable in cost_pairs(evidence) if evidence.claim.test in COSTS else ():
        if len(ours) and (ours["packed"] | theirs["packed"]).all():
            return f"the runs at {label} shared a GPU, which measures no cost; train them alone: --at-once 1"
        if len(ours) and not comparable.any():
            return (
                f"no pair of runs at {label} ran on one device with equally many beside it, which says nothing of "
                "cost; train both alone: --at-once 1"
            )
    return ""


def _row(evidence: Evidence, comparisons: list[Comparison]) -> dict[str, Any]:
    claim, used = evidence.claim, evidence.used()
    weakest = stats.weakest(comparisons)
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
    """The rule, the effect at every place (the line itself shows the weakest), and what a reader must know of the runs.

    What is degenerate and why, pairs and seeds that do not count, runs that diverged or collapsed, data that are not
    the official ones. Which methods are compared stands first, by their titles, which name the value set.
    """
    claim, notes = evidence.claim, [f"rule: {evidence.claim.rule}", _compared(evidence)]
    if len(comparisons) > 1 or claim.level is not None:  # a label says which runs never reach a level
        sign = "+" if claim.test in DIFFERENCES else ""  # ratios and correlations have none
        effects = (f"{_effect(place.effect, sign)} at {place.label}" for place in comparisons)
        notes.append(f"effects: {', '.join(effects)}")
    notes += [f"{DEGENERATE}{place.label}: {place.degenerate}" for place in comparisons if place.degenerate]
    notes += [_bound(claim.level, place) for place in comparisons if claim.level is not None and "never" in place.label]
    if claim.test == "weights_not_inverse_frequency":
        found = (spearman for setting in evidence.settings for _, spearman in correlations(evidence, setting))
        if ranks := stats.numbers(found):
            notes.append(f"Spearman's correlation: {sum(ranks) / len(ranks):.3f}")
    notes += _left_out(evidence)
    runs = evidence.used()
    said = [counted(rows) for _, rows in runs.groupby("method", sort=False)]
    notes += [one for one in said if one and one not in {place.degenerate for place in comparisons}]
    return "; ".join([*notes, *stand_ins(evidence.config, evidence.paper, claim.experiment, runs, evidence.records)])


def _bound(level: float | None, place: Comparison) -> str:
    """That runs at a place never reach the level: its effect, which has no interval then, is no estimate."""
    return f"{level:g} is not always reached, so that the effect is a bound only: {place.label}"


def _compared(evidence: Evidence) -> str:
    """The methods' titles, one list against the other."""
    methods = evidence.config.paper(evidence.paper).methods
    sides = zip(*evidence.claim.contests, strict=True) if evidence.claim.contests else [[evidence.claim.better or ""]]
    return " against ".join(", ".join(dict.fromkeys(methods[name].title for name in side)) for side in sides)


def _left_out(evidence: Evidence) -> list[str]:
    """Pairs of runs that say nothing of cost, and settings with too few runs to compare how they scatter."""
    if evidence.claim.test in COSTS:
        counts = [(int((~comparable).sum()), len(ours)) for _, ours, _, comparable in cost_pairs(evidence)]
        left, pairs = map(sum, zip(*counts, strict=True)) if counts else (0, 0)
        return [f"{left} of {pairs} pairs do not count: not one device, or not equally many at once"] if left else []
    if evidence.claim.test == "smaller_spread":
        few = [name for name in evidence.settings if min(map(len, _scored(evidence, name))) < stats.FEWEST]
        return [f"fewer than {stats.FEWEST} runs, which show no spread: {', '.join(few)}"] if few else []
    return []


def _scored(evidence: Evidence, setting: str) -> list[pd.Series]:
    return [evidence.scores(evidence.cell(setting, method)).dropna() for method in evidence.methods]


def stand_ins(
    config: Config, paper: str, experiment: str, runs: pd.DataFrame, records: dict[str, dict[str, Any]]
) -> list[str]:
    """Which data of these runs are not the official ones."""
    editions = (file["edition"] for run in runs["run"] for file in records[run]["raw"])
    return lineage.of_data(editions, config.experiment(paper, experiment).dataset)


def _effect(effect: float | None, sign: str) -> str:
    return "unknown" if effect is None else f"{effect:{sign}.4f}"
