"""A critical-difference diagram: methods by average rank over settings, and which of them are not told apart.

After Demšar (JMLR 2006): the best stands on the left, a thick bar joins neighbours of which no two differ. The rules
are those of `ranks`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reweigh import stats
from reweigh.analysis import across
from reweigh.analysis.across import NEMENYI, Ranking
from reweigh.analysis.degenerate import counted
from reweigh.analysis.rows import RANK, Row, frame
from reweigh.analysis.tables import Material, outside
from reweigh.plots.figure import Figure, styled
from reweigh.plots.left_out import absent_notes
from reweigh.plots.notes import all_stand_ins
from reweigh.plots.style import INK, MUTED, capitalised, empty, finish, look_in, marker_style, sheet
from reweigh.ranks import least_signed_rank_p

LINE = 0.17  # inches: of a label
BAR = 0.085  # of a bar
SCALE = 0.62  # above the axis: its numbers and the critical difference
GAP = 0.03  # of the width: between the axis and the labels
LETTER = 0.0075  # of the width: a letter of a label at its full size
SIDE = (0.2, 0.33)  # of the width: what the labels of one side have, at least and at most
FULL = 7.0  # points


def rows(
    material: Material,
    metric: str = "balanced_accuracy",
    methods: Sequence[str] = (),
    settings: Sequence[Sequence[str]] = (),
    by: str = NEMENYI,
) -> pd.DataFrame:
    """Two lines for each method, the best first: its average rank over settings, and that over settings and seeds.

    `methods`: all that the artifact shows where none are named; `settings`: (experiment, setting), all where none are.
    `by`: what tells two methods apart, `nemenyi` or `signed ranks`; `bars` has the letters of those that a method is
    on. Methods that were not run have a line without a number.
    """
    field = across.field_of(material, metric, methods, settings)
    found = across.ranking(field)
    lines = across.rank_lines(field, found, found.bars(by)) if found else []
    ranked = found.methods if found else ()
    for method in (*field.methods, *field.not_run):
        if method not in ranked:
            lines.append(_without(material, field, method))
    return frame(lines)


def _without(material: Material, field: across.Field, method: str) -> Row:
    reasons = dict.fromkeys(material.why_not(*place, method) for place in field.places)
    alone = "no setting in which all methods were run" if method in field.methods else ""
    return {
        "method": method,
        "title": material.title(method),
        "metric": f"{field.metric}{RANK}",
        "mean": None,
        "n": 0,
        "status": "not run",
        "runs": "",
        "note": alone or ", ".join(reasons),
    }


@styled
def draw(
    material: Material,
    rows: pd.DataFrame,
    metric: str = "balanced_accuracy",
    methods: Sequence[str] = (),
    settings: Sequence[Sequence[str]] = (),
    by: str = NEMENYI,
) -> Figure:
    """The diagram of `rows`, which were made with the same options."""
    field = across.field_of(material, metric, methods, settings)
    found = across.ranking(field)
    picture = sheet()
    axes = picture.subplots()
    axes.set_axis_off()
    if found is None:
        empty(axes, "not run" if not field.methods else "no setting in which two methods were run")
        finish(picture, material, "Nothing of ours was ranked", _notes(material, rows), panels=1.0)
        return Figure(picture, rows)
    bars, count = found.bars(by), len(found.methods)
    below = BAR * (len(bars) + 1.5)
    height = SCALE + below + LINE * ((count + 1) // 2 + 0.4)
    axes.set_xlim(0, 1)
    axes.set_ylim(height, 0)  # inches from the top
    across_width = _axis(material, found)
    _scale(axes, found, across_width)
    for number, bar in enumerate(bars):
        y = SCALE + BAR * (number + 1)
        low, high = (across_width(found.average[place]) for place in (bar[0], bar[-1]))
        axes.plot([low - 0.004, high + 0.004], [y, y], color=INK, linewidth=2.6, solid_capstyle="butt", zorder=4)
    for place in range(count):
        row = min(place, count - 1 - place)
        _label(axes, material, found, place, SCALE + below + LINE * (row + 0.4), across_width)
    notes = [*_notes(material, rows), *_lost(field, found), *_tests(found), *all_stand_ins(material)]
    finish(picture, material, _shows(found, metric, by), notes, panels=height)
    return Figure(picture, rows)


def _axis(material: Material, found: Ranking) -> Callable[[float], float]:
    """Where a rank lies, as a share of the width: longer names leave less of it to the axis."""
    longest = max(len(material.title(method)) for method in found.methods) + 6  # with the rank
    side = float(np.clip(LETTER * longest, *SIDE)) + GAP
    return lambda rank: side + (1 - 2 * side) * (rank - 1) / (len(found.methods) - 1)


def _scale(axes: Axes, found: Ranking, across_width: Callable[[float], float]) -> None:
    """The axis of ranks, and the critical difference above its left end."""
    methods = len(found.methods)
    axes.plot([across_width(1), across_width(methods)], [SCALE] * 2, color=INK, linewidth=0.8)
    step = 1 if methods <= 12 else 2
    for rank in range(1, methods + 1):
        x, labelled = across_width(rank), rank == methods or ((rank - 1) % step == 0 and methods - rank >= step)
        axes.plot([x, x], [SCALE - (0.06 if labelled else 0.03), SCALE], color=INK, linewidth=0.6)
        if labelled:
            axes.text(x, SCALE - 0.09, str(rank), ha="center", va="bottom", fontsize=FULL)
    axes.text(across_width(1) - 0.02, SCALE, "average rank", ha="right", va="center", fontsize=FULL, color=MUTED)
    reach = min(found.critical_difference, methods - 1)
    ends = [across_width(1), across_width(1 + reach)]
    more = "" if reach == found.critical_difference else ", more than any two can differ"
    axes.plot(ends, [0.26] * 2, color=MUTED, linewidth=1.2)
    for end in ends:
        axes.plot([end, end], [0.225, 0.295], color=MUTED, linewidth=1.2)
    text = f"critical difference {found.critical_difference:.2f}{more}"
    axes.text(ends[0], 0.19, text, ha="left", va="bottom", fontsize=FULL, color=MUTED)


def _label(
    axes: Axes,
    material: Material,
    found: Ranking,
    place: int,
    height: float,
    across_width: Callable[[float], float],
) -> None:
    """A method's name and rank at its side of the diagram, and the line to its place on the axis."""
    left = place < (len(found.methods) + 1) // 2
    look, name = look_in(material, found.methods[place]), material.title(found.methods[place])
    x, inner = across_width(found.average[place]), across_width(1) - GAP
    edge = inner if left else 1 - inner
    axes.plot([x, x, edge], [SCALE, height, height], color=look.colour, linewidth=0.8, zorder=2)
    axes.plot(x, SCALE, linestyle="", markersize=4.5, zorder=5, **marker_style(look))
    size = min(FULL, FULL * SIDE[1] / (LETTER * (len(name) + 6)))  # a very long name is smaller
    side: dict[str, Any] = {"ha": "right" if left else "left", "va": "center", "fontsize": size}
    rank = f"{found.average[place]:.2f}"
    axes.text(edge - 0.008 if left else edge + 0.008, height, f"{name}  {rank}" if left else f"{rank}  {name}",
              color=INK, **side)  # fmt: skip


