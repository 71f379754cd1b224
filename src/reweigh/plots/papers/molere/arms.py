"""Each arm of the ordering experiment against its reference: paired differences, seed by seed, a column a setting.

A contrast takes a method against a control, or the difference of two such differences: what validating on hard examples
adds to what removing them from training does, over the same of random ones.
"""

from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reweigh.analysis.gains import in_differences_row
from reweigh.analysis.rows import Row, cell_names, frame, paired_row
from reweigh.analysis.tables import Material, outside
from reweigh.plots.figure import Figure, styled
from reweigh.plots.forest import COLOURS
from reweigh.plots.left_out import of_scale
from reweigh.plots.notes import count_text, stand_ins
from reweigh.plots.panels import LETTERS, settings_of
from reweigh.plots.papers.molere.common import beyond, reach, titled
from reweigh.plots.style import BAND, INK, MUTED, capitalised, data_title, empty, finish, sheet

METRIC = "test_accuracy"
LINE = 0.172  # inches: of a contrast, and of a group's title
ACROSS = 4.6  # inches: of all columns
REACH = 2.2  # an axis goes so many times as far as the farthest mean, where intervals go farther
TICKS = 5  # of an axis, at most one more; three columns have room for them


class Contrast(NamedTuple):
    """`treated` minus `control`; with `less`, (treated, control) of another difference, minus that one too."""

    group: str
    label: str
    treated: str
    control: str
    less: tuple[str, str] | None = None


class Line(Row, total=False):
    """A line, and what the picture has beside it."""

    label: str
    group: str


def rows(material: Material, contrasts: Sequence[Sequence[Any]], experiments: Sequence[str] = ()) -> pd.DataFrame:
    """For each setting (a panel) and contrast one line: mean over seeds of the difference, with interval.

    `contrasts` are (group, label, treated, control[, (treated, control) to be taken off]).
    """
    asked, lines = [Contrast(*one) for one in contrasts], list[Line]()
    letters = iter(LETTERS)
    for experiment in experiments or material.experiments:
        for setting in settings_of(material, experiment):
            panel = next(letters)
            for contrast in asked:
                lines.append({"panel": panel, **_line(material, (experiment, setting), contrast)})
    return frame(lines)


def _line(material: Material, place: tuple[str, str], contrast: Contrast) -> Line:
    methods = [contrast.treated, contrast.control, *(contrast.less or ())]
    sides = [material.of(*place, method) for method in methods]
    row = in_differences_row(sides, contrast.less, METRIC) if contrast.less else paired_row(sides[0], sides[1], METRIC)
    named = {
        **cell_names(material, *place, contrast.treated),
        "against": contrast.control,
        "label": contrast.label,
        "group": contrast.group,
        "note": "",
        **row,
    }
    if not row["n"] and row["status"] == "not run":
        missing = [method for method, runs in zip(methods, sides, strict=True) if runs.empty]
        reasons = dict.fromkeys(material.why_not(*place, method) for method in missing)
        why = ", ".join(reasons) if missing else "no seed in common"
        named["note"] = "; ".join(filter(None, (row.get("note"), why)))
    return named  # type: ignore[return-value]


@styled
def draw(
    material: Material, rows: pd.DataFrame, explained: Sequence[str] = (), unit: str = "points of accuracy"
) -> Figure:
    """Contrasts below one another, a column for each setting that has runs; dots are means, bars their intervals.

    `explained`: notes on what the words of the contrasts mean.
    """
    picture, drawn = sheet(), of_the_scale(material, rows)
    columns(picture, material, drawn, unit)
    finish(picture, material, shows(rows), [*explained, *notes(material, rows)], panels=height(drawn))
    return Figure(picture, rows)


def of_the_scale(material: Material, rows: pd.DataFrame) -> pd.DataFrame:
    """The lines less the contrasts that the scale leaves out in every setting; `notes` counts those."""
    reasons = rows.assign(note=[note.rpartition("; ")[2] for note in rows["note"]])
    return rows.loc[of_scale(material, reasons, "group", "label").index]


