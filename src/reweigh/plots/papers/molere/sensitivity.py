"""What the choices of LRWOpt are worth: each variant minus LRWOpt, seed by seed, and its accuracy by δ.

The paper says of δ, Q, the rates, nesting and what the weights see that they matter little, and of the splitter's
regularisers that they add 0.23 points; with no interval (D.1, supplement A).
"""

from collections.abc import Sequence
from itertools import starmap
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.tables import Material
from reweigh.plots import by_setting
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.panels import LETTERS
from reweigh.plots.papers.molere import arms
from reweigh.plots.style import finish, letter, sheet

HEIGHT = 1.9  # inches: of the panel by setting
METRIC = "test_accuracy"


class Block(NamedTuple):
    """Experiments whose settings stand beside one another, and the contrasts that they have (`arms.Contrast`)."""

    experiments: Sequence[str]
    contrasts: Sequence[Sequence[Any]]


def rows(material: Material, blocks: Sequence[Sequence[Any]], varied: str) -> pd.DataFrame:
    """The lines of `arms` for each of `blocks`, then those of `by_setting` for the experiment `varied`."""
    frames: list[pd.DataFrame] = []
    for place, block in enumerate(starmap(Block, blocks)):
        lines, before = (
            arms.rows(material, block.contrasts, block.experiments),
            sum(len(set(f["panel"])) for f in frames),
        )
        moved = {letter: LETTERS[before + rank] for rank, letter in enumerate(dict.fromkeys(lines["panel"]))}
        frames.append(lines.assign(panel=lines["panel"].map(moved), block=place))
    last = by_setting.rows(material, METRIC, [("", material.methods(varied))], varied)
    return pd.concat([*frames, last.assign(panel=LETTERS[-1], block=len(frames))], ignore_index=True)


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """For each block columns of differences, below them a panel of accuracies by setting."""
    differences, accuracies = rows[rows["panel"] != LETTERS[-1]], rows[rows["panel"] == LETTERS[-1]]
    blocks = [arms.of_the_scale(material, of) for _, of in differences.groupby("block")]
    depths = [arms.height(of) for of in blocks]
    picture = sheet()
    parts = picture.subfigures(len(blocks) + 1, 1, squeeze=False, height_ratios=(*depths, HEIGHT))[:, 0]
    number = 0
    for part, of in zip(parts, blocks, strict=False):
        number += arms.columns(part, material, of, "points of accuracy", number)
    axes = parts[-1].subplots()
    by_setting.panel(axes, material, accuracies, "test accuracy")
    _limits(axes, accuracies)
    letter(axes, LETTERS[number], f"{material.experiment(accuracies['experiment'].iloc[0]).title}, by setting")
    notes = [*arms.notes(material, differences), f"{LETTERS[number]}: {seeds_text(accuracies, by_setting.SHOWS)}"]
    notes += missing_notes(material, accuracies)
    finish(picture, material, arms.shows(differences), notes, panels=sum(depths) + HEIGHT)
    return Figure(picture, rows)


def _limits(axes: Axes, rows: pd.DataFrame) -> None:
    """As far as means and intervals go, and a point to either side."""
    ends = rows[rows["n"] > 0][["mean", "low", "high"]].astype(float)
    if len(ends):
        axes.set_ylim(float(ends.min().min()) - 0.01, float(ends.max().max()) + 0.01)
