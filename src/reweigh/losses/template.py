"""Template of a loss: cross-entropy at a temperature. `reweigh new loss NAME` begins from this file.

Name the paper and its formula here, with every deviation (compare Hinton, Vinyals, Dean, 2015):

    ℓ = −log softmax(s/T)_y                    T = `temperature`
"""

from typing import Any

import torch

from reweigh.data.batches import Batch
from reweigh.losses import base, cross_entropy


class Loss(base.Loss):
    # The keyword arguments are the options; the card in config/losses gives their ranges.
    def __init__(self, *known: Any, temperature: float, **shared: Any) -> None:
        super().__init__(*known, **shared)
        self.temperature = temperature

    def unweighted(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        # From tensors to tensors, for single examples. Class weights and normalised logits are the base's; a loss that
        # remembers examples has `by_row`, `refresh`, `state` and `load_state` too (see gce.py).
        return cross_entropy(logits / self.temperature, batch.labels)
