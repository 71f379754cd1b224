"""What methods gain over a control, seed by seed, by several metrics: a column a metric, a block a setting.

So one sees at once for which classes a method gains, and for which it does not.
"""

from collections.abc import Hashable, Mapping, Sequence
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reweigh.analysis.rows import Row, cell_names, frame, paired_row
from reweigh.analysis.tables import Material
from reweigh.config.cards import Look
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import count_text, means_text, stand_ins
from reweigh.plots.panels import LETTERS
from reweigh.plots.style import BAND, INK, MUTED, empty, finish, look_in, marker_style, sheet

LINE = 0.165  # inches: of a method, and of a group's title
REACH = 2.2  # an axis goes so many times as far as the farthest mean, where intervals go farther
LEAST = 0.2  # points: an axis goes so far to either side at least
Column = tuple[str, str]  # metric, head


class Block(NamedTuple):
    """The methods of one setting, in groups (title, methods), each held `against` one control."""

    experiment: str
    setting: str
    against: str
    groups: Sequence[tuple[str, Sequence[str]]]


class Line(Row, total=False):
    """A line, and what the picture has beside it."""

    group: str
    place: int  # of its block


def rows(material: Material, blocks: Sequence[Sequence[Any]], columns: Sequence[Column]) -> pd.DataFrame:
    """For each block, method and metric the mean over seeds of method minus control: one line, with its interval.

    `blocks` are (experiment, setting, against, [(group, methods)]). Metrics that the runs of a setting have not
    measured, for want of such classes, have no line.
    """
    lines = [
        _line(material, block, place, (group, method), metric)
        for place, block in enumerate(starmap(Block, blocks))
        for group, methods in block.groups
        for method in methods
        for metric, _ in columns
        if _is_measured(material, block, metric)
    ]
    return frame(lines)


def _is_measured(material: Material, block: Block, metric: str) -> bool:
    """Whether any run of a setting has a metric; of one without runs nobody knows."""
    runs = material.runs
    mine = runs[(runs["experiment"] == block.experiment) & (runs["setting"] == block.setting)]
    return mine.empty or bool(mine[metric].notna().any())


def _line(material: Material, block: Block, place: int, of: tuple[str, str], metric: str) -> Line:
    group, method = of
    cell = (block.experiment, block.setting, method)
    ours, others = material.of(*cell), material.of(*cell[:2], block.against)
    difference = paired_row(ours, others, metric)
    missing = [name for name, runs in ((method, ours), (block.against, others)) if runs.empty]
    reasons = dict.fromkeys(material.why_not(*cell[:2], name) for name in missing)
    return {
        "panel": LETTERS[place],
        **cell_names(material, *cell),
        "against": block.against,
        **difference,
        "note": ", ".join(reasons) if missing else "" if difference["runs"] else "no seed in common",
        "group": group,
        "place": place,
    }


@styled
def draw(
    material: Material,
    rows: pd.DataFrame,
    columns: Sequence[Column],
    explained: Sequence[str] = (),
) -> Figure:
    """A row of panels for each block that has runs, a panel a metric, each with an axis of its own.

    Methods without a run are named below. `explained`: notes on what the words mean.
    """
    shown = _shown(rows)
    places = list(dict.fromkeys(shown["place"]))
    lengths = {place: _length(_labels(shown, place)) for place in places}
    picture = sheet()
    parts = picture.subfigures(len(places), 1, squeeze=False, height_ratios=[lengths[one] + 4 for one in places])[:, 0]
    for part, place in zip(parts, places, strict=True):
        mine = shown[shown["place"] == place]
        heads = [one for one in columns if one[0] in set(_metrics(mine))]
        drawn = part.subplots(1, len(heads), squeeze=False)[0]
        for number, (axes, (metric, head)) in enumerate(zip(drawn, heads, strict=True)):
            panel(axes, material, mine[_metrics(mine) == metric], _labels(shown, place), words=number == 0)
            axes.set_title(head, fontsize=7, pad=3, linespacing=1.1)
        against = material.title(mine["against"].iloc[0])
        drawn[len(heads) // 2].set_xlabel(f"points over {against}")
        part.suptitle(f"{LETTERS[place]}  {_title(material, mine)}", x=0.008, ha="left", fontsize=8, weight="bold")
    height = sum(LINE * (length + 4) + 0.2 for length in lengths.values())
    finish(picture, material, shows(shown), [*explained, *notes(material, rows)], panels=height)
    return Figure(picture, rows)


def _metrics(rows: pd.DataFrame) -> pd.Series:
    return rows["metric"].str.removesuffix("_difference")


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The lines of methods that were run, in blocks of which any was; where none was, all of the first block."""
    keys = ["place", "method"]
    run = rows.groupby(keys)["n"].transform("max") > 0
    return rows[run] if run.any() else rows[rows["place"] == rows["place"].min()]


def _title(material: Material, rows: pd.DataFrame) -> str:
    experiment, setting = rows[["experiment", "setting"]].iloc[0]
    one = material.experiment(experiment)
    title = one.title + (f": {material.label(experiment, setting)}" if len(one.settings) > 1 else "")
    return f"{title} ({count_text(rows)})" if (rows["n"] > 0).any() else title


def _labels(rows: pd.DataFrame, place: int) -> list[tuple[str, str]]:
    """The groups and methods of a block, in order."""
    mine = rows[rows["place"] == place]
    return list(dict.fromkeys(zip(mine["group"], mine["method"], strict=True)))


def _places(labels: Sequence[tuple[str, str]]) -> tuple[dict[str, float], dict[str, float]]:
    """Where each method and each group's title stands, in lines from the top; a group without a title has no line."""
    methods, groups, line = dict[str, float](), dict[str, float](), -1.0
    for group, method in labels:
        if group not in groups:
            line += 1.0 if group else 0.0
            groups[group] = line
        line += 1
        methods[method] = line
    return methods, {group: place for group, place in groups.items() if group}


def _length(labels: Sequence[tuple[str, str]]) -> float:
    methods, groups = _places(labels)
    return max(methods.values()) - min([*methods.values(), *groups.values()]) + 1


def panel(
    axes: Axes,
    material: Material,
    rows: pd.DataFrame,
    labels: Sequence[tuple[str, str]],
    words: bool = True,
    ends: tuple[float, float] | None = None,
    colour: str | None = None,
) -> None:
    """One metric: a dot a method with its interval.

    `labels`: (group, method) from the top; `words`: whether they stand beside it; `ends`: of its axis, in points;
    `colour`: of all dots, where colours mean something else in the figure.
    """
    methods, groups = _places(labels)
    lines = [line for line in rows.to_dict("records") if line["n"]]
    for rank, place in enumerate(methods.values()):
        if rank % 2:
            axes.axhspan(place - 0.5, place + 0.5, color=BAND, linewidth=0, zorder=0)
    ends = ends or limits(lines)
    for line in lines:
        look = look_in(material, line["method"])
        _dot(axes, line, methods[line["method"]], Look(colour or look.colour, "o" if colour else look.marker), ends)
    axes.set_xlim(*ends)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], min_n_ticks=2))
    titles = [material.title(method) for method in methods]
    axes.set_yticks(list(methods.values()), titles if words else [], color=INK)
    first = min([*methods.values(), *groups.values()])
    axes.set_ylim(max(methods.values()) + 0.6, first - 0.6)
    for group, place in groups.items() if words else ():
        style: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "ha": "right", "fontsize": 7}
        axes.annotate(group, (-0.04, place), weight="bold", annotation_clip=False, **style)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    if lines:
        axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    else:
        empty(axes, "not run")
        axes.set_xticks([])


