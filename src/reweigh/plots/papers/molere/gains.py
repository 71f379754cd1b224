"""MOLERE's Figures 1 and 2: what methods gain over ERM, in per cent of its accuracy, data set by data set.

Ours are filled, with their intervals; the paper's, two printed numbers divided, are outlined. A data set of the paper
that was not run has its printed gains alone, and one of ours that the paper lacks ours alone.
"""

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reweigh.analysis.gains import PRINTED, relative_row
from reweigh.analysis.published import published
from reweigh.analysis.rows import Row, cell_names
from reweigh.analysis.tables import Material
from reweigh.config.grid import Config
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import count_text, missing_notes
from reweigh.plots.panels import LETTERS, settings_of
from reweigh.plots.papers.molere.common import beyond, colours, reach
from reweigh.plots.printed import head
from reweigh.plots.style import BAND, INK, data_title, empty, finish, letter, sheet

METRIC = "test_accuracy"
FILLED = 0.84  # of a group's place that its bars fill
ROW = 1.95  # inches: of a panel
REACH = 2.2  # an axis goes so many times as far as the farthest mean, where intervals go farther
BESIDE: dict[str, Any] = {"marker": "D", "markersize": 4, "markerfacecolor": "white", "markeredgewidth": 0.9}


class Group(NamedTuple):
    """The methods of a panel, whose title stands above it."""

    title: str
    methods: Sequence[str]


def rows(material: Material, groups: Sequence[Sequence[Any]], baseline: str = "erm") -> pd.DataFrame:
    """For each group of methods (a panel), data set and method the mean relative gain over seeds, `against` ERM.

    Where the paper prints both accuracies a line `printed_relative_gain` comes after it, their quotient less 1 in `y`;
    what the paper says of a gain in its text alone is an option of the artifact.
    """
    printed = printed_rows(material.config, material.paper, material.artifact.options.get("in_text", []), baseline)
    lines: list[Row] = []
    for panel, (_, methods) in zip(LETTERS, starmap(Group, groups), strict=False):
        for experiment in material.experiments:
            for setting in settings_of(material, experiment):
                for method in methods:
                    cell = (experiment, setting, method)
                    known = [line for line in printed if _cell(line) == cell and (panel == "a" or not _of_text(line))]
                    if known or method in material.methods(experiment):
                        lines += [{"panel": panel, **line} for line in (_ours(material, cell, baseline), *known)]
    numbers = ("mean", "sd", "low", "high", "y")
    data = pd.DataFrame(lines)
    return data.reindex(columns=list(dict.fromkeys([*data, *numbers]))).astype(dict.fromkeys(numbers, float))


def _cell(line: Row) -> tuple[str, str, str]:
    return line["experiment"], line["setting"], line["method"]


def _of_text(line: Row) -> bool:
    return line["note"] == "in the text"


def _ours(material: Material, cell: tuple[str, str, str], baseline: str) -> Row:
    experiment, setting, _ = cell
    ours, others = material.of(*cell), material.of(experiment, setting, baseline)
    summary = relative_row(ours, others, METRIC)
    missing = [name for name, runs in ((cell[2], ours), (baseline, others)) if runs.empty]
    reasons = dict.fromkeys(material.why_not(experiment, setting, name) for name in missing)
    note = ", ".join(reasons) if missing else "" if summary["runs"] else "no seed in common"
    return {**cell_names(material, *cell), "against": baseline, **summary, "note": note}


def printed_rows(config: Config, paper: str, in_text: Sequence[Mapping[str, Any]], baseline: str = "erm") -> list[Row]:
    """The relative gains over the baseline that the paper's tables give, or its text: in `y`, computed.

    Of a data set that the paper prints in two tables the later one counts.
    """
    numbers = published(config, paper)
    numbers = numbers[(numbers["metric"] == METRIC) & numbers["method_name"].notna()]
    accuracy: dict[tuple[str, str, str], float] = {
        (row["experiment"], row["setting_name"], row["method_name"]): row["mean"]
        for row in numbers.to_dict("records")
        if row["experiment"] and pd.notna(row["mean"])
    }
    gains = {
        (*cell, "printed"): value / accuracy[*cell[:2], baseline] - 1
        for cell, value in accuracy.items()
        if cell[2] != baseline and (*cell[:2], baseline) in accuracy
    }
    gains |= {(one["experiment"], one["setting"], one["method"], "in the text"): one["gain"] for one in in_text}
    known = config.paper(paper)
    lines: list[Row] = []
    for (experiment, setting, method, note), gain in gains.items():
        entry = known.experiments[experiment].settings[setting]
        value = entry.value if isinstance(entry.value, str) else f"{entry.value:g}"
        lines.append(
            {
                "experiment": experiment,
                "setting": setting,
                "value": entry.label or value,
                "method": method,
                "title": known.methods[method].title,
                "against": baseline,
                "metric": PRINTED,
                "y": float(gain),
                "n": 0,
                "status": "computed",
                "note": note,
                "runs": "",
                "records": "",
            }
        )
    return lines


