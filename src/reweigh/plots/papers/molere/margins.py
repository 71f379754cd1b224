"""MOLERE's Figures 3 and 4: how the margins of test examples change from ERM to a reweighted run of the same seed.

Above, a histogram of the changes; below it, their mean in each bucket of the margin under ERM. The grey line there is
ERM with another seed against ERM: it has no method in it, but other training images and another initial net, which the
pairs of one seed share, so that margins regress to their mean at least as far as in those. Where asked for, a third
row has the buckets of a third run, an ERM with another seed, which takes the regression out.
"""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reweigh.analysis import margins
from reweigh.analysis.rows import Row, cell_names, mean_row
from reweigh.analysis.tables import Material, fingerprint, join_runs
from reweigh.plots.axes import powers
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import count_text
from reweigh.plots.panels import LETTERS
from reweigh.plots.papers.molere.common import colours, titled
from reweigh.plots.style import INK, MUTED, Legend, data_title, finish, sheet

ERM_AGAIN, APART = "ERM, another seed", "buckets of another ERM"
DASHED = (0, (4, 2))
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
ROW = 1.95  # inches: of a row of panels


class Place(NamedTuple):
    """Where runs are compared: a column of panels."""

    experiment: str
    setting: str


def rows(
    material: Material,
    places: Sequence[Sequence[str]],
    histogram: str,
    methods: Sequence[str],
    baseline: str = "erm",
    apart: bool = False,
) -> pd.DataFrame:
    """For each place the changes of the method of the histogram, then those of `methods` by bucket; means over seeds.

    A line's mean, sd and interval are over pairs of runs. `margin_change`, `margin_change_median` and, for each bin at
    its centre `x`, `margin_change_share`; for each bucket, at its start `x`, `margin_change_in_bucket` and the sd and
    standard error over its examples, `margin_change_sd_in_bucket` and `margin_change_sem_in_bucket`, and the share of
    the examples that lie in it. Last of a place the baseline with another seed, `apart` too by buckets of a third run.
    """
    lines: list[Row] = []
    letters = iter(LETTERS)
    for place in starmap(Place, places):
        panel = next(letters)
        lines += [{"panel": panel, **line} for line in _changes(material, place, histogram, baseline)]
        for note in ("", *([margins.APART] if apart else [])):
            panel = next(letters)
            for method in methods:
                lines += [{"panel": panel, **line} for line in _buckets(material, place, method, baseline, note)]
            if not note:
                again = _buckets(material, place, baseline, baseline, margins.ANOTHER)
                lines += [{"panel": panel, **line} for line in again]
    data = pd.DataFrame(lines)
    return data.reindex(columns=list(dict.fromkeys([*data, "x"])))


def _changes(material: Material, place: Place, method: str, baseline: str) -> list[Row]:
    return _lines(material, place, method, baseline, "", margins.MEAN, lambda change, by: margins.change_rows(change))


def _buckets(material: Material, place: Place, method: str, baseline: str, note: str) -> list[Row]:
    return _lines(material, place, method, baseline, note, margins.BUCKET, margins.bucket_rows)


def _lines(material: Material, place: Place, method: str, baseline: str, note: str, first: str, made: Any) -> list[Row]:
    """The lines of what `made` finds in each pair of runs: {metric: [(x, value)]}; a single one where there is none."""
    cell = (place.experiment, place.setting, method)
    base: Row = {**cell_names(material, *cell), "against": baseline, "note": note}
    compared, root = pairs_of(material, cell, baseline, note), str(material.config.root)
    if not compared:
        why = why_none(material, cell, baseline)
        return [
            {**base, "metric": first, **mean_row(pd.Series(dtype=float)), "status": "not run", "note": why, "runs": ""}
        ]
    found: dict[tuple[str, float | None], list[float]] = {}
    for pair in compared:
        one, two, by = (margins.of_run(material.records[run], root) for run in pair)
        assert one is not None and two is not None and by is not None
        for metric, values in made(one - two, by).items():
            for x, value in values:
                found.setdefault((metric, x), []).append(value)
    feeds = feeding(compared)
    digests = fingerprint(material.records[run]["digest"] for run in feeds)
    named: Row = {"status": "run", "runs": join_runs(feeds), "records": digests}
    return [
        {**base, "metric": metric, "x": x, **mean_row(pd.Series(values)), **named}
        for (metric, x), values in found.items()
    ]


