"""What the cards of the two-stage methods share; see `reweigh.methods.two_stage`."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from reweigh.config.cards import Options, PlannedPrefix, PlannedStage
from reweigh.config.specs import Decay, Frozen, Positive, Rate, Sampling, Schedule, check_warmup


class StageOne(Frozen):
    """What stage one needs beside the training block; `training.epochs` are its epochs."""

    sampling: Sampling


class SecondStage(Frozen):
    """The training block of a second stage, which trains the head."""

    epochs: Positive
    sampling: Sampling
    batch_size: Positive
    learning_rate: Rate
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Decay
    nesterov: bool
    schedule: Schedule

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "SecondStage":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    @model_validator(mode="after")
    def _warm_up_ends(self) -> "SecondStage":
        check_warmup(self.schedule, self.epochs)
        return self


class StageOneOptions(Frozen):
    stage_one: StageOne


class TwoStageOptions(StageOneOptions):
    second_stage: SecondStage


def stages(options: Options, epochs: int) -> list[PlannedStage]:
    """Stage one, then what trains the head; no epochs where nothing does."""
    second = options.get("second_stage")
    after = PlannedStage(0)
    if second:
        after = PlannedStage(second["epochs"], second["sampling"], second["batch_size"], train="head")
    return [PlannedStage(epochs, options["stage_one"]["sampling"]), after]


def prefix(options: Options) -> PlannedPrefix:
    """Stage one, the same for every method of this kind."""
    return PlannedPrefix(1, "two_stage", {"stage_one": options["stage_one"]})


# For the tests of each method: a stage one and a second stage.
STAGE_ONE: dict[str, Any] = {"sampling": "uniform"}
SECOND: dict[str, Any] = {
    "epochs": 2,
    "sampling": "class-aware",
    "batch_size": 32,
    "learning_rate": 0.2,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "nesterov": False,
    "schedule": {"name": "cosine", "warmup_epochs": 0},
}
