"""What each method gains over a baseline, all settings together, and how often a run of it is the better one.

Panel a has the interquartile mean of the gains, panel b the probability of improvement, as Agarwal et al. (NeurIPS
2021) define both. The rules are those of `aggregates`.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis import across
from reweigh.analysis.rows import IMPROVEMENT, MIDDLE_GAIN, MIDDLE_GAIN_BY_SEED
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import all_stand_ins
from reweigh.plots.style import BAND, INK, MUTED, SMALL, empty, finish, letter, listed, look_in, marker_style, sheet

LINE = 0.185  # inches: of a method


def rows(
    material: Material, against: str, metric: str = "balanced_accuracy", methods: Sequence[str] = ()
) -> pd.DataFrame:
    """Three lines for each method, as `across.over_settings` has them; methods by their interquartile mean gain."""
    lines = across.over_settings(material, against, metric, methods)
    if lines.empty:
        return lines
    means = lines[lines["metric"].str.endswith(MIDDLE_GAIN)].set_index("method")["mean"]
    order = means.sort_values(ascending=False, na_position="last", kind="stable").index
    return lines.sort_values("method", key=lambda names: names.map(order.get_loc), kind="stable", ignore_index=True)


@styled
def draw(material: Material, rows: pd.DataFrame, unit: str = "points of balanced accuracy") -> Figure:
    """A row for each method: (a) gains in `unit`, 100 of which are a whole, (b) probability of improvement."""
    known = rows[rows["mean"].notna()]
    shown = list(dict.fromkeys(known["method"]))
    picture = sheet()
    panels = picture.subplots(1, 2, sharey=True, width_ratios=[1.15, 1])
    against = material.title(rows["against"].iloc[0]) if len(rows) else ""
    heads = (f"gain over {against}, {unit}", f"probability of improvement over {against}")
    for number, (axes, head) in enumerate(zip(panels, heads, strict=True)):
        axes.set_xlabel(head)
        letter(axes, "ab"[number], ("interquartile mean over settings", "one run against one run")[number])
        _ruled(axes, len(shown), 0.5 if number else 0.0)
    for place, method in enumerate(shown):
        mine = {line["metric"]: line for line in known[known["method"] == method].to_dict("records")}
        _gain(panels[0], material, mine, place)
        _probability(panels[1], material, mine, place)
    titles = [material.title(method) for method in shown]
    panels[0].set_yticks(range(len(shown)), titles, color=INK)
    panels[0].set_ylim(max(1, len(shown)) - 0.4, -0.6)
    panels[0].set_xlim(*_reach(known))
    panels[1].set_xlim(-0.02, 1.02)
    panels[1].set_xticks([0, 0.25, 0.5, 0.75, 1])
    for axes in panels if not shown else ():
        empty(axes, "not run")
        axes.set_xticks([])
    finish(
        picture,
        material,
        _shows(known),
        [*_notes(rows), *all_stand_ins(material)],
        panels=0.75 + LINE * max(3, len(shown)),
    )
    return Figure(picture, rows)


def _ruled(axes: Axes, count: int, middle: float) -> None:
    """Stripes behind every other method, and the line of no difference."""
    for place in range(1, count, 2):
        axes.axhspan(place - 0.5, place + 0.5, color=BAND, linewidth=0, zorder=0)
    axes.axvline(middle, color=MUTED, linewidth=0.8, zorder=1)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")


def _reach(known: pd.DataFrame) -> tuple[float, float]:
    """What panel a has room for, in points: every mean and its bootstrap interval, 0, and half as much again.

    Student's interval over seeds of a method of which one run fails is so long that nothing else could be read.
    """
    gains = known[known["metric"].str.endswith(MIDDLE_GAIN)]
    ends = 100 * pd.concat([gains[name].dropna() for name in ("mean", "low", "high")])
    low, high = min(0.0, ends.min()), max(0.0, ends.max())
    margin = max((high - low) / 4, 0.1)
    return (low - margin, high + margin) if len(ends) else (-1.0, 1.0)


def _ending(lines: Mapping[str, Mapping[Hashable, Any]], ending: str) -> Mapping[Hashable, Any] | None:
    return next((line for metric, line in lines.items() if metric.endswith(ending)), None)


def _gain(axes: Axes, material: Material, lines: Mapping[str, Mapping[Hashable, Any]], place: float) -> None:
    """The mean with its bootstrap interval (thick), and Student's interval of single seeds (thin)."""
    if (line := _ending(lines, MIDDLE_GAIN)) is None:
        axes.annotate("no gain defined", (0, place), xytext=(3, 0), textcoords="offset points", va="center",
                      fontsize=SMALL, color=MUTED, style="italic")  # fmt: skip
        return
    by_seed = _ending(lines, MIDDLE_GAIN_BY_SEED)
    if by_seed is not None and pd.notna(by_seed["low"]):
        _bar(axes, material, by_seed, place, 100, 0.9)
    _bar(axes, material, line, place, 100, 2.6)
    text = f"{100 * line['mean']:+.2f}".replace("-", "−")
    beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": SMALL}
    axes.annotate(text, (1.01, place), color=MUTED, annotation_clip=False, **beside)
    _dot(axes, material, line, place, 100)


def _probability(axes: Axes, material: Material, lines: Mapping[str, Mapping[Hashable, Any]], place: float) -> None:
    if (line := _ending(lines, IMPROVEMENT)) is None:
        return
    _bar(axes, material, line, place, 1, 2.6)
    _dot(axes, material, line, place, 1)
    beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": SMALL}
    axes.annotate(f"{line['mean']:.2f}", (1.01, place), color=MUTED, annotation_clip=False, **beside)


def _bar(
    axes: Axes, material: Material, line: Mapping[Hashable, Any], place: float, times: float, width: float
) -> None:
    if pd.notna(line["low"]):
        colour = look_in(material, str(line["method"])).colour
        ends = [times * line["low"], times * line["high"]]
        axes.plot(ends, [place] * 2, color=colour, linewidth=width, solid_capstyle="butt", zorder=2)


def _dot(axes: Axes, material: Material, line: Mapping[Hashable, Any], place: float, times: float) -> None:
    look = look_in(material, str(line["method"]))
    axes.plot(times * line["mean"], place, linestyle="", zorder=3, **{**marker_style(look), "markersize": 4.5})


def _shows(known: pd.DataFrame) -> str:
    if known.empty:
        return "Nothing of ours was run"
    aggregates = known[~known["metric"].str.endswith(MIDDLE_GAIN_BY_SEED)]
    runs, settings = _counts(aggregates["n"]), _counts(aggregates["settings"])
    return (
        f"Paired runs after the last epoch: {runs} pairs over {settings} settings a method. Thick bars: 95 % "
        "stratified bootstrap over seeds; thin: Student's 95 % interval over seeds, each by its own mean over "
        "settings, cut where it leaves the panel"
    )


def _counts(values: pd.Series) -> str:
    least, most = int(values.min()), int(values.max())
    return str(least) if least == most else f"{least} to {most}"


def _notes(rows: pd.DataFrame) -> list[str]:
    """What a reader must know of a method, once, methods with the same note together."""
    said: dict[str, dict[str, None]] = {}
    for line in rows.to_dict("records"):
        if line["note"] and not line["metric"].endswith(MIDDLE_GAIN_BY_SEED):
            said.setdefault(line["note"], {})[line["title"]] = None
    shown = 0 if rows.empty else rows["title"].nunique()
    return [f"{'all methods' if 1 < shown == len(titles) else listed(titles)}: {note}" for note, titles in said.items()]
