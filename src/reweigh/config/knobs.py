"""The knobs of the methods: what `options` of a method must state, all of it.

A method that is not listed here may state what it likes; its own module then has to refuse what it does not know.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from reweigh.config.specs import Count, Frozen, Positive, Sampling, Schedule


class NoneOptions(Frozen):
    scale: Literal["mean", "1c"]


class HardOptions(Frozen):
    scale: Literal["simplex", "mean"]


class RandomOptions(Frozen):
    per: Literal["example", "class"]
    every: Positive


class ErOptions(Frozen):
    scale: Literal["sum", "mean"]


class TdrOptions(Frozen):
    outer_every: Positive
    outer_learning_rate: Annotated[float, Field(gt=0)]
    clip_max: Annotated[float, Field(gt=0)] | None
    normalisation: Literal["class", "batch"]
    hypergradient_batch: Literal["fresh", "last"]
    look_ahead_decay: bool
    target_mode: Literal["eval", "train"]
    target_augment: bool


class ConstantOptions(Frozen):
    pass


class StageOne(Frozen):
    """What stage one of the two-stage methods needs beside the training block; `training.epochs` are its epochs."""

    sampling: Sampling


class SecondStage(Frozen):
    """The training block of a second stage, which trains the head."""

    epochs: Positive
    sampling: Sampling
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    nesterov: bool
    schedule: Schedule

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "SecondStage":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class StageOneOptions(Frozen):
    stage_one: StageOne


class TwoStageOptions(StageOneOptions):
    second_stage: SecondStage


class AbsgdHeadOptions(TwoStageOptions):
    lambda_: float
    gamma: Annotated[float, Field(gt=0, le=1)]
    alpha: Annotated[float, Field(gt=0)]
    uniform: bool

    @model_validator(mode="after")
    def _finite(self) -> "AbsgdHeadOptions":
        if not self.lambda_:
            raise ValueError("a lambda of 0 has no weights")
        return self


class TauNormOptions(StageOneOptions):
    tau_max: Annotated[float, Field(gt=0)]
    tau_step: Annotated[float, Field(gt=0)]


Loss = dict[str, Any] | None  # {"name": ..., its options}: `checks` reads what the loss's own file takes


class ClassBalance(Frozen):
    """Effective-number class weights in the loss, from an epoch on."""

    beta: Annotated[float, Field(ge=0, lt=1)]
    from_epoch: Count


class NormalisedClassBalance(ClassBalance):
    normalisation: Literal["none", "batch"]


class RateFactor(Frozen):
    factor: Annotated[float, Field(gt=0)]
    from_epoch: Count


class SgdOptions(Frozen):
    loss: Loss
    class_balance: ClassBalance | None
    sampling: Literal["uniform", "effective-number"]
    rate_factor: RateFactor | None


class TiltedOptions(Frozen):
    lambda_: float | None
    from_epoch: Count
    loss: Loss

    @model_validator(mode="after")
    def _finite(self) -> "TiltedOptions":
        if 0 in (self.lambda_, getattr(self, "first_lambda", None)):
            raise ValueError("a lambda of 0 has no weights; null is plain SGD")
        return self


class AbsgdOptions(TiltedOptions):
    first_lambda: float | None
    gamma: Annotated[float, Field(gt=0, le=1)]
    alpha: Annotated[float, Field(gt=0)]
    uniform: bool
    class_balance: NormalisedClassBalance | None
    log_weights: bool


class AbadamOptions(AbsgdOptions):
    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]
    stability: Annotated[float, Field(gt=0)]


class EgOptions(TiltedOptions):
    lambda_: float
    persistent: bool
    class_balance: ClassBalance | None


class MetaOptions(Frozen):
    from_epoch: Count
    beta: Annotated[float, Field(ge=0, lt=1)]
    weight_rate: Annotated[float, Field(gt=0)]
    meta_learning_rate: Annotated[float, Field(gt=0)]
    meta_milestones: list[Count]
    meta_factor: Annotated[float, Field(gt=0)]
    meta_loss: Literal["cross_entropy", "own"]
    target_augment: bool
    loss: Loss


KNOBS: dict[str, type[Frozen]] = {
    "none": NoneOptions,
    "hard": HardOptions,
    "random_weights": RandomOptions,
    "er": ErOptions,
    "tdr": TdrOptions,
    "constant": ConstantOptions,
    "joint": StageOneOptions,
    "ncm": StageOneOptions,
    "crt": TwoStageOptions,
    "lws": TwoStageOptions,
    "tau_norm": TauNormOptions,
    "absgd_head": AbsgdHeadOptions,
    "sgd": SgdOptions,
    "absgd": AbsgdOptions,
    "abadam": AbadamOptions,
    "eg": EgOptions,
    "meta": MetaOptions,
}
