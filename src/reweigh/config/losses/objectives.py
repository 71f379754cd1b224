"""What a config may say of an objective: a blend of parts, each with its weight (`reweigh/losses/objectives.py`)."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

ObjectivePart = Literal["ce", "ce_bal", "ce_bal_g", "ce_deo", "group_la"]
BY_CELL = ("ce_bal_g", "ce_deo", "group_la")  # of cells of class and group
Blend = dict[ObjectivePart, Annotated[float, Field(ge=0, allow_inf_nan=False)]]


def _some(blend: Blend) -> Blend:
    if not any(blend.values()):
        raise ValueError("at least one part must have a weight above 0")
    return blend


Objective = Annotated[Blend, AfterValidator(_some)]


def by_cell(*blends: Mapping[str, float]) -> bool:
    """Whether any of some blends has a part by cells."""
    return any(blend.get(part) for blend in blends for part in BY_CELL)
