"""A line of a figure's or scorecard's csv, computed again from the records that it names."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from reweigh import metrics
from reweigh.analysis import compared
from reweigh.analysis.ridges import QUANTILES, bin_edges, shares
from reweigh.analysis.rows import (
    AGREEMENT,
    CLASS_WEIGHT,
    DIFFERENCE,
    GROUP_ACCURACY,
    GROUPS,
    INVERSE_FREQUENCY,
    MAP_POINT,
    POSITIVE,
    RIDGES,
    SIDES,
)
from reweigh.analysis.searches import METRICS as OF_SEARCHES
from reweigh.analysis.searches import ORACLE, RATIOS
from reweigh.analysis.strengths import ARRAYS, OF_CLASSES
from reweigh.analysis.tables import logged, majority_and_minority_weights
from reweigh.config.grid import Config
from reweigh.config.models import Paper
from reweigh.provenance import recompute_pairs, recompute_searches, recompute_settings
from reweigh.provenance.recompute_means import summary
from reweigh.records import record
from reweigh.records.lineage import value_of

TOLERANCE = 1e-5  # a csv holds six significant digits
FEATURES = (MAP_POINT, AGREEMENT)  # of the runs that kept features, which need not be all of a cell


def line(row: dict[str, Any], bodies: list[dict[str, Any]], root: str | Path = ".") -> dict[str, Any] | None:
    """What a csv line states, from its runs' records: mean, sd, n, low, high, minutes, x, as far as it has them.

    None for a line that is no mean of runs (a claim, a point of a map).
    """
    metric = row["metric"]
    if row.get("kind") == "claim":
        return None
    if metric in RIDGES:
        return _ridge(row, bodies, root)
    if metric in SIDES:
        return _side_weights(row, bodies, root)
    if metric in GROUPS:
        return _of_group(row, bodies)
    if metric in OF_CLASSES:
        return _of_class(row, bodies, root)
    if recompute_settings.ending(metric):
        return recompute_settings.line(row, bodies)
    if metric.endswith(DIFFERENCE):
        return _difference(row, bodies)
    if metric in OF_SEARCHES:
        return summary(recompute_searches.values(row, bodies, root))
    if _compares(row):
        return summary(compared.values(metric, compared.pairs(bodies, row["against"])))
    if recompute_pairs.knows(metric):
        return summary(recompute_pairs.values(row, bodies, root))
    if metric == AGREEMENT:
        return summary([value for body in bodies if (value := _agreement(row, body, root)) is not None], metric)
    if not _has(bodies[0], metric):
        return None
    epoch = number(row.get("epoch"))
    ours = summary([value for body in bodies if (value := value_at(body, metric, epoch)) is not None], metric)
    clock = [value_at(body, "train_seconds", epoch) for body in bodies] if number(row.get("minutes")) else []
    placed: dict[str, Any] = {}
    if clock and None not in clock:
        placed["minutes"] = float(np.mean(clock)) / 60  # type: ignore[arg-type]
    if number(row.get("x")) is not None:  # what the method was varied in
        placed["x"] = bodies[0]["spec"]["method_options"].get("gamma")
    if number(row.get("seed")) is not None:
        return {"mean": ours["mean"], "n": ours["n"], **placed}
    return {**ours, **placed}


def _compares(row: dict[str, Any]) -> bool:
    """Whether a line's metric compares its method with another one, by pairs of runs."""
    known = metrics.METRICS.get(row["metric"])
    return bool(known and known.compares and row.get("against"))


def title_of(row: dict[str, Any], paper: Paper) -> str:
    """What a line calls its method: by its title, and over whom where its metric compares the two."""
    return compared.titled(paper, row["method"], row["against"] if _compares(row) else None)


def _has(body: dict[str, Any], metric: str) -> bool:
    """Whether a record states a metric, or states what it follows from."""
    return metric in body["metrics"] or metric in body["curves"] or metric in metrics.DERIVED


def value_at(body: dict[str, Any], metric: str, epoch: float | None) -> float | None:
    """A run's metric at the end or after an epoch; None after what is no whole number of epochs."""
    return None if epoch is not None and not epoch.is_integer() else value_of(body, metric, epoch)


