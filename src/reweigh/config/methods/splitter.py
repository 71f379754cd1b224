"""What the card of LRWOpt says of its splitter; see `reweigh.methods.splitter`."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from reweigh.config.specs import Frozen, Positive, Rate

Weight = Annotated[float, Field(ge=0, le=1e3)]
Share = Annotated[float, Field(gt=0, lt=0.5)]


class Splitter(Frozen):
    """Θ, what it minimises, and how it divides the pool."""

    features: Literal["current", "warm", "none"]
    width: Positive
    rate: Rate | None
    momentum: Annotated[float, Field(ge=0, lt=1)]
    ratio: Weight
    ratio_kl: Literal["target_current", "current_target"]
    balance: Weight
    as_ls: bool
    pool_batch: Positive
    clip: Annotated[float, Field(gt=0, le=1e30)]
    adversary: Literal["none", "soft_val", "lookahead"]
    delta: Share
    threshold: Annotated[float, Field(gt=0, lt=1)]
    fill: bool
    fewest: Share

    @model_validator(mode="after")
    def _a_drawn_split_has_no_adversary(self) -> "Splitter":
        if self.features == "none" and self.adversary != "none":
            raise ValueError(
                f"adversary: {self.adversary} wants a splitter that learns; set features to current or warm"
            )
        return self


SPLITTER: dict[str, Any] = {
    "features": "current",
    "width": 16,
    "rate": 0.05,
    "momentum": 0.9,
    "ratio": 1.0,
    "ratio_kl": "target_current",
    "balance": 1.0,
    "as_ls": False,
    "pool_batch": 128,
    "clip": 1.0,
    "adversary": "none",
    "delta": 0.1,
    "threshold": 0.5,
    "fill": True,
    "fewest": 0.02,
}
