"""What the choices of LRWOpt are worth: each variant minus LRWOpt, seed by seed, and its accuracy by δ and Q.

The paper says of δ, Q, the rates, nesting and what the weights see that they matter little, and of the splitter's
regularisers that they add 0.23 points; with no interval (D.1, supplement A).
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.tables import Material
from reweigh.plots import by_setting
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.panels import LETTERS
from reweigh.plots.papers.molere import arms
from reweigh.plots.style import finish, letter, sheet

HEIGHT = 2.1  # inches: of the panel by setting
METRIC = "test_accuracy"


def rows(material: Material, contrasts: Sequence[Sequence[Any]], varied: str) -> pd.DataFrame:
    """The lines of `arms` for all experiments but `varied`, then those of `by_setting` for that one."""
    experiments = [name for name in material.experiments if name != varied]
    of_arms = arms.rows(material, contrasts, experiments)
    methods = material.methods(varied)
    last = by_setting.rows(material, METRIC, [("", methods)], varied)
    return pd.concat([of_arms, last.assign(panel=LETTERS[-1])], ignore_index=True)


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """Columns of differences above, a panel of accuracies by setting below."""
    differences, accuracies = rows[rows["panel"] != LETTERS[-1]], rows[rows["panel"] == LETTERS[-1]]
    depth = arms.height(differences)
    picture = sheet()
    above, below = picture.subfigures(2, 1, height_ratios=(depth, HEIGHT))  # type: ignore[misc]
    arms.columns(above, material, differences, "points of accuracy")
    axes = below.subplots()
    by_setting.panel(axes, material, accuracies, "test accuracy")
    _limits(axes, accuracies)
    number = differences[differences["n"] > 0]["panel"].nunique() or 1
    letter(axes, LETTERS[number], f"{material.experiment(accuracies['experiment'].iloc[0]).title}, by setting")
    notes = [*arms.notes(material, differences), f"{LETTERS[number]}: {seeds_text(accuracies, by_setting.SHOWS)}"]
    finish(
        picture,
        material,
        arms.shows(differences),
        [*notes, *missing_notes(material, accuracies)],
        panels=depth + HEIGHT,
    )
    return Figure(picture, rows)


def _limits(axes: Axes, rows: pd.DataFrame) -> None:
    """As far as means and intervals go, and a point to either side."""
    ends = rows[rows["n"] > 0][["mean", "low", "high"]].astype(float)
    if len(ends):
        axes.set_ylim(float(ends.min().min()) - 0.01, float(ends.max().max()) + 0.01)
