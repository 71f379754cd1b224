"""The parametric cross-entropy of AutoBalance (Li et al., NeurIPS 2021, eqs. 2.2 and 4.2) and its members.

    z_k = m_k f_k + l_k,      ℓ = −log softmax(z)_y,      mean over a batch: Σ_i w_{y_i} ℓ_i / Σ_i w_{y_i}

with one multiplier m, offset l and weight w for each class, or for each class and group: then an example of group g
has the column g of each table for all of its logits. AutoBalance learns l and Δ, where m = s(Δ) with the logistic
function s (`multiplier_of`); published losses have closed forms in the class counts n and shares π:

    logit adjustment (Menon et al., ICLR 2021)        m = 1                          l_k = `tau` · log π_k
    CDT (Ye et al., 2020)                             m_k = (n_k / max n)^`gamma`    l = 0
    VS (Kini et al., NeurIPS 2021)                    m_k = (n_k / max n)^`gamma`    l_k = `tau` · log π_k

Predictions never see any of it: they are the argmax of the raw logits f. A class without training examples counts as
if it had one, so that its offset is finite.
"""

from typing import Any

import torch

from reweigh.data.batches import Batch
from reweigh.losses import base, cross_entropy


class Loss(base.Loss):
    """Options: `tau`, the strength of the offsets; `gamma`, the exponent of the multipliers. Both 0: cross-entropy."""

    average = "weighted"

    def __init__(self, *known: Any, tau: float, gamma: float, **shared: Any) -> None:
        super().__init__(*known, **shared)
        self.tau, self.gamma = tau, gamma
        self.multiplier, self.offset = multipliers(self.class_counts, gamma), tau * log_shares(self.class_counts)

    def recount(self) -> None:
        self.multiplier.copy_(multipliers(self.class_counts, self.gamma))
        self.offset.copy_(self.tau * log_shares(self.class_counts))

    def unweighted(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return cross_entropy(adjusted(logits, self.multiplier, self.offset), batch.labels)


# --- the parametric form ---------------------------------------------------------------------------------------------


def adjusted(
    logits: torch.Tensor, multiplier: torch.Tensor, offset: torch.Tensor, groups: torch.Tensor | None = None
) -> torch.Tensor:
    """m f + l: what the loss sees instead of the logits. -> (B, K).

    logits (B, K); multiplier and offset (K,), or (K, G) with the group of each example, int64 (B,).
    """
    if groups is not None:
        multiplier, offset = multiplier.T[groups], offset.T[groups]  # (B, K)
    return multiplier * logits + offset


def multiplier_of(delta: torch.Tensor, form: str) -> torch.Tensor:
    """m of a raw Δ: s(Δ) in (0, 1) for the form "sigmoid", Δ itself for "plain". -> as Δ."""
    return delta.sigmoid() if form == "sigmoid" else delta


def weighted_mean(losses: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Σ w ℓ / Σ w, torch's mean of a weighted cross-entropy: a ratio of this batch. Both (B,) -> scalar."""
    return (weights * losses).sum() / weights.sum()


def log_shares(counts: torch.Tensor) -> torch.Tensor:
    """log π of each class or cell; one without examples counts as if it had one. (K,) -> (K,)."""
    return (counts.clamp(min=1) / counts.sum()).log()


def multipliers(counts: torch.Tensor, gamma: float) -> torch.Tensor:
    """(n / max n)^γ; a class without examples counts as if it had one. (K,) -> (K,)."""
    return (counts.clamp(min=1) / counts.max()) ** gamma


# --- class clusters --------------------------------------------------------------------------------------------------


def by_frequency(counts: torch.Tensor) -> torch.Tensor:
    """The classes from the most to the least frequent, of equals the lower label first. (K,) -> int64 (K,)."""
    return counts.sort(descending=True, stable=True).indices


def clusters(counts: torch.Tensor, size: int) -> torch.Tensor:
    """The cluster of each class: `size` neighbours in frequency share one, the last may be smaller. -> int64 (K,).

    >>> clusters(torch.tensor([5.0, 9.0, 1.0, 7.0, 3.0]), 2).tolist()
    [1, 0, 2, 0, 1]
    """
    ranks = torch.empty_like(order := by_frequency(counts))
    ranks[order] = torch.arange(len(counts), device=counts.device)
    return ranks // size


def middle_classes(counts: torch.Tensor, size: int) -> torch.Tensor:
    """The class in the middle of each cluster, whose prior it starts from (rank `size` // 2 in it). -> int64 (K',)."""
    order = by_frequency(counts)
    middle = torch.arange(size // 2, len(counts) + size // 2, size, device=counts.device)
    return order[middle.clamp(max=len(counts) - 1)]


def expansion(counts: torch.Tensor, size: int, how: str) -> torch.Tensor:
    """The linear map from one value a cluster to one a class. -> (K, K'), as `counts`; see `expand`.

    "piecewise": each class has its cluster's value. "interpolated": values are taken to belong to the clusters' middle
    ranks, linear in between and beyond, as the authors' code retrains (CIFAR-100: ranks 5, 15, …, 95 of 100).
    """
    cluster = clusters(counts, size)
    number = int(cluster.max()) + 1
    if how == "piecewise" or number == 1:
        return torch.nn.functional.one_hot(cluster, number).to(counts)
    rank = torch.empty_like(counts)
    rank[by_frequency(counts)] = torch.arange(len(counts), device=counts.device).to(counts)
    place = (rank - size // 2) / size  # in units of clusters, from the middle of the first
    left = place.floor().clamp(0, number - 2)
    share = place - left
    table = torch.zeros(len(counts), number, dtype=counts.dtype, device=counts.device)
    rows = torch.arange(len(counts), device=counts.device)
    table[rows, left.long()] = 1 - share
    table[rows, left.long() + 1] = share
    return table


def expand(values: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """One value a class from one a cluster, by a map of `expansion`. (K',) -> (K,)."""
    return (table * values).sum(1)  # no matrix product: it would round where a GPU computes in tf32


# --- what the published losses would make of it ----------------------------------------------------------------------


def line(values: torch.Tensor, shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The straight line through `values` over log shares by least squares. Both (K,) -> its slope, and its values (K,).

    Of l the slope is τ, of log m it is γ, where the values come from VS; where all classes are alike it is 0.
    """
    away = shares - shares.mean()
    spread = away.square().sum()
    slope = (away * values).sum() / torch.where(spread > 0, spread, torch.ones_like(spread))
    return slope, values.mean() + slope * away
