"""Stage one and something after it: what the methods of Kang et al. (ICLR 2020) have in common.

"Decoupling representation and classifier for long-tailed recognition"; code: facebookresearch/classifier-balancing.

    stage one:  θ ← step along (1/B) Σ_i ∇ℓ_i(θ)       the whole model, by cross-entropy: "joint training"
    after it:   the head alone is trained again, rescaled, or replaced by class means

What stage one leaves is the same for all of them, so that a run may take it over from another one that has trained it
(`training/prefix.py`). Hence three rules for a method made from this base, those of `base.Prefix`. Of its options only
`stage_one` touches stage one. It overrides nothing that acts in stage one. And what stage one leaves lies in the model:
`begin_second` gives that a head of another shape or other weights; the method itself remembers nothing of stage one.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from reweigh.data.batches import InputPart
from reweigh.methods import base
from reweigh.models.layers import without_trace

STAGE_ONE = "stage-one"


class Method(base.Method):
    def stages(self, epochs: int) -> list[base.Stage]:
        return [base.Stage(STAGE_ONE, epochs, sampling=self.options["stage_one"]["sampling"]), self.second_stage()]

    def prefix(self) -> base.Prefix:
        return base.Prefix(1, "two_stage", {"stage_one": self.options["stage_one"]})

    def second_stage(self) -> base.Stage:
        """The stage after stage one; unless a method says more, `begin_second` is all of it."""
        return base.Stage("second", 0)

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        if stage.name != STAGE_ONE:
            self.begin_second(model)

    def begin_second(self, model: nn.Module) -> None:
        """What becomes of the head once stage one is over."""

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return torch.full_like(losses, 1 / len(losses))


def head_stage(name: str, said: Mapping[str, Any], train: str = "head") -> base.Stage:
    """A stage that trains the head, or a part of it: `epochs`, `sampling`, and a training block of its own."""
    training = {key: value for key, value in said.items() if key not in ("epochs", "sampling")}
    return base.Stage(name, said["epochs"], train=train, sampling=said["sampling"], training=training)


def head_inputs(model: nn.Module, part: InputPart) -> torch.Tensor:
    """What the head sees of a whole part, never augmented, in the precision of the model's own passes. -> (N, F)."""
    head, model.head = model.head, nn.Identity()
    try:
        with torch.no_grad(), without_trace(model, training=False):
            return torch.cat([model(batch.inputs).float() for batch in part.in_order(500)])
    finally:
        model.head = head
