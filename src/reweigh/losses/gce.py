"""Generalised cross-entropy, truncated (Zhang and Sabuncu, NeurIPS 2018); ABSGD calls it TCE.

ℓ = (1 − p_y^q)/q − (1 − k^q)/q for a kept example, 0 for a pruned one, whose label is taken for noise. An example is
kept if p_y > k. All are at first; the question is put again every `refresh_every` epochs from epoch `refresh_from` on.
`truncation` k = null keeps all, and takes nothing off.

The constant (1 − k^q)/q decides nothing in plain training, but it enters exp(ℓ/λ). Deviation from ABSGD's code: p_y is
asked of the model in inference mode, of inputs that are not augmented and logits that are not normalised, and whatever
the method's name (that code asks in training mode, and for one of its names never).
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from reweigh.data.batches import Batch, InputPart
from reweigh.losses import base, cross_entropy

AT_ONCE = 500  # examples of the pass that asks


def generalised(entropy: torch.Tensor, q: float) -> torch.Tensor:
    """(1 − p_y^q)/q of cross-entropies −log p_y. (B,) -> (B,)."""
    return -torch.expm1(-q * entropy) / q


class Loss(base.Loss):
    by_row = True

    def __init__(
        self,
        *known: Any,
        q: float,
        truncation: float | None,
        refresh_from: int | None,
        refresh_every: int | None,
        **shared: Any,
    ) -> None:
        super().__init__(*known, **shared)
        self.q, self.truncation = q, truncation
        self.drops = truncation is not None
        self.refresh_from, self.refresh_every = refresh_from, refresh_every
        self.kept = torch.ones(self.examples, dtype=torch.bool, device=self.class_counts.device)

    def unweighted(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        losses = generalised(cross_entropy(logits, batch.labels), self.q)
        if self.truncation is None:
            return losses
        pruned_loss = (1 - self.truncation**self.q) / self.q
        return torch.where(self.kept[batch.rows], losses - pruned_loss, 0.0)

    def keeps(self, batch: Batch) -> torch.Tensor | None:
        return self.kept[batch.rows] if self.drops else None

    def refresh(self, epoch: int, logits_of: Callable[[torch.Tensor], torch.Tensor], train: InputPart) -> None:
        if self.truncation is None or self.refresh_from is None or epoch < self.refresh_from:
            return
        if (epoch - self.refresh_from) % (self.refresh_every or 1):
            return
        for batch in train.in_order(AT_ONCE):
            entropy = cross_entropy(logits_of(batch.inputs).float(), batch.labels)
            self.kept[batch.rows] = entropy < -math.log(self.truncation)

    def state(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state(self, state: dict[str, Any]) -> None:
        self.kept.copy_(state["kept"])
