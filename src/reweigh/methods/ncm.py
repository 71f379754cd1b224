"""Nearest class mean: no head at all (Kang et al., ICLR 2020, §4.1; code: "cl2n" features, Euclidean distance).

After stage one, with the features z_i of the n training examples, not augmented:

    m   = (1/n) Σ_i z_i
    u_i = (z_i − m) / ‖z_i − m‖₂                     centred, of length 1
    μ_c = mean of u_i over the examples of class c   not normalised again
    logit_c(x) = −‖u(x) − μ_c‖₂²                     u(x) with the same m

A class without training examples is never predicted.
"""

import torch
import torch.nn.functional as F
from torch import nn

from reweigh.methods import two_stage


class NearestMean(nn.Module):
    """A last layer of class means: features (B, F) -> minus squared distances (B, C)."""

    def __init__(self, features: torch.Tensor, labels: torch.Tensor, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(0, dtype=torch.float64).float())
        directions = self.direction(features)
        # One class at a time: on a GPU, sums by index would be made in no fixed order.
        centres = [directions[labels == label].mean(0, dtype=torch.float64) for label in range(classes)]
        centres = torch.stack(centres).float()  # type: ignore[assignment]
        centres[torch.bincount(labels, minlength=classes) == 0] = torch.inf  # type: ignore[call-overload]
        self.register_buffer("centres", centres)  # type: ignore[arg-type]

    def direction(self, features: torch.Tensor) -> torch.Tensor:
        """Features centred and brought to length 1. (B, F) -> (B, F)."""
        return F.normalize(features.float() - self.mean)  # type: ignore[operator]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        exact = "donot_use_mm_for_euclid_dist"
        logits = -torch.cdist(self.direction(features), self.centres, compute_mode=exact).square()  # type: ignore[arg-type]
        # An example whose logits are not finite has no prediction; the class that has no mean only has the lowest one.
        return logits.clamp(min=torch.finfo(logits.dtype).min)


class Method(two_stage.Method):
    def begin_second(self, model: nn.Module) -> None:
        train = self.context.train
        model.head = NearestMean(two_stage.head_inputs(model, train), train.labels, self.context.classes)