def _dot(axes: Axes, line: Mapping[Hashable, Any], place: float, look: Look, ends: tuple[float, float]) -> None:
    """A mean with its interval; an arrow where that leaves the panel, and a hollow dot where there is none."""
    single = pd.isna(line["low"])
    style: dict[str, Any] = {**marker_style(look), "markersize": 4, "linestyle": "", "zorder": 3}
    axes.plot(100 * line["mean"], place, **style)
    if single:
        return
    low, high = 100 * line["low"], 100 * line["high"]
    kept = [max(low, ends[0]), min(high, ends[1])]
    axes.plot(kept, [place, place], color=look.colour, linewidth=1.4, zorder=2, solid_capstyle="butt")
    for end, inside, marker in ((ends[0], low >= ends[0], "<"), (ends[1], high <= ends[1], ">")):
        if not inside:
            axes.plot(end, place, marker, color=look.colour, markersize=3, clip_on=False, zorder=3)


def limits(lines: Sequence[Mapping[Hashable, Any]]) -> tuple[float, float]:
    """As far as means go, and intervals as far as REACH times that, in points; no difference is always in sight."""
    means = np.array([100 * line["mean"] for line in lines] or [0.0])
    ends = np.array([100 * line[end] for line in lines for end in ("low", "high") if pd.notna(line[end])] or [0.0])
    far = REACH * max(LEAST / 2, float(np.abs(means).max()))
    low = min(max(ends.min(), -far), means.min(), -LEAST)
    high = max(min(ends.max(), far), means.max(), LEAST)
    margin = 0.06 * (high - low)
    return float(low - margin), float(high + margin)


def shows(rows: pd.DataFrame) -> str:
    """What the picture shows, in words."""
    known = rows[rows["n"] > 0]
    if known.empty:
        return "Nothing of ours was run"
    arrows = "; arrows: an interval goes on" if _leaves(known) else ""
    axes = f"Each panel has an axis of its own{arrows}"
    return f"Differences after the last epoch, in points, seed by seed; {means_text(known)}. {axes}"


def _leaves(rows: pd.DataFrame) -> bool:
    """Whether an interval leaves the axis of its panel."""
    for _, mine in rows.groupby(["place", "metric"]):
        low, high = limits(mine.to_dict("records"))
        if (100 * mine["low"] < low).any() or (100 * mine["high"] > high).any():
            return True
    return False


def notes(material: Material, rows: pd.DataFrame) -> list[str]:
    """Which settings were not run, and which methods of those that were; runs that diverged, and data that stand in."""
    run = rows[rows["n"] > 0]
    said: dict[str, list[str]] = {}
    for _, of in rows.groupby("place"):
        title = _title(material, of.assign(n=0))
        absent = of[~of["method"].isin(run[run["place"] == of["place"].iloc[0]]["method"])]
        names = dict.fromkeys(absent["title"])
        if names:
            whole = len(names) == of["method"].nunique()
            said.setdefault("Not run", []).append(title if whole else f"{title}: {', '.join(names)}")
    lost = rows[rows["status"].str.endswith("diverged")]
    names = dict.fromkeys(f"{line.title} ({line.status})" for line in lost.itertuples())
    found = [f"{text}: {'; '.join(places)}" for text, places in said.items()]
    found += [f"With runs that diverged, which have no score: {'; '.join(names)}"] if names else []
    return [*found, *stand_ins(material, set(zip(rows["experiment"], rows["setting"], rows["method"], strict=True)))]
