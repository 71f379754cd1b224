"""What MOLERE's figures share: a colour for each method, titles of narrow panels, and arrows where a mean is far off.

A method has its colour in all figures, whatever stands beside it. No two of one figure are nearer than 12 by CIE 1994,
also as protanopes and deuteranopes see them.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from reweigh.plots.style import INK, MUTED

OF_METHOD = {
    "erm": MUTED,
    "lrw_easy": "#56B4E9",
    "lrw_random": "#009E73",
    "lrw_hard": "#D55E00",
    "lrwopt": "#5E3C99",
    "fsr": "#000000",
    "mbr": "#B5B500",
    "maple": "#B35C8A",
    "mwn": "#D9B382",
    "stablenet": "#882255",
    "bilaw": "#B2182B",
    "rho": "#A6A6A6",
}
FAR = 3.0  # the means of one name are beyond an axis if the largest is so many times the largest of all others
ROOM = 1.3  # how much farther than those others an axis may then reach


def colours(methods: Sequence[str]) -> dict[str, str]:
    """The colour of each method.

    >>> colours(["mwn", "lrw_hard"])
    {'mwn': '#D9B382', 'lrw_hard': '#D55E00'}
    """
    return {method: OF_METHOD[method] for method in methods}


def titled(axes: Axes, name: str, text: str, inches: float) -> None:
    """A panel's letter and its title, broken to a width; other than `style.letter` it widens no column."""
    lines = textwrap.wrap(text, max(8, int(inches * 72 / 4.4)))
    axes.set_title("\n".join(lines), loc="left", fontsize=7, pad=4, linespacing=1.1)
    axes.annotate(
        name, (0, 1), xytext=(-10, 4), xycoords="axes fraction", textcoords="offset points", weight="bold", size=9
    )


def reach(largest: Mapping[Any, float], least: float = 0.05) -> float:
    """The size from which a mean is beyond an axis: an arrow, as nothing else could be told apart otherwise.

    `largest`: for each name the largest size of its means. Infinite where no name is FAR from all others, or where
    there are too few to say so.

    >>> reach({"MBR": 12.6, "a": 1.5, "b": 1.0, "c": 0.1}), reach({"a": 1.5, "b": 1.0, "c": 0.1, "d": 0.1})
    (1.9500000000000002, inf)
    """
    ordered = sorted(largest.values())
    if len(ordered) < 4 or ordered[-1] <= FAR * max(least, ordered[-2]):
        return float("inf")
    return ROOM * max(least, ordered[-2])


def beyond(axes: Axes, value: float, place: float, colour: str, ends: tuple[float, float], upright: bool) -> None:
    """An arrow at the end of an axis beyond which a mean lies, and its value; `upright`: of the vertical axis."""
    below = value < ends[0]
    end, inwards = (ends[0], 1) if below else (ends[1], -1)
    marker = ("v" if below else "^") if upright else ("<" if below else ">")
    at = (place, end) if upright else (end, place)
    axes.plot(*at, marker, color=colour, markersize=4, clip_on=False, zorder=6)
    style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 5.5, "zorder": 6}
    if upright:  # on a bar, which may have any colour
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        style |= {"xytext": (0, 6 * inwards), "va": "bottom" if below else "top", "rotation": 90, "bbox": box}
        style |= {"ha": "center", "color": INK}
    else:
        style |= {"xytext": (5 * inwards, 0), "ha": "left" if below else "right", "va": "center", "color": colour}
    axes.annotate(f"{value:+.1f}".replace("-", "\N{MINUS SIGN}"), at, **style)
