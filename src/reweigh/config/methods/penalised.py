"""What the cards of the methods share that penalise gradient norms; see `reweigh.methods.penalised`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from reweigh.config.methods.base import ClassBalance, Loss
from reweigh.config.specs import Frozen

Pattern = Annotated[str, Field(min_length=1)]  # of the names of layers, as in the shell: blocks.*.norm1


class PenaltyOptions(Frozen):
    lambda_: Annotated[float, Field(gt=0, le=1e6)]
    layers: Annotated[list[Pattern], Field(min_length=1)]
    aggregate: Literal["sum", "rss"]
    route: Literal["double-backward", "difference"]
    epsilon: Annotated[float, Field(ge=1e-4, le=0.1)] | None
    loss: Loss
    class_balance: ClassBalance | None

    @model_validator(mode="after")
    def _epsilon_goes_with_route(self) -> "PenaltyOptions":
        if (self.epsilon is not None) != (self.route == "difference"):
            raise ValueError("epsilon: route difference, and no other, needs it; write null for double-backward")
        return self


LENET = ["conv1", "conv2", "fc1", "fc2"]
PENALTY: dict[str, Any] = {
    "lambda_": 1.0,
    "layers": LENET,
    "aggregate": "sum",
    "route": "double-backward",
    "epsilon": None,
    "loss": None,
    "class_balance": None,
}
DIFFERENCE: dict[str, Any] = {"route": "difference", "epsilon": 0.003}
RESNET32 = ["blocks.*.norm1", "blocks.*.norm2"]


def follows(options: Mapping[str, Any]) -> dict[str, int]:
    """The strengths are in the penalty; weights are those of the classes in the loss."""
    return {"rarity": int(bool(options["class_balance"]))}
