"""Symmetric cross-entropy (Wang et al., ICCV 2019): α · CE + β · RCE.

RCE = −Σ_k clamp(p_k, 1e−7, 1) · log clamp(y_k, 1e−4, 1) with y the one-hot label: the true class adds 0, each other one
p_k · 9.2103, so that RCE ≈ 9.2103 · (1 − p_y). No gradient passes a clamped p_k.
"""

import math
from typing import Any

import torch

from reweigh.data.batches import Batch
from reweigh.losses import base, cross_entropy

SMALLEST_PROBABILITY, SMALLEST_LABEL = 1e-7, 1e-4


def reverse_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """RCE of each example. logits (B, C), labels int64 (B,) -> (B,)."""
    other_class = labels[:, None] != torch.arange(logits.shape[1], device=logits.device)
    probabilities = torch.softmax(logits, 1).clamp(SMALLEST_PROBABILITY, 1)
    return -math.log(SMALLEST_LABEL) * (probabilities * other_class).sum(1)


class Loss(base.Loss):
    def __init__(self, *known: Any, alpha: float, beta: float, **shared: Any) -> None:
        super().__init__(*known, **shared)
        self.alpha, self.beta = alpha, beta

    def unweighted(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        reverse = reverse_cross_entropy(logits, batch.labels)
        return self.alpha * cross_entropy(logits, batch.labels) + self.beta * reverse
