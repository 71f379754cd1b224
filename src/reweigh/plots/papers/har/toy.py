"""HAR's toy: are strengths I^.6 / q^.4 the best ones, where everything is known?

The exponents follow from a one-dimensional argument (docs/har-strengths.md). Here it is put to the test on penalised
logistic splines (`toy_spline`), in four problems (`toy_draws`), over many draws (`toy_best`), beside closed forms
(`toy_theory`). Nothing of it is in the paper.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from scipy.interpolate import CubicSpline

from reweigh.analysis.tables import Material
from reweigh.plots.axes import powers
from reweigh.plots.figure import Figure, styled
from reweigh.plots.papers.har import toy_rows as lines_of
from reweigh.plots.papers.har.toy_draws import EXPONENT, PROBLEMS
from reweigh.plots.papers.har.toy_rows import ARMS, BALANCED, DATA, HAR, PAIR, number, spanned
from reweigh.plots.style import INK, MUTED, Formula, finish, letter, sheet

DASHED = (0, (4, 2))
LOOKS: dict[str, tuple[str, str]] = {
    "uniform": (MUTED, "o"),
    "density_only": ("#E69F00", "v"),
    "noise_only": ("#56B4E9", "^"),
    HAR: (INK, ""),
    "har_error": ("#D55E00", "D"),
    "har_variance": ("#CC79A7", "s"),
    PAIR: ("#009E73", "_"),
}
OF_RARE = ("#D55E00", "#0072B2")  # the rare half is the uncertain one, or not
STYLES: dict[str, Any] = {DATA: "-", BALANCED: DASHED}
HIGHEST = 1.5  # of what c and d show


def rows(material: Material) -> pd.DataFrame:
    """The lines of the artifact's own options (see `toy_rows`)."""
    return pd.DataFrame(lines_of.toy_rows(material.artifact.options))


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """Risk over λ (a), of each arm (b), over γ (c, d); the best γ over the number of examples (e)."""
    options = material.artifact.options
    picture = sheet()
    panels = picture.subplot_mosaic("aaabbb;ccddee", height_ratios=(1.1, 1))
    of = {str(name): mine for name, mine in rows.groupby("panel")}
    _over_lambda(panels["a"], of["a"])
    _arms(panels["b"], of["b"])
    for name in "cd":
        _over_gamma(panels[name], of[name])
    _over_size(panels["e"], of["e"])
    letter(panels["a"], "a", lines_of.RELEASED.name)
    letter(panels["b"], "b", "each at its best λ")
    letter(panels["c"], "c", "same curvature")
    letter(panels["d"], "d", "flipped labels")
    letter(panels["e"], "e", f"same curvature, {lines_of.SWEPT.title}")
    panels["c"].set_ylabel("excess risk over the lowest")
    finish(picture, material, _shows(options), _notes(rows, options), _legend(), panels=5.0)
    return Figure(picture, rows)


def _over_lambda(axes: Axes, rows: pd.DataFrame) -> None:
    curves = rows[rows["metric"] == lines_of.RISK]
    for method, mine in curves.groupby("method", sort=False):
        colour, marker = LOOKS[str(method)]
        axes.plot(mine["x"], 1000 * mine["y"], color=colour, marker=marker, markersize=3, linewidth=1.2)
        axes.fill_between(mine["x"], 1000 * mine["low"], 1000 * mine["high"], color=colour, alpha=0.25, linewidth=0)
    pair = rows[rows["metric"] == lines_of.RISK_OF_PAIR].iloc[0]
    axes.axhline(1000 * pair["y"], color=LOOKS[PAIR][0], linestyle=DASHED, linewidth=1.2)
    least = 1000 * min(curves["y"].min(), pair["y"])
    shown = curves[1000 * curves["y"] < 8 * least]
    axes.set_xscale("log")
    powers(axes.xaxis)
    axes.set_yscale("log")
    axes.set_xlim(shown["x"].min(), shown["x"].max())
    axes.set_ylim(0.85 * least, 8 * least)
    ticks = [value for value in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if 0.85 * least <= value <= 8 * least]
    _only(axes.yaxis, ticks)
    axes.set_xlabel("λ, mean strength of an example")
    axes.set_ylabel("excess risk, 10⁻³ nats")


