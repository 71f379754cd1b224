"""Exponentiated-gradient reweighting (Majidi, Amid, Talebi, Warmuth, 2021), ABSGD's rival under label noise.

The min–min problem of ABSGD (λ < 0), normalised within the batch alone:

    w_i = exp(ℓ_i/λ) / Σ_j exp(ℓ_j/λ)                 memoryless: ABSGD with γ = 1, α = 1; its Table 6 calls this EG
    w_i = v_i / Σ_j v_j,   v_i ← v_i · exp(ℓ_i/λ)     `persistent`: each example keeps its v_i, which is 1 at first

Majidi et al. keep them, with step size η = −1/λ. No code of either was published. Before epoch `from_epoch` training
is plain: w_i = 1/B. v is kept as its logarithm, in float64.
"""

import torch

from reweigh.methods import base


class Method(base.Method):
    def __init__(self, options: dict[str, object], context: base.RunContext) -> None:
        super().__init__(options, context)
        kept = len(context.train) if options["persistent"] else 0
        self.log_v = torch.zeros(kept, dtype=torch.float64, device=context.class_counts.device)

    def prepare(self, at: base.Position) -> str:
        return "weighted" if at.stage_epoch >= self.options["from_epoch"] else "plain"

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        if step.program == "plain":
            return torch.full_like(losses, 1 / len(losses))
        tilt = losses.double() / self.options["lambda_"]
        if self.options["persistent"]:
            tilt = tilt + self.log_v[step.batch.rows]
            self.log_v.index_copy_(0, step.batch.rows, tilt)
        return torch.softmax(tilt, 0).to(losses)

    def state(self) -> dict[str, object]:
        return {**super().state(), "log_v": self.log_v}

    def load_state(self, state: dict[str, object]) -> None:
        super().load_state(state)
        self.log_v.copy_(state["log_v"])  # type: ignore[arg-type]
