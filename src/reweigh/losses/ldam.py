"""Label-distribution-aware margins (Cao et al., NeurIPS 2019): cross-entropy of `scale` · (s − m_y at the true class).

m_c = `max_margin` · n_c^{−1/4} / max_k n_k^{−1/4}: rare classes have to win by more. The logits s are those of a cosine
head (model option `head: cosine`), in −1 … 1. With class weights it is averaged as cross-entropy is (LDAM-DRW).

A class without training examples has no margin: n_c^{−1/4} has no value, and no training example would need it. The
others have theirs as if it were not there. Asked for the loss of an example of such a class, it is cross-entropy's;
whoever trains on such examples (META with its own loss on the meta set) has to refuse it (`undefined`).
"""

from typing import Any

import torch

from reweigh.data.batches import Batch
from reweigh.losses import base, cross_entropy


def margins(class_counts: torch.Tensor, max_margin: float) -> torch.Tensor:
    """The margin of each class, `max_margin` for the rarest that exists. counts (C,) -> (C,); 0 where n_c = 0."""
    raw = torch.where(class_counts > 0, class_counts.double() ** -0.25, 0.0)
    return (max_margin * raw / raw.max()).to(class_counts.dtype)


class Loss(base.Loss):
    average = "weighted"

    def __init__(self, *known: Any, max_margin: float, scale: float, **shared: Any) -> None:
        super().__init__(*known, **shared)
        self.margins, self.max_margin, self.scale = margins(self.class_counts, max_margin), max_margin, scale

    @property
    def undefined(self) -> list[int]:
        return [int(label) for label in (self.class_counts == 0).nonzero()]

    def recount(self) -> None:
        self.margins.copy_(margins(self.class_counts, self.max_margin))

    def unweighted(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        true_class = batch.labels[:, None] == torch.arange(logits.shape[1], device=logits.device)
        return cross_entropy(self.scale * (logits - true_class * self.margins), batch.labels)
