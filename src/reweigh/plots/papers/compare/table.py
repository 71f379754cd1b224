"""The table of the comparison: gains at each setting, gains of the worst group by kind of setting, and cost."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis import across
from reweigh.analysis.across import Place
from reweigh.analysis.gains import TIMES
from reweigh.analysis.rows import MEAN_GAIN_BY_SEED, Row, frame
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import count_text
from reweigh.plots.papers.compare import grounds
from reweigh.plots.papers.compare.grounds import HEADLINE, WORST, points
from reweigh.plots.style import INK, MUTED, WARNING, finish, sheet

LINE, HEAD = 0.26, 0.82  # inches: of a method, of the heads
SIDE = 0.145  # of the width: the methods' names
FAINT = "#e3e3e3"
LOST = "†"  # mark of a gain that decides nothing
Line = Mapping[Hashable, Any]


def rows(material: Material) -> pd.DataFrame:
    """Gains of the headline metric by setting, what plain training has there, worst groups by kind, cost by setting."""
    plain = grounds.baseline(material)
    lines = [*grounds.level_rows(material), *grounds.gain_rows(material)]
    field = across.field_of(material, WORST)
    for kind, places in grounds.kinds_of(material).items():
        for method in grounds.methods_of(material):
            if method != plain:
                line: Row = {**across.mean_gain_line(field, places, method, plain), "panel": kind}
                lines.append(line)
    return frame([*lines, *grounds.cost_rows(material)])


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """A line for each method; columns: settings, kinds of settings, cost. Plain training stands first, by itself."""
    places, methods = grounds.drawn(material, rows)
    kinds = grounds.kinds_of(material, places)
    heads = [grounds.head(material, place, 9) for place in places]
    heads += [kind.replace(" ", "\n") for kind in kinds]
    spans = [(kind, len(of)) for kind, of in kinds.items()]
    spans += [("worst group, mean over", len(kinds)), ("time", 1)]
    cells = {(line["method"], column): line for line, column in _placed(rows, places, list(kinds))}
    picture = sheet()
    axes = picture.subplots()
    _heads(axes, [*heads, "× plain"], spans)
    colour = INK if material.scale == "paper" else WARNING
    for number, method in enumerate(methods):
        _method(axes, material, number, method, cells, len(heads), colour)
    _ruled(axes, len(methods), [size for _, size in spans])
    notes = [*grounds.missing(material, rows), *grounds.doubts(material, grounds.gains_in(rows))]
    finish(picture, material, _shows(material, rows), notes, panels=HEAD + LINE * len(methods))
    return Figure(picture, rows)


def _placed(rows: pd.DataFrame, places: Sequence[Place], kinds: Sequence[str]) -> list[tuple[Line, int]]:
    """Each line with its column; of costs one line a method, the middle one of its settings."""
    found: list[tuple[Line, int]] = []
    for line in rows[rows["metric"] != TIMES].to_dict("records"):
        place = Place(line["experiment"], line["setting"])
        if line["metric"] == f"{WORST}{MEAN_GAIN_BY_SEED}" and line["panel"] in kinds:
            found.append((line, len(places) + kinds.index(line["panel"])))
        elif place in places:
            found.append((line, places.index(place)))
    costs = rows[(rows["metric"] == TIMES) & rows["mean"].notna()]
    for method, of in costs.groupby("method"):
        values = of["mean"]
        middle: Line = {"method": method, "mean": float(np.median(values)), "least": values.min(), "most": values.max()}
        found.append((middle, len(places) + len(kinds)))
    return found


def _columns(count: int) -> list[float]:
    return [SIDE + (place + 0.5) * (1 - SIDE) / count for place in range(count)]


def _heads(axes: Axes, heads: Sequence[str], spans: Sequence[tuple[str, int]]) -> None:
    axes.set_axis_off()
    columns, start = _columns(len(heads)), 0
    half = (columns[1] - columns[0]) / 2
    for x, head in zip(columns, heads, strict=True):
        axes.text(x, -0.25, head, ha="center", va="bottom", fontsize=5.8, color=INK, linespacing=1.05)
    for title, size in spans:
        left, right = columns[start] - half, columns[start + size - 1] + half
        if size > 1:
            axes.plot([left + 0.006, right - 0.006], [-2.42] * 2, color=MUTED, linewidth=0.6)
        axes.text((left + right) / 2, -2.55, title, ha="center", va="bottom", fontsize=6.8, weight="bold", color=INK)
        start += size


def _method(
    axes: Axes,
    material: Material,
    number: int,
    method: str,
    cells: Mapping[tuple[str, int], Line],
    last: int,
    colour: str,
) -> None:
    """One line of the table; `last`: the column of costs."""
    axes.text(0.002, number + 0.5, material.title(method), va="center", fontsize=6.8, color=INK)
    for column, x in enumerate(_columns(last + 1)):
        line = cells.get((method, column))
        mark = LOST * bool(line is not None and column != last and grounds.lost(line))
        if line is None or pd.isna(line["mean"]):
            axes.text(x, number + 0.5, f"–{mark}", ha="center", va="center", fontsize=7, color=MUTED)
            continue
        if column == last:
            upper, below, weight = f"{line['mean']:.2f}", "", "normal"
            if f"{line['least']:.1f}" != f"{line['most']:.1f}":
                below = f"{line['least']:.1f}–{line['most']:.1f}"
        else:
            gain = line["metric"] != HEADLINE
            upper = points(line["mean"], gain) if gain else f"{100 * line['mean']:.1f} %"
            told = grounds.decides(line) if gain else 0
            upper, weight = upper + "*" * bool(told) + mark, "bold" if told else "normal"
            low, high = line["low"], line["high"]
            below = "" if pd.isna(low) else f"± {points((high - low) / 2, signed=False)}"
        axes.text(x, number + (0.36 if below else 0.5), upper, ha="center", va="center", fontsize=6.8, color=colour,
                  weight=weight)  # fmt: skip
        axes.text(x, number + 0.76, below, ha="center", va="center", fontsize=5.2, color=MUTED)


def _ruled(axes: Axes, methods: int, sizes: Sequence[int]) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(methods + 0.05, -HEAD / LINE)
    for edge, width in ((-HEAD / LINE, 1.0), (0, 0.6), (1, 0.6), (methods, 1.0)):
        axes.axhline(edge, color=INK, linewidth=width)
    for edge in range(2, methods):
        axes.axhline(edge, color=FAINT, linewidth=0.4)
    columns = _columns(sum(sizes))
    for end in np.cumsum(sizes)[:-1]:
        axes.axvline((columns[end - 1] + columns[end]) / 2, color=FAINT, linewidth=0.8, ymax=methods / (methods + 3.2))


def _shows(material: Material, rows: pd.DataFrame) -> str:
    gains = grounds.gains_in(rows)
    if not (gains["n"] > 0).any():
        return "Nothing of ours was run"
    plain = material.title(grounds.baseline(material))
    return (
        f"First line: mean accuracy of the groups (classes; on Adult and Waterbirds cells of class and attribute) of "
        f"{plain}. Below: what methods gain over it in points, mean over pairs of {count_text(gains)} after the last "
        "epoch, ± half of Student's 95 % interval; * and bold: a difference by paired t tests, Holm over the methods "
        f"at the setting; {LOST}: a run diverged, predicts one class or did not move, so that the gain decides "
        "nothing. Worst group: gain in the accuracy of the worst one, each seed's mean over the settings. Time: "
        "seconds of training of all stages over those of plain training, middle of the settings, below least and most"
    )
