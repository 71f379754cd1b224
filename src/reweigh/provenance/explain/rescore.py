"""The scorecard's own columns, computed again: difference, gain, verdict, and what decides a claim."""

from pathlib import Path
from typing import Any

from reweigh import stats
from reweigh.analysis import compared
from reweigh.analysis.degenerate import lost
from reweigh.analysis.tables import table
from reweigh.config.claim import Claim
from reweigh.config.grid import Config
from reweigh.config.mapping import Measured
from reweigh.provenance.recompute import number
from reweigh.records.lineage import value_of

Body = dict[str, Any]
UNDECIDED = ("not reported", "not run", "not comparable")
COMPARED = ("replicated", "better", "worse", "inconclusive")


def number_line(
    line: dict[str, str],
    ours: list[Body],
    plain: list[Body],
    published: dict[str, Any] | None,
    foreign: str | None = None,
) -> dict[str, Any]:
    """Difference, gain with its interval, and verdict of a published number, from our runs and those of plain training.

    `published` has mean, sd and excluded (why it is not judged); `foreign` says why our data are not comparable. A gain
    is a mean over the seeds that both have.
    """
    metric, scale = line["metric"], line["scale"]
    mine, theirs = (_by_seed(bodies, metric) for bodies in (ours, plain))
    stated = published or {"mean": None, "sd": None, "excluded": ""}
    values, mean = list(mine.values()), stated["mean"]
    together = compared.pairs(ours, line["against"]) if line.get("against") else []
    if line.get("against"):
        mine, values = {}, compared.values(metric, together)
    gained = stats.summarise([value - theirs[seed] for seed, value in mine.items() if seed in theirs])
    excluded = stated["excluded"] and (line["experiment"] or mean is not None)
    judged = mean is not None and values and not stated["excluded"] and not foreign
    if foreign and mean is not None:
        verdict = "not comparable"
    else:
        verdict = _of_pairs(stated, metric, together) if line.get("against") else _verdict(stated, metric, values, ours)
        if scale != "paper" and verdict in COMPARED:  # runs that are cut short replicate nothing
            verdict, judged = "not comparable", False
    return {
        "difference": sum(values) / len(values) - mean if judged else None,
        "gain": gained.mean,
        "gain_low": gained.low,
        "gain_high": gained.high,
        "verdict": "not judged" if excluded else _worded(scale, verdict),
    }


def foreign(config: Config, paper: str, bodies: list[Body]) -> str | None:
    """Why our runs' data are not comparable with the paper's; None if they are."""
    from reweigh.scorecard.numbers import stand_in

    return stand_in(config, paper, bodies)


def _verdict(stated: dict[str, Any], metric: str, values: list[float], ours: list[Body]) -> str:
    """The verdict on a published number, unless each of our runs is one that decides nothing."""
    from reweigh.scorecard.numbers import number_verdict

    nothing = bool(ours) and all(map(lost, ours))
    return number_verdict(stated["mean"], stated["sd"], metric, values, ours, nothing)


def measured_line(root: Path, line: dict[str, str], stated: dict[str, Any], measured: Measured) -> dict[str, Any]:
    """The same of a number that a line of the bench stands for: a ratio, its quartiles, and the verdict."""
    from reweigh.scorecard.compared_numbers import by_bench

    ours, verdict, _ = by_bench(root, measured, line["metric"], stated["mean"], stated["sd"])
    fields = {name: ours[name] for name in ("mean", "low", "high")}
    if stated["excluded"]:
        return {**fields, "verdict": "not judged"}
    both = None not in (ours["mean"], stated["mean"])
    difference = ours["mean"] - stated["mean"] if both else None
    return {**fields, "difference": difference, "verdict": _worded(line["scale"], verdict)}


def _of_pairs(stated: dict[str, Any], metric: str, together: list[tuple[Body, Body]]) -> str:
    from reweigh.scorecard.compared_numbers import verdict

    return verdict(metric, stated["mean"], stated["sd"], together)


def claim_line(config: Config, line: dict[str, str], claim: Claim, bodies: list[Body]) -> dict[str, Any]:
    """n, effect with interval, statistic and p of a claim from the records that its line names: the weakest place's."""
    from reweigh.scorecard.claim_tests import compared
    from reweigh.scorecard.evidence import Evidence

    records = {body["run"]: body for body in bodies}
    evidence = Evidence(config, claim, line["scale"], line["paper"], table(records), records)
    places = compared(evidence)
    weakest = stats.weakest(places)
    assert weakest is not None  # a line that names records has a place
    return {
        "n": min(one.n for one in places),
        "effect": weakest.effect,
        "effect_low": weakest.low,
        "effect_high": weakest.high,
        "statistic": weakest.statistic,
        "p": stats.two_sided(*stats.claim_p(places)),
        "sides": (*stats.claim_p(places), stats.any_degenerate(places)),
    }


def decided(
    line: dict[str, str], sides: tuple[float | None, float | None, bool], family: dict[str, float | None]
) -> dict[str, Any]:
    """Holm's p of a claim among all claims of its paper, whose p values are `family` (by id), and the verdict.

    `sides`: p for it, p against it, and whether any of its places is degenerate.

    Of the m p values that are there, the k-th smallest counts (m - k + 1) fold, and no less than those before it.
    """
    mine = family[line["id"]]
    corrected = None
    if mine is not None:
        ordered = sorted(p for p in family.values() if p is not None)
        smaller = [(p, place) for place, p in enumerate(ordered) if p <= mine]
        corrected = max(min(1.0, p * (len(ordered) - place)) for p, place in smaller)
    return {
        "p_holm": corrected,
        "verdict": _worded(line["scale"], stats.claim_verdict(sides[0], sides[1], corrected, sides[2])),
    }


def family_of(line: dict[str, str], lines: list[tuple[int, dict[str, str]]]) -> list[dict[str, Any]]:
    """The claims of a paper, as the scorecard states them: the p values among which this line's is corrected."""
    mine = [(place, other) for place, other in lines if other["kind"] == "claim" and other["paper"] == line["paper"]]
    return [
        {"line": place, "id": one["id"], "p": number(one["p"]), "runs": one["runs"], "records": one["records"]}
        for place, one in mine
    ]


def _by_seed(bodies: list[Body], metric: str) -> dict[int, float]:
    found = {body["spec"]["seed"]: value_of(body, metric) for body in bodies}
    return {seed: value for seed, value in found.items() if value is not None}


def _worded(scale: str, verdict: str) -> str:
    """At other scales than the paper's, verdicts begin with the scale."""
    return verdict if scale == "paper" or verdict in UNDECIDED else f"{scale}: {verdict}"
