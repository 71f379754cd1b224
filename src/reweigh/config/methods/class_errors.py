"""The stages that lead to class errors on held-out halves; see `reweigh.methods.class_errors`."""

from collections.abc import Mapping
from typing import Any, Literal

from reweigh.config.cards import PlannedPrefix, PlannedStage

Half = Literal[0, 1, "both"]


def stages(half: Half, epochs: int) -> list[PlannedStage]:
    """One of plain training on each half that a net is to be trained on."""
    return [
        PlannedStage(epochs, part="members", listed=lambda size, k=k: size // 2 if k == 0 else size - size // 2)  # type: ignore[misc]
        for k in ((0, 1) if half == "both" else (half,))
    ]


def prefix(half: Half) -> PlannedPrefix:
    """They, the same for every method that asks for them."""
    options: Mapping[str, Any] = {"half": half}
    return PlannedPrefix(2 if half == "both" else 1, "class_errors", options)
