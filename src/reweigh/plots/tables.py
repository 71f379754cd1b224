"""Tables as figures: ours above the published number in every cell."""

import textwrap
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.rows import Row, cell_names, frame, summary_row
from reweigh.analysis.tables import Material, outside
from reweigh.plots.figure import Figure, styled
from reweigh.plots.left_out import of_scale
from reweigh.plots.notes import STUDENT, WILSON, any_by_wilson, missing_notes, seeds_text
from reweigh.plots.printed import with_digits
from reweigh.plots.style import INK, MUTED, WARNING, WIDTH, capitalised, finish, listed, sheet

HEIGHT, SINGLE = 0.34, 0.205  # inches: of a line, and of one that has no number of the paper's below ours
TITLE = 100  # characters of a line above one of several tables
METHOD = 28  # characters of a method's title
DAGGER, NONE = "†", "–"
FAINT = "#e3e3e3"
Record = Mapping[Hashable, Any]  # a line of a data frame
Write = Callable[[float, float], str]  # mean and sd as text; an sd that there is none of is NaN


class Line(Row, total=False):
    """A line, and what the picture needs to know of the paper's number."""

    listed: bool  # whether the paper's table has the cell, with a number or without
    excluded: str  # why its number is not judged; empty if it is
    compared: bool  # whether the paper has the method on this data set at all


def rows(material: Material, metric: str = "test_accuracy") -> pd.DataFrame:
    """One line a cell: ours with interval and n, the published number, and where nothing was run, the reason.

    Cells that only the paper has and cells that only we have are among them.
    """
    published = material.published
    compared = set(zip(published["experiment"], published["method_name"], strict=True))
    lines: list[Line] = []
    for experiment in material.experiments:
        for method in in_order(material, {*material.methods(experiment), *_listed(material, experiment)}):
            for setting in material.settings(experiment):
                cell = (experiment, setting, method)
                lines.append({**_line(material, cell, metric), "compared": (experiment, method) in compared})
    return frame(lines)


def _line(material: Material, cell: tuple[str, str, str], metric: str) -> Line:
    mean, sd = material.published_value(*cell, metric)
    summary = summary_row(material.of(*cell), metric)
    return {
        **cell_names(material, *cell),
        "published": mean,
        "published_sd": sd,
        **summary,
        "note": "" if summary["runs"] else material.why_not(*cell),
        "listed": material.row_in_paper(*cell, metric),
        "excluded": material.excluded_because(*cell, metric),
    }


def in_order(material: Material, methods: set[str]) -> list[str]:
    """The order in which the config maps the paper's methods, that of the paper's table, then the config's own."""
    paper = material.config.paper(material.paper)
    mapped = paper.published.methods.values() if paper.published else []
    order = [*mapped, *material.stated["method_name"].dropna(), *paper.methods]
    return sorted(methods, key=order.index)


def _listed(material: Material, experiment: str) -> list[str]:
    """The methods that the paper's table has for an experiment; none for a table that is ours."""
    stated = material.stated
    stated = stated[stated["table_or_figure"].str.lower() == material.name]
    return list(stated[stated["experiment"] == experiment]["method_name"].dropna())


@styled
def draw(material: Material, rows: pd.DataFrame, percent: bool = False, digits: bool = False) -> Figure:
    """Lines: experiments and their methods; columns: settings. Each cell: ours (mean ± sd), below it the paper's.

    `percent` writes the picture in percent, as a paper may; the rows are fractions. `digits`: the paper's numbers have
    as many digits as it prints.
    """
    shown = of_scale(material, of_scale(material, rows, "experiment", "method"), "value")
    lines = with_digits(material, shown.to_dict("records")) if digits else shown.to_dict("records")
    values = dict.fromkeys(shown["value"])
    sides = list(dict.fromkeys(zip(shown["experiment"], shown["method"], strict=True)))
    heads = {line["value"]: _head(material, line["experiment"], line["setting"]) for line in reversed(lines)}
    grid = Grid(
        left=[(0.0, "experiment"), (0.205, "method")],
        sides=[(_title(material, experiment), method_title(material, method)) for experiment, method in sides],
        columns=[heads[value] for value in values],
        cells=by_place(lines, sides, list(values), lambda line: ((line["experiment"], line["method"]), line["value"])),
    )
    return as_figure(material, rows, grid, writer(percent), _left_out(material, rows, shown))


