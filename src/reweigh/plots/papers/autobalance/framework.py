"""The diagram of AutoBalance's Figure 1: who tells whom what, in the search and in the retraining."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from reweigh.plots.style import INK, MUTED

BLUE, ORANGE, GREEN = "#d6e6f2", "#fbe3cf", "#d3ebe2"
DATA = 18.0  # width of the boxes of data
# Left, bottom, width, height (of 100 x 100), text, colour.
BOXES: dict[str, tuple[float, float, float, float, str, str]] = {
    "train": (0, 74, DATA, 20, "$S_T$\ntraining", BLUE),
    "validation": (0, 39, DATA, 20, "$S_V$\nvalidation", ORANGE),
    "theta": (34, 70, 30, 28, "model θ\nSGD on\n$\\ell_{train}(\\theta; \\alpha)$", BLUE),
    "alpha": (34, 36, 30, 26, "loss α = (l, Δ, ...)\nSGD on $L_{fair}$,\nhypergradient", ORANGE),
    "both": (0, 2, DATA, 20, "$S_T \\cup S_V$", GREEN),
    "retrain": (34, 0, 30, 24, "θ afresh,\nSGD on $\\ell_{train}$\nwith the last α", GREEN),
    "test": (80, 2, 20, 20, "predicts\nargmax f(x)", "white"),
}
# From, to, how far an arrow bends.
ARROWS: tuple[tuple[tuple[float, float], tuple[float, float], float], ...] = (
    ((DATA, 84), (34, 84), 0),
    ((DATA, 49), (34, 49), 0),
    ((64, 76), (64, 56), -0.9),
    ((64, 46), (64, 90), 1.1),
    ((DATA, 12), (34, 12), 0),
    ((49, 36), (49, 24), 0),
    ((64, 12), (80, 12), 0),
)


def diagram(axes: Axes) -> None:
    """Draw boxes and arrows on axes without a frame."""
    axes.set_axis_off()
    axes.set_xlim(-1, 104)
    axes.set_ylim(-4, 104)
    for left, bottom, width, height, text, colour in BOXES.values():
        box: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=2", "facecolor": colour, "edgecolor": INK}
        axes.add_patch(FancyBboxPatch((left, bottom), width, height, linewidth=0.7, **box))
        axes.text(left + width / 2, bottom + height / 2, text, ha="center", va="center", fontsize=6.8, linespacing=1.3,
                  parse_math=True)  # fmt: skip
    for start, end, bend in ARROWS:
        style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 8, "linewidth": 0.9, "color": INK}
        axes.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", **style))
    words: dict[str, Any] = {"fontsize": 6.5, "color": MUTED, "va": "center"}
    axes.text(80, 71, "in turn, after a\nwarm-up of θ:\nθ at the present α,\nα at the present θ", **words)
    axes.text(51, 32.3, "the last α", **words)
    axes.plot([0, 100], [28.5, 28.5], color=MUTED, linewidth=0.6, linestyle=(0, (2, 2)), zorder=0)
    axes.text(100, 30, "search", ha="right", va="bottom", fontsize=6.5, color=MUTED, style="italic")
    axes.text(100, 27, "retraining", ha="right", va="top", fontsize=6.5, color=MUTED, style="italic")
