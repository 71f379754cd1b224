"""The bench as a figure: a dot for each ratio, its quartiles as a bar, group by group."""

import io
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reweigh import canonical_json
from reweigh.bench.table import Line
from reweigh.plots.style import INK, MUTED, SMALL, alone, is_last_row, sheet

ROW, HEAD = 0.19, 0.27  # inches: of a line, of a group's title
DOT = "#0072B2"
TICKS = (0.001, 0.01, 0.1, 0.3, 1, 3, 10, 30)


def draw(lines: list[Line], stem: Path) -> list[Path]:
    """Draw all lines that have a ratio to another; write `stem`.pdf and .png, and return their paths."""
    shown = [line for line in lines if line.ratio is not None and line.contender != line.baseline]
    groups = [(name, list(rows)) for name, rows in groupby(shown, key=lambda line: line.group)]
    with alone():
        heights = [HEAD + ROW * len(rows) for _, rows in groups]
        figure = sheet(sum(heights) + 0.95)
        panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (name, rows) in zip(panels, groups, strict=True):
            _panel(axes, name, rows)
        _scale(panels[-1], shown)
        rounds = sorted({line.rounds for line in shown})
        span = str(rounds[0]) if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]}"
        figure.suptitle("What training costs: time as a share of the baseline's", x=0.008, ha="left", fontsize=9)
        figure.supxlabel(
            f"{lines[0].device}, torch {lines[0].torch}. Medians of the ratios within a round, bars: quartiles; "
            f"n = {span} rounds. In grey: the baseline.",
            x=0.008,
            ha="left",
            fontsize=SMALL,
            color=MUTED,
        )
        about = {"CreationDate": None, "Producer": None, "Creator": "reweigh"}
        for ending, metadata in {"pdf": about, "png": {"Software": "reweigh"}}.items():
            drawn = io.BytesIO()
            figure.savefig(drawn, format=ending, metadata=metadata)
            canonical_json.write(f"{stem}.{ending}", drawn.getvalue())
    return [Path(f"{stem}.pdf"), Path(f"{stem}.png")]


def _panel(axes: Axes, name: str, rows: list[Line]) -> None:
    axes.set_title(name, loc="left", fontsize=8, weight="bold", pad=3)
    axes.axvline(1, color=MUTED, linewidth=0.8, zorder=1)
    for place, line in enumerate(rows):
        assert line.ratio is not None
        if line.q1 is not None and line.q3 is not None:
            axes.plot([line.q1, line.q3], [place, place], color=DOT, linewidth=2.4, alpha=0.55, zorder=2)
        axes.plot(line.ratio, place, "o", color=DOT, markersize=4, zorder=3)
        axes.annotate(
            f"{line.ratio:.3g} × {_named(line)}",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=SMALL,
            color=MUTED,
        )
    axes.set_yticks(range(len(rows)), [line.contender for line in rows], color=INK)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="x", labelbottom=is_last_row(axes))


def _named(line: Line) -> str:
    """The baseline without what it has in common with the contender: its name, or the model before a colon."""
    rest = line.baseline.removeprefix(line.contender).lstrip(", ")
    model, colon, _ = line.contender.partition(": ")
    return rest.removeprefix(f"{model}: ") if colon else rest


def _scale(axes: Axes, shown: list[Line]) -> None:
    ends = [end for line in shown for end in (line.ratio, line.q1, line.q3) if end]
    low, high = min([*ends, 1]) / 1.2, max([*ends, 1]) * 1.2
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if low <= tick <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
