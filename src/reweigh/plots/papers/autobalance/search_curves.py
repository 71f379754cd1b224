"""AutoBalance's Figure 4: balanced error on S_T, S_V and the test set during the search, by the size of S_V."""

from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reweigh.analysis import searches
from reweigh.analysis.rows import Row
from reweigh.analysis.tables import Material, expand_runs
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import count_text
from reweigh.plots.papers.autobalance.traces import diverged, in_words, trace_rows
from reweigh.plots.style import MUTED, data_title, empty, finish, letter, sheet

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C510A")
LINES: dict[str, Any] = {"train": (0, (1, 1.5)), "validation": (0, (4, 2)), "test": "-"}
WORDS = {"train": "S_T", "validation": "S_V", "test": "test set"}
LETTERS = "abcdef"


def rows(material: Material) -> pd.DataFrame:
    """For each experiment (a panel), setting and method a line an epoch of the search and part: mean over runs.

    Metrics `search_train_error`, `search_validation_error`, `search_test_error`: balanced errors, as fractions.
    """
    lines: list[Row] = []
    for panel, experiment in zip(LETTERS, material.experiments, strict=False):
        for setting in material.settings(experiment):
            for method in material.methods(experiment):
                for metric, part in searches.ERRORS.items():
                    of_run, cell = partial(searches.errors_by_epoch, part=part), (experiment, setting, method)
                    lines += [
                        {"panel": panel, **line} for line in trace_rows(material, cell, metric, of_run, ["epoch"])
                    ]
    return pd.DataFrame(lines)


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """A colour for each size of S_V; dotted on S_T, dashed on S_V, in full on the test set."""
    panels = list(dict.fromkeys(rows["panel"]))
    picture = sheet(width=7.0 if len(panels) > 1 else 5.6)
    drawn = picture.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, mine) in zip(drawn, rows.groupby("panel"), strict=True):
        experiment = material.experiment(mine["experiment"].iloc[0])
        _panel(axes, mine, _warm_up(material, mine))
        if len(panels) > 1:
            letter(axes, str(name), f"{data_title(experiment.dataset)}")
    drawn[0].set_ylabel("balanced error")
    known = rows[rows["n"] > 0]
    several = "; bands: 95 % interval (Student t)" if (known["n"] > 1).any() else ", no interval"
    shows = f"Mean over {count_text(known)}{several}" if len(known) else "Nothing of ours was run"
    begins = "Shaded: θ alone is trained. The model is that of the search, before it is trained again on S_T ∪ S_V"
    cells = set(zip(rows["experiment"], rows["setting"], rows["method"], strict=True))
    notes = [*_gaps(material, rows), *diverged(material, cells), begins]
    finish(picture, material, shows, notes, _legend(material, rows), panels=2.7)
    return Figure(picture, rows)


def _warm_up(material: Material, rows: pd.DataFrame) -> int:
    """How many epochs θ alone is trained, by the first run that is shown."""
    named = [run for text in rows[rows["n"] > 0]["runs"] for run in expand_runs(text)][:1]
    options = [material.records[run]["spec"]["method_options"] for run in named]
    return int(options[0].get("from_epoch", 0)) if options else 0


def _panel(axes: Axes, rows: pd.DataFrame, warm_up: int) -> None:
    known = rows[rows["n"] > 0]
    axes.set_xlabel("epoch of the search")
    if known.empty:
        empty(axes, in_words(rows))
        axes.set(xticks=[], yticks=[])
        return
    settings = list(dict.fromkeys(rows["setting"]))
    for (setting, metric), mine in known.groupby(["setting", "metric"], sort=False):
        colour = COLOURS[settings.index(str(setting)) % len(COLOURS)]
        part = searches.ERRORS[str(metric)]
        epochs = mine["epoch"].to_numpy(float)
        axes.plot(epochs, mine["mean"].to_numpy(float), color=colour, linestyle=LINES[part], linewidth=1.2, zorder=3)
        low, high = (mine[end].astype(float).clip(0, 1).to_numpy() for end in ("low", "high"))
        axes.fill_between(epochs, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.axvspan(0, warm_up, color=MUTED, alpha=0.08, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlim(0, known["epoch"].max())
    axes.set_ylim(bottom=0)


def _gaps(material: Material, rows: pd.DataFrame) -> list[str]:
    absent = rows[rows["n"] == 0]
    places = dict.fromkeys(f"{row.value} ({row.note})" for row in absent.itertuples())
    return [f"Not run: {'; '.join(places)}"] if places else []


def _legend(material: Material, rows: pd.DataFrame) -> list[tuple[Any, str]]:
    """A colour for each rank of the sizes, with the size in every experiment; a line for each part."""
    sizes: list[list[str]] = []
    for experiment, mine in rows.groupby("experiment", sort=False):
        title = data_title(material.experiment(str(experiment)).dataset)
        for rank, setting in enumerate(dict.fromkeys(mine["setting"])):
            sizes[rank:rank] = [] if rank < len(sizes) else [[]]
            sizes[rank].append(f"{material.value(str(experiment), setting)} ({title})")
    colours = [
        (Line2D([], [], color=COLOURS[rank % len(COLOURS)]), f"S_V: {', '.join(of)} in its largest class")
        for rank, of in enumerate(sizes)
    ]
    return [*colours, *((Line2D([], [], color=MUTED, linestyle=line), WORDS[part]) for part, line in LINES.items())]
