"""The house style: one colour and marker a method, legible type, panel letters, and the scale on every figure."""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from reweigh.analysis.tables import Material
from reweigh.config.cards import Look, card_of
from reweigh.config.models import Method
from reweigh.config.sources import source_of

WIDTH = 7.0  # inches: two columns
SMALL = 6.5  # points

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.grid.axis": "y",
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.hashsalt": "reweigh",
    "text.parse_math": False,  # what stands between two $ of a title or a value is no formula; see `Formula`
    "savefig.dpi": 200,
    "figure.dpi": 100,
}


def alone() -> AbstractContextManager[None]:
    """In this context matplotlib has the house style and its own defaults, whatever its user has set."""
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **RC, "backend": "agg"})


INK, MUTED, WARNING = "#222222", "#6b6b6b", "#b35900"
BAND = "#f6f6f6"  # behind every other group of points


Legend = Iterable[tuple[Any, str]]  # handle and text


class Formula(str):
    """A text of a legend in which what stands between two $ is a formula. Elsewhere `parse_math=True` says so."""


# The first of a paper's methods to which a card gives a look has it; the others get one of these. All colours are Okabe
# and Ito's or as far apart: people with any colour vision can tell them apart, and grey levels differ too.
SPARE = [Look(colour, marker) for marker in "P*hd<>" for colour in ("#E69F00", "#8C510A", "#5E3C99", "#B2182B")]


def looks(methods: Mapping[str, Method]) -> dict[str, Look]:
    """The look of each of a paper's methods, no two alike as long as there are spare ones."""
    chosen: dict[str, Look] = {}
    spare = 0
    for name, method in methods.items():
        own = card_of(method.uses).look(method.options)
        if own is None or own in chosen.values():
            own, spare = SPARE[spare % len(SPARE)], spare + 1
        chosen[name] = own
    return chosen


def look_in(material: Material, method: str) -> Look:
    """The look of a method of a paper."""
    return looks(material.config.paper(material.paper).methods)[method]


def own_look(material: Material, method: str) -> Look | None:
    """A method's look as its card has it, filled, whichever variant of it a paper lists first; None if it has none."""
    entry = material.config.paper(material.paper).methods[method]
    look = card_of(entry.uses).look(entry.options)
    return look and look._replace(hollow=False)


def look_of(module: str) -> Look:
    """The look of a method as the card of its module has it first; for figures of the method's own paper."""
    card = card_of(module)
    look = card.look(card.examples[0])
    return SPARE[0] if look is None else look


def marker_style(chosen: Look) -> dict[str, Any]:
    """matplotlib's words for a look's marker."""
    face = "white" if chosen.hollow else chosen.colour
    return {"marker": chosen.marker, "markerfacecolor": face, "markeredgecolor": chosen.colour, "markeredgewidth": 0.9}


def sheet(height: float = 3.0, width: float = WIDTH) -> Figure:
    """An empty figure (inches). Made without pyplot, so that no figure stays behind in a process."""
    return Figure(figsize=(width, height), layout="constrained")


def finish(
    figure: Figure,
    material: Material,
    shows: str,
    notes: Iterable[str] = (),
    legend: Legend = (),
    panels: float | None = None,
) -> None:
    """Title and legend above; below, what the figure shows, notes, and at smaller scales that it is no replication.

    `panels`: the height (inches) that the panels shall have; the figure then gets as high as all of it needs.
    """
    lines, legend = _footer(figure.get_size_inches()[0], material, [shows, *notes]), list(legend)
    line_height = SMALL * 1.4 / 72
    if panels is not None:
        figure.set_figheight(panels + 0.27 + (0.25 if legend else 0) + line_height * (len(lines) + 1))
    height = figure.get_size_inches()[1]
    line = line_height / height
    for place, (text, colour) in enumerate(reversed(lines)):
        weight = "bold" if colour == WARNING else "normal"
        figure.text(0.008, line * (place + 0.45), text, fontsize=SMALL, color=colour, va="bottom", weight=weight)
    title = figure.text(0.008, 1 - 0.06 / height, heading(material), fontsize=9, weight="bold", color=INK, va="top")
    _shrink(figure, title)
    top = 0.27 / height
    if legend:
        top += _legend(figure, legend, top) / height
    bottom = line * (len(lines) + 1)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, bottom, 1, 1 - bottom - top), w_pad=0.06, h_pad=0.05)


