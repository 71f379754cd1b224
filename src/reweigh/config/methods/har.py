"""The card of HAR."""

import math
from collections.abc import Mapping, Sequence
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


def same_as(options: Mapping[str, Any], sizes: Sequence[int]) -> tuple[str, dict[str, Any]] | None:
    """Where classes have the same size, the density decides nothing; with both exponents 0 every strength is 1.

    The floor shows in the strengths alone, which `contradicts` looks at: it acts where a class has no error.
    """
    density = options["density_exponent"] if len(set(sizes)) > 1 else 0.0
    if options["noise_exponent"] or density:
        return "har", {**options, "floor": None, "density_exponent": density}
    return "uniform_penalty", {name: options[name] for name in PENALTY}


def contradicts(options: Mapping[str, Any], sizes: Sequence[int], logged: Mapping[str, Any]) -> str:
    """What is wrong with the strengths that a run logged, by the errors that it logged and the sizes of its classes."""
    if "strengths" not in logged or (options["noise_exponent"] and "class_errors" not in logged):
        return ""
    errors = logged["class_errors"][-1] if options["noise_exponent"] else [1.0] * len(sizes)
    if options["floor"] is not None:
        errors = [max(error, 1 / size) if size else error for error, size in zip(errors, sizes, strict=True)]
    raw = [
        float(error) ** options["noise_exponent"] / size ** options["density_exponent"] if size else 0.0
        for error, size in zip(errors, sizes, strict=True)
    ]
    expected = [one / (max(raw) or 1.0) for one in raw]
    if options["strengths"] == "mean":
        mean = sum(one * size for one, size in zip(expected, sizes, strict=True)) / sum(sizes)
        expected = [mean] * len(sizes)
    pairs = zip(logged["strengths"][-1], expected, strict=True)
    right = all(math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-7) for one, other in pairs)
    return "" if right else "its strengths are not those of its errors and class sizes"


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
    contradicts=contradicts,
    traces=traces,
    precisions=("fp32",),
    cost=2.5,
    look=look,
)
