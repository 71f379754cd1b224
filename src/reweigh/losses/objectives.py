"""What a training or a validation set is asked for, beside its mean loss: balanced, fair, or a blend of both.

    fair = Objective({"ce": 0.1, "ce_deo": 0.9}, class_counts, group_counts)
    fair(logits, batch)                     # scalar, on raw logits
    fair.of(wrong, batch)                   # the same of other losses an example, such as 0/1 errors

The parts of a blend, each a mean of cross-entropies (AutoBalance, Li et al., NeurIPS 2021, §§2 and 4; with 0/1 losses
they are the errors of the same name):

    ce          over all examples
    ce_bal      over classes: Σ ℓ_i/n_{y_i} / Σ 1/n_{y_i}, torch's weighted mean, a ratio of this batch
    ce_bal_g    over the cells of class and group, likewise
    ce_deo      Σ_k |L_{k,1} − L_{k,2}|, L_{k,g} the mean over a cell in the batch: the symmetric difference of equal
                opportunity. The plain absolute value; a cell that the batch does not have adds nothing
    group_la    weight 1/π_g and offset log P(y | g) for a class in the group of the example: logit adjustment by group

n and π are counts of the set that the objective is of. For the last three the groups of a batch are cells: group
k · G + g for class k and group g of G. A cell or class of no examples has weight 0.
"""

from collections.abc import Mapping

import torch

from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.hypergrad.lookahead import by_group
from reweigh.losses.cross_entropy import cross_entropy
from reweigh.losses.parametric import adjusted, weighted_mean

BY_CELL = ("ce_bal_g", "ce_deo", "group_la")
PARTS = ("ce", "ce_bal", *BY_CELL)


class Objective:
    """A blend: the weighted sum of some parts. Counts (K,) and (K·G,) are of the set that it is of.

    Raises ConfigError for a part that does not exist, or one by cells on a set whose groups are not cells.
    """

    def __init__(self, blend: Mapping[str, float], class_counts: torch.Tensor, group_counts: torch.Tensor) -> None:
        self.blend = {name: weight for name, weight in blend.items() if weight}
        if unknown := [name for name in blend if name not in PARTS]:
            raise ConfigError(f"objective: no part {unknown[0]!r}; known: {', '.join(PARTS)}")
        self.class_weights, self.cell_weights = inverse(class_counts), inverse(group_counts)
        self.classes, self.groups = len(class_counts), groups_of(class_counts, group_counts)
        if self.groups < 2 and (asked := [name for name in self.blend if name in BY_CELL]):
            raise ConfigError(f"objective: {asked[0]} needs groups, but the groups of this set are its classes")
        if self.groups != 2 and "ce_deo" in self.blend:
            raise ConfigError(f"objective: ce_deo compares two groups, and this set has {self.groups}")
        if "group_la" in self.blend:
            cells = group_counts.view(self.classes, self.groups)
            self.offset = (cells.clamp(min=1) / cells.sum(0)).log()  # log P(y | g), (K, G)
            self.group_weights = inverse(cells.sum(0)) * cells.sum()  # 1/π_g

    def __call__(self, logits: torch.Tensor, batch: Batch, losses: torch.Tensor | None = None) -> torch.Tensor:
        """The objective of a batch. logits (B, K); `losses` (B,) stand for cross-entropies in `ce` -> scalar."""
        plain = cross_entropy(logits, batch.labels)
        total = self.of(plain, batch, plain if losses is None else losses)
        if weight := self.blend.get("group_la"):
            total = total + weight * self._group_la(logits, batch)
        return total

    def of(self, losses: torch.Tensor, batch: Batch, plain: torch.Tensor | None = None) -> torch.Tensor:
        """The objective of losses (B,) that are given, without group_la. `plain` (B,): others for `ce`. -> scalar."""
        parts = {
            "ce": lambda: (losses if plain is None else plain).mean(),
            "ce_bal": lambda: weighted_mean(losses, self.class_weights[batch.labels]),
            "ce_bal_g": lambda: weighted_mean(losses, self.cell_weights[batch.groups]),
            "ce_deo": lambda: self._deo(losses, batch),
        }
        found = [weight * parts[name]() for name, weight in self.blend.items() if name in parts]
        return torch.stack(found).sum() if found else losses.sum() * 0

    def weights(self, losses: torch.Tensor, batch: Batch) -> torch.Tensor:
        """What each example's loss counts for, ∂objective/∂ℓ_i: negative for some in ce_deo. losses (B,) -> (B,).

        `losses` are cross-entropies, whose means decide the signs in ce_deo; of group_la the loss is its own.
        """
        with torch.enable_grad():
            leaf = losses.detach().requires_grad_()
            weights = torch.autograd.grad(self.of(leaf, batch), leaf)[0]
        if share := self.blend.get("group_la"):
            of_group = self.group_weights[batch.groups % self.groups]
            weights = weights + share * of_group / of_group.sum()
        return weights

    def _deo(self, losses: torch.Tensor, batch: Batch) -> torch.Tensor:
        cells = len(self.cell_weights)
        counts = by_group(torch.ones_like(losses), batch.groups, cells)
        means = (by_group(losses, batch.groups, cells) / counts.clamp(min=1)).view(self.classes, 2)
        both = (counts.view(self.classes, 2) > 0).all(1)
        return ((means[:, 0] - means[:, 1]).abs() * both).sum()

    def _group_la(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        groups = batch.groups % self.groups
        losses = cross_entropy(adjusted(logits, torch.ones_like(self.offset), self.offset, groups), batch.labels)
        return weighted_mean(losses, self.group_weights[groups])


def groups_of(class_counts: torch.Tensor, group_counts: torch.Tensor) -> int:
    """G, the number of groups that each class is divided into: 1 where groups are the classes.

    Raises ConfigError where groups are something else, such as two sexes of three classes.
    """
    groups, rest = divmod(len(group_counts), len(class_counts))
    if rest or not groups:
        raise ConfigError(
            f"{len(group_counts)} groups do not divide {len(class_counts)} classes into cells: number them "
            "class * G + group"
        )
    return groups


def inverse(counts: torch.Tensor) -> torch.Tensor:
    """1/n, 0 where there is none. (K,) -> (K,)."""
    return torch.where(counts > 0, 1 / counts.clamp(min=1), 0.0)
