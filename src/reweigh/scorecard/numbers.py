"""The scorecard's lines about published numbers: one for each number that a paper prints, with ours beside it."""

from typing import Any

import pandas as pd

from reweigh import stats
from reweigh.analysis.published import published
from reweigh.analysis.rows import summary_row
from reweigh.analysis.tables import why_not
from reweigh.config.grid import Config


def number_rows(
    config: Config, scale: str, paper: str, runs: pd.DataFrame, records: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The lines of a paper's published numbers, in the file's order, including those that no run of ours answers."""
    numbers = published(config, paper)
    return [
        _ours(config, scale, paper, row, numbers, runs, records) if row["experiment"] else _without_runs(paper, row)
        for row in numbers.to_dict("records")
    ]


def _base(paper: str, row: dict[str, Any]) -> dict[str, Any]:
    """What a line takes from the file of published numbers."""
    cell = ("experiment", "setting_name", "method_name") if row["experiment"] else ("dataset", "setting", "method")
    return {
        "paper": paper,
        "kind": "number",
        "id": "/".join(str(row[column]) for column in ("table_or_figure", *cell, "metric")),
        "source": row["table_or_figure"],
        "text": f"{row['dataset']}, {row['setting']}",
        "metric": row["metric"],
        "published": _number(row["mean"]),
        "published_sd": _number(row["std"]),
    }


def _without_runs(paper: str, row: dict[str, Any]) -> dict[str, Any]:
    """The line of a number that belongs to no cell of ours."""
    base, excluded = _base(paper, row), row["excluded"]
    verdict = "not reported" if base["published"] is None else "not judged" if excluded else "not run"
    note = excluded or "no run of ours belongs to it"
    return {**base, "n": 0, "verdict": verdict, "status": "not run", "note": note}


def _ours(
    config: Config,
    scale: str,
    paper: str,
    row: dict[str, Any],
    numbers: pd.DataFrame,
    runs: pd.DataFrame,
    records: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """The line of a number that belongs to a cell of ours."""
    experiment, setting, method, metric = row["experiment"], row["setting_name"], row["method_name"], row["metric"]
    base, excluded = _base(paper, row), row["excluded"]
    mean, sd = base["published"], base["published_sd"]
    listed = config.paper(paper).published
    assert listed is not None  # the row was read from there
    plain = listed.baseline
    value = config.experiment(paper, experiment).settings[setting].value
    cell = _cell(runs, experiment, setting, method)
    ours = summary_row(cell, metric) if metric in runs else summary_row(cell.iloc[:0], "test_accuracy")
    values = cell[metric].dropna().tolist() if metric in runs else []
    notes = [
        *([excluded] if excluded else []),
        *_notes(config, scale, paper, cell, records, (experiment, setting, method)),
        *_trivial(runs, experiment, setting, metric),
    ]
    return {
        **base,
        "experiment": experiment,
        "setting": setting,
        "value": value if isinstance(value, str) else f"{value:g}",
        "method": method,
        "title": config.paper(paper).methods[method].title,
        **ours,
        "metric": metric,
        "difference": None if mean is None or ours["mean"] is None or excluded else ours["mean"] - mean,
        **_gain(runs, experiment, setting, (method, plain), metric),
        "published_gain": None if excluded else _published_gain(numbers, row, plain),
        "verdict": "not judged" if excluded else _verdict(mean, sd, values, cell),
        "scale_note": config.cut(scale, paper, experiment),
        "note": "; ".join(notes),
    }


def _verdict(mean: float | None, sd: float | None, values: list[float], cell: pd.DataFrame) -> str:
    """The verdict; where every run of the cell diverged there is nothing to decide by, though they were run."""
    verdict = stats.verdict(mean, sd, values)
    all_lost = not cell.empty and bool((cell["status"] == "diverged").all())
    return "inconclusive" if verdict == "not run" and all_lost else verdict


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


def _published_gain(numbers: pd.DataFrame, row: dict[str, Any], plain: str) -> float | None:
    """The same difference between the paper's own numbers of that setting, whichever of its tables has them."""
    same = numbers[(numbers["method_name"] == plain) & numbers["excluded"].isna()]
    for column in ("experiment", "setting_name", "metric"):
        same = same[same[column] == row[column]]
    if same.empty or row["method_name"] == plain:
        return None
    return _number(row["mean"] - same.iloc[0]["mean"])


def _notes(
    config: Config,
    scale: str,
    paper: str,
    cell: pd.DataFrame,
    records: dict[str, dict[str, Any]],
    names: tuple[str, str, str],
) -> list[str]:
    """What a reader must know of a cell (`names`: experiment, setting, method) and its runs.

    Why nothing was run, missing seeds, divergence, predictions of one class, data that are not the official ones.
    """
    if cell.empty:
        return [why_not(config, scale, paper, *names)]
    notes, expected = [], len(config.seeds(scale, paper, names[0]))
    if len(cell) < expected:
        notes.append(f"{len(cell)} of {expected} seeds")
    if diverged := int((cell["status"] == "diverged").sum()):
        notes.append(f"{diverged} diverged")
    if collapsed := int(cell["collapsed"].sum()):
        notes.append(f"{collapsed} of {len(cell)} runs predict one class only")
    editions = {file["edition"] for run in cell["run"] for file in records[run]["raw"]} - {"official"}
    notes += [f"data: {edition} of {config.experiment(paper, names[0]).dataset}" for edition in sorted(editions)]
    return notes


def _trivial(runs: pd.DataFrame, experiment: str, setting: str, metric: str) -> list[str]:
    """What a method scores that takes no step and always predicts the more frequent label, where one was run."""
    rows = runs[(runs["experiment"] == experiment) & (runs["setting"] == setting) & (runs["steps"] == 0)]
    return [] if rows.empty or metric not in rows else [f"a constant prediction scores {rows[metric].mean():.4f}"]


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