def pairs_of(material: Material, cell: tuple[str, str, str], baseline: str, note: str) -> list[margins.Compared]:
    """The pairs of runs of a cell and of the baseline at its setting."""
    sides = [
        {run.seed: material.records[run.run] for run in material.of(*cell[:2], method).itertuples()}
        for method in (cell[2], baseline)
    ]
    return margins.pairs(sides[0], sides[1], note, str(material.config.root))


def feeding(compared: Sequence[margins.Compared]) -> list[str]:
    """All runs of some pairs, each once: first those that are compared, then those that they are compared with."""
    return list(dict.fromkeys([*(pair.run for pair in compared), *(run for pair in compared for run in pair[1:])]))


def why_none(material: Material, cell: tuple[str, str, str], baseline: str) -> str:
    """Why there is no pair: one side was not run, diverged, kept no margins, or was tested on other examples."""
    sides = [(name, material.of(*cell[:2], name)) for name in dict.fromkeys((cell[2], baseline))]
    if missing := [name for name, runs in sides if runs.empty]:
        return ", ".join(dict.fromkeys(material.why_not(*cell[:2], name) for name in missing))
    if any((runs["status"] == "diverged").all() for _, runs in sides):
        return "diverged"
    root = str(material.config.root)
    kept = [any(margins.of_run(material.records[run], root) is not None for run in runs["run"]) for _, runs in sides]
    return "no pair on the same test examples" if all(kept) else "margins were not kept"


@styled
def draw(
    material: Material,
    rows: pd.DataFrame,
    places: Sequence[Sequence[str]],
    histogram: str,
    methods: Sequence[str],
    spreads: Sequence[str] = ("sem",),
    apart: bool = False,
) -> Figure:
    """A column a place that has runs: histogram above, buckets below. `spreads`: bars over examples, "sem", "sd"."""
    asked = list(starmap(Place, places))
    height = 3 if apart else 2
    by_place = [LETTERS[number * height : (number + 1) * height] for number in range(len(asked))]
    run = [bool((rows[rows["panel"].isin(list(names))]["n"] > 0).any()) for names in by_place]
    kept = [number for number in range(len(asked)) if run[number]] or list(range(min(2, len(asked))))
    picture = sheet()
    drawn = picture.subplots(height, len(kept), squeeze=False)
    for column, number in enumerate(kept):
        for row, name in enumerate(by_place[number]):
            axes, mine = drawn[row][column], rows[rows["panel"] == name]
            shown = LETTERS[row * len(kept) + column]
            if row == 0:
                _histogram(axes, mine, colours([histogram])[histogram])
                titled(axes, shown, _title(material, asked[number]), 6.2 / len(kept))
            else:
                _curves(axes, mine, methods, spreads if row == 1 else spreads[:1])
                titled(axes, shown, APART if row == 2 else "", 6.2 / len(kept))
    _labels(drawn, material, histogram, apart)
    for row in range(1, height):
        names = [by_place[number][row] for number in kept]
        _same_limits(list(drawn[row]), rows[rows["panel"].isin(names)], spreads if row == 1 else spreads[:1])
    notes = [*_spread_notes(spreads, apart), *_missing(material, rows, asked, by_place)]
    shows = _shows(material, rows, histogram)
    finish(picture, material, shows, notes, _legend(material, rows, methods, histogram), panels=0.2 + ROW * height)
    return Figure(picture, rows)


def _title(material: Material, place: Place) -> str:
    title = data_title(material.experiment(place.experiment).dataset)
    return f"{title}, {material.label(*place)}" if len(material.experiment(place.experiment).settings) > 1 else title


