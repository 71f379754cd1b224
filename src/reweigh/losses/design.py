"""What AutoBalance searches (NeurIPS 2021, eqs. 2.2 and 4.2): τ, l and Δ of the parametric loss, by cluster or by cell.

design = Design(cells, by="cluster", cluster_size=10, searched=["l", "delta"], start="zeros", multiplier="sigmoid")
design.values                              # α: name -> tensor, moved in place by the search
multiplier, offset = design.tables()       # m and l of each class, or of each class and group
design.losses(logits, batch, multiplier, offset)
"""

from collections.abc import Sequence

import torch

from reweigh.data.batches import Batch
from reweigh.hypergrad.lookahead import Parameters
from reweigh.losses import parametric
from reweigh.losses.cross_entropy import cross_entropy
from reweigh.losses.objectives import inverse


class Design:
    """α and what it makes of the loss. `cells` has the training examples of each class (K,), or class and group (K, G).

    By cluster, `cluster_size` neighbours in frequency share one value; by cell each has its own. What is not searched
    keeps its start: raw Δ = 1, which multiplies all logits by s(1) = 0.73 where the multiplier is a sigmoid, and l = 0.
    From the start "la" l is log π of a cluster's middle class (by cell log P(y | g)) and τ is 1; from "zeros" both
    are 0.
    """

    def __init__(
        self, cells: torch.Tensor, searched: Sequence[str], start: str, multiplier: str, cluster_size: int = 1
    ) -> None:
        self.cells, self.form, self.cluster_size = cells.clone(), multiplier, cluster_size
        self.groups = cells.shape[1] if cells.ndim == 2 else 0
        self.log_shares = (cells.clamp(min=1) / cells.sum(0)).log()
        self.expand_as("piecewise")
        from_la, log_shares = start == "la", self.log_shares
        if not self.groups:
            log_shares = log_shares[parametric.middle_classes(cells, cluster_size)]
        starts = {
            "tau": torch.full_like(log_shares.flatten()[:1], float(from_la)),
            "l": log_shares if from_la else torch.zeros_like(log_shares),
            "delta": torch.ones_like(log_shares),
        }
        self.values: Parameters = {name: starts[name].clone() for name in searched}

    def expand_as(self, how: str) -> None:
        """From here on classes get their values from those of clusters in this way: piecewise, interpolated, fitted.

        Fitted: piecewise, and then what VS with the nearest τ and γ makes of them: l and log m of all classes on
        straight lines over log π. `fit` tells which.
        """
        self.fitted = how == "fitted"
        shape = "piecewise" if self.fitted else how
        self.table = None if self.groups else parametric.expansion(self.cells, self.cluster_size, shape)

    def tables(self, values: Parameters | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """m and l for α = `values`, with its graph; by default as it stands. -> each (K,), or (K, G)."""
        values = self.values if values is None else values
        delta, offset = (self._by_class(values, name) for name in ("delta", "l"))
        if "tau" in values:
            offset = values["tau"] * self.log_shares
        ones = torch.ones_like(self.cells)
        multiplier = parametric.multiplier_of(ones if delta is None else delta, self.form)
        offset = torch.zeros_like(self.cells) if offset is None else offset
        if self.fitted:
            offset = parametric.line(offset, self.log_shares)[1]
            multiplier = parametric.line(_log(multiplier), self.log_shares)[1].exp()
        return multiplier, offset

    def fit(self) -> torch.Tensor:
        """τ and γ of the VS loss that is nearest to α by least squares over log π. -> (2,)."""
        multiplier, offset = self.tables()
        return torch.stack([parametric.line(values, self.log_shares)[0] for values in (offset, _log(multiplier))])

    def _by_class(self, values: Parameters, name: str) -> torch.Tensor | None:
        if name not in values or self.table is None:
            return values.get(name)
        return parametric.expand(values[name], self.table)

    def columns(self, batch: Batch, *tables: torch.Tensor) -> list[torch.Tensor]:
        """What tables say of each example: (K,) for all, or its group's column of (K, G). -> each (K,) or (B, K)."""
        return [table.T[batch.groups % self.groups] if self.groups else table for table in tables]

    def losses(
        self, logits: torch.Tensor, batch: Batch, multiplier: torch.Tensor, offset: torch.Tensor
    ) -> torch.Tensor:
        """The cross-entropy of m f + l of each example. logits (B, K) -> (B,)."""
        return cross_entropy(parametric.adjusted(logits, *self.columns(batch, multiplier, offset)), batch.labels)

    def weights(self, batch: Batch, by: str) -> torch.Tensor:
        """w_i / Σ_j w_j of a batch, w = 1/n of the class or cell ("inverse") or 1 ("none"): torch's mean. -> (B,)."""
        weights = torch.ones_like(self.cells) if by == "none" else inverse(self.cells)
        chosen = weights.flatten()[batch.groups if self.groups else batch.labels]
        return chosen / chosen.sum()


def _log(multiplier: torch.Tensor) -> torch.Tensor:
    """log m; s(Δ) of a search that ran away may have underflown to 0."""
    return multiplier.clamp(min=torch.finfo(multiplier.dtype).tiny).log()
