"""Losses of examples as modules: those of `reweigh.losses`, called as torch's own are."""

from typing import Literal, TypeAlias

import torch
from torch import nn

from reweigh.losses import Loss, focal, ldam, parametric
from reweigh.torch.alone import ArgumentError, Counts, batch_of, counts_of

Reduction: TypeAlias = Literal["none", "mean", "sum"]
REDUCTIONS = ("none", "mean", "sum")


class ExampleLoss(nn.Module):
    """Base of the losses: (logits (B, C), target int64 (B,)) -> (B,), or a scalar as `reduction` says.

    `weight` (C,) multiplies the loss of each class, as in `torch.nn.CrossEntropyLoss`. "mean" divides by the sum of
    the weights of the batch where the loss's public code does so (LDAM, logit adjustment), else by B (focal). What a
    loss was made from lies in buffers: they follow the module to its device, and a `state_dict` has them.
    """

    weight: torch.Tensor | None

    def __init__(self, of: Loss, reduction: Reduction, weight: Counts | None) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ArgumentError(f"reduction: {' or '.join(REDUCTIONS)}, not {reduction!r}")
        self.reduction, self._of = reduction, of
        self._tables = tuple(name for name, value in vars(of).items() if isinstance(value, torch.Tensor) and len(value))
        for name in self._tables:
            self.register_buffer(name, getattr(of, name))
        self.register_buffer("weight", None if weight is None else torch.as_tensor(weight, dtype=torch.float32))

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of each example, or their sum or mean. Raises ArgumentError for logits of other classes."""
        for name in self._tables:
            setattr(self._of, name, getattr(self, name))  # where a move to a device has put them
        for name, classes in (("class_counts", self._of.class_counts), ("weight", self.weight)):
            if classes is not None and len(classes) and logits.shape[1:] != classes.shape:
                raise ArgumentError(f"{name} has {len(classes)} classes, but the logits are {tuple(logits.shape)}")
        losses = self._of(logits, batch_of(logits, target), self.weight)
        if self.reduction == "none":
            return losses
        if self.reduction == "sum":
            return losses.sum()
        if self.weight is None or self._of.average == "mean":
            return losses.mean()
        return losses.sum() / self.weight[target].sum()

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class LDAMLoss(ExampleLoss):
    """Label-distribution-aware margins (Cao et al., NeurIPS 2019): see `reweigh.losses.ldam`.

    Cross-entropy of `scale` · (s − m_y at the true class), m_c = `max_margin` · n_c^{−1/4} / max_k n_k^{−1/4}. The
    logits s are those of a cosine head, in −1 … 1 (`reweigh.models.layers.CosineHead`).
    """

    def __init__(
        self,
        class_counts: Counts,
        reduction: Reduction = "none",
        *,
        max_margin: float = 0.5,
        scale: float = 30.0,
        weight: Counts | None = None,
    ) -> None:
        counts = counts_of(class_counts)
        super().__init__(ldam.Loss(counts, 0, max_margin=max_margin, scale=scale), reduction, weight)


class FocalLoss(ExampleLoss):
    """Focal loss (Lin et al., ICCV 2017), (1 − p_y)^`gamma` · CE: see `reweigh.losses.focal`.

    `weight_leaks`: the class weight also reaches the factor, as in the public code of LDAM and of ABSGD.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        reduction: Reduction = "none",
        *,
        weight: Counts | None = None,
        weight_leaks: bool = False,
    ) -> None:
        if not 0 <= gamma < float("inf"):
            raise ArgumentError(f"gamma: a finite number from 0 on, not {gamma!r}")
        super().__init__(focal.Loss(torch.zeros(0), 0, gamma=gamma, weight_leaks=weight_leaks), reduction, weight)


class VSLoss(ExampleLoss):
    """Vector scaling (Kini et al., NeurIPS 2021): cross-entropy of m f + l. See `reweigh.losses.parametric`.

    m_k = (n_k / max n)^`gamma`, l_k = `tau` · log π_k with the shares π of the classes. With `tau` = 0 it is CDT.
    """

    def __init__(
        self,
        class_counts: Counts,
        reduction: Reduction = "none",
        *,
        tau: float = 1.0,
        gamma: float = 0.15,
        weight: Counts | None = None,
    ) -> None:
        super().__init__(parametric.Loss(counts_of(class_counts), 0, tau=tau, gamma=gamma), reduction, weight)


class LogitAdjustedLoss(VSLoss):
    """Logit adjustment (Menon et al., ICLR 2021): cross-entropy of f + `tau` · log π. Predictions use f alone."""

    def __init__(
        self, class_counts: Counts, reduction: Reduction = "none", *, tau: float = 1.0, weight: Counts | None = None
    ) -> None:
        super().__init__(class_counts, reduction, tau=tau, gamma=0.0, weight=weight)