def height(rows: pd.DataFrame) -> float:
    """The height (inches) that the panels of `rows` need."""
    return 0.85 + LINE * _places(_contrasts(rows))[2]


def _contrasts(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["group"], row["label"]) for row in rows.to_dict("records")))


def columns(picture: Any, material: Material, rows: pd.DataFrame, unit: str, first: int = 0) -> int:
    """Draw the panels of `rows` into a figure, or a part of one, lettered from `first` on; how many they are.

    All have one scale, so that they can be compared.
    """
    by_panel = {str(name): of.to_dict("records") for name, of in rows.groupby("panel", sort=False)}
    run = [name for name, of in by_panel.items() if any(row["n"] for row in of)]
    shown = run or list(by_panel)[:1]
    places, heads, depth = _places(_contrasts(rows))
    ends = _limits([line for name in shown for line in by_panel[name] if line["n"]])
    drawn = picture.subplots(1, len(shown), squeeze=False)[0]
    for number, (axes, name) in enumerate(zip(drawn, shown, strict=True)):
        _panel(axes, by_panel[name], places, heads, (depth, ends))
        one = by_panel[name][0]
        data = data_title(material.experiment(one["experiment"]).dataset)
        titled(axes, LETTERS[first + number], f"{data}, {one['value']}", ACROSS / len(shown))
        axes.set_yticks(list(places.values()), [label for _, label in places] if number == 0 else [], color=INK)
        axes.set_xlabel(f"difference in {unit}" if number == len(shown) // 2 or len(shown) < 3 else "")
    if not run:
        empty(drawn[0], "not run")
        drawn[0].set_xticks([])
    for group, place in heads.items():
        style: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "ha": "right", "fontsize": 7}
        drawn[0].annotate(group, (-0.02, place), weight="bold", annotation_clip=False, **style)
    return len(shown)


def _places(
    contrasts: Sequence[tuple[str, str]],
) -> tuple[dict[tuple[str, str], float], dict[str, float], float]:
    """Where each contrast and each group's title stand, counted in lines from the top, and how many lines there are."""
    places, heads, line = dict[tuple[str, str], float](), dict[str, float](), 0.0
    for group, of in groupby(contrasts, key=lambda one: one[0]):
        heads[group] = line
        for one in of:
            line += 1
            places[one] = line
        line += 1.25
    return places, heads, line - 0.25


