"""The card of fixed blends of objectives."""

from typing import Any

from pydantic import model_validator

from reweigh.config import cards
from reweigh.config.cards import Card, Look, Needs
from reweigh.config.losses.objectives import Objective
from reweigh.config.methods.base import ClassBalance, Loss, loss_name
from reweigh.config.methods.thresholded import BY_ERRORS, BY_LOSSES, ThresholdedOptions, cells_of, stages, traces


class Options(ThresholdedOptions):
    objective: Objective
    loss: Loss
    class_balance: ClassBalance | None

    @model_validator(mode="after")
    def _loss_is_of_ce(self) -> "Options":
        others = [name for name, share in self.objective.items() if share and name != "ce"]
        if self.loss and not self.objective.get("ce"):
            raise ValueError("loss stands for ce, which the objective has not; set it to null")
        if self.class_balance and others:
            raise ValueError(f"class_balance goes with ce alone, not with {others[0]}; set it to null")
        return self


def follows(options: cards.Options) -> dict[str, int]:
    """Means over classes or cells raise the weight of rare ones, and so do class weights and Group-LA's."""
    balanced = any(options["objective"].get(name) for name in ("ce_bal", "ce_bal_g", "group_la"))
    return {"rarity": int(balanced or bool(options["class_balance"]))}


MARKERS = {"cross_entropy": "o", "focal": "s", "ldam": "^", "sce": "v", "gce": "P"}
LOOKS = {
    "ce_deo": ("#E69F00", "v"),
    "ce_bal_g": ("#009E73", "s"),
    "group_la": ("#CC79A7", "^"),
    "ce_bal": ("#009E73", "P"),
}


def look(options: cards.Options) -> Look | None:
    """That of the part that is blended in; of the mean alone, that of plain training on its loss."""
    hollow, blend = bool(options["threshold"]), options["objective"]
    for part, (colour, marker) in LOOKS.items():
        if blend.get(part):
            return Look(colour, marker, hollow)
    loss = options["loss"] or {}
    if loss_name(options) == "parametric":
        return Look("#D55E00", "X" if loss["tau"] and loss["gamma"] else "D" if loss["tau"] else "P", hollow)
    return Look("#555555", MARKERS[loss_name(options)], hollow) if loss_name(options) in MARKERS else None


PLAIN: dict[str, Any] = {
    "objective": {"ce": 1.0},
    "part": "train",
    "loss": None,
    "class_balance": None,
    "threshold": None,
}
ALL: dict[str, Any] = {**PLAIN, "part": "train+validation"}
ADJUSTED: dict[str, Any] = {"name": "parametric", "tau": 1.0, "gamma": 0.1}

CARD = Card(
    options=Options,
    examples=(
        {**PLAIN, "loss": {"name": "ldam", "max_margin": 0.5, "scale": 2.0}},
        {**ALL, "class_balance": {"beta": 0.9999, "from_epoch": 2}},
        {**ALL, "objective": {"ce_bal": 1.0}, "threshold": BY_ERRORS},
        {**ALL, "objective": {"ce": 0.4, "ce_bal": 0.6}, "loss": ADJUSTED, "threshold": BY_LOSSES},
    ),
    follows=follows,
    needs=lambda options: Needs(groups=cells_of(options, options["objective"])),
    stages=stages,
    traces=traces,
    look=look,
    signed_weights=True,  # those of CE_deo sum to 0, of which rounding leaves a little on either side
)
