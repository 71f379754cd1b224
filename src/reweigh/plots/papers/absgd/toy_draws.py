"""ABSGD's toy over many draws: how many of the rare examples are on the right side after one step of SGD and of ABSGD.

The paper shows one draw, whose coordinates were never published, so that a single one of ours is luck. Start, batch,
rate and λ stay the authors' in all draws; only the coordinates are drawn anew, by the seeds 0, 1, ... .
"""

import functools
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from reweigh import metrics, stats
from reweigh.analysis.rows import BY_COUNT, MORE_RIGHT, NEGATIVES_RIGHT, POSITIVES_RIGHT, Row
from reweigh.plots.papers.absgd import toy_step as toy
from reweigh.plots.style import INK, letter

BEFORE = "before the step"
NAMES = {"": BEFORE, "sgd_ce": "SGD", "absgd_ce": "ABSGD"}
FILLS: dict[str, dict[str, Any]] = {
    "": {"facecolor": "white", "edgecolor": INK, "linewidth": 0.8},
    "sgd_ce": {"facecolor": "#a8a8a8", "edgecolor": INK, "linewidth": 0.8, "hatch": "////"},
    "absgd_ce": {"facecolor": INK, "edgecolor": INK, "linewidth": 0.8},
}


def rows(options: Mapping[str, Any]) -> list[Row]:
    """All lines of the panel, from the options alone.

    `n` counts draws. Metrics `positives_right` and `negatives_right`: for each classifier (`method`; empty before the
    step) the share of the examples of a side that it has right, in `x`, mean over draws, with its 95 % interval.
    `draws_by_positives_right`: the share of draws (`y`) in which it has so many positives right (`x`).
    `draws_with_more_positives_right`: the share of draws in which ABSGD has more right than SGD, in `x`.
    """
    right = outcomes(json.dumps(dict(options), sort_keys=True))
    lines: list[Row] = []
    for method, title in NAMES.items():
        base: Row = {"panel": "c", "experiment": "", "method": method, "title": title, "status": "computed"}
        for metric, side in ((POSITIVES_RIGHT, "positives"), (NEGATIVES_RIGHT, "negatives")):
            mean = stats.summarise(right[method][side] / options[side]["count"], *metrics.ends(metric))
            note = "mean over draws"
            lines.append(
                {
                    **base,
                    "metric": metric,
                    "x": mean.mean,
                    "n": mean.n,
                    "low": mean.low,
                    "high": mean.high,
                    "note": note,
                }
            )
        counts = np.bincount(right[method]["positives"], minlength=options["positives"]["count"] + 1)
        lines += [
            {**base, "metric": BY_COUNT, "x": float(count), "y": float(share), "n": int(counts.sum())}
            for count, share in enumerate(counts / counts.sum())
        ]
    return [*lines, _more_right(right)]


def _more_right(right: dict[str, dict[str, np.ndarray]]) -> Row:
    """In which share of the draws ABSGD has more positives right than SGD."""
    more = right["absgd_ce"]["positives"] > right["sgd_ce"]["positives"]
    fewer = right["absgd_ce"]["positives"] < right["sgd_ce"]["positives"]
    low, high = share_interval(int(more.sum()), len(more))
    note = f"share of draws, Wilson's 95 % interval; fewer right: {int(fewer.sum())} draws"
    base: Row = {"panel": "c", "experiment": "", "method": "absgd_ce", "title": "ABSGD", "against": "sgd_ce"}
    numbers: Row = {"x": float(more.mean()), "n": len(more), "low": low, "high": high}
    return {**base, "metric": MORE_RIGHT, **numbers, "status": "computed", "note": note}


@functools.lru_cache(maxsize=4)
def outcomes(options: str) -> dict[str, dict[str, np.ndarray]]:
    """How many examples of each side are right in each draw, int64 (draws,), by method and side. `options`: as JSON."""
    known = json.loads(options)
    found = [_one_draw(known, seed) for seed in range(known["draws"])]
    return {
        method: {side: np.array([draw[method][side] for draw in found]) for side in ("positives", "negatives")}
        for method in NAMES
    }


def _one_draw(options: Mapping[str, Any], seed: int) -> dict[str, dict[str, int]]:
    inputs, labels = toy.examples(options["positives"], options["negatives"], options["divisor"], seed)
    found = {}
    for method, w in {"": np.array(options["start"], float), **toy.moved(options, inputs, labels)}.items():
        right = labels * (inputs @ w) > 0
        found[method] = {"positives": int(right[labels > 0].sum()), "negatives": int(right[labels < 0].sum())}
    return found


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share `hits` / `n`.

    >>> [round(end, 4) for end in share_interval(81, 263)]  # Newcombe (1998), table I
    [0.2553, 0.3662]
    """
    z, share = 1.959963984540054, hits / n
    centre, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


# --- the panel -------------------------------------------------------------------------------------------------------


def draw_panel(axes: Axes, rows: pd.DataFrame, count: int) -> None:
    """In how many draws so many positives are right, before the step and after it; `count`: the positives of a draw."""
    bars = rows[rows["metric"] == BY_COUNT]
    width, last = 0.26, int(bars[bars["y"] > 0]["x"].max())
    for place, (method, fill) in enumerate(FILLS.items()):
        mine = bars[bars["method"] == method].sort_values("x").iloc[: last + 1]
        axes.bar(mine["x"] + (place - 1) * width, mine["y"], width, zorder=3, **fill)
    axes.set_xlim(-0.6, last + 0.6)
    axes.set_xticks(range(last + 1))
    axes.set_xlabel(f"positives on the right side of the line, of {count}")
    axes.set_ylabel("share of the draws")
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    handles = [Patch(**FILLS[method]) for method in NAMES]
    axes.legend(handles, [_entry(rows, method) for method in NAMES], loc="upper right", handlelength=2.0)
    letter(axes, "c", f"{int(bars['n'].iloc[0]):,} draws of the coordinates")


def _entry(rows: pd.DataFrame, method: str) -> str:
    """`SGD: 4.4 % right (95 % interval 4.1 to 4.7)`."""
    row = rows[(rows["metric"] == POSITIVES_RIGHT) & (rows["method"] == method)].iloc[0]
    mean, low, high = (100 * row[name] for name in ("x", "low", "high"))
    return f"{row['title']}: {mean:.1f} % of the positives right ({low:.1f} to {high:.1f})"


def note(rows: pd.DataFrame) -> str:
    """What the draws say, in words."""
    more = rows[rows["metric"] == MORE_RIGHT].iloc[0]
    wrong = rows[rows["metric"] == NEGATIVES_RIGHT].set_index("method")["x"]
    fewer = more["note"].rpartition(": ")[2]
    return (
        f"c: the same step on {more['n']:,.0f} draws, seeds from 0; mean and 95 % interval (Student t) in brackets. "
        f"ABSGD has more positives right than SGD in {100 * more['x']:.1f} % of the draws "
        f"({100 * more['low']:.1f} to {100 * more['high']:.1f}), fewer in {fewer}; of the negatives SGD has "
        f"{100 * wrong['sgd_ce']:.2f} % right, ABSGD {100 * wrong['absgd_ce']:.2f} %"
    )
