"""Lines over all settings of a figure, computed again run by run in plain Python: see `aggregates` for what they are.

The ends of bootstrap intervals, and ranks, for which all methods count, are not: both are held against what the
figure's notebook gives now (`audit.notebook_rows`).
"""

import math
from collections.abc import Mapping
from typing import Any

from reweigh import metrics, stats
from reweigh.analysis.rows import IMPROVEMENT, MIDDLE_GAIN, OVER_SETTINGS, RANK, RANK_BY_SEED
from reweigh.config.models import Paper
from reweigh.records.lineage import value_of

Body = dict[str, Any]
Side = dict[tuple[str, str], dict[int, float]]  # scores by setting and seed


def knows(metric: str) -> bool:
    """Whether lines of a metric are over all settings."""
    return metric.endswith(OVER_SETTINGS)


def line(row: Mapping[str, Any], bodies: list[Body]) -> dict[str, Any]:
    """What a line over settings states, from its runs' records, as far as these alone decide it."""
    ending = _ending(row["metric"])
    if ending in (RANK, RANK_BY_SEED):
        return {"n": len(bodies), "settings": len({_place(body) for body in bodies})}
    ours, theirs = (_side(bodies, row["metric"].removesuffix(ending), name) for name in (row["method"], row["against"]))
    settings = {"settings": len(ours)}
    if ending == IMPROVEMENT:
        won = [_won([*ours[place].values()], [*theirs[place].values()]) for place in ours]
        return {"mean": sum(won) / len(won), "n": sum(map(len, ours.values())), **settings}
    gains = {place: {seed: of[seed] - theirs[place][seed] for seed in of} for place, of in ours.items()}
    if ending == MIDDLE_GAIN:
        values = [gain for of in gains.values() for gain in of.values()]
        return {"mean": _middle_half(values), "n": len(values), **settings}
    seeds = set.intersection(*(set(of) for of in gains.values()))
    each = stats.summarise([_middle_half([of[seed] for of in gains.values()]) for seed in seeds])
    return {"mean": each.mean, "n": each.n, "low": each.low, "high": each.high, **settings}


def unlike(row: Mapping[str, Any], bodies: list[Body], paper: Paper, name: str) -> str:
    """What in a line over settings is not what the config and its own runs say; empty if nothing is."""
    method, against, metric = row["method"], row.get("against") or "", row["metric"]
    if method not in paper.methods or (against and against not in paper.methods):
        return f"the config has no method {method if method not in paper.methods else against}"
    if "title" in row and row["title"] != paper.methods[method].title:
        return f"title {row['title'] or 'empty'}, the config says {paper.methods[method].title}"
    if row.get("experiment") or row.get("setting"):
        return f"it is over all settings, and names {row.get('experiment') or row.get('setting')}"
    ending = _ending(metric)
    if metric.removesuffix(ending) not in metrics.METRICS:
        return f"no record has a metric {metric.removesuffix(ending)}"
    if bool(against) == (ending in (RANK, RANK_BY_SEED)):
        return f"metric {metric} against {against or 'nothing'}"
    if not bodies:
        return ""
    if other := next((body["spec"]["paper"] for body in bodies if body["spec"]["paper"] != name), None):
        return f"paper {name}, but its runs are of {other}"
    cells = {(_place(body), body["spec"]["seed"], body["spec"]["method"]) for body in bodies}
    pairs = {(place, seed) for place, seed, _ in cells}
    if cells != {(*pair, one) for pair in pairs for one in {method, *([against] if against else [])}}:
        stated = f"{method} against {against}" if against else method
        return f"method {stated}, but its runs are of {', '.join(sorted({one for _, _, one in cells}))}, or no pairs"
    return "" if row.get("status", "run") == "run" else f"status {row['status']}, its runs say run"


def _ending(metric: str) -> str:
    return next(ending for ending in OVER_SETTINGS if metric.endswith(ending))


def _place(body: Body) -> tuple[str, str]:
    return body["spec"]["experiment"], body["spec"]["setting"]


def _side(bodies: list[Body], metric: str, method: str) -> Side:
    """The scores of one method's runs, higher is better; −∞ of what diverged."""
    known, side = metrics.of(metric), Side()
    for body in bodies:
        if body["spec"]["method"] == method:
            value = value_of(body, metric) if body["status"] == "finished" else None
            score = -math.inf if value is None else (abs(value) if known.absolute else value) * (known.direction or 1)
            side.setdefault(_place(body), {})[body["spec"]["seed"]] = score
    return side


def _middle_half(values: list[float]) -> float:
    cut = len(values) // 4
    kept = sorted(values)[cut : len(values) - cut]
    return math.fsum(kept) / len(kept)


def _won(ours: list[float], theirs: list[float]) -> float:
    won = sum(1.0 if one > other else 0.5 if one == other else 0.0 for one in ours for other in theirs)
    return won / (len(ours) * len(theirs))
