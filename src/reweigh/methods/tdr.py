"""Targeted data-driven regularisation (Kamani, Farhang, Mahdavi, Wang, KDD 2020).

One weight for each class (or group) is learned, together with the model, from a small balanced target set V:

    every t_in steps (`outer_every`), from a batch b of the training set and a batch b_v of V:
        θ' = θ − η ∇_θ Σ_{i∈b} w̃_i ℓ_i(θ)                                  look-ahead
        h_c = ∂ L_target(θ') / ∂ w_c = −(η/B) Σ_{i∈b, y_i=c} ⟨∇L_target(θ'), ∇ℓ_i(θ)⟩                   (eq. 9)
        w ← w − η_out · h                                                  η_out = `outer_learning_rate`
    every step:
        θ ← step along Σ_i w̃_i ∇ℓ_i(θ)

Paper and public code disagree; each difference is an option, and the config sets two named variants.

| option              | `tdr_p`: the paper's words (P)               | `tdr`: the code (C)                       |
|---------------------|----------------------------------------------|-------------------------------------------|
| normalisation       | batch: w̃_i = w⁺_{y_i} / Σ_j w⁺_{y_j}         | class: Σ_c w_c = 1 after each update,     |
|                     | (eq. 7)                                      | w̃_i = w_{y_i} / B                         |
| clip_max            | null: w⁺ = max(w, 0) is a view (eq. 6), and  | 100: w itself is clipped to [0, 100]      |
|                     | the next update goes on from w (Algorithm 1) |                                           |
| hypergradient_batch | last: the batch of the last inner step,      | fresh: its own batch, before the step     |
|                     | whose step is the look-ahead; w moves after  |                                           |
| look_ahead_decay    | false                                        | true: weight decay in both losses         |
| target_mode         | eval: running batch-norm statistics, no      | the same ("train" is a third way)         |
|                     | dropout                                      |                                           |

A look-ahead that is the last inner step has that step's learning rate and dropout mask. Neither differentiates through
the clipping or the normalisation. Deviation from both: weights none of which is positive go back to 1/C, and the trace
says so (the code divides by 2e-12 and goes on with none; the paper's eq. 7 is 0/0). Of a batch whose classes all weigh
0 the step is what decay and momentum make of it. C counts the classes that have training examples: the weight of
another one multiplies nothing, so that it is 0 from the start and has no part in the sum.
"""

import torch

from reweigh.data.batches import Batch
from reweigh.hypergrad.lookahead import by_group, example_hypergradient
from reweigh.methods import base
from reweigh.weights import clip_to_simplex, equal


class Method(base.Method):
    may_rest = True  # where every class of the batch weighs 0

    def __init__(self, options: dict[str, object], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.start = equal(context.group_counts)
        self.weights, self.next_weights = self.start.clone(), self.start.clone()
        self.fresh = options["hypergradient_batch"] == "fresh"
        self.rate = torch.zeros((), device=self.weights.device)  # of the step

    def prepare(self, at: base.Position) -> str:
        every = self.options["outer_every"]
        if at.step % every != (0 if self.fresh else every - 1):
            return "inner"
        self.rate.fill_(at.learning_rate)
        self.context.target.seek(at.step // every)  # type: ignore[union-attr]
        if self.fresh:
            self.context.fresh.seek(at.step // every)
        return "outer"

    def learn(self, step: base.Step) -> None:
        self.weights.copy_(self.next_weights)
        if step.program != "outer":
            return
        if self.fresh:
            self.next_weights.copy_(self.updated(step, self.context.fresh.current()))
            self.weights.copy_(self.next_weights)
        else:
            self.next_weights.copy_(self.updated(step, step.batch))

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return self.effective(step.batch)

    def effective(self, batch: Batch) -> torch.Tensor:
        """w̃_i: the weight of each example in the training loss. -> (B,)."""
        weights = self.weights[batch.groups]
        weights = weights.clamp(min=0) + weights * 0  # eq. 6; what is not finite stays so, for the engine to see
        if self.options["normalisation"] == "class":
            return weights / len(batch)
        total = weights.sum()
        return weights / torch.where(total <= 0, torch.ones_like(total), total)

    def updated(self, step: base.Step, batch: Batch) -> torch.Tensor:
        """One outer step from the batch: the class weights after it. -> (groups,)."""
        target = self.context.target.current()  # type: ignore[union-attr]
        training_target = self.options["target_mode"] == "train"
        mask = "look-ahead" if self.fresh else "train"  # the last inner step is the engine's own
        derivatives = example_hypergradient(
            losses=lambda at: self.losses_at(step, batch, at, training=True, name=mask),
            outer_loss=lambda at: self.losses_at(step, target, at, training_target, name="target").mean(),
            parameters=base.parameters_of(step.model),
            weights=self.effective(batch),
            step_size=self.context.learning_rate if self.fresh else self.rate,
            decay=self.context.weight_decay if self.options["look_ahead_decay"] else 0.0,
        )
        by_class = by_group(derivatives, batch.groups, len(self.weights)) / len(batch)
        stepped = self.weights - self.options["outer_learning_rate"] * by_class
        weights, collapsed = self.projected(stepped)
        self.log(class_weights=weights, outer_step=step.number, collapsed=collapsed)
        return weights

    def projected(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights to go on from: summing to 1, or clipped, or as they are. -> (groups,), none was positive?"""
        limit = self.options["clip_max"]
        if self.options["normalisation"] == "class":
            return clip_to_simplex(weights, limit, self.start)
        kept = weights if limit is None else weights.clamp(min=0, max=limit)
        none_left = (weights.clamp(min=0) + weights * 0).sum() <= 0
        return torch.where(none_left, self.start, kept), none_left

    def state(self) -> dict[str, object]:
        return {**super().state(), "weights": self.weights, "next_weights": self.next_weights}

    def load_state(self, state: dict[str, object]) -> None:
        super().load_state(state)
        self.weights.copy_(state["weights"])  # type: ignore[arg-type]
        self.next_weights.copy_(state["next_weights"])  # type: ignore[arg-type]
