"""AutoBalance's Figure 3: class clusters and the split of their examples, and what the search made of Δ and l by epoch.

The multiplier is shown as it acts, s(Δ) in (0, 1); the paper does not say which it shows. A line is the mean over a
fifth of the classes, ranked by size: over twenty of a hundred, as in the paper.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reweigh.analysis import searches
from reweigh.analysis.rows import Row
from reweigh.analysis.tables import Material
from reweigh.config.cards import PlannedStage
from reweigh.config.grid import Config
from reweigh.config.sizes import stage_sizes, training_sizes
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import count_text
from reweigh.plots.papers.autobalance.traces import diverged, in_words, trace_rows, why_none
from reweigh.plots.style import INK, MUTED, data_title, empty, finish, letter, sheet

COLOURS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#c9b800")  # viridis: in order to any eye, and in grey
NAMES = ("most frequent fifth of the classes", "second", "third", "fourth", "rarest fifth")
DASHED = (0, (4, 2))
MULTIPLIER, OFFSET = searches.SEARCHED
OF_RANK = "examples_of_rank"
PARTS = ("S_T", "S_V")
MARGIN = 0.3  # of the range of means, above and below them
LETTERS = "bcdefghijklm"
ROW = 1.9  # inches: of a row of panels


def rows(material: Material, methods: Sequence[str], instead: Sequence[str] = ()) -> pd.DataFrame:
    """Sizes of classes by rank, then s(Δ) and l of each fifth of the classes by epoch, at the one setting.

    Panel a, of the first experiment at scale paper: examples (`y`) of each rank from 1 (`x`) in S_T and S_V (`note`).
    Then a panel for each experiment and method: of `searched_multiplier` and `searched_offset`, as far as the method
    searches them, a line an epoch and fifth (`class`, 0 the most frequent). Where none of a method's runs was trained,
    or all diverged, that of the same place among `instead` is shown, if it was run.
    """
    lines: list[Row] = []
    letters = iter(LETTERS)
    for place, experiment in enumerate(material.experiments):
        setting = material.settings(experiment)[-1]
        if place == 0:
            lines += [
                {"panel": "a", **line} for line in size_rows(material.config, material.paper, experiment, setting)
            ]
        for rank, method in enumerate(methods):
            panel, cell = next(letters), (experiment, setting, method)
            other = (experiment, setting, instead[rank]) if instead else cell
            replaced = why_none(material, cell) != "not logged" and len(material.of(*other))
            for one in (cell, other) if replaced else (cell,):
                lines += [{"panel": panel, **line} for line in _searched(material, one)]
    return pd.DataFrame(lines)


def size_rows(config: Config, paper: str, experiment: str, setting: str) -> list[Row]:
    """Examples of each class in S_T and S_V at scale paper, by the formula of the split."""
    method = config.experiment(paper, experiment).methods[0]
    data = config.resolve(f"paper/{paper}/{experiment}/{setting}/{method}/seed0")["data"]
    kept, whole = training_sizes(data), stage_sizes(data, PlannedStage(1, part="train+validation"))
    parts = dict(zip(PARTS, (kept, [both - one for both, one in zip(whole, kept, strict=True)]), strict=True))
    place = config.experiment(paper, experiment).settings[setting]
    base: Row = {
        "experiment": experiment,
        "setting": setting,
        "value": place.label or str(place.value),
        "metric": OF_RANK,
        "status": "computed",
    }
    return [
        {**base, "note": part, "x": float(rank), "y": float(size)}
        for part, sizes in parts.items()
        for rank, size in enumerate(sizes, 1)
    ]


def _searched(material: Material, cell: tuple[str, str, str]) -> Iterator[Row]:
    design = material.config.paper(material.paper).methods[cell[2]].options["design"]
    for metric, name in searches.SEARCHED.items():
        if name in design:
            of_run = partial(searches.found_by_epoch, metric=metric, root=str(material.config.root))
            yield from trace_rows(material, cell, metric, of_run, ["epoch", "class"])


@styled
def draw(material: Material, rows: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Bars of the classes' sizes, a colour a fifth (a); then for each method the lines of its search, Δ above l."""
    experiments = material.experiments
    run = set(rows[(rows["panel"] != "a") & (rows["n"] > 0)]["experiment"])
    heights = [1.0 if experiment in run or not run else 0.5 for experiment in experiments]
    picture = sheet()
    drawn = picture.subplots(1 + len(experiments), len(methods), squeeze=False, height_ratios=[0.8, *heights])
    for axes in drawn[0][1:]:
        axes.remove()
    first = picture.add_subplot(drawn[0][0].get_gridspec()[0, :])
    drawn[0][0].remove()
    _sizes(first, rows[rows["panel"] == "a"])
    title = data_title(material.experiment(experiments[0]).dataset)
    letter(first, "a", f"{title}: clusters of classes, and what is held out (S_V, pale)")
    for axes, name in zip(drawn[1:].flat, LETTERS, strict=False):
        mine = rows[rows["panel"] == name]
        _traces(axes, mine)
        experiment, method = mine.sort_values("n", kind="stable")[["experiment", "method"]].iloc[-1]
        where = "" if len(experiments) == 1 else f"{data_title(material.experiment(experiment).dataset)}, "
        letter(axes, name, f"{where}{material.title(method).removeprefix('AutoBalance: ')}")
        axes.set_xlabel("epoch of the search")
    for row, experiment in zip(drawn[1:], experiments, strict=True):
        if experiment in run or not run:  # a row of empty panels is too low for it
            row[0].set_ylabel("s(Δ), in full; l, dashed")
    found = rows[rows["panel"] != "a"]
    finish(
        picture, material, _shows(found), _notes(material, found, methods), _legend(), panels=1.6 + ROW * sum(heights)
    )
    return Figure(picture, rows)


