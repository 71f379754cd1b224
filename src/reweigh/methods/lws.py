"""Learnable weight scaling, LWS (Kang et al., ICLR 2020, §4.2; code: the bias is scaled too).

After stage one:

    logit_c(x) = f_c · (W_c x + b_c)                 W, b and the backbone as stage one left them, f_c = 1 at first
    f ← SGD on the mean cross-entropy of batches that show every class equally often

`second_stage` says epochs, sampling, rate, schedule and the rest; authors' code: 5 epochs, otherwise as cRT.
"""

import torch
from torch import nn

from reweigh.methods import base, two_stage


class ScaledHead(nn.Module):
    """A last layer that stays as it is, and a factor for each class, which is learned. (B, F) -> (B, C)."""

    def __init__(self, head: nn.Module, factors: torch.Tensor) -> None:
        super().__init__()
        self.frozen, self.factors = head, nn.Parameter(factors)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.factors * self.frozen(features)


class Method(two_stage.Method):
    def second_stage(self) -> base.Stage:
        return two_stage.head_stage("lws", self.options["second_stage"], train="head.factors")

    def begin_second(self, model: nn.Module) -> None:
        model.head = ScaledHead(model.head, torch.ones_like(self.context.class_counts))  # type: ignore[arg-type]
