"""Learned reweighting with a chosen validation set: LRW-Easy, -Random, -Hard (Jain, Suggala, Shenoy, CVPR 2024, §4.4).

    first stages    ERM, and the margins PM_i of the pool: `train_twice`
    V ← of the pool the M = `share` · N with the largest (easy) or smallest (hard) margins, or at random
    T ← the pool without V                                                          always as many
    second stage, from new weights, on T:
        θ ← step along Σ_i w̃_i ∇ℓ_i(θ)
        each `outer_every` steps, with a batch of V:
        φ ← step along (d/dφ) L_V(θ'(φ)),   θ'(φ) = θ − α Σ_i w̃_i(φ) ∇ℓ_i(θ)        `meta_network`

What is removed from training and what is validated on are two options, as both are changed at once in the paper:

| option     |                                                                                                       |
|------------|-------------------------------------------------------------------------------------------------------|
| validation | "easy", "random", "hard"; "misclassified": those of the hard with a margin below 0                    |
| removed    | "validation": V itself; "random": as many others at random, and V is kept in T; "hard+validation":    |
|            | the hard ones, and V, which is drawn from the rest, so that T has `share` less                        |
| difficulty | null: L_V is cross-entropy; η: −(1 − p_y)^η log p_y, the loss of Li et al. (MICCAI 2020; variant 1 of |
|            | supplement F)                                                                                         |

V is dealt in batches of `outer_batch_size`, augmented as training is, which the paper does not say. A V of fewer than M
("misclassified") is shown as often as it takes; where none is misclassified it is the hardest hundredth.
"""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import nn

from reweigh.data.batches import Batch
from reweigh.hypergrad.lookahead import Parameters
from reweigh.losses import cross_entropy
from reweigh.methods import base, meta_network, train_twice
from reweigh.streams import rng

FEWEST = 0.01  # of the pool, of a validation set that a condition chooses


class Method(train_twice.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.size = size_of(options["share"], self.pool)
        self.meta = meta_network.MetaNetwork(options["network"], context, self.pool)

    def second_stage(self, epochs: int) -> base.Stage:
        return base.Stage("lrw", epochs, part=train_twice.MEMBERS, fresh=True)

    # --- who trains, who teaches ----------------------------------------------------------------------------------

    def second_members(self) -> np.ndarray:
        return self.divided()[0]

    def divided(self) -> tuple[np.ndarray, np.ndarray]:
        """T and V as rows of the pool, in ascending order; V always has M, if need be with repetitions."""
        kind, removed, seed = self.options["validation"], self.options["removed"], self.context.seed
        hardest = self.by_hardness()
        away = hardest[: self.size] if removed == "hard+validation" else hardest[:0]
        left = hardest[~np.isin(hardest, away)]
        teachers = chosen("hard" if kind == "misclassified" else kind, left, self.size, seed)
        if removed == "random":
            away = rng(seed, "removed").permutation(np.setdiff1d(hardest, teachers))[: self.size]
        else:
            away = np.concatenate([away, teachers])
        if kind == "misclassified":
            wrong = self.margins[0].cpu().numpy()[teachers] < 0
            teachers = teachers[: int(wrong.sum()) or size_of(FEWEST, self.pool)]
        return np.setdiff1d(hardest, away), np.resize(np.sort(teachers), self.size)

    # --- the second stage -----------------------------------------------------------------------------------------

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        if stage.name != "lrw":
            return
        self.meta.start(model, self.net, self.context.train)
        validation = self.divided()[1]
        self.teacher = self.context.train.stream(
            self.options["outer_batch_size"], self.context.seed, "validation-batches", True, members=validation
        )
        self.log(held_out_share=torch.tensor((validation >= self.trained).mean()))

    def prepare(self, at: base.Position) -> str:
        every = self.options["outer_every"]
        self.outer = at.stage.name == "lrw" and self.meta.learns and (at.stage_step + 1) % every == 0
        if not self.outer:
            return "step"
        self.teacher.seek(at.stage_step // every)
        self.meta.prepare(at.learning_rate)
        return "outer"

    def watch(self, model: nn.Module) -> AbstractContextManager[Any]:
        return self.meta.products.kept() if self.outer else super().watch(model)

    def objective(
        self, step: base.Step, logits: torch.Tensor, losses: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        if step.program != "outer":
            return super().objective(step, logits, losses, weights)
        batch = self.teacher.current()
        return self.meta.learn(self, step, losses, weights, lambda at: self.validation_loss(step, batch, at))

    def validation_loss(self, step: base.Step, batch: Batch, at: Parameters) -> torch.Tensor:
        """L_V of a batch at other parameters. -> scalar."""
        entropy = cross_entropy(self.logits_at(step, batch, at, True, "validation"), batch.labels)
        if (eta := self.options["difficulty"]) is None:
            return entropy.mean()
        return ((1 - torch.exp(-entropy)).clamp(min=0) ** eta * entropy).mean()

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        if not self.meta.parameters:  # in a first stage
            return super().example_weights(step, losses)
        return self.meta.weights_now(step.batch)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "meta": self.meta.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.meta.load_state(state["meta"], self.context.train)
        if self.meta.parameters:
            self.teacher.follow(self.divided()[1])


def size_of(share: float, pool: int) -> int:
    """M: how many examples a share of the pool is, at least one."""
    return max(1, round(share * pool))


def chosen(kind: str, hardest: np.ndarray, size: int, seed: int) -> np.ndarray:
    """So many rows of those in `hardest`, which are in this order: the "hard" or the "easy" ones, or some at "random".

    >>> chosen("hard", np.array([2, 0, 1, 3]), 2, seed=0), chosen("easy", np.array([2, 0, 1, 3]), 2, seed=0)
    (array([2, 0]), array([3, 1]))
    """
    if kind == "random":
        return rng(seed, "validation").permutation(np.sort(hardest))[:size]
    return hardest[:size] if kind == "hard" else hardest[::-1][:size]
