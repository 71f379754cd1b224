"""What the figures of all methods on one ground are made of: gains over plain training, costs, and kinds of settings.

Which settings are of a kind, and which methods are plain training of 1, 2, ... times the epochs, the options of an
artifact say (config/papers/compare/artifacts.yaml).
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from reweigh.analysis import across
from reweigh.analysis.across import Place
from reweigh.analysis.gains import TIMES
from reweigh.analysis.rows import DIFFERENCE, MEAN_GAIN_BY_SEED, Row, cell_names, summary_row
from reweigh.analysis.tables import Material
from reweigh.plots.costs import run_row
from reweigh.plots.left_out import absent_notes, of_scale
from reweigh.plots.notes import stand_ins
from reweigh.plots.style import data_title
from reweigh.stats import ALPHA

HEADLINE, WORST = "mean_group_accuracy", "worst_cell_accuracy"
SLACK = 0.1  # of a cost: what costs 1.1 times as much as plain training costs as much, to the clock
BEYOND = "beyond the longest ERM"  # note of a gain over plain training that takes less time than the method


def kinds_of(material: Material, shown: Sequence[Place] | None = None) -> dict[str, list[Place]]:
    """The settings that an artifact has, or those `shown`, by kind, in the order of its options; others come last."""
    known = across.places_of(material) if shown is None else shown
    kinds = dict[str, list[Place]]()
    for kind, chosen in material.artifact.options["kinds"].items():
        named = [Place(experiment, setting) for experiment, settings in chosen.items() for setting in settings]
        kinds[kind] = [place for place in named if place in known]
    if rest := [place for place in known if not any(place in places for places in kinds.values())]:
        kinds["others"] = rest
    return {kind: places for kind, places in kinds.items() if places}


def plain_runs(material: Material) -> dict[int, str]:
    """Plain training by how many times the epochs it has: 1, 2, ..."""
    return dict(enumerate(material.artifact.options["plain"], start=1))


def baseline(material: Material) -> str:
    """Plain training of as many epochs as the methods have."""
    return plain_runs(material)[1]


def places_of(material: Material) -> list[Place]:
    """The same settings in one list."""
    return [place for places in kinds_of(material).values() for place in places]


def methods_of(material: Material) -> list[str]:
    """All methods that an artifact shows, in its order, the baseline first."""
    shown = dict.fromkeys([baseline(material)])
    for place in across.places_of(material):
        shown |= dict.fromkeys(material.methods(*place))
    return list(shown)


def gain_rows(material: Material, metric: str = HEADLINE) -> list[Row]:
    """A line for each setting and method: the paired gain over plain training, with p values (`across.per_setting`).

    A cell that was not run, or that has nothing to be held against, has a line that says why.
    """
    plain = baseline(material)
    field = across.field_of(material, metric)
    known: dict[tuple[Any, ...], Any] = {}
    if plain in field.methods and len(field.methods) > 1:
        found = across.per_setting(material, plain, metric)
        known = {(line["experiment"], line["setting"], line["method"]): line for line in found.to_dict("records")}
    methods = [method for method in methods_of(material) if method != plain]
    return [
        known.get((*place, method)) or no_gain(material, place, method, plain, metric)
        for place in places_of(material)
        for method in methods
    ]


def no_gain(material: Material, place: Place, method: str, plain: str, metric: str) -> Row:
    """The line of a gain that there is none of, and why."""
    missing = [one for one in (method, plain) if material.of(*place, one).empty]
    reasons = dict.fromkeys(material.why_not(*place, one) for one in missing)
    return {
        "panel": across.place_title(material, place),
        **cell_names(material, *place, method),
        "against": plain,
        "metric": f"{metric}{DIFFERENCE}",
        "n": 0,
        "status": "not run",
        "note": ", ".join(reasons) or "not run",
        "runs": "",
        "records": "",
    }


def level_rows(material: Material, metric: str = HEADLINE) -> list[Row]:
    """A line for each setting: what plain training comes to there, the mean over its seeds."""
    plain, lines = baseline(material), list[Row]()
    for place in places_of(material):
        runs = material.of(*place, plain)
        summary = summary_row(material.with_metric(runs, metric), metric)
        note = "" if summary["runs"] else material.why_not(*place, plain)
        lines.append({**cell_names(material, *place, plain), **summary, "note": note})
    return lines


def cost_rows(material: Material) -> list[Row]:
    """A line for each setting and method: its seconds of training over those of plain training of the same seed."""
    plain = baseline(material)
    return [
        {**run_row(material, (*place, method), plain), "panel": across.place_title(material, place)}
        for place in places_of(material)
        for method in methods_of(material)
        if method != plain
    ]


def gains_in(rows: pd.DataFrame, metric: str = HEADLINE) -> pd.DataFrame:
    """The lines of gains."""
    return rows[rows["metric"] == f"{metric}{DIFFERENCE}"]


def costs_in(rows: pd.DataFrame) -> dict[tuple[Place, str], float]:
    """The mean cost of each cell that has one."""
    lines = rows[(rows["metric"] == TIMES) & rows["mean"].notna()]
    return {(Place(line.experiment, line.setting), line.method): float(line.mean) for line in lines.itertuples()}


def times_as_long(plain: Mapping[int, str], cost: float) -> int:
    """How many times the epochs plain training has that a method of some cost is held against.

    The smallest of those that there are which takes as long or longer, to a tenth; the largest where none does.

    >>> plain = {1: "once", 2: "twice", 4: "four times"}
    >>> [times_as_long(plain, cost) for cost in (0.9, 1.1, 1.2, 2.5, 9.0)]
    [1, 1, 2, 4, 4]
    """
    return next((times for times in sorted(plain) if times >= cost - SLACK), max(plain))


def has_pairs(line: Mapping[Any, Any]) -> bool:
    """Whether a gain has pairs of runs, if only such as diverged."""
    return bool(line["n"] > 0 or str(line["status"]).endswith("diverged"))


def lost(line: Mapping[Any, Any]) -> str:
    """Which of a gain's runs are lost, so that it decides nothing (`across.gain_line`); empty where none is.

    Also of a gain over several settings (`across.mean_gain_line`).
    """
    if line["metric"].endswith(MEAN_GAIN_BY_SEED):
        return next((part for part in line["note"].split("; ") if re.match(r"\d+ of \d+ runs of ", part)), "")
    told = has_pairs(line) and line["metric"].endswith(DIFFERENCE) and line["note"] != BEYOND
    return line["note"] if told else ""


def decides(line: Mapping[Any, Any], p: str = "p_holm") -> int:
    """1 where a difference is above 0 by its corrected p, -1 where it is below, 0 where that is open."""
    told = pd.notna(line.get(p)) and line[p] < ALPHA
    return (1 if line["mean"] > 0 else -1) if told else 0


def points(value: float, signed: bool = True) -> str:
    """A share of 1 in points, with three figures.

    >>> points(0.1234), points(-0.0123), points(0.00001)
    ('+12.3', '−1.23', '0.00')
    """
    scaled = 100 * value
    text = f"{scaled:{'+' if signed else ''}.{2 if abs(scaled) < 9.995 else 1}f}"
    return text.lstrip("+-") if not float(text) else text.replace("-", "−")


def head(material: Material, place: Place, width: int = 16) -> str:
    """The name of a setting in a few short lines, for a column or a row; of other data than digits with the data's."""
    label = material.label(*place).replace(" = ", "\u00a0=\u00a0")
    dataset = (material.experiment(place.experiment).dataset or "").removesuffix("-small")
    data = "" if dataset == "mnist" else f"{data_title(dataset).capitalize()}: "
    return textwrap.fill(f"{data}{label}", width, break_long_words=False)


