"""The card of LRWOpt."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from reweigh.config.cards import BenchEntry, Card, Look, Needs, PlannedStage
from reweigh.config.methods import meta_network, splitter
from reweigh.config.specs import Frozen, Positive, Schedule


class Options(Frozen):
    network: meta_network.Network
    splitter: splitter.Splitter
    warm_epochs: Positive
    joint_schedule: Schedule | None
    outer_every: Positive
    outer: Literal["interleaved", "grouped"]
    outer_batch_size: Positive

    @model_validator(mode="after")
    def _memberships_are_by_network(self) -> "Options":
        if self.network.weights == "free":
            raise ValueError("network.weights: LRWOpt has a network; set it to network")
        if self.splitter.adversary == "lookahead" and self.network.normalise == "none":
            raise ValueError("network.normalise: memberships are divided by their sum; set it to mean")
        return self


PRINTED: dict[str, Any] = {
    "network": meta_network.NETWORK,
    "splitter": splitter.SPLITTER,
    "warm_epochs": 1,
    "joint_schedule": None,
    "outer_every": 5,
    "outer": "interleaved",
    "outer_batch_size": 16,
}
SOFT = {**splitter.SPLITTER, "adversary": "soft_val", "ratio_kl": "current_target", "as_ls": True}
HARDEST = {**splitter.SPLITTER, "threshold": 0.2, "fill": False, "ratio": 0.0, "balance": 0.0, "rate": None}
WARM = {**splitter.SPLITTER, "features": "warm"}
DRAWN = {**splitter.SPLITTER, "features": "none"}
CONSTANT = {"name": "constant", "warmup_epochs": 0}


def stages(options: Mapping[str, Any], epochs: int) -> list[PlannedStage]:
    warm = options["warm_epochs"]
    joint = PlannedStage(
        epochs - warm,
        part="members of train+validation",
        listed=lambda size: size - max(1, round(options["splitter"]["delta"] * size)),
    )
    return [PlannedStage(warm), joint]


def traces(options: Mapping[str, Any], steps: int) -> set[str]:
    by_epoch = {"share_hard", "validation_new", "split_distance", "seen_share"}
    looked = {"gap", "validation_error"} if options["splitter"]["features"] == "current" else set()
    return by_epoch | looked | ({"weight_sd"} if options["network"]["trains"] != "nothing" else set())


CARD = Card(
    options=Options,
    examples=(
        PRINTED,
        {**PRINTED, "splitter": SOFT, "network": meta_network.STORED, "outer_every": 2},
        {**PRINTED, "splitter": WARM, "network": meta_network.STORED},
        {**PRINTED, "splitter": {**WARM, "adversary": "lookahead"}},
        {**PRINTED, "splitter": DRAWN},
        {**PRINTED, "splitter": HARDEST, "network": meta_network.ADAM, "joint_schedule": CONSTANT},
        {**PRINTED, "splitter": {**splitter.SPLITTER, "adversary": "lookahead"}, "outer_every": 1},
        {**PRINTED, "outer": "grouped"},
        {**PRINTED, "outer": "grouped", "network": {**meta_network.NETWORK, "trains": "nothing"}},
    ),
    stages=stages,
    traces=traces,
    needs=lambda options: Needs(validation=True),
    cycle=lambda options: int(options["outer_every"]),
    cost=1.8,
    bench=BenchEntry("LRWOpt, every 5 steps", {**PRINTED, "outer_batch_size": 64}),
    look=lambda options: Look("#882255", "D", hollow=options["splitter"]["threshold"] != 0.5),
)