def _histogram(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    known = rows[rows["n"] > 0]
    if known.empty:
        _nothing(axes, rows)
        return
    shares = known[known["metric"] == margins.SHARE].astype({"x": float, "mean": float})
    shares = shares[shares["mean"] > 0]
    axes.bar(shares["x"], shares["mean"], margins.BIN * 0.94, color=colour, alpha=0.75, zorder=2)
    axes.set_yscale("log")
    powers(axes.yaxis)
    axes.set_ylim(shares["mean"].min() / 2, 4)
    reach = min(2.0, max(0.3, float(shares["x"].abs().max()) + margins.BIN))
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    words = []
    for metric, line, name in ((margins.MEAN, "-", "mean"), (margins.MEDIAN, DASHED, "median")):
        (one,) = known[known["metric"] == metric].to_dict("records")
        axes.axvline(one["mean"], color=INK, linewidth=1.0, linestyle=line, zorder=3)
        words.append(f"{name} {_signed(one['mean'])}{_interval(one)}")
    style: dict[str, Any] = {
        "transform": axes.transAxes,
        "fontsize": 5.8,
        "color": INK,
        "va": "top",
        "linespacing": 1.25,
        "zorder": 5,
        "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.9},
    }
    axes.text(0.03, 0.99, "\n".join(words), **style)


def _signed(value: float) -> str:
    """Four decimals; what would be 0 there, in powers of ten.

    >>> _signed(0.0068), _signed(-2.04e-6), _signed(0.0)
    ('+0.0068', '−2.0·10⁻⁶', '0')
    """
    if value == 0:
        return "0"
    if abs(value) >= 0.0005:
        return f"{value:+.4f}".replace("-", "−")
    digits, power = f"{value:+.1e}".split("e")
    return f"{digits}·10{str(int(power)).translate(RAISED)}".replace("-", "−")


def _interval(row: Mapping[Any, Any]) -> str:
    return "" if pd.isna(row["low"]) else f"\n[{_signed(row['low'])}, {_signed(row['high'])}]"


def _curves(axes: Axes, rows: pd.DataFrame, methods: Sequence[str], spreads: Sequence[str]) -> None:
    """A line a method through the means of the buckets, a band over seeds, bars over the examples of a run."""
    known = rows[rows["n"] > 0]
    if known.empty:
        _nothing(axes, rows)
        return
    look, series = colours(methods), list(dict.fromkeys(zip(known["method"], known["note"], strict=True)))
    for rank, (method, note) in enumerate(series):
        control = note == margins.ANOTHER
        mine = known[(known["method"] == method) & (known["note"] == note)].astype({"x": float})
        by = {metric: of.set_index("x") for metric, of in mine.groupby("metric")}
        if margins.SEM_IN not in by:
            continue
        at = [x for x in by[margins.BUCKET].index if x in by[margins.SEM_IN].index]  # two examples or more
        means = by[margins.BUCKET].loc[at].astype({"mean": float, "low": float, "high": float})
        shift = 0.018 * (rank - (len(series) - 1) / 2)
        x = np.array(at) + margins.WIDTH / 2 + shift
        colour = MUTED if control else look[method]
        line: dict[str, Any] = {"linestyle": DASHED if control else "-", "marker": "s" if control else "o"}
        axes.plot(x, means["mean"], color=colour, markersize=2.6, linewidth=1.1, zorder=4, **line)
        if np.isfinite(means["low"]).any():
            axes.fill_between(x, means["low"], means["high"], color=colour, alpha=0.15, linewidth=0, zorder=1)
        for spread in spreads:
            metric = margins.SD_IN if spread == "sd" else margins.SEM_IN
            bars = by[metric].reindex(at)["mean"].to_numpy(float)
            thin = spread == "sd"
            style: dict[str, Any] = {"elinewidth": 0.5 if thin else 1.4, "capsize": 1.5 if thin else 0, "capthick": 0.5}
            axes.errorbar(
                x, means["mean"], yerr=bars, fmt=" ", ecolor=colour, alpha=0.6 if thin else 1, zorder=3, **style
            )
    axes.axhline(0, color=INK, linewidth=0.6, zorder=2)
    axes.set_xlim(-1.04, 1.04)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1], ["−1", "−.5", "0", ".5", "1"])


def _same_limits(panels: Sequence[Axes], rows: pd.DataFrame, spreads: Sequence[str]) -> None:
    """One vertical scale for the panels of a row, as far as their bars go; the far ends of wide bands are left out."""
    keys = ["panel", "method", "note", "x"]
    known = rows[rows["n"] > 0]
    means, bars = (
        known[known["metric"] == metric].set_index(keys)["mean"].astype(float)
        for metric in (margins.BUCKET, margins.SD_IN if "sd" in spreads else margins.SEM_IN)
    )
    bars = bars.reindex(means.index).dropna()
    if bars.empty:
        return
    means = means[bars.index]
    low, high = float((means - bars).min()), float((means + bars).max())
    margin = 0.08 * (high - low or 0.1)
    for place, axes in enumerate([one for one in panels if one.lines]):
        axes.set_ylim(low - margin, high + margin)
        axes.tick_params(axis="y", labelleft=place == 0)


