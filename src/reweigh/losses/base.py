"""What a loss is: the loss of each example, from logits and labels."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from reweigh.data.batches import Batch, InputPart


class Loss:
    """Base of all losses. A loss's keyword arguments are its options; a config states those without a default.

    `normalise_logits`, which every loss has, takes the loss of s/‖s‖₂ instead of the logits s, and the gradient goes
    through the norm: in training only, predictions are the same (ABSGD's code for noisy labels, class_tau = 1).
    """

    average = "mean"  # how plain training averages weighted losses: "mean" over the batch, "weighted" by class weights
    drops = False  # whether it may take examples for noise, whose losses are then 0 whatever the model says
    by_row = False  # whether it remembers examples of the training set by their rows, and so fits no other set

    def __init__(self, class_counts: torch.Tensor, examples: int, *, normalise_logits: bool = False) -> None:
        self.class_counts, self.examples = class_counts, examples
        self.normalise_logits = normalise_logits

    @property
    def undefined(self) -> list[int]:
        """Classes without training examples whose losses have no meaning; to be asked on the host, before a step."""
        return []

    def __call__(self, logits: torch.Tensor, batch: Batch, class_weights: torch.Tensor | None = None) -> torch.Tensor:
        """The loss of each example, times the weight of its class. logits (B, C), class_weights (C,) -> (B,)."""
        losses = self.unweighted(self.scaled(logits), batch)
        return losses if class_weights is None else losses * class_weights[batch.labels]

    def unweighted(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss of each example: what a loss has to say. logits (B, C), normalised if so wanted -> (B,)."""
        raise NotImplementedError

    def scaled(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits as the loss sees them. (B, C) -> (B, C)."""
        return F.normalize(logits) if self.normalise_logits else logits

    def keeps(self, batch: Batch) -> torch.Tensor | None:
        """Which examples of a batch have a loss at all, bool (B,); None for all of them."""
        return None

    def recount(self) -> None:
        """`class_counts` has changed in place: bring what was made from it up to date, in place too."""

    def refresh(self, epoch: int, logits_of: Callable[[torch.Tensor], torch.Tensor], train: InputPart) -> None:
        """Before an epoch: what a loss remembers of single examples. `logits_of` maps inputs to logits (B, C)."""

    def state(self) -> dict[str, Any]:
        """What the loss remembers, for a checkpoint."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
