"""The card of the grid of parametric cross-entropies."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from reweigh.config import cards
from reweigh.config.cards import Card, Look, Needs, PlannedPrefix, PlannedStage
from reweigh.config.losses.objectives import by_cell
from reweigh.config.methods.thresholded import Wanted
from reweigh.config.specs import Frozen


class Candidate(Frozen):
    tau: Annotated[float, Field(ge=0)]
    gamma: Annotated[float, Field(ge=0)]


class Options(Frozen):
    grid: Annotated[list[Candidate], Field(min_length=1)]
    post_hoc: bool | Literal["keep"]
    objective: Wanted
    by: Literal["losses", "errors"]

    @model_validator(mode="after")
    def _means_something(self) -> "Options":
        if len(set(self.grid)) < len(self.grid):
            raise ValueError("grid: names a candidate twice")
        if self.post_hoc and any(candidate.gamma for candidate in self.grid):
            raise ValueError("grid: after training only tau is adjusted; with post_hoc gamma is 0")
        return self


def stages(options: cards.Options, epochs: int) -> list[PlannedStage]:
    """One for each candidate, or one for all after training; then the retraining."""
    candidates = 1 if options["post_hoc"] else len(options["grid"])
    return [*[PlannedStage(epochs)] * candidates, PlannedStage(epochs, part="train+validation")]


def prefix(options: cards.Options) -> PlannedPrefix | None:
    """The first stage where it is plain training."""
    plain = options["post_hoc"] or not any(options["grid"][0].values())
    return PlannedPrefix(1, "none", {"scale": "mean"}) if plain else None


TAUS: list[dict[str, float]] = [{"tau": 0.0, "gamma": 0.0}, {"tau": 1.0, "gamma": 0.0}]
EXAMPLE: dict[str, Any] = {"grid": TAUS, "post_hoc": False, "objective": {"ce_bal": 1.0}, "by": "losses"}

CARD = Card(
    options=Options,
    examples=(
        EXAMPLE,
        {**EXAMPLE, "grid": [{"tau": 1.5, "gamma": 0.2}, {"tau": 0.0, "gamma": 0.3}], "by": "errors"},
        {**EXAMPLE, "post_hoc": True, "objective": {"ce": 0.5, "ce_bal": 0.5}, "by": "errors"},
        {**EXAMPLE, "post_hoc": "keep", "grid": [{"tau": 2.0, "gamma": 0.0}, *TAUS]},
    ),
    stages=stages,
    prefix=prefix,
    needs=lambda options: Needs(validation=True, groups="cells" if by_cell(options["objective"]) else None),
    traces=lambda options, steps: {"scores", "tau", "gamma"},
    look=lambda options: Look("#0072B2", "v", hollow=bool(options["post_hoc"])),
)