def _nothing(axes: Axes, rows: pd.DataFrame) -> None:
    reasons = ", ".join(dict.fromkeys(note for note in rows["note"] if note))
    text = reasons if reasons == "diverged" else f"not run: {reasons}"
    style: dict[str, Any] = {"color": MUTED, "style": "italic", "fontsize": 6.5, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, textwrap.fill(text, 20), transform=axes.transAxes, **style).set_in_layout(False)
    axes.set(xticks=[], yticks=[])


def _labels(drawn: np.ndarray, material: Material, histogram: str, apart: bool) -> None:
    drawn[0][0].set_ylabel("share of test examples\n(logarithmic)")
    drawn[1][0].set_ylabel("change of margin")
    for axes in drawn[0]:
        axes.set_xlabel("change of margin")
    for axes in drawn[1]:
        axes.set_xlabel("margin under ERM")
    if apart:
        drawn[2][0].set_ylabel("change of margin")
        for axes in drawn[2]:
            axes.set_xlabel("margin under\nanother ERM" if len(drawn[2]) > 3 else "margin under another ERM")


def _shows(material: Material, rows: pd.DataFrame, histogram: str) -> str:
    known = rows[rows["n"] > 0]
    if known.empty:
        return "Nothing of ours was run"
    several = "; intervals and bands: 95 % (Student t) over seeds" if (known["n"] > 1).any() else ", no interval"
    return (
        f"Above: {material.title(histogram)} − ERM, same seed, same test examples, bins of {margins.BIN:g}. "
        f"Lines: mean (full) and median (dashed). Below: mean change in buckets of width {margins.WIDTH:g}. Mean over "
        f"{count_text(known)}{several}"
    )


def _spread_notes(spreads: Sequence[str], apart: bool) -> list[str]:
    words = {"sem": "standard error over the test examples of a run", "sd": "their sd, thin (the caption's word)"}
    notes = [f"Bars: {'; '.join(words[spread] for spread in spreads)}"]
    taken_out = "the last row" if apart else "Fig. 4, last row,"
    notes += [
        "Buckets are by ERM's own margin, so that margins regress to their mean. Grey: ERM of another seed, thus of "
        f"another pool and initial net, an upper bound on that; {taken_out} takes it out"
    ]
    if apart:
        said = "Last row: the buckets are by the margin under ERM with the next seed, which is in neither side"
        notes.append(f"{said}; bars: standard error alone" if len(spreads) > 1 else said)
    return notes


def _missing(material: Material, rows: pd.DataFrame, places: Sequence[Place], by_place: Sequence[str]) -> list[str]:
    absent: list[str] = []
    for place, names in zip(places, by_place, strict=True):
        mine = rows[rows["panel"].isin(list(names))]
        titles: dict[str, dict[str, None]] = {}
        for row in mine[mine["n"] == 0].itertuples():
            what = (
                ERM_AGAIN
                if row.method == row.against
                else f"{row.title}, {APART}"
                if _is_last(row, names)
                else row.title
            )
            titles.setdefault(row.note, {})[what] = None
        whole = (mine["n"] == 0).all() and len(titles) == 1
        said = "; ".join(f"{why}" if whole else f"{', '.join(of)} ({why})" for why, of in titles.items())
        absent += [f"{_title(material, place)}: {said}"] if said else []
    return [f"Not drawn: {' | '.join(absent)}"] if absent else []


def _is_last(row: Any, names: str) -> bool:
    """Whether a line is of the third row of panels."""
    return len(names) == 3 and row.panel == names[2]


def _legend(material: Material, rows: pd.DataFrame, methods: Sequence[str], histogram: str) -> Legend:
    """The histogram's bars, unless its method has a line too, then the lines."""
    drawn, look = rows[rows["n"] > 0], colours([histogram, *methods])
    entries: list[tuple[Any, str]] = []
    if histogram not in methods and (drawn["metric"] == margins.SHARE).any():
        entries.append((Patch(color=look[histogram], alpha=0.75), f"{material.title(histogram)} − ERM"))
    for method in methods:
        handle = Line2D([], [], color=look[method], marker="o", markersize=3)
        entries.append((handle, f"{material.title(method)} − ERM"))
    grey: dict[str, Any] = {"color": MUTED, "linestyle": DASHED, "marker": "s", "markersize": 3}
    return [
        *entries,
        (Line2D([], [], **grey), f"{ERM_AGAIN} − ERM"),
        (Patch(color=MUTED, alpha=0.25), "95 % over seeds"),
    ]