def _left_out(material: Material, rows: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """The experiments, and of those that are shown the methods, that have no line as the scale leaves them out."""
    names: dict[str, None] = {}
    for experiment, mine in rows.groupby("experiment", sort=False):
        there = set(shown[shown["experiment"] == experiment]["method"])
        absent = [material.title(method) for method in dict.fromkeys(mine["method"]) if method not in there]
        title = material.experiment(str(experiment)).title
        if absent:
            names[f"{title}: {listed(absent)}" if there else title] = None
    return [f"{capitalised(outside(material.scale))}: {'; '.join(names)}"] if names else []


class Grid(NamedTuple):
    """A table to be set: columns of words (place from 0 to 1, head), a tuple of words a line, columns of cells."""

    left: list[tuple[float, str]]
    sides: list[tuple[str, ...]]
    columns: list[str]
    cells: dict[tuple[int, int], Record]  # by line and column, both from 0
    title: str = ""  # what stands above it, where there are several


def by_place(
    cells: list[dict[Hashable, Any]], lines: list[Any], columns: list[Any], key: Callable[[Record], tuple[Any, Any]]
) -> dict[tuple[int, int], Record]:
    """Cells by their line and column; `key` says which of `lines` and of `columns` a cell belongs to."""
    places = [(key(cell), cell) for cell in cells]
    return {(lines.index(line), columns.index(column)): cell for (line, column), cell in places}


def as_figure(
    material: Material,
    rows: pd.DataFrame,
    grid: Grid | Sequence[Grid],
    write: Write,
    notes: list[str] | None = None,
    gap: str = "no such cell, here or in the paper",
    nothing: str = "Nothing of ours was run",
    unit: str = "all in %",
    printed: bool = True,
) -> Figure:
    """The grid as a figure, or several below one another, with what must be known of their cells at the foot.

    `gap`: what a dash stands for; `nothing`: what is said where no cell has a number of ours; `unit`: of numbers
    that are no fractions; `printed`: whether the paper has such a table, so that its numbers are spoken of and have
    room below ours.
    """
    grids = [grid] if isinstance(grid, Grid) else list(grid)
    cut = material.scale != "paper"
    grey = ("grey: the paper's numbers, " if printed else "") + ("" if write is _fraction else unit)
    grey = grey.removesuffix(", ")
    scale = f"orange: ours at scale {material.scale}, not to be compared" * cut
    shows = seeds_text(rows, _legend(rows, scale), grey, nothing)
    if rows["n"].gt(1).any():
        shows += ". 95 % intervals are in the csv" + f" ({STUDENT}; {WILSON})" * any_by_wilson(rows)
    if printed and not rows["compared"].all():
        shows += ". Without grey: not in the paper"
    dashes = any(cell.get("words") == (NONE, "") for one in grids for cell in one.cells.values())
    if dashes or any(len(one.cells) < len(one.sides) * len(one.columns) for one in grids):
        shows += f". {NONE}: {gap}"
    notes = [*missing_notes(material, rows, gaps=False), *(notes or []), *_excluded(material, rows, write)]
    picture = sheet()
    inches = HEIGHT if printed else SINGLE
    heights = [len(one.sides) + _head_height(one, inches) for one in grids]
    drawn = picture.subplots(len(grids), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, one in zip(drawn, grids, strict=True):
        _typeset(axes, one, write, WARNING if cut else INK, inches)
    finish(picture, material, shows, notes, panels=0.1 * len(grids) + inches * sum(heights))
    return Figure(picture, rows)


def _legend(rows: pd.DataFrame, ours: str) -> str:
    """What stands in a cell of ours; `ours`: what else must be known of our numbers."""
    spread = "± sample sd over seeds" if rows["n"].gt(1).any() else "one seed has neither sd nor interval"
    return "; ".join(filter(None, (spread, ours)))


def _excluded(material: Material, rows: pd.DataFrame, write: Write) -> list[str]:
    """The published numbers that are not judged, and those of methods that are not here, by reason."""
    reasons: dict[str, list[str]] = {}
    for line in rows[rows["excluded"] != ""].to_dict("records"):
        why = f"{DAGGER} not judged ({line['excluded']})"
        reasons.setdefault(why, []).append(f"{line['title']}, {line['value']}")
    others = material.stated[material.stated["method_name"].isna() & material.stated["mean"].notna()]
    for row in others.to_dict("records"):
        why = f"In the paper's table, not here ({row['excluded'] or 'no such method here'})"
        reasons.setdefault(why, []).append(f"{row['method']} {write(row['mean'], row['std'])}")
    return [f"{reason}: {'; '.join(dict.fromkeys(names))}" for reason, names in reasons.items()]


def _title(material: Material, experiment: str) -> str:
    return textwrap.fill(material.experiment(experiment).title, 22)


def method_title(material: Material, method: str) -> str:
    """A method's title, broken to the width of its column."""
    return textwrap.fill(material.title(method), METHOD)


def _head(material: Material, experiment: str, setting: str) -> str:
    """What stands above a setting's column: its label, or its value with what it is a value of."""
    one, value = material.experiment(experiment), material.label(experiment, setting)
    if one.settings[setting].label:
        return value
    return f"ρ = {value}" if "ρ" in one.varies else f"{one.varies}: {value}"


def _places(grid: Grid) -> tuple[list[float], list[str]]:
    """Where the columns of cells stand, from 0 to 1, and their heads, broken to what fits."""
    first = grid.left[-1][0] + (0.225 if len(grid.left) > 1 else 0.24)
    columns = [first + (place + 0.5) * (1 - first) / len(grid.columns) for place in range(len(grid.columns))]
    characters = int((1 - first) / len(columns) * WIDTH * 72 / (7.5 * 0.68))
    return columns, [_wrapped(head, characters) for head in grid.columns]


def _head_height(grid: Grid, inches: float) -> float:
    """How many lines, each so many inches, the head of a table is high, with its title."""
    heads = max(0.34, 0.1 + 0.122 * max(text.count("\n") + 1 for text in _places(grid)[1]))
    return heads / inches + _title_height(grid, inches)


def _title_height(grid: Grid, inches: float) -> float:
    lines = len(textwrap.wrap(grid.title, TITLE))
    return (0.17 + 0.122 * lines) / inches if lines else 0.0


def _typeset(axes: Axes, grid: Grid, write: Write, colour: str, inches: float) -> None:
    """Set the table. `colour`: of our numbers; `inches`: how high a line is."""
    columns, heads = _places(grid)
    begin, top = _title_height(grid, inches), _head_height(grid, inches)
    height = len(grid.sides) + top
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(height, 0)
    title = textwrap.fill(grid.title, TITLE)
    axes.text(0, begin - 0.06 / inches, title, weight="bold", va="bottom", fontsize=7.5)
    for x, head in grid.left:
        axes.text(x, top - 0.153 / inches, head, weight="bold", va="center", fontsize=7.5)
    for x, text in zip(columns, heads, strict=True):
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7.5}
        axes.text(x, (begin + top) / 2 + 0.05, text, weight="bold", **style)
    for edge, width in ((begin, 1.0), (top, 0.6), (height, 1.0)):
        axes.axhline(edge, color=INK, linewidth=width)
    previous = None
    for number, words in enumerate(grid.sides):
        line, block = top + number, words[0] if len(words) > 1 else None
        if number:
            begins = previous != block
            axes.axhline(line, 0 if begins else grid.left[-1][0], color=MUTED if begins else FAINT, linewidth=0.4)
        shown = ("", *words[1:]) if block is not None and block == previous else words
        for place, ((x, _), word) in enumerate(zip(grid.left, shown, strict=True)):
            begins = place == 0 and block is not None  # the block's words may need more than this line
            down, align = (0.18, "top") if begins else (0.5, "center")
            size = 7.5 if word.count("\n") < 2 else 6.2  # three lines are as high as two
            axes.text(x, line + down, word, va=align, fontsize=size)
        previous = block
        for column, x in enumerate(columns):
            _cell(axes, x, line, grid.cells.get((number, column)), write, colour)


def _wrapped(head: str, characters: int) -> str:
    """A head in lines of so many characters; a value stays with what it is a value of."""
    together = head.replace(" = ", "\u00a0=\u00a0")
    return "\n".join(textwrap.fill(part, characters) for part in together.splitlines())


def _cell(axes: Axes, x: float, line: float, cell: Record | None, write: Write, colour: str) -> None:
    if cell is None:
        axes.text(x, line + 0.5, NONE, ha="center", va="center", fontsize=7.5, color=MUTED)
        return
    said = cell.get("words")  # a cell that is no mean and sd
    upper, below = said if isinstance(said, tuple) else ("", "")
    ours = upper or (write(cell["mean"], cell["sd"]) if cell["n"] else cell["status"])
    style: dict[str, Any] = {"color": colour} if cell["n"] else {"color": MUTED, "style": "italic"}
    high = 0.33 if cell["compared"] or below else 0.5
    if ours.strip():
        axes.text(x, line + high, ours, ha="center", va="center", fontsize=7.5, **style)
    if below:
        axes.text(x, line + 0.71, below, ha="center", va="center", fontsize=6.5, color=colour)
    if not cell["compared"]:  # the paper does not have this method here
        return
    paper = "not reported" if cell["listed"] else "not in the paper"
    if pd.notna(cell["published"]):
        printed = cell.get("paper") or write(cell["published"], cell["published_sd"])
        paper = printed + (f" {DAGGER}" if cell["excluded"] else "")
    alone = not ours.strip()  # nothing stands above it
    axes.text(x, line + (0.5 if alone else 0.71), paper, ha="center", va="center", fontsize=6.5, color=MUTED)


def writer(percent: bool) -> Write:
    """How a table writes a mean and its sd: in percent, or as the fractions that they are."""
    return _percent if percent else _fraction


def _fraction(mean: float, sd: float) -> str:
    return f"{mean:.4f}" if pd.isna(sd) else f"{mean:.4f} ± {sd:.3f}"


def _percent(mean: float, sd: float) -> str:
    return f"{100 * mean:.2f}" if pd.isna(sd) else f"{100 * mean:.2f} ± {100 * sd:.2f}"