def heading(material: Material) -> str:
    """`Fig. 5 · title`, `Table 1 · title`."""
    kind, name = material.artifact.kind, material.name
    numbered = re.fullmatch(r"(?:fig|table)(\d+)", name)  # what the paper does not have, has a name without a number
    what = f"{'Table' if kind == 'table' else 'Fig.'} {numbered[1]} · " if numbered else ""
    return f"{what}{material.artifact.title}"


def _footer(width: float, material: Material, texts: list[str]) -> list[tuple[str, str]]:
    """Lines and their colours, broken to a figure's width (inches)."""
    characters = int(width * 72 / (SMALL * 0.57))
    lines = [(line, MUTED) for text in texts for line in textwrap.wrap(text, characters)]
    if not material.trains:
        return [*lines, ("nothing is trained for this figure: it is the same at every scale", INK)]
    if material.scale == "local":
        return [*lines, ("scale: local, a data set of one's own; options are the defaults of the methods' papers", INK)]
    scale, cuts, (whole, whose) = material.scale, "; ".join(material.cuts()), scale_text(material)
    if scale == "paper":
        badge = "; ".join(filter(None, (f"scale: paper{f' ({whole})' if whole else ''}", whose)))
        colour, share = INK, 1.0
    else:
        lines += [(line, MUTED) for line in textwrap.wrap(capitalised(whose), characters)]
        badge, colour, share = (
            f"scale: {scale}, not comparable with the paper{f': {cuts}' if cuts else ''}",
            WARNING,
            0.9,
        )
    return lines + [(line, colour) for line in textwrap.wrap(badge, int(characters * share))]


# Whose choices the runs of a figure have. Methods say it with their `values`; of an experiment that the paper does not
# have (an `extension`) the sources in the config say whether net, epochs and rate are ours.
VALUE_SETS = {
    "printed": "printed values",
    "code": "values of the authors' code",
    "ours": "values of ours",
}
ON_OURS = {  # where nothing else is drawn than what the paper does not have
    "printed": "methods as printed",
    "code": "methods as in the authors' code",
    "ours": "values of ours",
}
PARTS = {
    "net": ("model", "name"),
    "epochs": ("training", "epochs"),
    "learning rate": ("training", "learning_rate"),
}
MANY = 4  # titles of the last set, from which on they are just "the others"


def values_text(material: Material, words: Mapping[str, str] = VALUE_SETS) -> str:
    """Whose values the runs of a figure have, where paper and code differ; empty where they do not.

    `values of the authors' code throughout`, or with names where there are several sets, or methods of none.
    """
    methods = material.config.paper(material.paper).methods
    titles: dict[str, list[str]] = {}
    shown = list(dict.fromkeys(material.runs["method"]))
    for name in shown:
        if whose := methods[name].values:
            titles.setdefault(whose, []).append(methods[name].title.removesuffix(f" ({whose})"))
    all_said = all(methods[name].values for name in shown)
    if len(titles) == 1 and (all_said or len(next(iter(titles.values()))) > MANY):
        return "".join(words[whose] for whose in titles) + " throughout" * (all_said and words is VALUE_SETS)
    named = {whose: listed(titles[whose]) for whose in words if whose in titles}
    if words is ON_OURS and all_said and len(titles.get("ours", [])) > MANY:
        named["ours"] = "all others"
    return "; ".join(f"{words[whose]}: {names}" for whose, names in named.items())


def scale_text(material: Material) -> tuple[str, str]:
    """What is to be said of scale `paper`, `nothing is cut` or nothing, and whose choices the runs have.

    Of an experiment with a shorter training than the paper's it is not said that nothing is cut.
    """
    shown = list(dict.fromkeys(material.runs["experiment"]))
    other = [name for name in shown if ours_of(material, name)]
    alone = bool(other) and len(other) == len(shown)
    values = values_text(material, ON_OURS if alone else VALUE_SETS)
    return "" if alone else "nothing is cut", "; ".join(filter(None, (values, ours_text(material, other))))


def ours_of(material: Material, experiment: str) -> list[str]:
    """What is ours of an experiment of ours; nothing of one on the paper's data, or data like it, with the paper's net.

    Data are ours if no experiment of the paper's own has the data set.
    """
    one, known = material.experiment(experiment), material.config.paper(material.paper).experiments
    if not one.extension:
        return []
    sources = material.config.sources[material.paper]
    found = [
        part
        for part, keys in PARTS.items()
        if source_of(sources, ("experiments", experiment, *keys)).startswith("ours")
    ]
    data = one.dataset not in {entry.dataset for entry in known.values() if not entry.extension}
    return ["data set"] * data + found if data or "net" in found else []


