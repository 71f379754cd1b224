"""What the truncated Neumann series puts in the place of 1/λ, the λ that real searches meet, and what others find.

With ε = 1 and six summands an eigenvalue λ of the Hessian gets F(λ) = (1 − (1 − λ)⁶)/λ: 0 at 2, and beyond that of the
wrong sign, growing like λ⁵. So panel b shows the largest eigenvalue at the outer steps of each search, panel c how
much of the validation gradient lies beyond 2, panel d how far α ever went in one step, of searches that met an
eigenvalue above 2 and of those that did not, and panel e what other solvers change in the result.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reweigh.analysis import searches
from reweigh.analysis.rows import Row
from reweigh.analysis.tables import Material
from reweigh.plots import forest
from reweigh.plots.axes import powers
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import count_text, stand_ins
from reweigh.plots.papers.autobalance.lemmas import filtered
from reweigh.plots.papers.autobalance.traces import diverged, in_words, single, trace_rows
from reweigh.plots.style import INK, MUTED, WARNING, Legend, data_title, empty, finish, letter, sheet

EXACT = "1/λ"
FILTER, INVERSE = "filter_of_series", "inverse_of_curvature"
CURVATURE, SHARE = searches.CURVATURE
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C510A", "#5E3C99", "#E69F00", "#555555", "#B2182B")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (2, 1)))
DOTTED = (0, (1, 1.5))
OF_FILTER = ("#D55E00", "#0072B2", INK)
HEIGHT = 4.4  # inches: of the upper panels
LIMIT_LINE: dict[str, Any] = {"color": WARNING, "linewidth": 0.9, "linestyle": (0, (4, 2)), "zorder": 1}


def rows(material: Material, searched: Sequence[Sequence[str]], pairs: Sequence[Sequence[Any]] = ()) -> pd.DataFrame:
    """Filters by λ (a), λ_max and the gradient beyond 2 by epoch (b, c), largest steps (d), differences of errors (e).

    `searched` are (experiment, setting, method); `pairs` as in `forest`, with the metric at the end. Panel a: `y` at
    each λ (`x`) for either ε (`note`). Panel b has besides, for the search as a whole, `steps_beyond_two`: the share of
    its outer steps with λ_max above 2. Panel d has means of log₁₀ of the largest step of each search.
    """
    lines: list[Row] = [{"panel": "a", **line} for line in toy_rows(material.artifact.options)]
    root = str(material.config.root)
    for cell in searched:
        names = (cell[0], cell[1], cell[2])
        for panel, metric in zip("bc", searches.CURVATURE, strict=True):
            of_run = partial(searches.curvature_by_epoch, metric=metric, root=root)
            lines += [{"panel": panel, **line} for line in trace_rows(material, names, metric, of_run, ["epoch"])]
        whole = trace_rows(material, names, searches.BEYOND, lambda body: single(searches.steps_beyond(body, root)), [])
        lines += [{"panel": "b", **line} for line in whole]
        for metric, beyond in searches.STEPS.items():
            steps = trace_rows(material, names, metric, partial(_step_of, beyond=beyond, root=root), [])
            lines += [{"panel": "d", **line} for line in steps]
    if not pairs:
        return pd.DataFrame(lines)
    return pd.concat([pd.DataFrame(lines), forest.rows(material, pairs)], ignore_index=True)


def _step_of(body: dict[str, Any], beyond: bool, root: str) -> pd.DataFrame | None:
    return single(searches.log_largest_step(body, beyond, root))


def toy_rows(options: Mapping[str, Any]) -> list[Row]:
    """The filters of ε = 1 and of ε = 1/λ_max, and 1/λ, computed from the options alone."""
    curvatures, largest = np.asarray(options["curvatures"], float), float(options["largest"])
    below = curvatures[curvatures <= largest]
    kinds: list[tuple[str, str, np.ndarray, np.ndarray]] = [
        (FILTER, "ε = 1", curvatures, filtered(curvatures, 1.0, options["summands"])),
        (FILTER, f"ε = 1/λ_max, λ_max = {largest:g}", below, filtered(below, 1 / largest, options["summands"])),
        (INVERSE, EXACT, curvatures, 1 / curvatures),
    ]
    return [
        {"experiment": "", "metric": metric, "note": note, "x": x, "y": y, "status": "computed"}
        for metric, note, at, values in kinds
        for x, y in zip(at.tolist(), values.tolist(), strict=True)
    ]


@styled
def draw(material: Material, rows: pd.DataFrame, searched: Sequence[Sequence[str]]) -> Figure:
    """Filters (a), λ_max (b) and the gradient beyond 2 (c) by epoch, largest steps (d), differences of errors (e)."""
    pairs = rows[~rows["panel"].isin(list("abcd"))]
    shown = pairs[pairs["n"] > 0] if len(pairs) else pairs
    depth = 0.75 + 0.165 * max(2, len(shown) + 1.1 * shown["panel"].nunique()) if len(pairs) else 0.0
    picture = sheet()
    above, *below = picture.subfigures(2, 1, height_ratios=(HEIGHT, depth)) if depth else [picture]  # type: ignore[misc]
    panels = dict(zip("abcd", above.subplots(2, 2).flat, strict=True))
    _filters(panels["a"], rows[rows["panel"] == "a"])
    styles, lengths = _styles(searched), _lengths(material, searched)
    for name, metric in zip("bc", searches.CURVATURE, strict=True):
        _by_epoch(panels[name], rows[(rows["panel"] == name) & (rows["metric"] == metric)], styles, lengths)
    _limits(panels["b"], rows)
    letter(panels["a"], "a", "what stands for 1/λ")
    letter(panels["b"], "b", "λ_max of the searches")
    _largest_steps(panels["d"], rows[rows["panel"] == "d"], styles)
    letter(panels["c"], "c", "gradient beyond λ = 2")
    letter(panels["d"], "d", "largest step of α")
    if len(pairs):
        last = below[0].subplots()
        forest.together(last, pairs)
        letter(last, "e", "final errors, against ε = 1")
    cells = {(one[0], one[1], one[2]) for one in searched}
    notes = [*_shares(material, rows), *diverged(material, cells), *_gaps(material, rows), *_of_pairs(pairs)]
    notes += stand_ins(material, cells)
    legend = [*_filter_legend(rows), *_search_legend(material, rows, styles)]
    finish(picture, material, _shows(material, rows), notes, legend, panels=HEIGHT + depth)
    return Figure(picture, rows)


def _styles(searched: Sequence[Sequence[str]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """A colour for each experiment and setting, a dash for each method of it."""
    places = list(dict.fromkeys((one[0], one[1]) for one in searched))
    styles = {}
    for place, where in enumerate(places):
        methods = [one[2] for one in searched if (one[0], one[1]) == where]
        for rank, method in enumerate(methods):
            dash = {"linestyle": DASHES[rank % len(DASHES)], "linewidth": 1.5 if rank == 0 else 1.1}
            styles[(*where, method)] = {"color": COLOURS[place % len(COLOURS)], **dash}
    return styles


def _filters(axes: Axes, rows: pd.DataFrame) -> None:
    for (note, mine), colour in zip(rows.groupby("note", sort=False), OF_FILTER, strict=True):
        axes.plot(mine["x"], mine["y"], color=colour, linestyle=DOTTED if note == EXACT else "-")
    axes.axvline(searches.LIMIT, **LIMIT_LINE)
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=6, linscale=2.5)
    axes.set_xlim(rows["x"].min(), rows["x"].max())
    axes.set_xticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    axes.set_ylim(-3e8, 120)
    marks = {100: "100", 6: "6", 3: "3", 0: "0", -3: "−3", -6: "−6", -1e3: "−10³", -1e5: "−10⁵", -1e7: "−10⁷"}
    axes.set_yticks(list(marks), list(marks.values()))
    axes.minorticks_off()
    axes.set_xlabel("eigenvalue λ")


def _lengths(material: Material, searched: Sequence[Sequence[str]]) -> dict[tuple[str, str, str], int]:
    """The epochs of each search, by its first record."""
    lengths = {}
    for experiment, setting, method in searched:
        for run in material.of(experiment, setting, method)["run"][:1]:
            lengths[experiment, setting, method] = int(material.records[run]["stages"][0]["epochs"])
    return lengths


def _by_epoch(
    axes: Axes,
    rows: pd.DataFrame,
    styles: Mapping[tuple[str, str, str], dict[str, Any]],
    lengths: Mapping[tuple[str, str, str], int],
) -> None:
    """Against the share of the search that is over, as searches differ in length."""
    axes.set_xlabel("share of the search")
    known = rows[rows["n"] > 0]
    axes.set_xlim(0, 1)
    if known.empty:
        empty(axes, in_words(rows))
        axes.set(xticks=[], yticks=[])
        return
    for (experiment, setting, method), mine in known.groupby(["experiment", "setting", "method"], sort=False):
        cell = (str(experiment), str(setting), str(method))
        style = styles[cell]
        places = mine["epoch"].to_numpy(float) / lengths[cell]
        alone: dict[str, Any] = (
            {"marker": "o", "markersize": 3} if len(places) == 1 else {}
        )  # a search that diverged at once
        axes.plot(places, mine["mean"].to_numpy(float), zorder=3, **style, **alone)
        top = 1.0 if mine["metric"].iloc[0] == SHARE else np.inf
        low, high = (mine[end].to_numpy(float).clip(0, top) for end in ("low", "high"))
        if np.isfinite(low).any():
            axes.fill_between(places, low, high, color=style["color"], alpha=0.12, linewidth=0)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])


def _largest_steps(axes: Axes, rows: pd.DataFrame, styles: Mapping[tuple[str, str, str], dict[str, Any]]) -> None:
    """Searches that stayed below 2 on the left, those that did not on the right; one line a cell."""
    known = rows[rows["n"] > 0]
    if known.empty:
        empty(axes, in_words(rows))
        axes.set(xticks=[], yticks=[])
        return
    cells = list(dict.fromkeys(zip(known["experiment"], known["setting"], known["method"], strict=True)))
    for place, cell in enumerate(cells):
        mine = known[(known[["experiment", "setting", "method"]] == list(cell)).all(axis=1)]
        at = [list(searches.STEPS).index(metric) for metric in mine["metric"]]
        shift = 0.12 * (place - (len(cells) - 1) / 2)
        means, lows, highs = (10 ** mine[name].to_numpy(float) for name in ("mean", "low", "high"))
        axes.plot(np.array(at) + shift, means, marker="o", markersize=4, **styles[cell])
        axes.vlines(np.array(at) + shift, lows, highs, color=styles[cell]["color"], linewidth=1.1)
        for where, height, count in zip(at, means, mine["n"], strict=True):
            said: dict[str, Any] = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": 6, "color": MUTED}
            axes.annotate(f"{count:.0f}", (where + shift, height), **said)
    axes.set_yscale("log")
    powers(axes.yaxis)
    centre = 10 ** known["mean"].to_numpy(float)  # an interval of two searches would fill the panel
    axes.set_ylim(centre.min() / 30, centre.max() * 30)
    axes.set_xlim(-0.6, 1.6)
    axes.set_xticks([0, 1], ["λ_max ≤ 2 throughout", "λ_max > 2 at a step"])
    axes.set_ylabel("largest |change| in a step")


def _limits(axes: Axes, rows: pd.DataFrame) -> None:
    """A logarithmic axis of λ_max, with the line at 2."""
    known = rows[(rows["metric"] == CURVATURE) & (rows["n"] > 0)]["mean"].astype(float)
    if known.empty:
        return
    if known.min() > 0:
        axes.set_yscale("log")
        axes.set_ylim(min(1.0, known.min() / 1.4), max(4.0, known.max() * 1.4))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if known.max() < 300 else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.axhline(searches.LIMIT, **LIMIT_LINE)


# --- words -----------------------------------------------------------------------------------------------------------


def _shows(material: Material, rows: pd.DataFrame) -> str:
    summands = material.artifact.options["summands"]
    known = rows[rows["panel"].isin(["b", "c"])]
    what = f"Mean over {count_text(known)}" if (known["n"] > 0).any() else "b, c: nothing of ours was run"
    band = ", bands: 95 % interval (Student t)" if (known["n"] > 1).any() else ""
    return (
        f"a: {summands} summands; orange lines: λ = 2. b, c: {what}{band}; means over the outer steps of an epoch, "
        "against the share of the epochs that are over. λ_max is the largest Ritz value of the products that are "
        "made anyway, a lower bound. d: how far one value of α went in one outer step at most, geometric mean over the "
        "searches that never met λ_max > 2, and over those that did; small figures: how many"
    )


def _shares(material: Material, rows: pd.DataFrame) -> list[str]:
    known = rows[(rows["metric"] == searches.BEYOND) & (rows["n"] > 0)]
    said = [f"{_name(material, row)} {100 * row['mean']:.0f} %" for row in known.to_dict("records")]
    return [f"Outer steps with λ_max above 2: {'; '.join(said)}"] if said else []


def _name(material: Material, row: Mapping[Any, Any]) -> str:
    one, settings = material.experiment(row["experiment"]), material.settings(row["experiment"])
    where = f" ({row['value']})" if len(settings) > 1 else ""
    return f"{data_title(one.dataset)}{where}, {material.title(row['method'])}"


def _gaps(material: Material, rows: pd.DataFrame) -> list[str]:
    absent = rows[(rows["metric"] == CURVATURE) & (rows["n"] == 0)]
    said = dict.fromkeys(f"{_name(material, row)} ({row['note']})" for row in absent.to_dict("records"))
    return [f"Not run: {'; '.join(said)}"] if said else []


def _of_pairs(pairs: pd.DataFrame) -> list[str]:
    if pairs.empty:
        return []
    known = pairs["n"] > 0
    what = "e: differences seed by seed, in points, below 0 is better; " if known.any() else ""
    absent = pairs[~known]
    gaps = f"not run: {'; '.join(dict.fromkeys(absent['label']))}" if len(absent) else ""
    interval = "bars: 95 % interval (Student t), hollow: one seed" if known.any() else ""
    return ["; ".join(filter(None, (what + interval, gaps)))]


def _filter_legend(rows: pd.DataFrame) -> Legend:
    notes = list(dict.fromkeys(rows[rows["panel"] == "a"]["note"]))
    return [
        (Line2D([], [], color=colour, linestyle=DOTTED if note == EXACT else "-"), f"a: {note}")
        for note, colour in zip(notes, OF_FILTER, strict=True)
    ]


def _search_legend(
    material: Material, rows: pd.DataFrame, styles: Mapping[tuple[str, str, str], dict[str, Any]]
) -> Legend:
    known = rows[(rows["metric"] == CURVATURE) & (rows["n"] > 0)].drop_duplicates(["experiment", "setting", "method"])
    return [
        (
            Line2D([], [], **styles[(row["experiment"], row["setting"], row["method"])]),
            f"b, c, d: {_name(material, row)}",
        )
        for row in known.to_dict("records")
    ]
