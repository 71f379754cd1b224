"""An augmentation policy whose strengths are learned: one for all classes, or one for each cluster of classes.

It is the search space of AutoBalance's personalised data augmentation (PDA; NeurIPS 2021, §2.1 and Table 2) and, with
one policy for all classes, of MADAO (Hataya et al., 2020), to which the paper compares it. The paper leaves the details
to a supplement; what follows is Faster AutoAugment's, on which MADAO builds, and ours where that says nothing.

A policy is a few sub-policies, of which each image draws one. A sub-policy is a row of stages; in a stage one of
`OPERATIONS` may act. Operation k of a stage has a probability p_k and, where it means something, a magnitude m_k, both
in 0 … 1, and a weight w_k. With the softmax over k at a low temperature τ and a sign s drawn for each image,

    search      x ← x + Σ_k softmax(w / τ)_k · b_k · (o_k(x; s_k m_k) − x),    b_k ~ relaxed Bernoulli(p_k)
    afterwards  x ← o_k(x; s_k m_k) if b_k else x,    k ~ softmax(w / τ),  b_k ~ Bernoulli(p_k)

MADAO's own code (moskomule/dda) has a single sub-policy, draws k in the search too (by a hard Gumbel softmax), and
shows the relaxed images in outer steps alone; it has 13 of the 15 operations.

The relaxed Bernoulli is σ((logit p − logit u) / temperature) of a uniform u, and the hard one, u < p, is its limit. At
p = 0 and 1, where clipping often takes p, the relaxation has no derivative; there it has that of its mean, 1, so that
an operation may come back (ours). All that is random is in `draws`: nothing here draws, or waits for a tensor's value.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from reweigh.data.batches import Scaling
from reweigh.data.image_operations import OPERATIONS
from reweigh.errors import ConfigError
from reweigh.streams import rng

NAMES = tuple(OPERATIONS)
WITH_MAGNITUDE = tuple(name for name in NAMES if OPERATIONS[name].largest is not None)
PROBABILITY, MAGNITUDE, OPERATION = "augment_probability", "augment_magnitude", "augment_operation"


class Policy:
    """What is drawn and done by a policy; its parameters are held by whoever learns them.

    `options` are those of `AugmentationOptions` (config/augmentation.py). `clusters_of_classes` is int64 (classes,):
    the cluster of each class, counted from 0. `scaling` is that of the inputs.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        clusters_of_classes: torch.Tensor,
        scaling: Scaling,
        device: torch.device,
        seed: int,
    ) -> None:
        together = options["policies"] == "one"
        self.clusters = (torch.zeros_like(clusters_of_classes) if together else clusters_of_classes).to(device)
        self.policies = int(self.clusters.max()) + 1
        self.sub_policies, self.stages = options["sub_policies"], options["stages"]
        self.temperature, self.operation_temperature = options["temperature"], options["operation_temperature"]
        self.slope, self.offset = scaling.to_unit()
        self.start, self.seed, self.device = options["start"], seed, device

    def parameters(self) -> dict[str, torch.Tensor]:
        """What a search starts from: name -> float32 (policies, sub-policies, stages, operations).

        Magnitudes are of the operations in WITH_MAGNITUDE alone. All operations have the same weight, 0.
        """
        shape = (self.policies, self.sub_policies, self.stages)
        return {
            PROBABILITY: self._started(PROBABILITY, (*shape, len(NAMES))),
            MAGNITUDE: self._started(MAGNITUDE, (*shape, len(WITH_MAGNITUDE))),
            OPERATION: torch.zeros((*shape, len(NAMES)), device=self.device),
        }

    def _started(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        if self.start == "uniform":
            values = rng(self.seed, "augmentation policy", name).random(shape, dtype=np.float32)
            return torch.from_numpy(values).to(self.device)
        return torch.full(shape, float(self.start), device=self.device)

    @torch.no_grad()
    def clip(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """Bring probabilities and magnitudes back to 0 … 1, in place: after each step of the search."""
        parameters[PROBABILITY].clamp_(0, 1)
        parameters[MAGNITUDE].clamp_(0, 1)

    @property
    def columns(self) -> int:
        """Draws for an image: its sub-policy; in each stage the operation, whether each acts, and its sign."""
        return 1 + self.stages * (1 + 2 * len(NAMES))

    def draw(self, count: int, generator: np.random.Generator) -> torch.Tensor:
        """All that is random of `count` images, on the host. -> float32 (count, `columns`), uniform in [0, 1)."""
        return torch.from_numpy(generator.random((count, self.columns), dtype=np.float32))

    def apply(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        parameters: Mapping[str, torch.Tensor],
        draws: torch.Tensor,
        relaxed: bool,
    ) -> torch.Tensor:
        """Images (B, C, H, W) as the model is shown them, augmented by `draws` (B, `columns`). -> as `images`.

        Each image by the policy of its class's cluster. `relaxed`: as in the search, differentiable in `parameters`;
        else each operation acts or does not. Where nothing acts, an image comes out bit for bit as it went in.
        """
        if images.ndim != 4:
            shape = tuple(images.shape[1:])
            raise ConfigError(
                f"augmentation is learned for images, and these inputs have shape {shape}; set it to null"
            )
        draws = draws.to(images.dtype)
        pixels = (images * self.slope + self.offset).clamp(0, 1).contiguous()  # plane by plane is faster
        own = self._chosen(labels, draws[:, 0])
        probability, magnitude, weights = (
            (own[:, :, None] * parameters[name].flatten(0, 1).flatten(1)).sum(1).unflatten(1, (self.stages, -1))
            for name in (PROBABILITY, MAGNITUDE, OPERATION)
        )
        drawn = draws[:, 1:].unflatten(1, (self.stages, -1))
        changed = pixels
        for stage in range(self.stages):
            choice, acts, signs = drawn[:, stage].split((1, len(NAMES), len(NAMES)), dim=1)
            shares = torch.softmax(weights[:, stage] / self.operation_temperature, 1)
            if relaxed:
                share = shares * relaxed_bernoulli(probability[:, stage], acts, self.temperature)
                changed = self._mixed(changed, magnitude[:, stage], signs, share)
            else:
                acting = (acts < probability[:, stage]) & one_of(shares, choice)
                changed = self._acted(changed, magnitude[:, stage], signs, acting)
        return images + (changed - pixels) / self.slope

    def _chosen(self, labels: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
        """1 at the sub-policy of each image, else 0: (B, policies · sub-policies).

        What a sum of products with it picks is exact at any precision of matrix products, and its derivative adds up in
        one order.
        """
        sub_policy = (draw * self.sub_policies).long().clamp(max=self.sub_policies - 1)
        place = self.clusters[labels] * self.sub_policies + sub_policy
        places = torch.arange(self.policies * self.sub_policies, device=place.device)
        return (place[:, None] == places).to(draw.dtype)

    def _mixed(
        self, pixels: torch.Tensor, magnitude: torch.Tensor, signs: torch.Tensor, share: torch.Tensor
    ) -> torch.Tensor:
        """What the operations change, each by its share (B, operations), added to the pixels."""
        total = pixels
        for number, name in enumerate(NAMES):
            changed = OPERATIONS[name](pixels, amount_of(name, magnitude, signs[:, number]))
            total = total + share[:, number, None, None, None] * (changed - pixels)
        return total

    def _acted(
        self, pixels: torch.Tensor, magnitude: torch.Tensor, signs: torch.Tensor, acting: torch.Tensor
    ) -> torch.Tensor:
        """What the one operation that acts on each image, if any does, makes of it. acting: bool (B, operations)."""
        result = pixels
        for number, name in enumerate(NAMES):
            changed = OPERATIONS[name](pixels, amount_of(name, magnitude, signs[:, number]))
            result = torch.where(acting[:, number, None, None, None], changed, result)
        return result


def amount_of(name: str, magnitude: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """The amount of an operation, given the magnitudes (B, WITH_MAGNITUDE) and a uniform draw of its sign. -> (B,)."""
    operation = OPERATIONS[name]
    if operation.largest is None:
        return torch.zeros_like(signs)
    amounts = operation.largest * magnitude[:, WITH_MAGNITUDE.index(name)]
    return torch.where(signs < 0.5, -amounts, amounts) if operation.signed else amounts


def one_of(shares: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """True at one place of each row, drawn by its shares (B, n), which sum up to 1; uniform (B, 1). -> bool (B, n).

    >>> one_of(torch.tensor([[0.2, 0.5, 0.3]] * 3), torch.tensor([[0.1], [0.2], [0.99]])).int().tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    """
    places = torch.arange(shares.shape[1], device=shares.device)
    below = (shares[:, None] * (places <= places[:, None])).sum(2)[:, :-1]  # a GPU's cumsum adds up in any order
    return (uniform >= below).sum(1, keepdim=True) == places


def relaxed_bernoulli(probability: torch.Tensor, uniform: torch.Tensor, temperature: float) -> torch.Tensor:
    """σ((logit p − logit u) / temperature): near 1 where u < p, else near 0; exactly so at p = 0 and 1.

    There its derivative by p is that of its mean, 1.

    >>> mask = relaxed_bernoulli(torch.tensor([0.0, 0.3, 0.3, 1.0]), torch.tensor([0.5, 0.1, 0.7, 0.9]), 0.1)
    >>> [round(value, 5) for value in mask.tolist()]
    [0.0, 1.0, 0.0, 1.0]
    """
    tiny = torch.finfo(probability.dtype).eps
    logits = torch.logit(probability.clamp(tiny, 1 - tiny)) - torch.logit(uniform.clamp(tiny, 1 - tiny))
    at_end = (probability <= 0) | (probability >= 1)
    return torch.where(at_end, probability, torch.sigmoid(logits / temperature))
