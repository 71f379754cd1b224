"""Options of methods whose predictions may have a class threshold; see `reweigh.methods.thresholded`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from reweigh.config.cards import Options, PlannedStage
from reweigh.config.losses.objectives import Blend, Objective, by_cell
from reweigh.config.specs import Frozen

Part = Literal["train", "train+validation"]


def _of_predictions(blend: Blend) -> Blend:
    if "group_la" in blend:
        raise ValueError("group_la is a loss to train with, of other logits; say what is wanted of predictions")
    return blend


Wanted = Annotated[Objective, AfterValidator(_of_predictions)]


class Threshold(Frozen):
    """How validation examples choose a class threshold."""

    objective: Wanted
    by: Literal["losses", "errors"]
    temperatures: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_a_say(self) -> "Threshold":
        if self.by == "errors" and self.temperatures != [1.0]:
            raise ValueError("temperatures change no error; by errors they are [1.0]")
        return self


class ThresholdedOptions(Frozen):
    part: Part
    threshold: Threshold | None

    @model_validator(mode="after")
    def _ends_on_all(self) -> "ThresholdedOptions":
        if self.threshold and self.part == "train":
            raise ValueError("with a threshold part is train+validation: a fit on train comes before it anyway")
        return self


def stages(options: Options, epochs: int) -> list[PlannedStage]:
    """One stage; before it, with a threshold, the fit on the training set alone."""
    fit = [PlannedStage(epochs)] if options["threshold"] else []
    return [*fit, PlannedStage(epochs, part=options["part"])]


def cells_of(options: Options, *blends: Mapping[str, float]) -> Literal["cells"] | None:
    """The groups that these blends, and the threshold's, need: cells, or none."""
    chosen = [options["threshold"]["objective"]] if options["threshold"] else []
    return "cells" if by_cell(*blends, *chosen) else None


def traces(options: Options, steps: int) -> set[str]:
    """The threshold, where there is one."""
    return {"threshold_offset", "threshold_temperature", "threshold_reached"} if options["threshold"] else set()


# For the tests of each method.
BY_ERRORS: dict[str, Any] = {"objective": {"ce": 0.1, "ce_bal": 0.9}, "by": "errors", "temperatures": [1.0]}
BY_LOSSES: dict[str, Any] = {"objective": {"ce_bal": 1.0}, "by": "losses", "temperatures": [1.0, 2.0]}
