"""What each method gains over a baseline at each setting: a table of paired differences, with what the tests say.

Numbers are marked where a paired t test tells them from 0 after Holm's correction. The rules are those of
`analysis.across`.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reweigh import metrics, stats
from reweigh.analysis import across
from reweigh.analysis.rows import DIFFERENCE
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import means_text, missing_notes
from reweigh.plots.style import INK, MUTED, finish, sheet

LINE = 0.2  # inches: of a method
HEADS = 0.75  # of the settings' names
COLOURS = "PuOr"  # from orange through white to purple: the same to all eyes, dark at either end
REACH = 5.0  # points at which a colour is full
WRAP = 13  # letters of a line of a setting's name


def rows(
    material: Material, against: str, metric: str = "balanced_accuracy", methods: Sequence[str] = ()
) -> pd.DataFrame:
    """A line for each setting and method, as `across.per_setting` has them."""
    return across.per_setting(material, against, metric, methods)


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """A row a method, by its mean gain, a column a setting; purple is better than the baseline, orange worse."""
    picture = sheet()
    axes = picture.subplots()
    sign = _sign(rows)
    order = (sign * rows.groupby("title")["mean"].mean()).sort_values(ascending=False, na_position="last").index
    titles, places = list(order), list(dict.fromkeys(rows["panel"]))
    means = rows.pivot(index="title", columns="panel", values="mean").reindex(index=titles, columns=places)
    shades = 100 * sign * means.to_numpy(float)
    axes.imshow(np.ma.masked_invalid(shades), cmap=COLOURS, vmin=-REACH, vmax=REACH, aspect="auto")
    for line in rows.itertuples():
        x, y = places.index(line.panel), titles.index(line.title)
        _cell(axes, x, y, line, sign)
    axes.set_xticks(range(len(places)), [textwrap.fill(place, WRAP) for place in places], fontsize=6)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(titles)), titles, color=INK)
    axes.set_yticks(np.arange(len(titles) + 1) - 0.5, minor=True)
    axes.set_xticks(np.arange(len(places) + 1) - 0.5, minor=True)
    axes.tick_params(which="both", length=0)
    axes.grid(visible=False, which="major")
    axes.grid(visible=True, which="minor", color="white", linewidth=1.2, axis="both")
    for side in axes.spines.values():
        side.set_visible(False)
    finish(picture, material, _shows(material, rows), _notes(material, rows), panels=HEADS + LINE * len(titles))
    return Figure(picture, rows)


def _sign(rows: pd.DataFrame) -> int:
    """1 where a larger difference is better, −1 of errors."""
    return metrics.of(str(rows["metric"].iloc[0]).removesuffix(DIFFERENCE)).direction or 1


def _cell(axes: Axes, x: int, y: int, line: object, sign: int) -> None:
    """The difference in points: bold where it is told from 0 over all cells, with a star where at its setting."""
    mean, p, p_all = (getattr(line, name) for name in ("mean", "p_holm", "p_holm_all"))
    if pd.isna(mean):
        axes.text(x, y, "–", ha="center", va="center", fontsize=6, color=MUTED)
        return
    text = f"{100 * mean:+.1f}".replace("-", "−") + ("*" if pd.notna(p) and p < stats.ALPHA else "")
    sure = pd.notna(p_all) and p_all < stats.ALPHA
    dark = abs(100 * mean) > 0.7 * REACH
    axes.text(x, y, text, ha="center", va="center", fontsize=6, weight="bold" if sure else "normal",
              color="white" if dark else INK)  # fmt: skip


def _shows(material: Material, rows: pd.DataFrame) -> str:
    if not (rows["n"] > 0).any():
        return "Nothing of ours was run"
    against = material.title(rows["against"].iloc[0])
    return (
        f"Differences to {against} seed by seed after the last epoch, in points; {means_text(rows, 'intervals: csv')}. "
        "Star: told from 0 by a paired t test, p < 0.05 by Holm's correction over the methods of the setting; bold: "
        f"over all methods and settings. Purple is better, orange worse; colours end at {REACH:g} points"
    )


def _notes(material: Material, rows: pd.DataFrame) -> list[str]:
    known = rows[rows["n"] > 0]
    lost = known[(known["note"] != "") & known["p"].isna()]
    undecided = "; ".join(f"{line.title} ({line.panel}): {line.note}" for line in lost.itertuples())
    return [*([f"No test: {undecided}"] if undecided else []), *missing_notes(material, rows)]