def _sizes(axes: Axes, rows: pd.DataFrame) -> None:
    kept, held_out = (rows[rows["note"] == part].sort_values("x") for part in PARTS)
    ranks = kept["x"].to_numpy(float)
    fifths = ((ranks - 1) * searches.FIFTHS // len(ranks)).astype(int)
    colours = [COLOURS[fifth] for fifth in fifths]
    width = 0.84
    axes.bar(ranks, kept["y"], width, color=colours, zorder=2)
    axes.bar(ranks, held_out["y"], width, bottom=kept["y"].to_numpy(float), color=colours, alpha=0.35, zorder=2)
    axes.set_xlim(0.4, len(ranks) + 0.6)
    axes.set_xlabel("rank of the class")
    axes.set_ylabel("examples")


def _traces(axes: Axes, rows: pd.DataFrame) -> None:
    known = rows[rows["n"] > 0]
    if known.empty:
        empty(axes, in_words(rows))
        axes.set(xticks=[], yticks=[])
        return
    for (metric, fifth), mine in known.groupby(["metric", "class"], sort=False):
        style: dict[str, Any] = {"color": COLOURS[int(fifth)], "linestyle": "-" if metric == MULTIPLIER else DASHED}
        epochs = mine["epoch"].to_numpy(float)
        axes.plot(epochs, mine["mean"].to_numpy(float), linewidth=1.3, zorder=3, **style)
        low, high = (mine[end].to_numpy(float) for end in ("low", "high"))
        if np.isfinite(low).any():
            axes.fill_between(epochs, low, high, color=style["color"], alpha=0.13, linewidth=0)
    least, most = known["mean"].min(), known["mean"].max()
    margin = MARGIN * ((most - least) or 1.0)
    axes.set_ylim(least - margin, most + margin)  # the bands of two seeds would hide all else
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    begins = known["epoch"].min()
    axes.set_xlim(0, known["epoch"].max())
    if begins > 1:
        axes.axvspan(0, begins - 1, color=MUTED, alpha=0.08, linewidth=0)


def _shows(found: pd.DataFrame) -> str:
    if not (found["n"] > 0).any():
        return "Nothing of ours was run; a: by the formula of the split, at scale paper"
    band = "; bands: 95 % interval (Student t), as far as the axes go" if (found["n"] > 1).any() else ", no interval"
    return (
        f"Mean over {count_text(found)}{band}; at the last outer step of each epoch, mean over a fifth of the classes. "
        "Shaded: θ alone is trained. a: by the formula of the split, at scale paper"
    )


def _notes(material: Material, found: pd.DataFrame, methods: Sequence[str]) -> list[str]:
    absent = found[found["n"] == 0]
    names = dict.fromkeys(
        f"{data_title(material.experiment(row.experiment).dataset)}, {material.title(row.method)} ({row.note})"
        for row in absent.itertuples()
    )
    notes = [f"Not run: {'; '.join(names)}"] if names else []
    cells = {(name, material.settings(name)[-1], method) for name in material.experiments for method in methods}
    notes += diverged(material, cells)
    return [
        *notes,
        "A class is promoted by a smaller l, and by a smaller multiplier: the loss then asks for a larger logit",
    ]


def _legend() -> list[tuple[Any, str]]:
    return [
        *((Patch(color=colour), name) for colour, name in zip(COLOURS, NAMES, strict=True)),
        (Line2D([], [], color=INK), "s(Δ)"),
        (Line2D([], [], color=INK, linestyle=DASHED), "l"),
    ]
