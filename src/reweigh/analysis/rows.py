"""The lines of a figure's csv: their columns, and how the numbers of one run, of one cell and of a pair are stated.

A figure's `rows` is a data frame of such lines, in the order in which the csv has them. It may have more columns, which
its picture needs and its csv does not; the file that makes them says which.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, TypedDict

import pandas as pd

from reweigh import metrics, spreadsheets, stats
from reweigh.analysis.tables import Material, fingerprint, join_runs

Row = TypedDict(
    "Row",
    {
        "panel": str,  # letter of the panel, or the title of a group of lines
        "experiment": str,
        "setting": str,
        "value": str,  # of the setting, as the axis writes it
        "method": str,
        "title": str,  # of the method, as figures write it
        "against": str,  # the method that a difference is taken to
        "metric": str,
        "class": int,
        "seed": int | None,  # of a line of one run; empty in a line of several
        "epoch": int,  # from 1
        "minutes": float,  # of training up to that epoch, evaluation left out
        "example": int,  # place of an example, from 0
        "x": float | None,  # where a point lies, in the unit of its axis
        "y": float,
        "weight": float,  # of an example; those of a batch sum to 1
        "mean": float | None,  # this and the next: in the unit of the metric (accuracies, recalls: fractions)
        "sd": float | None,  # sample sd over runs (n - 1)
        "n": int,  # runs that have a value
        "low": float | None,  # ends of the 95 % interval of the mean (`stats.inside`), where no note says otherwise
        "high": float | None,
        "published": float | None,  # the paper's number and its sd, in the unit of `mean`
        "published_sd": float | None,
        "scale": str,
        "status": str,  # run, not run, diverged, `2 diverged`, computed (without any run)
        "p": float | None,  # two-sided, of no difference, by the paired t test
        "p_holm": float | None,  # by Holm's correction over the methods at the setting
        "p_holm_all": float | None,  # by Holm's correction over all methods and settings of the figure
        "settings": int,  # how many a line over several settings is made of
        "bars": str,  # letters of the bars of a critical-difference diagram that the method is on
        "note": str,  # why there is no number, or what it is
        "runs": str,  # those that feed the line (see `tables.join_runs`)
        "records": str,  # fingerprint of their records
    },
    total=False,
)

COLUMNS = tuple(Row.__annotations__)  # every csv has them in this order
CORE = ("experiment", "setting", "value", "method", "metric", "mean", "sd", "n", "low", "high", "status", "runs",
        "records")  # also where they are empty  # fmt: skip
NUMBERS = ("mean", "sd", "low", "high", "published", "published_sd")
P_VALUES = ("p", "p_holm", "p_holm_all")

# Metrics of lines that are no mean of a record's metric over runs.
DIFFERENCE = "_difference"  # how the metric of a paired difference ends
CLASS_WEIGHT, INVERSE_FREQUENCY, DENSITY = "class_weight", "inverse_frequency", "class_weight_density"
RIDGES = (CLASS_WEIGHT, INVERSE_FREQUENCY, DENSITY)
SIDES = ("majority_weight", "minority_weight")
MAP_POINT, AGREEMENT = "tsne", "nearest_neighbour_agreement"
EXAMPLE, WEIGHT, DECISION_LINE = "example", "weight", "decision_line"
GROUP_ACCURACY, GROUP_RECALL = "per_group_accuracy", "per_group_recall"  # of the group in `class`, mean over runs
GROUPS = (GROUP_ACCURACY, GROUP_RECALL)
POSITIVE = 1  # the label whose recall in a group is its true positive rate
POSITIVES_RIGHT, NEGATIVES_RIGHT = "positives_right", "negatives_right"
BY_COUNT, MORE_RIGHT = "draws_by_positives_right", "draws_with_more_positives_right"
# Of lines over all settings of a figure: how such a metric ends.
MIDDLE_GAIN, MIDDLE_GAIN_BY_SEED = "_interquartile_mean_gain", "_interquartile_mean_gain_by_seed"
MEAN_GAIN_BY_SEED = "_mean_gain_by_seed"  # of some settings alone, which the line's `panel` names
IMPROVEMENT = "_probability_of_improvement"
RANK, RANK_BY_SEED = "_average_rank", "_average_rank_by_seed"
OVER_SETTINGS = (MIDDLE_GAIN, MIDDLE_GAIN_BY_SEED, MEAN_GAIN_BY_SEED, IMPROVEMENT, RANK, RANK_BY_SEED)
OF_DRAWS = (POSITIVES_RIGHT, NEGATIVES_RIGHT, BY_COUNT, MORE_RIGHT)  # over many draws of random points, without runs
CLASS_SIZE, LAW_SIZE = "training_examples", "training_examples_by_law"


def cell_names(material: Material, experiment: str, setting: str, method: str) -> Row:
    """How a line names its cell: experiment, setting, the setting's value, method, and the method's title."""
    return {
        "experiment": experiment,
        "setting": setting,
        "value": material.label(experiment, setting),
        "method": method,
        "title": material.title(method),
    }


def single_row(run: Mapping[str, Any], metric: str) -> Row:
    """The numbers of one run."""
    scored = bool(pd.notna(run[metric]))  # one that diverged is not
    return {
        "metric": metric,
        "mean": run[metric] if scored else None,
        "n": int(scored),
        "status": "run" if run["status"] == "finished" else run["status"],
        "runs": run["run"],
        "records": fingerprint([run["digest"]]),
    }


def summary_row(runs: pd.DataFrame, metric: str) -> Row:
    """The numbers of one cell: mean, sd, n, low, high, status, runs, records.

    Runs whose metric is not defined (precision where nothing was predicted positive) do not count in n, nor do those
    that diverged; of the two only these are named among its runs, and in the status.
    """
    runs = results(runs[["status", metric, "run", "digest"]], metric)
    diverged = int((runs["status"] == "diverged").sum())
    return _summary(metric, runs[metric], diverged, runs["run"], runs["digest"])


def results(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The runs that have the metric, and those that diverged: results too, without a score."""
    return runs[runs[metric].notna() | (runs["status"] == "diverged")]


