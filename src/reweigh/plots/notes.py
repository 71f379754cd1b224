"""What stands below a figure: over how many seeds its means are, and what a reader must know of its cells."""

import math
from collections.abc import Collection, Iterable
from typing import Any

import pandas as pd

from reweigh import metrics, stats
from reweigh.analysis.rows import of_cells
from reweigh.analysis.tables import Material, outside
from reweigh.plots.style import capitalised, data_title, listed
from reweigh.records.lineage import STAND_INS

STUDENT, WILSON = "Student t", "Wilson's where that leaves 0 to 1"  # how footers name the intervals of `stats.inside`


def seeds_text(
    rows: pd.DataFrame, what: str = "95 % interval", of_paper: str = "", nothing: str = "Nothing of ours was run"
) -> str:
    """`Mean over n = 5 seeds; bars: 95 % interval`, over the lines that are not of a single seed; else `nothing`.

    `of_paper` says what of the picture is the paper's: it stands there where nothing of ours was run, too.
    """
    cells = of_cells(rows)
    ours = f"Mean over {count_text(cells)}; {by_whom(cells, what)}" if (cells["n"] > 0).any() else nothing
    return "; ".join(filter(None, (ours, of_paper)))


def count_text(rows: pd.DataFrame) -> str:
    """`n = 3 seeds`, `n = 1 to 3 seeds`: how many runs feed the lines that any run feeds."""
    counts = rows[rows["n"] > 0]["n"].astype(int)
    if counts.empty:
        return "n = 0 seeds"
    least, most = counts.min(), counts.max()
    return f"n = {least if least == most else f'{least} to {most}'} seed{'s' if most > 1 else ''}"


def means_text(rows: pd.DataFrame, interval: str = "bars: 95 % interval (Student t)") -> str:
    """`mean over n = 3 seeds, bars: ...`, of the lines that any run feeds; where all have one seed, `no interval`."""
    return f"mean over {count_text(rows)}, {by_whom(rows, interval) if (rows['n'] > 1).any() else 'no interval'}"


def by_whom(rows: pd.DataFrame, text: str) -> str:
    """A text on intervals; where some of these lines' are Wilson's (`stats.inside`), it says so beside Student's name.

    >>> lines = pd.DataFrame([{"metric": "test_accuracy", "mean": 0.99, "sd": 0.01, "n": 3}])
    >>> by_whom(lines, "bars: 95 % interval (Student t), dots: single seeds")
    "bars: 95 % interval (Student t; Wilson's where that leaves 0 to 1), dots: single seeds"
    """
    return text.replace(STUDENT, f"{STUDENT}; {WILSON}") if any_by_wilson(rows) else text


def any_by_wilson(rows: pd.DataFrame) -> bool:
    """Whether Student's interval of any of these lines would leave what its metric can be."""
    known = rows[(rows["n"] > 1) & rows["sd"].notna() & rows["mean"].notna()] if "metric" in rows else rows.iloc[:0]
    for metric, mean, sd, n in zip(*(known[name] for name in ("metric", "mean", "sd", "n")), strict=True):
        half = stats.t_quantile(int(n) - 1) * float(sd) / math.sqrt(n)
        if stats.inside(float(mean), half, *metrics.ends(metric)) != (mean - half, mean + half):
            return True
    return False


def missing_notes(material: Material, rows: pd.DataFrame, gaps: bool = True) -> list[str]:
    """Which cells of a figure have no record, where runs diverged or ended on one class, and what data stand in.

    `gaps=False` leaves out the first, for figures that say it in the place of each cell.
    """
    cells = of_cells(rows)
    absent = cells[(cells["status"] == "not run") & gaps]
    left_out = absent.get("note", pd.Series("", absent.index)) == outside(material.scale)
    diverged = cells[cells["status"].str.endswith("diverged")]
    shown = set(zip(rows["experiment"], rows["setting"], rows["method"], strict=True))
    collapsed = material.runs[material.runs["collapsed"]].itertuples()
    several = len({material.experiment(name).dataset for name in rows["experiment"] if name}) > 1
    affected = {
        capitalised(outside(material.scale)): absent[left_out].itertuples(),
        "Not run": absent[~left_out].itertuples(),
        "With runs that diverged, which have no score": diverged.itertuples(),
        "With runs that end by predicting one class only": (
            run for run in collapsed if (run.experiment, run.setting, run.method) in shown
        ),
    }
    places = {text: _by_method(material, of, several) for text, of in affected.items()}
    return [f"{text}: {where}" for text, where in places.items() if where] + stand_ins(material, shown)


def stand_ins(material: Material, shown: Collection[tuple[str, str, str]]) -> list[str]:
    """What the runs of these cells were trained on in place of the paper's own data, by data set.

    Then why none of them can be held against a number of the paper, where the mapping of its numbers says so.
    """
    runs = (run for run in material.runs.itertuples() if (run.experiment, run.setting, run.method) in shown)
    files = [file for run in runs for file in material.records[run.run]["raw"]]
    found = {(file["dataset"], STAND_INS[file["edition"]]) for file in files if file["edition"] in STAND_INS}
    notes = [f"{data_title(dataset)} is a stand-in: {text}" for dataset, text in sorted(found)]
    published = material.config.paper(material.paper).published
    reason = published.not_comparable(file["edition"] for file in files) if published else None
    return [*notes, capitalised(reason)] if reason else notes


def all_stand_ins(material: Material) -> list[str]:
    """The same for figures over all settings: of every run that an artifact reads."""
    runs = material.runs
    return stand_ins(material, set(zip(runs["experiment"], runs["setting"], runs["method"], strict=True)))


def _by_method(material: Material, cells: Iterable[Any], several: bool) -> str:
    """`TDR, No reweighting (0.1, 0.05); Hard weighting (0.1)`; of `several` data sets with their names."""
    settings: dict[str, dict[str, None]] = {}
    for cell in cells:
        label = material.label(cell.experiment, cell.setting)
        title = data_title(material.experiment(cell.experiment).dataset)
        settings.setdefault(cell.method, {})[f"{title} {label}" if several else label] = None
    methods: dict[str, list[str]] = {}
    for method, names in settings.items():
        methods.setdefault(", ".join(names), []).append(material.title(method))
    return "; ".join(f"{listed(titles)} ({names})" for names, titles in methods.items())
