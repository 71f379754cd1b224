"""The card of HAR."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from reweigh.config.cards import Card, Look, PlannedPrefix, PlannedStage
from reweigh.config.methods import class_errors, uniform_penalty
from reweigh.config.methods.penalised import DIFFERENCE, PENALTY, PenaltyOptions, follows
from reweigh.config.specs import Positive

Exponent = Annotated[float, Field(ge=0, le=10)]


class Options(PenaltyOptions):
    half: class_errors.Half | None
    errors_after: Positive | None
    noise_exponent: Exponent
    density_exponent: Exponent
    floor: Literal["1/n"] | None
    strengths: Literal["by-class", "mean"]

    @model_validator(mode="after")
    def _errors_are_used(self) -> "Options":
        if (self.half is None) != (self.noise_exponent == 0):
            raise ValueError("half: errors are taken on one unless noise_exponent is 0, and then on none: write null")
        for name in ("errors_after", "floor"):
            if self.noise_exponent == 0 and getattr(self, name) is not None:
                raise ValueError(f"{name}: with noise_exponent 0 there are no errors; write null")
        return self


CODE: dict[str, Any] = {
    **PENALTY,
    "half": 0,
    "errors_after": None,
    "noise_exponent": 0.6,
    "density_exponent": 0.4,
    "floor": None,
    "strengths": "by-class",
}
NO_ERRORS: dict[str, Any] = {"noise_exponent": 0.0, "half": None}


def stages(options: Mapping[str, Any], epochs: int) -> list[PlannedStage]:
    estimates = [] if options["half"] is None else class_errors.stages(options["half"], epochs)
    return [*estimates, PlannedStage(epochs)]


def prefix(options: Mapping[str, Any]) -> PlannedPrefix | None:
    return None if options["half"] is None else class_errors.prefix(options["half"])


def same_as(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """With both exponents 0 every strength is 1, and there is one stage."""
    if options["noise_exponent"] or options["density_exponent"]:
        return None
    return "uniform_penalty", {name: options[name] for name in PENALTY}


def traces(options: Mapping[str, Any], steps: int) -> set[str]:
    errors = set() if options["half"] is None else {"held_out_errors", "class_errors"}
    return uniform_penalty.CARD.traces(options, steps) | errors | {"strengths"}


def look(options: Mapping[str, Any]) -> Look:
    parts = {
        ("#0072B2", "v"): not options["noise_exponent"],
        ("#CC79A7", "^"): not options["density_exponent"],
        ("#56B4E9", "D"): options["strengths"] == "mean",
    }
    colour, marker = next((look for look, is_it in parts.items() if is_it), ("#D55E00", "o"))
    return Look(colour, marker, hollow=options["route"] == "difference")


CARD = Card(
    options=Options,
    examples=(
        CODE,
        {**CODE, "half": 1, "floor": "1/n", "errors_after": 2, "aggregate": "rss", "layers": ["conv2", "fc*"]},
        {**CODE, **DIFFERENCE, "half": "both", "strengths": "mean", "class_balance": uniform_penalty.BALANCE},
        {
            **CODE,
            "density_exponent": 0.0,
            "loss": {"name": "focal", "gamma": 1.0, "weight_leaks": False},
            "lambda_": 0.1,
        },
        {**CODE, **NO_ERRORS},
    ),
    follows=follows,
    stages=stages,
    prefix=prefix,
    same_as=same_as,
    traces=traces,
    precisions=("fp32",),
    cost=2.5,
    look=look,
)
