"""Tables whose lines are methods and whose columns are metrics: one for each setting, below one another.

For what a paper says of some classes and not of others: accuracy of all of them, of each kind, on test and on training
examples. Of numbers of the paper there is none.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from reweigh.analysis.tables import Material
from reweigh.plots import tables
from reweigh.plots.figure import Figure, styled
from reweigh.plots.left_out import absent_notes
from reweigh.plots.style import listed
from reweigh.plots.tables import Grid, as_figure, by_place, method_title

GAP = "not measured, or no such classes"
Column = tuple[str, str]  # metric, head


def rows(material: Material, columns: Sequence[Column], methods: Sequence[str]) -> pd.DataFrame:
    """The lines of `tables` for the metrics of `columns`, by experiment, setting, and the order of `methods`.

    Left out are optional methods without a record, settings without any where another has some, and metrics that the
    runs of a cell have not measured.
    """
    frames = [tables.rows(material, metric) for metric, _ in columns]
    lines = pd.concat(frames, ignore_index=True)
    order = [name for name in methods if name in set(lines["method"])]
    places = [(name, setting) for name in material.experiments for setting in material.settings(name)]
    trained = set(zip(*(material.runs[name] for name in ("experiment", "setting", "method")), strict=True))
    kept = lines[[_is_shown(material, line, trained) for line in lines.to_dict("records")]]
    ranks = [
        (places.index((line["experiment"], line["setting"])), order.index(line["method"]))
        for line in kept.to_dict("records")
    ]
    return kept.assign(rank=ranks).sort_values("rank", kind="stable").drop(columns="rank").reset_index(drop=True)


def _is_shown(material: Material, line: Mapping[Hashable, Any], trained: set[tuple[str, str, str]]) -> bool:
    experiment, setting, method = line["experiment"], line["setting"], line["method"]
    if (experiment, setting, method) in trained:
        return bool(line["n"]) or line["status"] != "not run"
    if trained and not any((experiment, setting) == cell[:2] for cell in trained):
        return False
    return any(method in reads.methods for reads in material.artifact.reads if reads.experiment == experiment)


@styled
def draw(material: Material, rows: pd.DataFrame, columns: Sequence[Column], explained: Sequence[str] = ()) -> Figure:
    """A table a setting, with its title above it; the head says how many seeds there are, a method where it has fewer.

    `explained`: notes on what the words of the columns mean.
    """
    places = list(dict.fromkeys(zip(rows["experiment"], rows["setting"], strict=True)))
    grids = [_grid(material, rows, place, columns) for place in places]
    every = [(name, setting) for name in material.experiments for setting in material.settings(name)]
    absent = [(_title(material, place), material.is_outside(*place)) for place in every if place not in places]
    absent += [missing for place in places for missing in _absent(material, rows, place)]
    notes = [*explained, *_classes_lost(material, rows), *absent_notes(material, absent)]
    return as_figure(material, rows.assign(compared=False), grids, _write, notes, GAP, printed=False)


def _absent(material: Material, rows: pd.DataFrame, place: tuple[str, str]) -> Iterator[tuple[str, bool]]:
    """Methods that a setting has and its table does not, as they have no run; those that the scale lacks come first."""
    there = set(rows[(rows["experiment"] == place[0]) & (rows["setting"] == place[1])]["method"])
    missing = [name for name in material.methods(*place) if name not in there]
    for left_out in (True, False):
        names = [material.title(name) for name in missing if material.left_out(place[0], name) == left_out]
        if names:
            yield f"{_title(material, place)}: {listed(names)}", left_out


def _classes_lost(material: Material, rows: pd.DataFrame) -> list[str]:
    """Methods whose runs get no example of some class right, though others, so that they are no constant."""
    shown = set(zip(rows["experiment"], rows["setting"], rows["method"], strict=True))
    counts: dict[str, int] = {}
    for run in material.runs.itertuples():
        recalls = material.records[run.run]["metrics"].get("per_class_accuracy") or []
        if (run.experiment, run.setting, run.method) in shown and 0 in recalls:
            counts[run.method] = counts.get(run.method, 0) + 1
    names = [f"{material.title(method)} ({count} run{'s' * (count > 1)})" for method, count in counts.items()]
    return [f"With a class of which nothing is right: {', '.join(names)}"] if names else []


def _grid(material: Material, rows: pd.DataFrame, place: tuple[str, str], columns: Sequence[Column]) -> Grid:
    mine = rows[(rows["experiment"] == place[0]) & (rows["setting"] == place[1])]
    methods = list(dict.fromkeys(mine["method"]))
    counts = {method: int(mine[mine["method"] == method]["n"].max()) for method in methods}
    seeds = max(counts.values())
    titles = {
        method: method_title(material, method) + (f" (n = {counts[method]})" if 0 < counts[method] < seeds else "")
        for method in methods
    }
    count = f"(n = {seeds} seed{'s' if seeds > 1 else ''})".replace(" ", "\u00a0") if seeds else ""
    lines = mine.to_dict("records")
    metrics = [metric for metric, _ in columns]
    return Grid(
        left=[(0.0, "method")],
        sides=[(titles[method],) for method in methods],
        columns=[head for _, head in columns],
        cells=by_place(lines, methods, metrics, lambda line: (line["method"], line["metric"])),
        title=f"{_title(material, place)} {count}".strip(),
    )


def _title(material: Material, place: tuple[str, str]) -> str:
    """`CIFAR-10, two pairs taken for one another, ResNet-32: another noise for each seed`."""
    one = material.experiment(place[0])
    return f"{one.title}: {material.label(*place)}" if len(one.settings) > 1 else one.title


def _write(mean: float, sd: float) -> str:
    """In per cent, with thin spaces and no more digits than there is room for: seven of them stand side by side."""
    centre = f"{100 * mean:.2f}"[:5]  # 99.12, 100.0
    digits = 2 if pd.isna(sd) or 100 * sd < 9.995 else 1
    return centre if pd.isna(sd) else f"{centre}\u2009±\u2009{100 * sd:.{digits}f}"
