"""What MOLERE's figures share: a colour for each method, and titles of narrow panels.

The four ways to validate keep their colours in all figures. Okabe and Ito's, or as far apart.
"""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes

from reweigh.plots.style import MUTED

OF_METHOD = {
    "lrw_easy": "#56B4E9",
    "lrw_random": "#009E73",
    "lrw_hard": "#D55E00",
    "lrwopt": "#5E3C99",
    "erm": MUTED,
}
OTHERS = ("#0072B2", "#E69F00", "#CC79A7", "#8C510A", "#222222", "#B2182B", "#1B9E9E", "#A6A6A6")


def colours(methods: Sequence[str]) -> dict[str, str]:
    """A colour for each method: its own, or one of those that are left.

    >>> colours(["mwn", "lrw_hard"])
    {'mwn': '#0072B2', 'lrw_hard': '#D55E00'}
    """
    others = [method for method in methods if method not in OF_METHOD]
    return {
        method: OF_METHOD[method] if method in OF_METHOD else OTHERS[others.index(method) % len(OTHERS)]
        for method in methods
    }


def titled(axes: Axes, name: str, text: str, inches: float) -> None:
    """A panel's letter and its title, broken to a width; other than `style.letter` it widens no column."""
    lines = textwrap.wrap(text, max(8, int(inches * 72 / 4.4)))
    axes.set_title("\n".join(lines), loc="left", fontsize=7, pad=4, linespacing=1.1)
    axes.annotate(
        name, (0, 1), xytext=(-10, 4), xycoords="axes fraction", textcoords="offset points", weight="bold", size=9
    )
