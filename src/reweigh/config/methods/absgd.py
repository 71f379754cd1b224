"""The card of ABSGD; its options are those of ABAdam too, but for the moments, and some of them EG's."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from reweigh.config import cards
from reweigh.config.cards import BenchEntry, Card, Look
from reweigh.config.methods.base import ClassBalance, Loss, loss_name
from reweigh.config.specs import Count, Frozen


class NormalisedClassBalance(ClassBalance):
    normalisation: Literal["none", "batch"]


class TiltedOptions(Frozen):
    lambda_: float | None
    from_epoch: Count
    loss: Loss

    @model_validator(mode="after")
    def _has_weights(self) -> "TiltedOptions":
        if 0 in (self.lambda_, getattr(self, "first_lambda", None)):
            raise ValueError("a lambda of 0 has no weights; null is plain SGD")
        return self


class Options(TiltedOptions):
    first_lambda: float | None
    gamma: Annotated[float, Field(gt=0, le=1)]
    alpha: Annotated[float, Field(gt=0)]
    uniform: bool
    class_balance: NormalisedClassBalance | None
    log_weights: bool
    heavy_ball: Annotated[float, Field(ge=0, lt=1)] | None = None  # β of eq. (2); null: that of the training block

    newer: ClassVar[frozenset[str]] = frozenset({"heavy_ball"})


def follows(options: cards.Options) -> dict[str, int]:
    """λ > 0 raises the weight of large losses, λ < 0 lowers it; class weights raise that of rare classes."""
    tilt = options["lambda_"] or 0
    return {"loss": (tilt > 0) - (tilt < 0), "rarity": int(bool(options.get("class_balance")))}


def traces(options: cards.Options, steps: int) -> set[str]:
    """The mean weight of each class, a row an epoch, where it is asked for."""
    return {"mean_weights"} if options["log_weights"] else set()


MARKERS = {"cross_entropy": "o", "focal": "D", "ldam": "^", "sce": "v"}


def look(options: cards.Options) -> Look | None:
    marker = None if options["class_balance"] else MARKERS.get(loss_name(options))
    return Look("#D55E00", marker) if marker else None


BENCH: dict[str, Any] = {
    "lambda_": 5.0,
    "from_epoch": 0,
    "first_lambda": None,
    "gamma": 0.5,
    "alpha": 1.0,
    "uniform": False,
    "loss": None,
    "class_balance": None,
    "log_weights": False,
}
SCE: dict[str, Any] = {"name": "sce", "alpha": 0.1, "beta": 1.0}
BALANCE: dict[str, Any] = {"beta": 0.9999, "from_epoch": 2, "normalisation": "batch"}

CARD = Card(
    options=Options,
    examples=(
        {**BENCH, "lambda_": 2.0, "log_weights": True},
        {**BENCH, "lambda_": -0.5, "from_epoch": 2, "alpha": 0.5, "uniform": True, "loss": SCE},
        {**BENCH, "from_epoch": 1, "first_lambda": 10.0, "log_weights": True},
        {**BENCH, "loss": {**SCE, "normalise_logits": True}, "class_balance": BALANCE},
        {**BENCH, "lambda_": None},
        {**BENCH, "heavy_ball": 0.9},
    ),
    follows=follows,
    traces=traces,
    bench=BenchEntry("ABSGD", BENCH),
    look=look,
)
