"""Axes of shares: their limits, a scale that keeps .98 and .99 apart, and where chance lies."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, LogFormatterSciNotation, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from reweigh.analysis.tables import Material
from reweigh.plots.style import MUTED

LEAST_ERROR = 1e-4  # the scale of errors ends there: no logarithm of an accuracy of 1
APART = 0.06  # of the axis: what its ticks are apart at least
ERRORS = ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(range(10, 100)))  # of a decade: the coarsest that gives TICKS
TICKS = 3
WORD = (0.16, 0.09)  # width and height of "chance", as shares of a small panel


def error_axis(axes: Axes, shown: pd.Series) -> None:
    """Make the vertical axis logarithmic in 1 − accuracy, and wide enough for `shown`; its ticks are accuracies."""
    axes.set_yscale("function", functions=(_up, _down))
    known = shown.dropna()
    worst, best = (1 - known.min(), 1 - known.max()) if len(known) else (0.5, 0.01)
    low, high = max(0.0, 1 - worst * 1.3), 1 - max(LEAST_ERROR, best * 0.72)
    axes.set_ylim(low, high)
    for steps in ERRORS:
        ticks = _ticks(low, high, steps)
        if len(ticks) >= TICKS:
            break
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


class Powers(LogFormatterSciNotation):
    """What matplotlib writes at a logarithmic axis, in plain letters instead of a formula: 10³, −10², 2×10⁻¹."""

    def __call__(self, value: float, place: int | None = None) -> str:
        """The label of a tick."""
        return in_letters(str(super().__call__(value, place)))


def in_letters(formula: str) -> str:
    r"""A power of ten that matplotlib writes as a formula, in letters.

    >>> in_letters(r"$\mathdefault{-2\times10^{-13}}$")
    '−2×10⁻¹³'
    """
    words = formula.removeprefix(r"$\mathdefault{").removesuffix("}$").replace(r"\times", "×")
    words = re.sub(r"\^\{(.*?)\}", lambda found: found[1].translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")), words)
    return words.replace("-", "−")


def powers(axis: Axis) -> None:
    """Have a logarithmic axis say powers of ten in letters. Formulas are off in the house style."""
    axis.set_major_formatter(Powers())
    if isinstance(axis.get_minor_formatter(), LogFormatterSciNotation):
        axis.set_minor_formatter(Powers(labelOnlyBase=False))


def _up(accuracy: float | np.ndarray) -> np.ndarray:
    return np.asarray(-np.log10(np.clip(1 - np.asarray(accuracy, float), LEAST_ERROR, None)))


def _down(height: np.ndarray) -> np.ndarray:
    return np.asarray(1 - 10.0 ** -np.asarray(height, float))


def _ticks(low: float, high: float, steps: Sequence[float]) -> list[float]:
    """Accuracies whose errors are round numbers; those near 1 first, as the scale has room for them there.

    >>> [round(tick, 3) for tick in _ticks(0.4, 0.993, (1, 2, 5))]
    [0.99, 0.98, 0.95, 0.9, 0.8, 0.5]
    """
    first = min(steps) if min(steps) < 10 else 10
    errors = sorted(step / first * 10.0**-decade for step in steps for decade in range(5))
    ticks: list[float] = []
    for tick in (round(1 - error, 8) for error in errors if error <= 1):
        far = all(abs(_up(tick) - _up(other)) > APART * (_up(high) - _up(low)) for other in ticks)
        if low <= tick <= high and far:
            ticks.append(tick)
    return ticks


def limits(shown: Iterable[float], margin: float = 0.06) -> tuple[float, float]:
    """Limits of a linear axis of shares: a little below the lowest of `shown`, up to 1."""
    known = [value for value in shown if pd.notna(value)]
    return (max(0.0, min(known) - margin) if known else 0.0), 1.01


def chance_line(axes: Axes, material: Material, experiment: str) -> None:
    """A line where a guess lies, one class of all that a balanced test set has; none where nothing was run.

    Drawn last: its word stands at the end where less else is drawn.
    """
    runs = material.runs[(material.runs["experiment"] == experiment) & (material.runs["status"] == "finished")]
    if runs.empty:
        return
    chance = 1 / len(material.records[runs["run"].iloc[0]]["metrics"]["confusion"])
    low, high = axes.get_ylim()
    if low <= chance <= high:
        axes.axhline(chance, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        end = 1 if _crowded(axes, chance, 1) <= _crowded(axes, chance, 0) else 0
        axes.annotate(
            "chance", (end, chance), xycoords=("axes fraction", "data"), xytext=(2 - 4 * end, 2),
            textcoords="offset points", ha="right" if end else "left", va="bottom",
            fontsize=6, color=MUTED, style="italic",
        )  # fmt: skip


def _crowded(axes: Axes, level: float, end: int) -> int:
    """How many points and bars of lines come where a word would stand above `level`, at the right end (1) or left."""
    below = axes.transAxes.inverted().transform(axes.transData.transform((0, level)))[1]
    word = Bbox.from_bounds(1 - WORD[0] if end else 0, below + 0.005, *WORD)  # the line itself does not count
    found = 0
    for line in axes.lines:
        vertices = np.asarray(line.get_xydata(), float)
        if line.get_transform() == axes.transData and len(vertices):
            points = axes.transAxes.inverted().transform(axes.transData.transform(vertices))
            drawn = points[np.isfinite(points).all(1)]
            bars = len(drawn) == 2 and drawn[0, 0] == drawn[1, 0]
            found += int(Path(drawn).intersects_bbox(word, filled=False)) if bars else word.count_contains(drawn)
    return found
