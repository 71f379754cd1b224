"""The card of AutoBalance."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from reweigh.config.augmentation import AugmentationOptions
from reweigh.config.cards import BenchEntry, Card, Look, Needs, PlannedPrefix, PlannedStage
from reweigh.config.losses.objectives import Objective
from reweigh.config.methods import thresholded
from reweigh.config.methods.thresholded import BY_LOSSES, Threshold
from reweigh.config.specs import Count, Frozen, Positive, Rate, Schedule

Momentum = Annotated[float, Field(ge=0, lt=1)]
Above = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Options(Frozen):
    design: list[Literal["tau", "l", "delta"]]
    by: Literal["cluster", "cell"]
    cluster_size: Positive
    multiplier: Literal["sigmoid", "plain"]
    start: Literal["zeros", "la"]
    weights: Literal["inverse", "none"]
    search_epochs: Positive
    from_epoch: Count
    search_schedule: Schedule | None
    outer_every: Positive
    order: Literal["outer-first", "inner-first"]
    batches: Positive
    batch_size: Positive | None
    terms: Positive
    solver: Literal["neumann", "cg", "exact"]
    neumann_step: Literal["auto"] | Above
    damping: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    products: Literal["reverse", "kept", "forward", "difference"]
    upper: Objective
    upper_learning_rate: Rate
    upper_momentum: Momentum
    upper_weight_decay: Annotated[float, Field(ge=0)]
    upper_milestones: list[Count]
    upper_factor: Rate
    upper_warmup_epochs: Count
    coast: bool
    expand: Literal["piecewise", "interpolated", "fitted"]
    take: Literal["end", "last-epoch"]
    augmentation: AugmentationOptions | None
    threshold: Threshold | None

    @model_validator(mode="after")
    def _means_something(self) -> "Options":
        if len(set(self.design)) < len(self.design):
            raise ValueError("design: names something twice")
        if "tau" in self.design and "l" in self.design:
            raise ValueError("design: tau says what l is; search one of them")
        if self.from_epoch >= self.search_epochs:
            raise ValueError("from_epoch: the search is over before; it is below search_epochs")
        if not self.design and not self.augmentation:
            raise ValueError("design: nothing is searched; name tau, l or delta, or give an augmentation")
        if self.expand == "fitted" and (self.by == "cell" or self.multiplier == "plain"):
            raise ValueError("expand: fitted is by class size and positive; set by to cluster, multiplier to sigmoid")
        if self.augmentation and self.by == "cell":
            raise ValueError("augmentation: its policies are those of class clusters; set by to cluster")
        if self.augmentation and self.solver == "exact":
            raise ValueError("augmentation: the solver exact takes inputs as they are; use neumann or cg")
        if self.order == "inner-first" and (self.coast or self.take == "last-epoch"):
            raise ValueError("order: coast and take last-epoch are those of the code, which is outer-first")
        if self.solver == "exact" and not self.damping:
            raise ValueError("damping: the solver exact needs one above 0, as a softmax has flat directions")
        return self


PRINTED: dict[str, Any] = {
    "design": ["l", "delta"],
    "by": "cluster",
    "cluster_size": 1,
    "multiplier": "sigmoid",
    "start": "zeros",
    "weights": "inverse",
    "search_epochs": 2,
    "from_epoch": 1,
    "search_schedule": None,
    "outer_every": 1,
    "order": "inner-first",
    "batches": 1,
    "batch_size": None,
    "terms": 5,
    "solver": "neumann",
    "neumann_step": 1.0,
    "damping": 0.0,
    "products": "reverse",
    "upper": {"ce_bal": 1.0},
    "upper_learning_rate": 0.05,
    "upper_momentum": 0.9,
    "upper_weight_decay": 1e-4,
    "upper_milestones": [],
    "upper_factor": 0.1,
    "upper_warmup_epochs": 0,
    "coast": False,
    "expand": "piecewise",
    "take": "end",
    "augmentation": None,
    "threshold": None,
}
AUGMENTATION = {
    "policies": "cluster",
    "sub_policies": 2,
    "stages": 1,
    "temperature": 0.1,
    "operation_temperature": 0.05,
    "start": 0.5,
}
CODE: dict[str, Any] = {
    **PRINTED,
    "weights": "none",
    "outer_every": 2,
    "order": "outer-first",
    "batches": 2,
    "upper_learning_rate": 0.01,
    "upper_warmup_epochs": 2,
    "coast": True,
    "cluster_size": 2,
    "expand": "interpolated",
    "take": "last-epoch",
}
# The code's cadence, without an end: the bench takes as many steps as it likes.
BENCH: dict[str, Any] = {**CODE, "search_epochs": 10**6, "from_epoch": 0, "outer_every": 20, "batches": 10}


def stages(options: Mapping[str, Any], epochs: int) -> list[PlannedStage]:
    return [PlannedStage(options["search_epochs"]), PlannedStage(epochs, part="train+validation")]


def prefix(options: Mapping[str, Any]) -> PlannedPrefix:
    return PlannedPrefix(1, "autobalance", {**options, "expand": "piecewise", "take": "end", "threshold": None})


def traces(options: Mapping[str, Any], steps: int) -> set[str]:
    logged = {"outer_step", "gradient_norm", "direction_norms", "lambda_max", "lambda_min", "share_beyond"}
    if options["augmentation"]:
        logged |= {"augment_probability", "augment_magnitude"}
    if options["expand"] == "fitted":
        logged.add("fitted")
    return logged | set(options["design"]) | thresholded.traces(options, steps)


def needs(options: Mapping[str, Any]) -> Needs:
    """Examples held out, by which it searches; cells, where design or objectives are by them; a head for `exact`."""
    cells = "cells" if options["by"] == "cell" else thresholded.cells_of(options, options["upper"])
    return Needs(validation=True, groups=cells, head="linear" if options["solver"] == "exact" else None)


CARD = Card(
    options=Options,
    examples=(
        PRINTED,
        CODE,
        {**PRINTED, "design": ["tau"], "start": "la", "weights": "none", "neumann_step": "auto", "products": "forward"},
        {**PRINTED, "design": ["delta"], "multiplier": "plain", "solver": "cg", "damping": 0.1, "threshold": BY_LOSSES},
        {**PRINTED, "design": [], "augmentation": AUGMENTATION},
        {**PRINTED, "expand": "fitted"},
    ),
    follows=lambda options: {"rarity": 1} if options["weights"] == "inverse" else {},
    stages=stages,
    prefix=prefix,
    traces=traces,
    needs=needs,
    cycle=lambda options: int(options["outer_every"]),
    cost=4.0,
    bench=BenchEntry("AutoBalance's search, every 20 steps", BENCH),
    look=lambda options: Look("#D55E00", "D", hollow=options["neumann_step"] != 1.0 or options["solver"] != "neumann"),
)