@styled
def draw(material: Material, rows: pd.DataFrame, groups: Sequence[Sequence[Any]]) -> Figure:
    """A panel a group of methods, a group of bars a data set: ours filled with whiskers, the paper's outlined."""
    asked = list(starmap(Group, groups))
    picture = sheet()
    panels = picture.subplots(len(asked), 1, squeeze=False)[:, 0]
    for name, axes, group in zip(LETTERS, panels, asked, strict=False):
        mine = rows[rows["panel"] == name]
        _panel(axes, material, mine, group)
        letter(axes, name, group.title)
    ours = rows[rows["metric"] != PRINTED]
    run = ours[ours["n"] > 0]
    what = "Filled: " + (
        f"ours, mean over {count_text(run)} of accuracy / ERM's − 1, seed by seed"
        + ("; whiskers: 95 % interval (Student t)" if (run["n"] > 1).any() else ", no interval")
        if len(run)
        else "nothing of ours was run"
    )
    shows = f"{what}. Outlined: printed accuracy over the printed one of ERM, one number each, no interval"
    if any(_beyond(rows[rows["panel"] == name]) for name in LETTERS[: len(asked)]):
        shows += ". Arrow: beyond the axis; its number is the mean"
    places = set(zip(run["experiment"], run["setting"], strict=True))
    shown = ours[[place in places for place in zip(ours["experiment"], ours["setting"], strict=True)]]
    notes = [*_in_text(material, rows), *_closed(material, ours), *missing_notes(material, shown)]
    finish(picture, material, shows, notes, _legend(material, rows, asked), panels=0.5 + ROW * len(asked))
    return Figure(picture, rows)


def _panel(axes: Axes, material: Material, rows: pd.DataFrame, group: Group) -> None:
    places = [place for place, of in rows.groupby(["experiment", "setting"], sort=False) if _shown(of)]
    if not places:
        empty(axes, "not run")
        axes.set(xticks=[], yticks=[])
        return
    look, ends = colours(group.methods), _limits(rows)
    for number, (experiment, setting) in enumerate(places):
        mine = rows[(rows["experiment"] == experiment) & (rows["setting"] == setting)]
        if number % 2:
            axes.axvspan(number - 0.5, number + 0.5, color=BAND, linewidth=0, zorder=0)
        methods = [method for method in group.methods if _shown(mine[mine["method"] == method])]
        width = FILLED / max(len(methods), 3)
        for rank, method in enumerate(methods):
            x = number + (rank - (len(methods) - 1) / 2) * width
            _bars(axes, x, width, mine[mine["method"] == method].to_dict("records"), (look[method], ends))
    axes.axhline(0, color=INK, linewidth=0.7, zorder=3)
    axes.set_xticks(range(len(places)), [_label(material, rows, *place) for place in places], fontsize=6)
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set_ylim(*ends)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("gain over ERM (%)")


def _shown(rows: pd.DataFrame) -> bool:
    return bool((rows["n"] > 0).any() or (rows["metric"] == PRINTED).any())


def _bars(
    axes: Axes, x: float, width: float, lines: list[dict[Hashable, Any]], look: tuple[str, tuple[float, float]]
) -> None:
    """Ours as a bar; the paper's as an outlined one, or where both are there as a hollow diamond on ours.

    `look`: the colour, and the ends of the axis; of a mean beyond these an arrow says the value.
    """
    colour, ends = look
    ours = next((line for line in lines if line["n"]), None)
    printed = next((line for line in lines if line["metric"] == PRINTED), None)
    if ours:
        mean = 100 * ours["mean"]
        axes.bar(x, mean, width * 0.9, color=colour, zorder=2)
        if not ends[0] <= mean <= ends[1]:
            beyond(axes, mean, x, colour, ends, upright=True)
        elif pd.notna(ours["low"]):
            axes.plot([x, x], [100 * ours["low"], 100 * ours["high"]], color=INK, linewidth=0.9, zorder=4)
    if printed and ours:
        axes.plot(x, 100 * printed["y"], markeredgecolor=colour, linestyle="none", zorder=5, **BESIDE)
    elif printed:
        axes.bar(x, 100 * printed["y"], width * 0.82, facecolor="white", edgecolor=colour, linewidth=1.1, zorder=2)


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """As far as means and printed numbers go, and intervals as far as REACH times that.

    Means that are beyond (`common.reach`) do not count.
    """
    sizes = 100 * rows[["mean", "y"]].abs().max(axis=1)
    farthest = reach(sizes.groupby(rows["method"]).max().dropna().to_dict())
    near = rows[~(sizes > farthest)]
    centres = 100 * np.concatenate([near["mean"].dropna(), near["y"].dropna(), [0.0]])
    ends = 100 * np.concatenate([near["low"].dropna(), near["high"].dropna(), [0.0]])
    far = REACH * max(0.3, float(np.abs(centres).max()))
    low, high = max(min(centres.min(), ends.min()), -far), min(max(centres.max(), ends.max()), far)
    margin = 0.06 * (high - low or 1.0)
    return float(low - margin), float(high + margin)