def _panel(
    axes: Axes,
    lines: list[dict[Hashable, Any]],
    places: Mapping[tuple[str, str], float],
    heads: Mapping[str, float],
    size: tuple[float, tuple[float, float]],
) -> None:
    """The lines of one setting; `size`: how many lines the panel is high, and the ends of its axis."""
    groups, (depth, ends) = list(heads), size
    known = [line for line in lines if line["n"]]
    right = ends[0] + ends[1] < 0  # where the line of no difference is, which no word shall cross
    for rank, place in enumerate(places.values()):
        if rank % 2:
            axes.axhspan(place - 0.5, place + 0.5, color=BAND, linewidth=0, zorder=0)
    for line in lines:
        place = places[line["group"], line["label"]]
        if not line["n"]:
            style: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 5.5}
            style |= {"ha": "left" if right else "right", "color": MUTED, "style": "italic"}
            axes.annotate(line["status"] if known else "", (0.02 if right else 0.98, place), **style)
            continue
        _dot(axes, line, place, COLOURS[groups.index(line["group"]) % len(COLOURS)], ends)
    if known:
        axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    axes.set_xlim(*ends)
    axes.xaxis.set_major_locator(MaxNLocator(TICKS, steps=[1, 2, 5, 10], min_n_ticks=3))
    axes.set_ylim(depth - 0.35, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")


def _dot(axes: Axes, line: Mapping[Hashable, Any], place: float, colour: str, ends: tuple[float, float]) -> None:
    """One difference with its interval; an arrow where that leaves the panel."""
    single = pd.isna(line["low"])
    face = "white" if single else colour
    mean = 100 * line["mean"]
    if not ends[0] <= mean <= ends[1]:
        beyond(axes, mean, place, colour, ends, upright=False)
        return
    axes.plot(mean, place, "o", color=colour, markerfacecolor=face, markersize=3.6, zorder=3)
    if single:
        return
    low, high = 100 * line["low"], 100 * line["high"]
    kept = max(low, ends[0]), min(high, ends[1])
    axes.plot(kept, [place, place], color=colour, linewidth=1.5, zorder=2, solid_capstyle="butt")
    for end, inside, marker in ((ends[0], low >= ends[0], "<"), (ends[1], high <= ends[1], ">")):
        if not inside:
            axes.plot(end, place, marker, color=colour, markersize=3, clip_on=False, zorder=3)


def _limits(lines: Sequence[Mapping[Hashable, Any]]) -> tuple[float, float]:
    """As far as means go, and intervals as far as REACH times that, with a little room.

    Means that are beyond (`common.reach`) do not count.
    """
    largest: dict[Hashable, float] = {}
    for line in lines:
        name = (line["group"], line["label"])
        largest[name] = max(largest.get(name, 0.0), abs(100 * line["mean"]))
    farthest = reach(largest)
    lines = [line for line in lines if abs(100 * line["mean"]) <= farthest]
    means = np.array([100 * line["mean"] for line in lines] or [0.0])
    ends = np.array([100 * line[end] for line in lines for end in ("low", "high") if pd.notna(line[end])] or [0.0])
    far = REACH * max(0.05, float(np.abs(means).max()))
    low, high = max(ends.min(), -far), min(ends.max(), far)
    low, high = min(low, means.min(), 0.0), max(high, means.max(), 0.0)
    margin = 0.07 * (high - low or 1.0)
    return low - margin, high + margin


def _data(material: Material, experiment: str) -> str:
    return data_title(material.experiment(experiment).dataset)


def shows(rows: pd.DataFrame) -> str:
    """What the picture shows, in words."""
    known = rows[rows["n"] > 0]
    if known.empty:
        return "Nothing of ours was run"
    return (
        f"Differences in test accuracy after the last epoch, in points, seed by seed; mean over {count_text(known)}, "
        "bars: 95 % interval (Student t), hollow: one seed, no interval. Arrow: beyond the axis; its number is the mean"
    )


def notes(material: Material, rows: pd.DataFrame) -> list[str]:
    """Which settings were not run, and which contrasts of those that were; stand-ins and runs that diverged."""
    run = rows.groupby("panel")["n"].transform("max") > 0
    panels = rows.assign(data=[_data(material, one) for one in rows["experiment"]]).drop_duplicates("panel")
    trained = {(row.data, row.value) for row in panels[run[panels.index]].itertuples()}
    said: dict[str, dict[str, None]] = {}
    for row in panels[~run[panels.index]].itertuples():
        # Where the same data are run in another experiment, its title tells the two apart.
        name = material.experiment(row.experiment).title if (row.data, row.value) in trained else row.data
        said.setdefault(row.note.rpartition("; ")[2], {})[f"{name}, {row.value}"] = None
    found = [f"Not run ({why}): {'; '.join(names)}" for why, names in said.items()]
    if less := len(_contrasts(rows)) - len(_contrasts(of_the_scale(material, rows))):
        found.append(capitalised(f"{outside(material.scale)}: {less} contrast{'s' * (less > 1)}"))
    lost = rows[rows["status"].str.endswith("diverged")]
    names = dict.fromkeys(f"{row.label} ({row.value}: {row.status})" for row in lost.itertuples())
    found += [f"With runs that diverged, which have no score: {'; '.join(names)}"] if names else []
    return [*found, *stand_ins(material, set(zip(rows["experiment"], rows["setting"], rows["method"], strict=True)))]