def _arms(axes: Axes, rows: pd.DataFrame) -> None:
    """A group for each problem, with all arms side by side; HAR itself is the line at 1."""
    arms = [method for method in ARMS if method != HAR]
    for place, problem in enumerate(PROBLEMS):
        mine = rows[rows["value"] == problem.name].set_index("method")
        for order, method in enumerate(arms):
            row, (colour, marker) = mine.loc[method], LOOKS[method]
            x = place + (order - (len(arms) - 1) / 2) * 0.13
            axes.plot([x, x], [row["low"], row["high"]], color=colour, linewidth=1.2, zorder=3)
            size: dict[str, Any] = {
                "markersize": 7 if marker == "_" else 4,
                "markeredgewidth": 2 if marker == "_" else 0.6,
            }
            axes.plot(x, row["y"], color=colour, marker=marker, linestyle="none", zorder=4, **size)
    axes.axhline(1, color=INK, linewidth=1.2, zorder=2)
    axes.set_yscale("log")
    _only(axes.yaxis, [0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7, 2])
    axes.set_ylim(0.95 * min(rows["low"].min(), 0.8), 1.05 * rows["high"].max())
    words = [one.name.replace(" ", "\n", 1).replace(", ", ",\n").replace(" half ", " half\n") for one in PROBLEMS]
    axes.set_xticks(range(len(PROBLEMS)), words, fontsize=6.5)
    axes.set_xlim(-0.5, len(PROBLEMS) - 0.5)
    axes.set_ylabel("excess risk over HAR's")


