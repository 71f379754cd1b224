"""The scorecard's lines about published numbers: one for each number that a paper prints, with ours beside it."""

from typing import Any

import pandas as pd

from reweigh import metrics, stats, verdicts
from reweigh.analysis.by_cell import runs_of
from reweigh.analysis.compared import titled
from reweigh.analysis.degenerate import counted, degenerate
from reweigh.analysis.published import published
from reweigh.analysis.resolution import resolution
from reweigh.analysis.rows import results, summary_row
from reweigh.analysis.tables import why_not
from reweigh.config.grid import Config
from reweigh.records import lineage
from reweigh.scorecard import compared_numbers

NOT_COMPARABLE = "not comparable"  # the verdict on a number whose runs are on other data, or were cut short
CUT_SHORT = "our runs are cut short at scale {}, which replicates nothing"


def number_rows(
    config: Config, scale: str, paper: str, runs: pd.DataFrame, records: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The lines of a paper's published numbers, in the file's order, including those that no run of ours answers."""
    numbers = published(config, paper)
    return [
        ours(config, scale, paper, row, numbers, runs, records) if row["experiment"] else _without_runs(paper, row)
        for row in numbers.to_dict("records")
    ]


def _base(paper: str, row: dict[str, Any]) -> dict[str, Any]:
    """What a line takes from the file of published numbers."""
    return {
        "paper": paper,
        "kind": "number",
        "id": row["id"],
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
    note = "; ".join(text for text in (excluded or "no run of ours belongs to it", row["remark"]) if text)
    return {**base, "n": 0, "verdict": verdict, "status": "not run", "note": note}


def ours(
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
    base, excluded, against = _base(paper, row), row["excluded"], row["against"]
    plain = config.plain(paper, method)
    value = config.experiment(paper, experiment).settings[setting].value
    compared = [] if row["measured"] else [method, against] if against else [method]
    cells = [runs_of(runs, experiment, setting, name) for name in compared]
    foreign = (
        None
        if excluded or base["published"] is None
        else stand_in(config, paper, [records[run] for cell in cells for run in cell["run"]])
    )
    found, verdict, said = _found(config, row, base, cells, runs, records)
    foreign = foreign or (None if row["measured"] else cut_short(scale, verdict))
    mean = None if foreign or excluded else base["published"]
    notes = [
        *(text for text in (excluded, foreign, row["remark"]) if text),
        *_notes(config, scale, paper, cells, records, (experiment, setting, compared)),
        *said,
        *_trivial(runs, experiment, setting, metric),
    ]
    return {
        **base,
        "experiment": experiment,
        "setting": setting,
        "value": value if isinstance(value, str) else f"{value:g}",
        "method": method,
        **({"against": against} if against else {}),
        "title": titled(config.paper(paper), method, against),
        **found,
        "metric": metric,
        "difference": None if mean is None or found["mean"] is None else found["mean"] - mean,
        **_gain(runs, experiment, setting, (method, plain), metric),
        "published_gain": None if excluded or metrics.of(metric).compares else _published_gain(numbers, row, plain),
        "verdict": "not judged" if excluded else NOT_COMPARABLE if foreign else verdict,
        "scale_note": config.cut(scale, paper, experiment),
        "note": "; ".join(notes),
    }


def _found(
    config: Config,
    row: dict[str, Any],
    base: dict[str, Any],
    cells: list[pd.DataFrame],
    runs: pd.DataFrame,
    records: dict[str, dict[str, Any]],
) -> compared_numbers.Found:
    """What we have of a number: the columns of its line that are ours, the verdict, what a reader must know of it."""
    metric, stated = base["metric"], (base["published"], base["published_sd"])
    if row["measured"]:
        return compared_numbers.by_bench(config.root, row["measured"], metric, *stated)
    if row["against"]:
        bodies = [records[run] for cell in cells for run in cell["run"]]
        return compared_numbers.by_runs(bodies, row["against"], metric, *stated)
    found = summary_row(cells[0], metric) if metric in runs else summary_row(cells[0].iloc[:0], "test_accuracy")
    said = [] if metric in runs else [f"our records have no {metrics.of(metric).label}"]
    return {**found}, _verdict(base, metric, cells[0], records), said


def stand_in(config: Config, paper: str, bodies: list[dict[str, Any]]) -> str | None:
    """Why these runs, by their records, cannot be held against the paper's numbers; None if they can, or are none."""
    mapping = config.paper(paper).published
    return mapping.not_comparable(file["edition"] for body in bodies for file in body["raw"]) if mapping else None


def cut_short(scale: str, verdict: str) -> str | None:
    """Why a verdict cannot stand at a scale that cuts runs short; None where none was cut, or no number compared.

    That of a constant prediction, which is no shorter there, is none either: it would replicate by itself.

    >>> cut_short("quick", "replicated"), cut_short("quick", "degenerate"), cut_short("paper", "replicated")
    ('our runs are cut short at scale quick, which replicates nothing', None, None)
    """
    compared = verdict in (*verdicts.DECIDED, "inconclusive")
    return CUT_SHORT.format(scale) if scale != "paper" and compared else None


def _verdict(base: dict[str, Any], metric: str, cell: pd.DataFrame, records: dict[str, dict[str, Any]]) -> str:
    """The verdict on a number from the runs of its cell."""
    cell = results(cell, metric) if metric in cell else cell.iloc[:0]
    values, bodies = cell[metric].tolist() if len(cell) else [], [records[run] for run in cell["run"]]
    return number_verdict(base["published"], base["published_sd"], metric, values, bodies, bool(degenerate(cell)))


def number_verdict(
    mean: float | None,
    sd: float | None,
    metric: str,
    values: list[float],
    bodies: list[dict[str, Any]],
    decides_nothing: bool,
) -> str:
    """The verdict on a published number from our values of its metric and the records that have them.

    `degenerate` where all of our runs diverged, predict one class or did not move: a method that fails here says
    neither that the paper's number is too high nor, should that be the number of such a run too, that it is right.
    """
    if mean is not None and decides_nothing:
        return "degenerate"
    steps = [resolution(body, metric) for body in bodies]
    return verdicts.verdict(mean, sd, values, metrics.of(metric), stats.least_sd(max(steps, default=0.0)))


def _gain(runs: pd.DataFrame, experiment: str, setting: str, methods: tuple[str, str], metric: str) -> dict[str, Any]:
    """Mean difference of a method to plain training at equal budget, seed by seed, with its 95 % interval."""
    empty = {"gain": None, "gain_low": None, "gain_high": None}
    if methods[0] == methods[1] or metric not in runs:
        return empty
    ours, plain = (runs_of(runs, experiment, setting, name).set_index("seed")[metric] for name in methods)
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
    cells: list[pd.DataFrame],
    records: dict[str, dict[str, Any]],
    names: tuple[str, str, list[str]],
) -> list[str]:
    """What a reader must know of cells (`names`: experiment, setting, a method for each) and their runs.

    Why nothing was run, missing seeds, runs that decide nothing (see `degenerate`), data that are not official.
    """
    experiment, setting, methods = names
    gone = [why_not(config, scale, paper, experiment, setting, name) for name in methods]
    if all(cell.empty for cell in cells) and len(set(gone)) == 1:
        return gone[:1]
    notes, expected = [], len(config.seeds(scale, paper, experiment))
    for method, cell, why in zip(methods, cells, gone, strict=True):
        of = f"{method}: " if len(cells) > 1 else ""
        if cell.empty:
            notes.append(f"{of}{why}")
            continue
        if len(cell) < expected:
            notes.append(f"{of}{len(cell)} of {expected} seeds")
        if lost := counted(cell):
            notes.append(lost)
    editions = (file["edition"] for cell in cells for run in cell["run"] for file in records[run]["raw"])
    return notes + lineage.of_data(editions, config.experiment(paper, experiment).dataset)


def _trivial(runs: pd.DataFrame, experiment: str, setting: str, metric: str) -> list[str]:
    """What a method scores that takes no step and always predicts the more frequent label, where one was run."""
    rows = runs[(runs["experiment"] == experiment) & (runs["setting"] == setting) & (runs["steps"] == 0)]
    return [] if rows.empty or metric not in rows else [f"a constant prediction scores {rows[metric].mean():.4f}"]


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
