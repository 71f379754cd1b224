"""Published numbers that compare two methods, such as gains and ratios of run times, judged by pairs of runs.

Where no run can say it (FLOPs), or the paper's cost is that of a step, a line of `reweigh bench` stands for our runs.
"""

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from reweigh import metrics, spreadsheets, stats, verdicts
from reweigh.analysis import compared
from reweigh.analysis.degenerate import lost
from reweigh.analysis.rows import mean_row
from reweigh.analysis.tables import fingerprint, join_runs
from reweigh.config.mapping import Measured

Body = dict[str, Any]
Found = tuple[dict[str, Any], str, list[str]]  # a line's columns of ours, the verdict, what a reader must know
FEWEST_ROUNDS = 3  # below it quartiles say nothing; a count has no rounds


def by_runs(bodies: list[Body], against: str, metric: str, mean: float | None, sd: float | None) -> Found:
    """What runs say of a number of a metric that compares their method with `against`, pair by pair of one seed."""
    together = compared.pairs(bodies, against)
    fed = [pair for pair in together if compared.value(metric, *pair) is not None or _diverged(pair)]
    found, diverged = compared.values(metric, fed), sum(map(_diverged, fed))
    feeding = [pair[side] for side in (0, 1) for pair in fed]
    ours = {
        "metric": metric,
        **mean_row(pd.Series(found, dtype=float)),
        "status": f"{diverged} diverged" if diverged else "run" if found else "not run",
        "runs": join_runs(body["run"] for body in feeding),
        "records": fingerprint(body["digest"] for body in feeding) if feeding else "",
    }
    left, said = len(together) - len(fed), []
    if left:
        why = "not one device, or not equally many at once" if metrics.of(metric).of == compared.COST else "no value"
        said = [f"{left} of {len(together)} pairs do not count: {why}"]
    return ours, verdict(metric, mean, sd, fed), said


def verdict(metric: str, mean: float | None, sd: float | None, together: list[tuple[Body, Body]]) -> str:
    """The verdict on such a number from pairs of runs; `degenerate` where all runs of a side decide nothing.

    What a run costs does not depend on what it has learned.
    """
    known = metrics.of(metric)
    nothing = any(all(map(lost, side)) for side in zip(*together, strict=True))
    if mean is not None and nothing and known.of != compared.COST:
        return "degenerate"
    step = max((compared.step(metric, *pair) for pair in together), default=0.0)
    return verdicts.verdict(mean, sd, compared.values(metric, together), known, stats.least_sd(step))


def by_bench(root: Path, measured: Measured, metric: str, mean: float | None, sd: float | None) -> Found:
    """What a line of the bench says of a ratio: its median over rounds, with the quartiles as the interval."""
    line, place = line_of(root, measured), f"{measured.contender} against {measured.baseline} in {measured.file}"
    ratio = _number(line.get("ratio"))
    if ratio is None:
        empty = {"n": 0, "status": "not run", "mean": None, "sd": None, "low": None, "high": None}
        return empty, "not reported" if mean is None else "not run", [f"not measured yet: {place}"]
    low, high = (ratio if end is None else end for end in map(_number, (line.get("q1"), line.get("q3"))))
    rounds, exact = int(line["rounds"]), low == ratio == high
    how = "a count" if exact else f"median and quartiles over {rounds} rounds"
    said = [f"{how}: {place}, {line['device']}", *([line["note"]] if line["note"] else [])]
    known = metrics.of(metric)
    decided = verdicts.of_interval(mean, sd, (low, high), known) if exact or rounds >= FEWEST_ROUNDS else "inconclusive"
    return {"mean": ratio, "sd": None, "n": 0, "low": low, "high": high, "status": "measured"}, decided, said


def line_of(root: Path, measured: Measured) -> dict[str, str]:
    """The line of the bench that a row names; empty if there is none, or more than one."""
    path, names = root / measured.file, (measured.group, measured.contender, measured.baseline)
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        found = [
            one
            for one in spreadsheets.lines(csv.DictReader(file))
            if (one["group"], one["contender"], one["baseline"]) == names
        ]
    return found[0] if len(found) == 1 else {}


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _diverged(pair: tuple[Body, Body]) -> bool:
    return any(body["status"] == "diverged" for body in pair)