def ours_text(material: Material, experiments: Sequence[str]) -> str:
    """`data set, net, epochs and learning rate of MNIST are ours`, for each data set of some experiments of ours."""
    by_data: dict[str, dict[str, None]] = {}
    for name in experiments:
        data = data_title(material.experiment(name).dataset)
        by_data.setdefault(data, {}).update(dict.fromkeys(ours_of(material, name)))
    return "; ".join(f"{_and(list(parts))} of {data} {'are' if len(parts) > 1 else 'is'} ours"
                     for data, parts in by_data.items())  # fmt: skip


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def capitalised(text: str) -> str:
    """A text with a capital at its beginning, and the rest as it is.

    >>> capitalised("values of TDR")
    'Values of TDR'
    """
    return text[:1].upper() + text[1:]


def listed(titles: Iterable[str]) -> str:
    """Titles in a row; one with a comma of its own stands in quotation marks.

    >>> listed(["CE", "CE, offset"])
    'CE, “CE, offset”'
    """
    return ", ".join(f"“{title}”" if "," in title else title for title in titles)


def _shrink(figure: Figure, title: Any) -> None:
    """Make a title smaller until it fits its figure."""
    width = figure.get_size_inches()[0] * figure.dpi
    while title.get_window_extent().width > 0.985 * width and title.get_fontsize() > 6:
        title.set_fontsize(title.get_fontsize() - 0.25)


def _legend(figure: Figure, entries: list[tuple[Any, str]], top: float) -> float:
    """Draw the legend `top` (a share of the height) below the edge, in as many columns as fit; its height in inches."""
    width = figure.get_size_inches()[0]
    for columns in range(len(entries), 0, -1):
        drawn = figure.legend(
            *zip(*entries, strict=True),
            loc="upper left",
            bbox_to_anchor=(0, 1 - top),
            ncols=columns,
            borderaxespad=0.2,
            columnspacing=1.4,
            handletextpad=0.5,
            handlelength=3.2,
        )
        for shown, (_, text) in zip(drawn.get_texts(), entries, strict=True):
            shown.set_parse_math(isinstance(text, Formula))
        drawn.set_in_layout(False)
        box = drawn.get_window_extent()
        if box.width <= width * figure.dpi or columns == 1:
            break
        drawn.remove()
    return float(box.height / figure.dpi)


def entry(material: Material, method: str, text: str = "", linestyle: Any = "-") -> tuple[Any, str]:
    """A method's entry in a legend."""
    return entry_of(look_in(material, method), text or material.title(method), linestyle)


def entry_of(chosen: Look, text: str, linestyle: Any = "-") -> tuple[Any, str]:
    """The entry of a look in a legend."""
    width = 1.5 if linestyle == "-" else 1.0
    return Line2D([], [], color=chosen.colour, linestyle=linestyle, linewidth=width, **marker_style(chosen)), text


def letter(axes: Axes, name: str, text: str = "") -> None:
    """Panel letter, and a short title beside it."""
    place: dict[str, Any] = {"xy": (0, 1), "xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(name, xytext=(0, 6), weight="bold", size=9, **place)
    axes.annotate(text, xytext=(11, 6), **place)


def empty(axes: Axes, text: str) -> None:
    """Say in an empty panel why it is empty."""
    axes.text(
        0.5,
        0.5,
        textwrap.fill(text, 44),
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=MUTED,
        style="italic",
    )


def is_last_row(axes: Axes) -> bool:
    """Whether axes stand at the foot of their figure."""
    place = axes.get_subplotspec()
    return place is None or place.is_last_row()


def data_title(dataset: str | None) -> str:
    """How figures write a data set's name: `cifar10n` -> `CIFAR-10N`; nothing for an experiment that has none."""
    written = {"mnist": "MNIST", "waterbirds": "Waterbirds"}
    name = re.sub("cifar([0-9]+)(n?)", lambda found: f"CIFAR-{found[1]}{found[2].upper()}", dataset or "")
    for plain, title in written.items():
        name = name.replace(plain, title)
    return name