def drawn(material: Material, rows: pd.DataFrame) -> tuple[list[Place], list[str]]:
    """The settings and the methods of some gains, less those that the scale leaves out."""
    gains = gains_in(rows)
    shown = of_scale(material, of_scale(material, gains, "experiment", "setting"), "method")
    methods = {*shown["method"], baseline(material)}
    at = {Place(*one) for one in zip(shown["experiment"], shown["setting"], strict=True)}
    return [place for place in places_of(material) if place in at], [
        one for one in methods_of(material) if one in methods
    ]


def missing(material: Material, rows: pd.DataFrame) -> list[str]:
    """What a figure has no gain of: settings without any, methods without any, then single cells by reason.

    And last, of which settings the data stand in for others.
    """
    gains = gains_in(rows)
    run = gains[[has_pairs(line) for line in gains.to_dict("records")]]
    if run.empty:
        return [f"Not run: {', '.join(dict.fromkeys(gains['note']))}"] if len(gains) else []
    seen, methods = {Place(*one) for one in zip(run["experiment"], run["setting"], strict=True)}, {*run["method"]}
    settings, absent = list[tuple[str, bool]](), list[tuple[str, bool]]()
    single = dict[str, list[str]]()
    for line in gains[gains["n"] == 0].to_dict("records"):
        place = Place(line["experiment"], line["setting"])
        if place not in seen:
            settings.append((head(material, place, 99), material.is_outside(*place)))
        elif line["method"] not in methods:
            absent.append((line["title"], material.left_out(place.experiment, line["method"])))
        else:
            single.setdefault(line["note"], []).append(f"{line['title']} ({head(material, place, 99)})")
    return [
        *absent_notes(material, settings, "Settings"),
        *absent_notes(material, absent, "Methods"),
        *(f"No gain ({note}): {'; '.join(cells)}" for note, cells in single.items()),
        *stand_ins(material, {(*place, method) for place in seen for method in (*methods, *run["against"])}),
    ]


def doubts(material: Material, lines: pd.DataFrame) -> list[str]:
    """Which of some gains decide nothing, and why; those without a number are in `missing`."""
    texts: dict[str, list[str]] = {}
    for line in lines[lines["n"] > 0].to_dict("records"):
        if why := lost(line):
            where = head(material, Place(line["experiment"], line["setting"]), 99)
            why = why.replace(f" of {line['method']} ", " ")
            texts.setdefault(why, []).append(f"{line['title']} ({where})")
    return [f"Decides nothing, {note}: {'; '.join(names)}" for note, names in texts.items()]
