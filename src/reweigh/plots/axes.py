"""Axes of shares: their limits, a scale that keeps .98 and .99 apart, and where chance lies."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from reweigh.analysis.tables import Material
from reweigh.plots.style import MUTED

LEAST_ERROR = 1e-4  # the scale of errors ends there: no logarithm of an accuracy of 1
APART = 0.06  # of the axis: what its ticks are apart at least
TICKS = (0.0, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998)


def error_axis(axes: Axes, shown: pd.Series) -> None:
    """Make the vertical axis logarithmic in 1 − accuracy, and wide enough for `shown`; its ticks are accuracies."""

    def up(accuracy: float | np.ndarray) -> np.ndarray:
        return -np.log10(np.clip(1 - np.asarray(accuracy, float), LEAST_ERROR, None))

    def down(height: np.ndarray) -> np.ndarray:
        return 1 - 10.0 ** -np.asarray(height, float)

    axes.set_yscale("function", functions=(up, down))
    known = shown.dropna()
    worst, best = (1 - known.min(), 1 - known.max()) if len(known) else (0.5, 0.01)
    low, high = max(0.0, 1 - worst * 1.3), 1 - max(LEAST_ERROR, best * 0.72)
    axes.set_ylim(low, high)
    ticks: list[float] = []
    for tick in sorted(TICKS, reverse=True):  # those near 1 first: that is where the scale has room for them
        if low <= tick <= high and all(abs(up(tick) - up(other)) > APART * (up(high) - up(low)) for other in ticks):
            ticks.append(tick)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def limits(shown: Iterable[float], margin: float = 0.06) -> tuple[float, float]:
    """Limits of a linear axis of shares: a little below the lowest of `shown`, up to 1."""
    known = [value for value in shown if pd.notna(value)]
    return (max(0.0, min(known) - margin) if known else 0.0), 1.01


def chance_line(axes: Axes, material: Material, experiment: str) -> None:
    """A line where a guess lies, one class of all that a balanced test set has; none where nothing was run."""
    runs = material.runs[(material.runs["experiment"] == experiment) & (material.runs["status"] == "finished")]
    if runs.empty:
        return
    chance = 1 / len(material.records[runs["run"].iloc[0]]["metrics"]["confusion"])
    low, high = axes.get_ylim()
    if low <= chance <= high:
        axes.axhline(chance, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        axes.annotate(
            "chance", (1, chance), xycoords=("axes fraction", "data"), xytext=(-2, 2), textcoords="offset points",
            ha="right", va="bottom", fontsize=6, color=MUTED, style="italic",
        )  # fmt: skip
