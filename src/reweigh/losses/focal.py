"""Focal loss (Lin et al., ICCV 2017): (1 − p_y)^γ · (−log p_y).

With class weights w, `weight_leaks` says which of two:

false    w_y · (1 − p_y)^γ · CE               the formula
true     (1 − exp(−CE'))^γ · CE', CE' = w_y · CE     the code of LDAM and of ABSGD, where the weight reaches the factor

Both are averaged by a plain mean over the batch, as in that code.
"""

from typing import Any

import torch

from reweigh.data.batches import Batch
from reweigh.losses import base, cross_entropy


def focal(entropy: torch.Tensor, gamma: float) -> torch.Tensor:
    """(1 − exp(−CE))^γ · CE of cross-entropies CE. (B,) -> (B,)."""
    # Without the bound the slope of the power is infinite at p_y = 1 where γ < 1.
    missing = (-torch.expm1(-entropy)).clamp(min=torch.finfo(entropy.dtype).tiny)
    return missing**gamma * entropy


class Loss(base.Loss):
    def __init__(self, *known: Any, gamma: float, weight_leaks: bool, **shared: Any) -> None:
        super().__init__(*known, **shared)
        self.gamma, self.weight_leaks = gamma, weight_leaks

    def __call__(self, logits: torch.Tensor, batch: Batch, class_weights: torch.Tensor | None = None) -> torch.Tensor:
        if class_weights is None or not self.weight_leaks:
            return super().__call__(logits, batch, class_weights)
        return focal(cross_entropy(self.scaled(logits), batch.labels) * class_weights[batch.labels], self.gamma)

    def unweighted(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return focal(cross_entropy(logits, batch.labels), self.gamma)
