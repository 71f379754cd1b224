"""What the penalty costs over ERM: whole runs, the estimate of class errors included, and the bench's single step."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reweigh.analysis.gains import MEASURED_TIMES, TIMES
from reweigh.analysis.rows import Row
from reweigh.analysis.tables import Material
from reweigh.plots.costs import QUARTILES, bench_rows, frame, group_of, machine_notes, run_row, runs_text
from reweigh.plots.figure import Figure, styled
from reweigh.plots.papers.har.common import place_title, places_of
from reweigh.plots.style import SMALL, empty, finish, sheet

STAGES = "all stages, the estimate among them"
OF_PLACE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito's
SHAPES = "os^v"
OF_THREADS = ("#000000", "#8a8a8a")  # of the bench's groups
LINE = 0.4  # inches: of a method


def rows(material: Material, methods: Sequence[str], plain: str = "erm") -> pd.DataFrame:
    """For each method the ratios of seconds of runs at each setting, and those of the bench (`y`), if it has any."""
    options = material.artifact.options
    lines: list[Row] = []
    for experiment in material.experiments:
        for setting in material.settings(experiment):
            shown = [method for method in methods if method in material.methods(experiment)]
            lines += [run_row(material, (experiment, setting, method), plain) for method in shown]
    if "measured" in options:
        measured = [line for line in bench_rows(material.config.root, options) if line["method"] in methods]
        lines += sorted(measured, key=lambda line: methods.index(line["method"]))
    columns = ["mean", "sd", "low", "high", "y", *QUARTILES]
    names = [*Row.__annotations__, *QUARTILES]
    return pd.DataFrame(lines).reindex(columns=names).astype(dict.fromkeys(columns, float))


@styled
def draw(
    material: Material, rows: pd.DataFrame, methods: Sequence[str], forms: Sequence[tuple[str, str, str]] = ()
) -> Figure:
    """A line a method: runs by data set, filled, with intervals; the bench's step, hollow.

    `forms`: (contender of the bench, marker, words). Its groups differ in threads, the first black, the second grey.
    """
    runs, bench = rows[rows["metric"] == TIMES], rows[rows["metric"] == MEASURED_TIMES]
    known = set(runs[runs["n"] > 0]["method"]) | set(bench["method"])
    shown = [method for method in methods if method in known]
    places = places_of(runs[runs["n"] > 0])
    looks = {place: (OF_PLACE[rank % len(OF_PLACE)], SHAPES[rank % len(SHAPES)]) for rank, place in enumerate(places)}
    picture = sheet()
    axes = picture.subplots()
    _panel(axes, rows[rows["method"].isin(shown)], shown, looks, forms)
    axes.set_yticks(range(len(shown)), [material.title(method) for method in shown])
    entries: list[tuple[Any, str]] = [
        (
            Line2D([], [], color=colour, marker=marker, linewidth=1.4),
            f"runs: {place_title(material, *place)}, {_net(material, place)}",
        )
        for place, (colour, marker) in looks.items()
    ]
    drawn = dict.fromkeys(_form(title, forms) for title in bench["title"])
    entries += [(Line2D([], [], **_hollow(marker, OF_THREADS[0])), f"a step: {words}") for marker, words in drawn]
    plain = material.title(runs["against"].iloc[0]) if len(runs) else "ERM"
    axes.set_xlabel(f"time, multiple of {plain}'s")
    finish(picture, material, runs_text(runs, STAGES), _notes(material, rows, plain), entries,
           panels=0.6 + LINE * max(2, len(shown)))  # fmt: skip
    return Figure(picture, rows)


def _panel(
    axes: Axes,
    rows: pd.DataFrame,
    methods: Sequence[str],
    looks: Mapping[tuple[str, str], tuple[str, str]],
    forms: Sequence[tuple[str, str, str]],
) -> None:
    groups = _groups(rows)
    series: list[Any] = [*looks, *groups]
    for line in rows.to_dict("records"):
        measured = line["metric"] == MEASURED_TIMES
        if not measured and not line["n"]:
            continue
        place: Any = group_of(line["note"]) if measured else (line["experiment"], line["setting"])
        at = methods.index(line["method"]) + 0.72 * ((series.index(place) + 0.5) / len(series) - 0.5)
        if measured:
            colour = OF_THREADS[groups.index(place) % len(OF_THREADS)]
            _point(axes, line, at, colour, _hollow(_form(line["title"], forms)[0], colour))
        else:
            colour, marker = looks[place]
            _point(axes, line, at, colour, {"marker": marker, "color": colour})
    if not len(rows):
        empty(axes, "not run, and not measured")
        axes.set_xticks([])
        return
    frame(axes, rows, len(methods), room=1.09)
    axes.set_ylim(len(methods) - 0.45, -0.55)


def _point(axes: Axes, line: Mapping[Hashable, Any], at: float, colour: str, style: Mapping[str, Any]) -> None:
    """A ratio with its interval, or its quartiles, and the number beside it."""
    measured = line["metric"] == MEASURED_TIMES
    value = line["y"] if measured else line["mean"]
    ends = [line[end] for end in (QUARTILES if measured else ("low", "high"))]
    if not any(map(pd.isna, ends)):
        axes.plot(ends, [at, at], color=colour, linewidth=1.4, zorder=2)
    axes.plot([value], [at], **{"linestyle": "none", "markersize": 4, "zorder": 3, **style})
    right = value if pd.isna(ends[1]) else max(value, ends[1])
    beside: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": SMALL - 1}
    axes.annotate(f"{value:.2f}", (right, at), color=colour, **beside)


def _hollow(marker: str, colour: str) -> dict[str, Any]:
    return {"color": colour, "marker": marker, "markerfacecolor": "white", "markersize": 4, "linestyle": "none"}


def _net(material: Material, place: tuple[str, str]) -> str:
    """The net of a setting's runs, as the title of its experiment ends."""
    return material.experiment(place[0]).title.rpartition(", ")[2]


def _form(title: str, forms: Sequence[tuple[str, str, str]]) -> tuple[str, str]:
    """Marker and words of a contender of the bench."""
    return next(((marker, words) for name, marker, words in forms if name == title), ("D", title))


def _groups(rows: pd.DataFrame) -> list[str]:
    """The groups of the bench's lines, which say net, batch size and threads."""
    return list(dict.fromkeys(group_of(note) for note in rows[rows["metric"] == MEASURED_TIMES]["note"]))


def _notes(material: Material, rows: pd.DataFrame, plain: str) -> list[str]:
    notes = [f"Dotted: as long as {plain}"]
    groups = "; ".join(f"{colour}: {group}" for colour, group in zip(("black", "grey"), _groups(rows), strict=False))
    bench = f"Hollow: the bench, a step of the last stage over a plain one, bars: quartiles; {groups}"
    notes += machine_notes(material, rows, bench)
    absent: dict[str, list[str]] = {}
    runs = rows[rows["metric"] == TIMES]
    for place in places_of(runs):
        mine = runs[(runs["experiment"] == place[0]) & (runs["setting"] == place[1])]
        titles = mine[mine["n"] == 0]["title"]
        whole = len(titles) == len(mine)
        if len(titles):
            name = place_title(material, *place)
            absent.setdefault("Not run", []).append(name if whole else f"{name}: {', '.join(titles)}")
    return [*notes, *(f"{text}: {'; '.join(names)}" for text, names in absent.items())]
