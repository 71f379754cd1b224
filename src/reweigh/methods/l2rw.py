"""Learning to reweight examples, L2RW (Ren, Zeng, Yang, Urtasun, ICML 2018, algorithm 1), from either meta set.

    u_i = max(0, −∂L_meta(θ − η ∇_θ Σ_j ε_j ℓ_j(θ)) / ∂ε_i at ε = 0)  = η max(0, ⟨∇L_meta(θ), ∇ℓ_i(θ)⟩)
    w_i = u_i / (Σ_j u_j + 1[Σ_j u_j = 0])
    θ ← step along Σ_i w_i ∇ℓ_i(θ)

This is `methods/er.py`, the same algorithm as TDR's baseline, with another meta set: by `meta_set` what the split holds
out, or its target set. η cancels. Both passes are in training mode with the batch's own statistics and leave the
running ones alone. Where no example helps there is no step.

The authors' code (uber-research/learning-to-reweight-examples at 0b616c9) takes ∇L_meta with the weight decay of θ, a
term λ θ that the paper's algorithm does not have, nor this.
"""

from dataclasses import replace
from typing import Any

from reweigh.methods import base, er, meta_set


class Method(er.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__({**options, "scale": "sum"}, context)

    def follow(self, context: base.RunContext) -> None:
        # What `er` takes for the target set is the meta set.
        super().follow(replace(context, target=meta_set.stream(self.options["meta_set"], context)))