def _shows(found: Ranking, metric: str, by: str) -> str:
    counts = sorted({len(seeds) for seeds in found.seeds})
    seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    told = "differ by less than Nemenyi's critical difference (α = 0.05)"
    if by != NEMENYI:
        told = "are not told apart by signed ranks (Holm over all pairs, 0.05)"
    scores = metric.replace("_", " ").removeprefix("mean ")
    return (
        f"Average rank of {len(found.methods)} methods by mean {scores} over {len(found.places)} "
        f"settings, {seeds} seeds each, 1 is the best. Bars join neighbours of which any two {told}"
    )


def _tests(found: Ranking) -> list[str]:
    test, methods, blocks = found.friedman, len(found.methods), len(found.places)
    told = int((found.p[np.triu_indices(methods, 1)] < stats.ALPHA).sum())
    pairs = methods * (methods - 1) // 2
    least = pairs * least_signed_rank_p(blocks)
    signed = (
        f"signed ranks with Holm's correction tell {told} of {pairs} pairs apart"
        if least < stats.ALPHA
        else f"over so few settings signed ranks with Holm's correction cannot tell any of {pairs} pairs apart"
    )
    if test.p is None or test.chi_square is None or test.f is None or test.p_f is None:
        return [f"No test of Friedman's with {methods} methods over {blocks} settings; {signed}"]
    f = "∞" if np.isinf(test.f) else f"{test.f:.2f}"
    return [
        f"Friedman's χ² = {test.chi_square:.1f} of {methods - 1} degrees of freedom, p {_p(test.p)}; Iman and "
        f"Davenport's F = {f}, p {_p(test.p_f)}; {signed}"
    ]


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"= {value:.4f}"


def _lost(field: across.Field, found: Ranking) -> list[str]:
    """Which methods have runs among those ranked that decide nothing by themselves, and why."""
    cells = {method: pd.concat([field.of(place, method) for place in found.places]) for method in found.methods}
    why = {field.material.title(method): counted(cell).replace(f" of {method} ", " ") for method, cell in cells.items()}
    named = "; ".join(f"{title} ({text})" for title, text in why.items() if text)
    return [f"Ranked with runs that decide nothing: {named}"] if named else []


def _notes(material: Material, rows: pd.DataFrame) -> list[str]:
    """What was left out, and which methods have no rank."""
    ranked = rows[rows["n"] > 0]
    absent = rows[rows["n"] == 0]
    notes = [capitalised(note) for note in dict.fromkeys(ranked["note"]) if note]
    named = zip(absent["title"], absent["note"] == outside(material.scale), strict=True)
    return [*notes, *absent_notes(material, named)]