def _only(axis: Any, ticks: list[float]) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(lambda value, place: f"{value:g}")
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _over_gamma(axes: Axes, rows: pd.DataFrame) -> None:
    """Curves with their bands; below them, where each is lowest, with its interval."""
    titles, gammas = list(dict.fromkeys(rows["title"])), rows[rows["metric"] == lines_of.OVER_LOWEST]["x"]
    axes.axvline(EXPONENT, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    place = 0
    for title, colour in zip(titles, OF_RARE, strict=True):
        for note, style in STYLES.items():
            mine = rows[(rows["title"] == title) & (rows["note"] == note)]
            curve, lowest = mine[mine["metric"] == lines_of.OVER_LOWEST], mine[mine["metric"] == lines_of.BEST].iloc[0]
            x, y, low, high = _smooth(curve)
            axes.plot(x, y, color=colour, linestyle=style, linewidth=1.2, zorder=3)
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            height = 0.975 - 0.03 * place
            axes.plot([lowest["low"], lowest["high"]], [height] * 2, color=colour, linewidth=1.2)
            axes.plot(lowest["x"], height, color=colour, marker="o", markersize=3.5, **_dot(note, colour))
            place += 1
    axes.set_xlim(gammas.min(), gammas.max())
    axes.set_ylim(0.86, HIGHEST)
    axes.yaxis.set_major_locator(FixedLocator([1, 1.1, 1.2, 1.3, 1.4, 1.5]))
    axes.set_xlabel("γ of ρ ∝ (q I)$^γ$", parse_math=True)


def _smooth(curve: pd.DataFrame) -> list[np.ndarray]:
    """x, and y, low and high by cubic splines through the points, as the best γ is found."""
    fine = np.linspace(curve["x"].min(), curve["x"].max(), 200)
    return [fine, *(CubicSpline(curve["x"], curve[name])(fine) for name in ("y", "low", "high"))]


def _dot(note: str, colour: str) -> dict[str, Any]:
    return {"markerfacecolor": "white" if note == BALANCED else colour, "markeredgewidth": 1.0}


def _over_size(axes: Axes, rows: pd.DataFrame) -> None:
    formula = rows[rows["metric"] == lines_of.FORMULA_BY_SIZE]
    axes.plot(formula["x"], formula["y"], color=INK, linewidth=1.0, zorder=2)
    for note, shift in ((DATA, 0.93), (BALANCED, 1.07)):
        mine = rows[(rows["metric"] == lines_of.BY_SIZE) & (rows["note"] == note)]
        spread, colour = [mine["y"] - mine["low"], mine["high"] - mine["y"]], OF_RARE[1]
        style: dict[str, Any] = {"elinewidth": 1.2, "zorder": 3, "markersize": 4, **_dot(note, colour)}
        axes.errorbar(mine["x"] * shift, mine["y"], spread, color=colour, fmt="o", **style)
    axes.axhline(EXPONENT, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.set_xscale("log")
    powers(axes.xaxis)
    axes.set_xlim(formula["x"].min(), formula["x"].max())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("examples n")
    axes.set_ylabel("best γ")


# --- words -----------------------------------------------------------------------------------------------------------


def _shows(options: Mapping[str, Any]) -> str:
    flips = options["flips"]
    return (
        f"Penalised logistic splines on {options['points']} points, {options['draws']} draws of n = {options['n']:,} "
        f"examples (e: other n); {100 * options['rare']:g} % of them in the rare half of [0, 1]. Labels flipped with "
        f"probability {flips['clean']:g} and {flips['noisy']:g}, or none and the same curvature in both halves. Excess "
        "risk: KL(p* ‖ p), at the best λ but in a"
    )


def _notes(rows: pd.DataFrame, options: Mapping[str, Any]) -> list[str]:
    by_problem = []
    for panel, of in rows[rows["panel"].isin(["c", "d"])].groupby("panel"):
        for title, mine in of.groupby("title", sort=False):
            half = mine[mine["metric"] == lines_of.BEST_BY_HALF].iloc[0]
            formula = mine[mine["metric"] == lines_of.BY_FORMULA].iloc[0]["x"]
            by_problem.append(f"{panel}, {title}: {spanned(half, 'x')}, {number(formula)} by formula")
    return [
        "a, b: both halves count equally, as in a balanced test set. c, d: ρ = (q I)^γ point by point; below the "
        "curves the best γ; dotted: .6",
        "Bands and bars: 95 % intervals over draws (a: Student t; others: bootstrap). Line in e: the closed form for a "
        "cosine at any n, with the mean I of each half",
        "Best γ with one strength a half, and by h ∝ (q I b²)^(−1/5) with the curvature b of each half: "
        f"{'; '.join(by_problem)}",
    ]


def _legend() -> list[tuple[Any, str]]:
    entries: list[tuple[Any, str]] = []
    for method, title in ARMS.items():
        colour, marker = LOOKS[method]
        words = Formula(title.replace("q^−.4", "$q^{-0.4}$").replace("I^.6", "$I^{0.6}$"))
        line: Any = DASHED if method == PAIR else "-"
        mark: dict[str, Any] = {"marker": "" if method == PAIR else marker, "markersize": 4}
        entries.append((Line2D([], [], color=colour, linestyle=line, linewidth=1.2, **mark), words))
    halves = ("c, d, e: rare half uncertain or noisy", "c, d, e: rare half sure or clean")
    entries += [(Line2D([], [], color=colour, linewidth=3), text) for colour, text in zip(OF_RARE, halves, strict=True)]
    for note, text in ((DATA, "c, d, e: weighted as in the data"), (BALANCED, "c, d, e: weighted equally")):
        style: dict[str, Any] = {
            "color": INK,
            "linestyle": STYLES[note],
            "linewidth": 1.2,
            "marker": "o",
            "markersize": 4,
        }
        entries.append((Line2D([], [], **style, **_dot(note, INK)), text))
    return entries
