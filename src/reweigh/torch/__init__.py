"""Weights, losses and penalties of the papers for a training loop of one's own.

    from reweigh.torch import ABSGDWeights

    absgd = ABSGDWeights(lam=1.0, gamma=0.9)
    losses = cross_entropy(model(inputs), labels, reduction="none")
    loss = (absgd(losses.detach()) * losses).sum()

The formulas are those of the runs of `reweigh train`, executed by the same functions; tests/torch compares the bits.
It needs torch and NumPy, and no file of the project. docs/library.md shows each class at work.
"""

from reweigh.torch.alone import ArgumentError
from reweigh.torch.design import AutoBalanceLoss
from reweigh.torch.losses import ExampleLoss, FocalLoss, LDAMLoss, LogitAdjustedLoss, VSLoss
from reweigh.torch.penalty import HARPenalty, har_strengths
from reweigh.torch.weights import ABSGDWeights, TDRWeights
from reweigh.weights import effective_number

__all__ = [
    "ABSGDWeights",
    "ArgumentError",
    "AutoBalanceLoss",
    "ExampleLoss",
    "FocalLoss",
    "HARPenalty",
    "LDAMLoss",
    "LogitAdjustedLoss",
    "TDRWeights",
    "VSLoss",
    "effective_number",
    "har_strengths",
]