def _difference(row: dict[str, Any], bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean difference of a line's method and the one that it stands `against`, on the seeds that both have."""
    metric = row["metric"].removesuffix(DIFFERENCE)
    sides: list[dict[int, float]] = [{}, {}]
    for body in bodies:
        if (value := value_of(body, metric)) is not None:
            sides[body["spec"]["method"] == row["against"]][body["spec"]["seed"]] = value
    found = summary([value - sides[1][seed] for seed, value in sides[0].items() if seed in sides[1]])
    return {**found, "p": recompute_settings.p_of(row, bodies)} if "p" in row else found


def _of_group(row: dict[str, Any], bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over runs of what they say of one group, whose number is the line's `class`."""
    group = number(row.get("class"))
    known = (_share_of_group(body, row["metric"], group) for body in bodies)
    return summary([value for value in known if value is not None], row["metric"])


def _share_of_group(body: dict[str, Any], metric: str, group: float | None) -> float | None:
    """How much of a group, or of its positive examples, is right; None where the record does not say."""
    known = body["metrics"] if body["status"] == "finished" else {}
    stated = known.get("per_group_accuracy" if metric == GROUP_ACCURACY else "group_confusion")
    if stated is None or group is None or int(group) not in range(len(stated)):
        return None
    if metric == GROUP_ACCURACY:
        return float(stated[int(group)])
    row = stated[int(group)][POSITIVE]
    return row[POSITIVE] / sum(row) if sum(row) else None


def _of_class(row: dict[str, Any], bodies: list[dict[str, Any]], root: str | Path) -> dict[str, Any]:
    """The mean over runs of what they logged last of one class, whose number is the line's `class`."""
    label, values = number(row.get("class")), list[float]()
    for body in bodies:
        path = record.trace_path(record.record_path(body["run"], root), body)
        if path is None or not _logs_classes(body, row["metric"]):
            continue
        with np.load(path, allow_pickle=False) as arrays:
            last = arrays[ARRAYS[row["metric"]]][-1]
        if label is None or int(label) not in range(len(last)):
            return {"class": None}  # there is no such class
        values.append(float(last[int(label)]))
    return summary(values)


def _logs_classes(body: dict[str, Any], metric: str) -> bool:
    shape = (body["trace"] or {"arrays": {}})["arrays"].get(ARRAYS[metric], [0])
    return body["status"] == "finished" and shape[0] > 0


def _side_weights(row: dict[str, Any], bodies: list[dict[str, Any]], root: str | Path) -> dict[str, Any]:
    """The mean weight of the examples of frequent, or of rare, classes in one epoch, over runs."""
    side, epoch = row["metric"].removesuffix("_weight"), number(row.get("epoch"))
    frames = [frame for body in bodies if (frame := majority_and_minority_weights(body, root)) is not None]
    return summary([value for frame in frames for value in frame[frame["epoch"] == epoch][side].dropna()])


def _ridge(row: dict[str, Any], bodies: list[dict[str, Any]], root: str | Path) -> dict[str, Any] | None:
    """A line of the ridges of class weights: over all outer steps of all runs, or the height of one bin."""
    files = [(body, record.trace_path(record.record_path(body["run"], root), body)) for body in bodies]
    known = tuple((path, body["trace"]["sha256"]) for body, path in files if path and _logs(body))
    label, counts = number(row.get("class")), tuple(bodies[0]["split"]["sizes"]["train"])
    if label is None or not known:
        return None
    samples, inverse, edges = _ridges(known, counts)
    if label not in range(samples.shape[1]):
        return {"class": None}  # there is no such class
    values = samples[:, int(label)]
    if row["metric"] == INVERSE_FREQUENCY:
        return {"mean": inverse[int(label)], "n": len(known)}
    if row["metric"] == CLASS_WEIGHT:
        low, high = np.quantile(values, QUANTILES)
        mean, sd = float(values.mean()), float(values.std(ddof=1))
        return {"mean": mean, "sd": sd, "n": len(known), "low": float(low), "high": float(high)}
    heights, centres = np.histogram(values, edges)[0], (edges[:-1] + edges[1:]) / 2
    place = int(np.abs(centres - (number(row.get("x")) or 0.0)).argmin())
    return {"mean": heights[place] / heights.max(), "x": centres[place], "n": len(known)}


def _agreement(row: dict[str, Any], body: dict[str, Any], root: str | Path) -> float | None:
    """How often the nearest other example is of the same class, mean over classes; equally near ones share the vote."""
    part = "test" if (row.get("note") or "").startswith("test") else "train"
    found = logged(body, f"{part}_features", f"{part}_labels", root=root)
    if not found:
        return None
    features, labels = found[0].astype(float), found[1].astype(int)
    same = np.empty(len(features))
    for place, own in enumerate(features):
        distances = ((features - own) ** 2).sum(1)
        distances[place] = np.inf
        same[place] = (labels[distances == distances.min()] == labels[place]).mean()
    shares = [same[labels == label].mean() for label in np.unique(labels) if (labels == label).sum() > 1]
    return float(np.mean(shares)) if shares else None


def _logs(body: dict[str, Any]) -> bool:
    return body["trace"]["arrays"].get("class_weights", [0])[0] > 0


@lru_cache(maxsize=16)
def _ridges(traces: tuple[tuple[Path, str], ...], counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights at all steps of all runs (steps, C), what 1/n would give (C,), edges of the bins of one panel."""
    arrays = []
    for path, _ in traces:
        with np.load(path, allow_pickle=False) as logged:
            arrays.append(shares(logged["class_weights"].astype(float)))
    samples, rarity = np.concatenate(arrays), 1 / np.asarray(counts, float)
    inverse = rarity / rarity.sum() * samples.sum(1).mean()
    return samples, inverse, bin_edges(samples, inverse)


# --- does a line speak of its runs? ----------------------------------------------------------------------------------


def unlike_its_runs(row: dict[str, Any], bodies: list[dict[str, Any]], config: Config, paper: str) -> str:
    """What in a figure's csv line is not what the config and the line's own runs (`bodies`) say; empty if nothing is.

    Names, seed, metric and status must be those of the runs; the setting's `value` and the method's `title` those of
    the config. A line that names no cell, of a claim or of something computed without runs, has nothing to be unlike.
    """
    experiment, setting, method = (row.get(name) or "" for name in ("experiment", "setting", "method"))
    if recompute_settings.ending(row["metric"]):
        return _unlike_field(row, bodies, config, paper)
    if row.get("kind") == "claim" or not (experiment and setting and method):
        return "it names runs, but no cell" if bodies and not row.get("kind") else ""
    return _unlike_config(row, config, paper) or (_unlike_bodies(row, bodies, config, paper) if bodies else "")


def _unlike_field(row: dict[str, Any], bodies: list[dict[str, Any]], config: Config, paper: str) -> str:
    """What of a line over many settings is not what the config and its runs say."""
    method, against, specs = row["method"], row.get("against") or "", [body["spec"] for body in bodies]
    if method not in config.paper(paper).methods:
        return f"the config has no method {method}"
    if "title" in row and row["title"] != config.paper(paper).methods[method].title:
        return f"title {row['title'] or 'empty'}, the config says {config.paper(paper).methods[method].title}"
    named, found = {method, *([against] if against else [])}, {spec["method"] for spec in specs}
    if specs and named != found:
        stated = f"{method} against {against}" if against else method
        return f"method {stated}, but its runs are of {', '.join(sorted(found))}"
    if other := next((spec["paper"] for spec in specs if spec["paper"] != paper), None):
        return f"paper {paper}, but its runs are of {other}"
    expected = "run" if specs else "not run"
    return "" if row.get("status", expected) == expected else f"status {row['status']}, its runs say {expected}"


def _unlike_config(row: dict[str, Any], config: Config, paper: str) -> str:
    """What is not what the config calls the cell of a line."""
    one, methods = config.paper(paper).experiments.get(row["experiment"]), config.paper(paper).methods
    if one is None or row["setting"] not in one.settings or row["method"] not in methods:
        return f"the config has no {row['experiment']}/{row['setting']}/{row['method']}"
    setting = one.settings[row["setting"]]
    value = setting.label or (setting.value if isinstance(setting.value, str) else f"{setting.value:g}")
    for name, expected in (("value", value), ("title", title_of(row, config.paper(paper)))):
        if name in row and row[name] != expected:
            return f"{name} {row[name] or 'empty'}, the config says {expected}"
    return ""


def _unlike_bodies(row: dict[str, Any], bodies: list[dict[str, Any]], config: Config, paper: str) -> str:
    """What is not what the runs of a line are."""
    metric, against = row["metric"], row.get("against") or ""
    of_pairs, base = recompute_pairs.knows(metric), recompute_pairs.base(metric)
    paired = metric.endswith(DIFFERENCE) or metric in RATIOS or of_pairs or _compares(row)
    known = _has(bodies[0], base) or _compares(row)
    if not known and not of_pairs and metric not in (*RIDGES, *SIDES, *FEATURES, *GROUPS, *OF_CLASSES, *OF_SEARCHES):
        return f"no record has a metric {metric}"
    if metric == MAP_POINT and row.get("mean"):
        return f"mean {row['mean']} of a point of a map, which has none"
    if paired != bool(against):
        return f"metric {metric} against {against or 'nothing'}"
    specs = [body["spec"] for body in bodies]
    if metric == ORACLE:  # the others are those that it is held against
        specs = [spec for spec in specs if spec["experiment"] == row["experiment"]]
    for spec in specs:  # what a paper extends has its runs under its own name
        if (home := config.home(paper, row["experiment"], spec["method"])) != spec["paper"]:
            return f"paper {home}, but its runs are of {spec['paper']}"
    for spec in specs:
        home = config.trained_in(paper, row["experiment"], spec["method"])
        for name, expected in (("experiment", home), ("setting", row["setting"])):
            if spec[name] != expected:
                return f"{name} {expected}, but its runs are of {spec[name]}"
    named, found = {row["method"], *([against] if paired else [])}, {spec["method"] for spec in specs}
    named |= recompute_pairs.methods(row)
    if named != found:
        stated = f"{row['method']} against {against}" if paired else row["method"]
        return f"method {stated}, but its runs are of {', '.join(sorted(found))}"
    seed = row.get("seed") or ""
    if seed and [float(spec["seed"]) for spec in specs] != [number(seed)]:
        return f"seed {seed}, but its runs are of seed {', '.join(str(spec['seed']) for spec in specs)}"
    expected = _status(bodies, bool(seed)) if known or metric in (*FEATURES, *GROUPS, *OF_CLASSES) else "run"
    return "" if row.get("status", expected) == expected else f"status {row['status']}, its runs say {expected}"


def _status(bodies: list[dict[str, Any]], single: bool) -> str:
    """What became of the runs of a line: a pair of runs of one seed counts once."""
    diverged = {body["spec"]["seed"] for body in bodies if body["status"] == "diverged"}
    return "run" if not diverged else "diverged" if single else f"{len(diverged)} diverged"


def feeds(body: dict[str, Any], metric: str, epoch: float | None = None, root: str | Path = ".") -> bool:
    """Whether a run has what a line of that metric is made of."""
    if metric in RIDGES:
        return body["trace"] is not None and _logs(body)
    if metric in SIDES:
        arrays = (body["trace"] or {"arrays": {}})["arrays"]
        return "weighted_examples" in arrays and arrays.get("mean_weights", [0])[0] > 0
    if metric in OF_CLASSES:
        return body["status"] == "diverged" or _logs_classes(body, metric)
    if metric in OF_SEARCHES:
        return recompute_searches.feeds(body, metric, epoch, root)
    if metric in GROUPS:
        return body["status"] == "diverged" or _share_of_group(body, metric, 0) is not None
    if value_at(body, metric, epoch) is not None:
        return True
    there = epoch is None or epoch in body["curves"]["epoch"]
    return there and body["status"] == "diverged"  # a result without a score


def differences(row: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """Which fields of a csv line are not what was computed again: `mean 0.91, should be 0.9`."""
    return [f"{name} {told}" for name, expected in again.items() if (told := difference(row.get(name), expected))]


def difference(stated: Any, expected: Any) -> str:
    """How a csv field differs from what was computed again: `0.91, should be 0.9`; empty if it does not."""
    if isinstance(expected, str):
        return "" if stated == expected else f"{stated or 'empty'}, should be {expected or 'empty'}"
    found = number(stated)
    same = found is None and expected is None
    if same or (found is not None and expected is not None and _close(found, float(expected))):
        return ""
    return f"{'empty' if found is None else f'{found:g}'}, should be {_text(expected)}"


def number(text: Any) -> float | None:
    """The number in a csv field; None if it is empty or no number."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(value) else value


def is_number(text: Any) -> bool:
    """Whether a csv field holds a number."""
    return number(text) is not None


def _close(found: float, expected: float) -> bool:
    return math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=1e-9)


def _text(value: float | None) -> str:
    return "empty" if value is None else f"{value:.6g}"
