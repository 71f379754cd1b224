"""MentorNet's predefined curriculum in closed form (Jiang, Zhou, Leung, Li, Fei-Fei, ICML 2018): small losses only.

For each batch of B examples with losses ℓ_i, q the `percentile` of the losses, d = `decay`:

    m   ← d m + (1 − d) q(ℓ_1 … ℓ_B)                              m = q of the first batch of the run at first
    v_i = 1[ℓ_i ≤ m];   v_i = 1 in the first `burn_in` of the epochs
    w_i = v_i / B,    θ ← step along Σ_i w_i ∇ℓ_i(θ)

A simplification: in their paper a small net, fed with the loss, its difference to m, label and epoch, learns to give
v_i, and its predefined curricula smooth the step of self-paced learning (Kumar et al., NeurIPS 2010), which is what is
left here. The moving average runs on during the burn-in, as in the authors' code (google/mentornet), and a batch is
judged by the average that has taken it in. As there, the sum is divided by the batch and not by what it keeps: what is
left out makes a step smaller, about 1 − `percentile` smaller where the percentile moves slowly.

Deviations from their code: m is not 0 at first; the percentile is interpolated between losses, not the nearest of them;
weight decay is not multiplied by the mean of v_i; no example is dropped at random on top.

The trace has a row an epoch, the share of each class's examples that were kept.
"""

from fractions import Fraction
from typing import Any

import torch

from reweigh.hypergrad.lookahead import by_group
from reweigh.methods import base


class Method(base.Method):
    may_rest = True  # all losses of a batch may be above those of the batches before

    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.bound = context.class_counts.new_zeros(())  # m
        self.seen, self.kept = (torch.zeros_like(context.class_counts) for _ in range(2))  # of each class in the epoch
        self.burn_in = Fraction(str(options["burn_in"])) * context.epochs

    def prepare(self, at: base.Position) -> str:
        self.begins, self.ends_epoch = at.step == 0, at.ends_epoch
        self.burns_in = at.stage_epoch < self.burn_in
        first, last = ("first, " if self.begins else ""), (", end of epoch" if at.ends_epoch else "")
        return f"{first}{'burn-in' if self.burns_in else 'curriculum'}{last}"

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        now, decay = percentile(losses, self.options["percentile"]), self.options["decay"]
        self.bound.copy_(now if self.begins else decay * self.bound + (1 - decay) * now)
        keeps = torch.ones_like(losses) if self.burns_in else (losses <= self.bound).to(losses)
        self.tally(step.batch.labels, keeps)
        return keeps / len(losses)

    def tally(self, labels: torch.Tensor, keeps: torch.Tensor) -> None:
        """Count what is seen and kept of each class; at the end of an epoch, log the shares and begin again."""
        self.seen += by_group(torch.ones_like(keeps), labels, self.context.classes)
        self.kept += by_group(keeps, labels, self.context.classes)
        if self.ends_epoch:
            self.log(kept_share=self.kept / self.seen.clamp(min=1))
            self.seen.zero_()
            self.kept.zero_()

    def state(self) -> dict[str, Any]:
        return {**super().state(), "bound": self.bound, "seen": self.seen, "kept": self.kept}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        for name in ("bound", "seen", "kept"):
            getattr(self, name).copy_(state[name])


def percentile(values: torch.Tensor, share: float) -> torch.Tensor:
    """The value below which a share of `values` (B,) lies, on a straight line between neighbours in order. -> scalar.

    >>> float(percentile(torch.tensor([4.0, 1.0, 3.0, 2.0]), 0.75))
    3.25
    """
    # torch.quantile waits for its argument.
    ordered = values.sort().values
    whole, part = divmod(share * (len(values) - 1), 1)
    low, high = ordered[int(whole)], ordered[min(int(whole) + 1, len(values) - 1)]
    return low + part * (high - low)
