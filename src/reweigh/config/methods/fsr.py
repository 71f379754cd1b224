"""The card of fast sample reweighting."""

from typing import Annotated, Any, Literal

from pydantic import Field

from reweigh.config.cards import BenchEntry, Card, Look
from reweigh.config.specs import Count, Frozen, Positive, Rate

Share = Annotated[float, Field(ge=0, lt=1)]


class Options(Frozen):
    mode: Literal["noise", "imbalance"]
    from_epoch: Count
    capacity_per_class: Positive
    probe_per_class: Positive
    meta_step: Rate
    meta_momentum: Share
    score_memory: Share
    label_smoothing: Share


BENCH: dict[str, Any] = {
    "mode": "imbalance",
    "from_epoch": 0,
    "capacity_per_class": 20,
    "probe_per_class": 8,
    "meta_step": 0.1,
    "meta_momentum": 0.9,
    "score_memory": 0.9,
    "label_smoothing": 0.0,
}

CARD = Card(
    options=Options,
    examples=(
        {**BENCH, "from_epoch": 1},
        {**BENCH, "mode": "noise", "capacity_per_class": 4, "probe_per_class": 6},
        {**BENCH, "label_smoothing": 0.1},
    ),
    traces=lambda options, steps: {"dictionary_kept"},
    cost=1.6,
    bench=BenchEntry("FSR, through the head", BENCH),
    look=lambda options: Look("#CC79A7", "D", hollow=bool(options["label_smoothing"])),
)
