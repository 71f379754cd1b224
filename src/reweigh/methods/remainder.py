"""Plain training on what a removal leaves: the controls of LRW-Easy, -Random and -Hard, which remove and reweight.

Removal is the half of Jain, Suggala, Shenoy (CVPR 2024), §4.4, that their experiments do not hold fixed:

    first stages    ERM, and the margins of the pool: `train_twice`
    T ← the pool without the M = `share` · N easiest or hardest examples, or without M at random
    second stage, from new weights:  θ ← step along (1/B) Σ_i ∇ℓ_i(θ),   i ∈ T

T is that of `lrw` with the same margins and share; its batches are the same too, so that only the weights differ. With
`removed` null it trains on the whole pool, in one stage.
"""

from typing import Any

import numpy as np

from reweigh.methods import base, lrw, train_twice


class Method(train_twice.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.size = lrw.size_of(options["share"], self.pool)

    def stages(self, epochs: int) -> list[base.Stage]:
        if self.options["removed"] is None:
            return [base.Stage("train", epochs, part=train_twice.POOL)]
        return super().stages(epochs)

    def prefix(self) -> base.Prefix | None:
        return None if self.options["removed"] is None else super().prefix()

    def second_stage(self, epochs: int) -> base.Stage:
        return base.Stage("remainder", epochs, part=train_twice.MEMBERS, fresh=True)

    def second_members(self) -> np.ndarray:
        away = lrw.chosen(self.options["removed"], self.by_hardness(), self.size, self.context.seed)
        return np.setdiff1d(np.arange(self.pool), away)
