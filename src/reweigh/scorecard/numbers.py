"""One line for each number that a paper publishes, ours beside it."""

from typing import Any

import pandas as pd

from reweigh import stats
from reweigh.analysis.tables import published, summary_row, why_not
from reweigh.config.grid import Config


def number_rows(
    config: Config, scale: str, paper: str, runs: pd.DataFrame, records: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The lines of a paper's published numbers, in the file's order; numbers that belong to no run of ours included."""
    known = published(config, paper)
    return [_row(config, scale, paper, row, known, runs, records) for row in known.to_dict("records")]


def _row(
    config: Config,
    scale: str,
    paper: str,
    row: dict[str, Any],
    known: pd.DataFrame,
    runs: pd.DataFrame,
    records: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    experiment, setting, method, metric = row["experiment"], row["setting_name"], row["method_name"], row["metric"]
    mean, sd = _known(row["mean"]), _known(row["std"])
    why = row["excluded"]
    base = {
        "paper": paper,
        "kind": "number",
        "id": "/".join(str(part) for part in (row["table_or_figure"], experiment, setting, method, metric)),
        "source": row["table_or_figure"],
        "text": f"{row['dataset']}, {row['setting']}",
        "metric": metric,
        "published": mean,
        "published_sd": sd,
    }
    if experiment is None:
        verdict = "not reported" if mean is None else "not judged" if why else "not run"
        name = "/".join(str(row[column]) for column in ("table_or_figure", "dataset", "setting", "method", "metric"))
        note = why or "no run of ours belongs to it"
        return {**base, "id": name, "n": 0, "verdict": verdict, "status": "not run", "note": note}
    listed = config.paper(paper).published
    assert listed is not None  # it was read from there
    plain = listed.baseline
    one = config.experiment(paper, experiment)
    mine = _cell(runs, experiment, setting, method)
    ours = summary_row(mine, metric) if metric in runs else summary_row(mine.iloc[:0], "test_accuracy")
    values = mine[metric].dropna().tolist() if metric in runs else []
    value = one.settings[setting].value
    verdict = stats.verdict(mean, sd, values)
    return {
        **base,
        "experiment": experiment,
        "setting": setting,
        "value": value if isinstance(value, str) else f"{value:g}",
        "method": method,
        "title": config.paper(paper).methods[method].title,
        **ours,
        "metric": metric,
        "difference": None if mean is None or not values or why else ours["mean"] - mean,
        **_gain(runs, experiment, setting, (method, plain), metric),
        "published_gain": None if why else _published_gain(known, row, plain),
        "verdict": "not judged" if why else verdict,
        "scale_note": config.cut(scale, paper, experiment),
        "note": "; ".join(
            [
                *([why] if why else []),
                *_notes(config, scale, paper, mine, records, (experiment, setting, method)),
                *_trivial(runs, experiment, setting, metric),
            ]
        ),
    }


def _cell(runs: pd.DataFrame, experiment: str, setting: str, method: str) -> pd.DataFrame:
    return runs[(runs["experiment"] == experiment) & (runs["setting"] == setting) & (runs["method"] == method)]


def _gain(runs: pd.DataFrame, experiment: str, setting: str, methods: tuple[str, str], metric: str) -> dict[str, Any]:
    """Mean difference of a method to plain training at equal budget, seed by seed, with its 95 % interval."""
    empty = {"gain": None, "gain_low": None, "gain_high": None}
    if methods[0] == methods[1] or metric not in runs:
        return empty
    ours, plain = (_cell(runs, experiment, setting, name).set_index("seed")[metric] for name in methods)
    gains = stats.summarise((ours - plain).dropna().tolist())
    return {"gain": gains.mean, "gain_low": gains.low, "gain_high": gains.high}


def _published_gain(known: pd.DataFrame, row: dict[str, Any], plain: str) -> float | None:
    """The same by the paper's own numbers for that setting, of the same table if it has plain training, or another."""
    same = known[(known["method_name"] == plain) & known["excluded"].isna()]
    for column in ("experiment", "setting_name", "metric"):
        same = same[same[column] == row[column]]
    if same.empty or row["method_name"] == plain:
        return None
    return _known(row["mean"] - same.iloc[0]["mean"])


def _notes(
    config: Config,
    scale: str,
    paper: str,
    mine: pd.DataFrame,
    records: dict[str, dict[str, Any]],
    cell: tuple[str, str, str],
) -> list[str]:
    """What a reader of the line must know: why nothing was run, missing seeds, divergence, an unofficial edition."""
    experiment, setting, method = cell
    one = config.experiment(paper, experiment)
    if mine.empty:
        return [why_not(config, scale, paper, experiment, setting, method)]
    notes, wanted = [], len(config.seeds(scale, paper, experiment))
    if len(mine) < wanted:
        notes.append(f"{len(mine)} of {wanted} seeds")
    if diverged := int((mine["status"] == "diverged").sum()):
        notes.append(f"{diverged} diverged")
    if collapsed := int(mine["collapsed"].sum()):
        notes.append(f"{collapsed} of {len(mine)} runs predict one class only")
    editions = {file["edition"] for run in mine["run"] for file in records[run]["raw"]} - {"official"}
    notes += [f"data: {edition} of {one.dataset}" for edition in sorted(editions)]
    return notes


def _trivial(runs: pd.DataFrame, experiment: str, setting: str, metric: str) -> list[str]:
    """What always naming the more frequent label scores, where that was measured."""
    rows = _cell(runs, experiment, setting, "constant")
    return [] if rows.empty or metric not in rows else [f"a constant prediction scores {rows[metric].mean():.4f}"]


def _known(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
