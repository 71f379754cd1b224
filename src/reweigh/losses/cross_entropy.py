"""Softmax cross-entropy (Bridle 1990): ℓ = −log softmax(s)_y.

With class weights it is averaged as PyTorch does it: Σ_i w_{y_i} ℓ_i / Σ_i w_{y_i}.
"""

import torch
import torch.nn.functional as F

from reweigh.data.batches import Batch
from reweigh.losses.base import Loss as Base


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Softmax cross-entropy of each example, in nats. logits (B, C), labels int64 (B,) -> (B,)."""
    return F.cross_entropy(logits, labels, reduction="none")


class Loss(Base):
    average = "weighted"

    def unweighted(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return cross_entropy(logits, batch.labels)