def _beyond(rows: pd.DataFrame) -> bool:
    """Whether a mean of a panel is beyond its axis."""
    low, high = _limits(rows)
    return bool((100 * rows["mean"].dropna()).between(low, high).eq(False).any())


def _label(material: Material, rows: pd.DataFrame, experiment: str, setting: str) -> str:
    one = material.experiment(experiment)
    title = data_title(one.dataset) if one.status == "ready" else one.title.partition(",")[0]
    where = f"\n{textwrap.fill(material.label(experiment, setting), 12)}" if len(one.settings) > 1 else ""
    mine = rows[(rows["experiment"] == experiment) & (rows["setting"] == setting)]
    kinds = (mine["n"] > 0).any(), (mine["metric"] == PRINTED).any()
    words = {(True, True): "ours, printed", (True, False): "ours", (False, True): "printed"}
    return f"{_broken(title)}{where}\n({words.get(kinds, 'not run')})"


def _broken(title: str) -> str:
    """A long title in two lines: broken at a space, or else after a hyphen."""
    if len(title) < 11:
        return title
    return title.replace(" ", "\n", 1) if " " in title else title.replace("-", "-\n", 1)


def _closed(material: Material, ours: pd.DataFrame) -> list[str]:
    """The data sets of the paper that are not run, and what else has no run of ours yet."""
    run = set(zip(ours[ours["n"] > 0]["experiment"], ours[ours["n"] > 0]["setting"], strict=True))
    closed, absent = list[str](), list[str]()
    for experiment in material.experiments:
        one, settings = material.experiment(experiment), material.settings(experiment)
        missing = [setting for setting in settings if (experiment, setting) not in run]
        some = f" ({', '.join(material.label(experiment, setting) for setting in missing)})"
        if one.status != "ready":
            closed.append(one.title)
        elif missing:
            absent.append(one.title + ("" if len(missing) == len(settings) else some))
    said = {"Not run, for reasons that the tables give": closed, "Not run yet, or not at this scale": absent}
    return [f"{text}: {'; '.join(titles)}" for text, titles in said.items() if titles]


def _in_text(material: Material, rows: pd.DataFrame) -> list[str]:
    """Of which data sets the gains stand in the paper's text alone."""
    places = dict.fromkeys(rows[rows["note"] == "in the text"]["experiment"])
    titles = [material.experiment(str(name)).title for name in places]
    return [f"Outlined, of {', '.join(titles)}: from the paper's text, where no table prints ERM"] if titles else []


def _legend(material: Material, rows: pd.DataFrame, groups: Sequence[Group]) -> list[tuple[Any, str]]:
    """An entry for each method that is drawn, and for each way in which a number is."""
    drawn = {str(method): of for method, of in rows.groupby("method") if _shown(of)}
    named = dict.fromkeys(method for group in groups for method in group.methods if method in drawn)
    look = colours(list(named))
    entries: list[tuple[Any, str]] = [
        (Patch(color=look[name]), head(material, name, bool((drawn[name]["n"] > 0).any()))) for name in named
    ]
    cells = [of for _, of in rows.groupby(["panel", "experiment", "setting", "method"])]
    kinds = {((of["n"] > 0).any(), (of["metric"] == PRINTED).any()) for of in cells}
    if (False, True) in kinds:
        entries.append((Patch(facecolor="white", edgecolor=INK), "printed"))
    if (True, True) in kinds:
        entries.append((Line2D([], [], linestyle="none", markeredgecolor=INK, **BESIDE), "printed, beside ours"))
    return entries
