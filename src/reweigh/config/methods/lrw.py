"""The card of learned reweighting with a chosen validation set."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from reweigh.config.cards import BenchEntry, Card, Look, Needs, PlannedStage
from reweigh.config.methods import meta_network, train_twice
from reweigh.config.specs import Positive

Share = Annotated[float, Field(gt=0, lt=0.5)]


class Options(train_twice.MarginOptions):
    network: meta_network.Network
    validation: Literal["easy", "random", "hard", "misclassified"]
    removed: Literal["validation", "random", "hard+validation"]
    share: Share
    outer_every: Positive
    outer_batch_size: Positive
    difficulty: Annotated[float, Field(ge=1, le=100)] | None


HARD: dict[str, Any] = {
    "margins": train_twice.ONCE,
    "network": meta_network.NETWORK,
    "validation": "hard",
    "removed": "validation",
    "share": 0.1,
    "outer_every": 5,
    "outer_batch_size": 16,
    "difficulty": None,
}


def stages(options: Mapping[str, Any], epochs: int) -> list[PlannedStage]:
    def listed(size: int) -> int:
        away = 2 if options["removed"] == "hard+validation" else 1
        return size - away * max(1, round(options["share"] * size))

    second = PlannedStage(epochs, part=train_twice.MEMBERS, listed=listed)
    return [*train_twice.first_stages(options, epochs), second]


def same_as(options: Mapping[str, Any], sizes: Sequence[int]) -> tuple[str, dict[str, Any]] | None:
    """With equal weights it is plain training without what it validates on: sums of σ(0) = ½ are exact."""
    network, kind = options["network"], options["validation"]
    equal = network["activation"] == "sigmoid" and (network["weights"] == "free" or network["head_sd"] == 0)
    if network["trains"] != "nothing" or not equal or network["normalise"] != "mean":
        return None
    if options["removed"] != "validation" or kind == "misclassified":
        return None
    return "remainder", {"margins": options["margins"], "removed": kind, "share": options["share"]}


LOOKS = {
    "easy": ("#0072B2", "v"),
    "random": ("#E69F00", "s"),
    "hard": ("#D55E00", "^"),
    "misclassified": ("#CC79A7", "^"),
}

CARD = Card(
    options=Options,
    examples=(
        HARD,
        {**HARD, "validation": "easy", "network": meta_network.STORED, "outer_every": 2},
        {**HARD, "validation": "random", "removed": "hard+validation", "network": meta_network.FREE, "share": 0.2},
        {**HARD, "margins": train_twice.OUT_OF_FOLD, "removed": "random", "network": meta_network.FROZEN},
        {**HARD, "margins": train_twice.EARLY, "validation": "misclassified", "network": meta_network.ADAM},
        {**HARD, "difficulty": 2.0, "outer_every": 1},
    ),
    stages=stages,
    prefix=train_twice.prefix,
    same_as=same_as,
    traces=lambda options, steps: (
        {"held_out_share"} | ({"weight_sd"} if options["network"]["trains"] != "nothing" else set()) if steps else set()
    ),
    needs=lambda options: Needs(validation=True),
    cycle=lambda options: int(options["outer_every"]),
    cost=2.0,
    bench=BenchEntry("LRW, every 5 steps", {**HARD, "outer_batch_size": 64}),
    look=lambda options: Look(*LOOKS[options["validation"]], hollow=options["removed"] != "validation"),
)
