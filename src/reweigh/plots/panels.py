"""Which methods of an experiment stand in which panel of a figure: one panel for each set of values, say."""

from collections.abc import Sequence
from itertools import starmap
from typing import Any, NamedTuple

from reweigh.analysis.tables import Material
from reweigh.config.cards import Look
from reweigh.plots.style import look_in, own_look

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VALUE_SETS = (" (printed)", " (code)")  # how the titles of methods end, where a panel says it for all of them


class Panel(NamedTuple):
    """`title` stands above it; its settings are all of the figure's where none are named."""

    title: str
    methods: Sequence[str]
    settings: Sequence[str] = ()


def chosen(material: Material, experiment: str, panels: Sequence[Sequence[Any]]) -> list[Panel]:
    """The panels that have anything to show, each with those of its methods and settings that the artifact shows.

    `panels` are (title, methods[, settings]); without any there is one panel of everything. A panel whose methods the
    scale leaves out is none of them, nor is it for what stands beside them. Where no panel has anything, all are shown
    as asked for, so that the figure says what was not run.
    """
    methods, settings = material.methods(experiment), material.settings(experiment)
    asked = list(starmap(Panel, panels)) or [Panel("", methods)]
    kept = [
        Panel(
            one.title,
            [method for method in one.methods if method in methods],
            [setting for setting in settings if not one.settings or setting in one.settings],
        )
        for one in asked
    ]
    shown = [one for one in kept if one.settings and not _is_left_out(material, experiment, one.methods)]
    return shown or [one._replace(settings=one.settings or settings) for one in asked]


def _is_left_out(material: Material, experiment: str, methods: Sequence[str]) -> bool:
    """Whether a panel has no method, or none that the scale has but those of one's own, which stand in every panel."""
    beside = material.config.beside(material.paper, material.name)
    papers = [method for method in methods if method not in beside] or methods
    return all(material.left_out(experiment, method) for method in papers)


def settings_of(material: Material, experiment: str) -> list[str]:
    """The settings of an experiment that an artifact shows: by how many labels are wrong, where that is what varies.

    So clean data come first in every figure, whatever the config lists first; other settings keep the paper's order.
    """
    settings = material.settings(experiment)
    if material.experiment(experiment).varies != "label noise":
        return settings
    return sorted(settings, key=lambda setting: float(material.value(experiment, setting)))


def looks_in(material: Material, methods: Sequence[str]) -> dict[str, Look]:
    """Looks for the methods of one panel: the first of a kind looks as its card says, whatever values it is run with.

    So the same method with other values looks the same in the panel beside it.
    """
    looks: dict[str, Look] = {}
    for method in methods:
        own = own_look(material, method)
        looks[method] = own if own is not None and own not in looks.values() else look_in(material, method)
    return looks


def is_extra(material: Material, experiment: str, method: str) -> bool:
    """Whether a method stands beside those that an artifact must show, and is none of them with other values."""
    methods = material.config.paper(material.paper).methods
    needed = [name for reads in material.artifact.reads if reads.experiment == experiment for name in reads.methods]
    return bool(needed) and methods[method].uses not in {methods[name].uses for name in needed}


def short_title(material: Material, method: str) -> str:
    """A method's title without the values that it is run with, for panels that state them."""
    title = material.title(method)
    ending = next((one for one in VALUE_SETS if title.endswith(one)), "")
    return title.removesuffix(ending)
