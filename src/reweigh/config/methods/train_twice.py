"""What the cards of the methods share that train twice; see `reweigh.methods.train_twice`."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from reweigh.config.cards import PlannedPrefix, PlannedStage
from reweigh.config.specs import Frozen, Positive

MEMBERS = "members of train+validation"


class Margins(Frozen):
    """By which nets examples are judged."""

    source: Literal["once", "out-of-fold", "early"]
    folds: Positive | None
    epochs: Positive | None

    @model_validator(mode="after")
    def _goes_with_source(self) -> "Margins":
        if (self.folds is not None) != (self.source == "out-of-fold") or self.folds == 1:
            raise ValueError("folds: source out-of-fold, and no other, needs 2 or more")
        if (self.epochs is not None) != (self.source == "early"):
            raise ValueError("epochs: source early, and no other, needs the epochs after which nets judge")
        return self


class MarginOptions(Frozen):
    margins: Margins


ONCE: dict[str, Any] = {"source": "once", "folds": None, "epochs": None}
OUT_OF_FOLD: dict[str, Any] = {"source": "out-of-fold", "folds": 2, "epochs": None}
EARLY: dict[str, Any] = {"source": "early", "folds": None, "epochs": 2}


def first_stages(options: Mapping[str, Any], epochs: int) -> list[PlannedStage]:
    """Those that lead to the margins."""
    if (folds := options["margins"]["folds"]) is None:
        return [PlannedStage(epochs)]
    return [
        PlannedStage(epochs, part=MEMBERS, listed=lambda size, k=k: size - (size - k + folds - 1) // folds)  # type: ignore[misc]
        for k in range(folds)
    ]


def prefix(options: Mapping[str, Any]) -> PlannedPrefix:
    """The first stages, the same for every method of this kind."""
    return PlannedPrefix(options["margins"]["folds"] or 1, "train_twice", {"margins": options["margins"]})


def kept(share: float, size: int) -> int:
    """How many of `size` examples are left when a share of them is taken away, rounded to the nearest."""
    return size - round(share * size)