def paired_row(ours: pd.DataFrame, others: pd.DataFrame, metric: str) -> Row:
    """The difference `ours` minus `others` of two cells, seed by seed.

    As in `summary_row`; the seeds that only one side has do not count. Metric: `metric`_difference.
    """
    read = ["seed", "status", metric, "run", "digest"]
    pairs = ours[read].merge(others[read], on="seed", suffixes=("", "_other"))
    lost = (pairs[["status", "status_other"]] == "diverged").any(axis=1)
    pairs = pairs[lost | (pairs[metric].notna() & pairs[f"{metric}_other"].notna())]
    diverged = int(lost.sum())
    runs, digests = ([*pairs[name], *pairs[f"{name}_other"]] for name in ("run", "digest"))
    return _summary(f"{metric}{DIFFERENCE}", pairs[metric] - pairs[f"{metric}_other"], diverged, runs, digests)


def mean_row(values: pd.Series, metric: str = "") -> Row:
    """Mean, sd, n and interval of some values of a metric; those that are missing do not count."""
    ours = stats.summarise(values.dropna().tolist(), *metrics.ends(metric))
    return {"mean": ours.mean, "sd": ours.sd, "n": ours.n, "low": ours.low, "high": ours.high}


def _summary(metric: str, values: pd.Series, diverged: int, runs: Iterable[str], digests: Iterable[str]) -> Row:
    row = mean_row(values, metric)
    return {
        "metric": metric,
        **row,
        "status": f"{diverged} diverged" if diverged else "run" if row["n"] else "not run",
        "runs": join_runs(runs),
        "records": fingerprint(digests) if diverged or row["n"] else "",
    }


def frame(lines: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Lines as a data frame whose numbers are numbers (NaN where there is none): `NUMBERS`, `P_VALUES`, x.

    Its columns are those of the lines, in their order, then mean, sd, low, high, the p values and n where they lack
    them. Without any line it has all that a csv may have.
    """
    lines = list(lines)
    named = dict.fromkeys(name for line in lines for name in line) if lines else dict.fromkeys(COLUMNS)
    columns = [*named | dict.fromkeys((*NUMBERS[:4], *P_VALUES, "n"))]
    floats = [name for name in (*NUMBERS, *P_VALUES, "x") if name in columns]
    return pd.DataFrame(lines, columns=columns).astype(dict.fromkeys(floats, float))


def of_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """The lines that are not of a single seed."""
    return rows[rows["seed"].isna()] if "seed" in rows else rows


def of_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The lines that are of a single seed."""
    return rows[rows["seed"].notna()] if "seed" in rows else rows.iloc[:0]


def write_csv(rows: pd.DataFrame, path: str | Path | IO[str]) -> None:
    """Write a figure's lines: columns in the order of `COLUMNS`, six significant digits, no index.

    Of the columns that are no part of `CORE`, those that are empty are left out.
    """
    kept = [name for name in COLUMNS if name in CORE or (name in rows and rows[name].notna().any())]
    spreadsheets.cells(rows.reindex(columns=kept)).to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
