"""Methods that an artifact shows beside those of the paper, in figures whose panels name their methods one by one."""

from collections.abc import Sequence
from typing import Any

from reweigh.analysis.tables import Material


def with_beside(material: Material, panels: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """The panels, (title, methods[, settings]), each with the methods that stand in none of them.

    A method of one's own is compared with every set of values. Without such methods the panels are as they were.
    """
    named = {method for _, methods, *_ in panels for method in methods}
    beside = [name for name in material.config.beside(material.paper, material.name) if name not in named]
    return [(title, [*methods, *beside], *rest) for title, methods, *rest in panels]
