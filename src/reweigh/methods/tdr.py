"""Targeted data-driven regularisation (Kamani, Farhang, Mahdavi, Wang, KDD 2020).

One weight for each class (or group) is learned, together with the model, from a small balanced target set V:

    every t_in steps (`outer_every`), from a batch b of the training set and a batch b_v of V:
        θ' = θ − η ∇_θ (1/B) Σ_{i∈b} w_{y_i} ℓ_i(θ)                        look-ahead, η the initial learning rate
        h_c = ∂ L_target(θ') / ∂ w_c = −(η/B) Σ_{i∈b, y_i=c} ⟨∇L_target(θ'), ∇ℓ_i(θ)⟩                   (eq. 9)
        w ← w − η_out · h, clipped to [0, clip_max]                        η_out = `outer_learning_rate`
    every step:
        θ ← step along Σ_i w̃_i ∇ℓ_i(θ)

Paper and public code disagree; each difference is an option, and the config sets two named variants.

| option              | `tdr`: the code (C)                       | `tdr_p`: the paper's words (P)               |
|---------------------|-------------------------------------------|----------------------------------------------|
| normalisation       | class: Σ_c w_c = 1 after each update,     | batch: w̃_i = w_{y_i} / Σ_j w_{y_j}           |
|                     | w̃_i = w_{y_i} / B                         | (eq. 6 and 7)                                |
| hypergradient_batch | fresh: its own batch, before the step     | last: the batch of the last inner step,      |
|                     |                                           | whose step is the look-ahead; w moves after  |
| look_ahead_decay    | true: weight decay in both losses         | false                                        |
| target_mode         | eval: running batch-norm statistics, no   | the same ("train" is a third way)            |
|                     | dropout                                   |                                              |
| clip_max            | 100                                       | null: only max(w, 0)                         |

Neither differentiates through the normalisation. Deviation from the code: weights that are all clipped to 0 go back to
1/C, and the trace says so (the code divides by 2e-12 and goes on with none). C counts the classes that have training
examples: the weight of another one multiplies nothing, so that it is 0 from the start and has no part in the sum.
"""

import torch

from reweigh.data.batches import Batch
from reweigh.hypergrad.lookahead import by_group, example_hypergradient
from reweigh.methods import base
from reweigh.weights import clip_to_simplex, equal


class Method(base.Method):
    def __init__(self, options: dict[str, object], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.start = equal(context.group_counts)
        self.weights, self.next_weights = self.start.clone(), self.start.clone()

    def prepare(self, at: base.Position) -> str:
        every, fresh = self.options["outer_every"], self.options["hypergradient_batch"] == "fresh"
        if at.step % every != (0 if fresh else every - 1):
            return "inner"
        self.context.target.seek(at.step // every)  # type: ignore[union-attr]
        if fresh:
            self.context.fresh.seek(at.step // every)
        return "outer"

    def learn(self, step: base.Step) -> None:
        self.weights.copy_(self.next_weights)
        if step.program != "outer":
            return
        if self.options["hypergradient_batch"] == "fresh":
            self.next_weights.copy_(self.updated(step, self.context.fresh.current()))
            self.weights.copy_(self.next_weights)
        else:
            self.next_weights.copy_(self.updated(step, step.batch))

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return self.effective(step.batch)

    def effective(self, batch: Batch) -> torch.Tensor:
        """w̃_i: the weight of each example in the training loss. -> (B,)."""
        weights = self.weights[batch.groups]
        if self.options["normalisation"] == "class":
            return weights / len(batch)
        total = weights.sum()
        return weights / torch.where(total <= 0, torch.ones_like(total), total)

    def updated(self, step: base.Step, batch: Batch) -> torch.Tensor:
        """One outer step from the batch: the class weights after it. -> (groups,)."""
        target = self.context.target.current()  # type: ignore[union-attr]
        training_target = self.options["target_mode"] == "train"
        derivatives = example_hypergradient(
            losses=lambda at: self.losses_at(step, batch, at, training=True, name="look-ahead"),
            outer_loss=lambda at: self.losses_at(step, target, at, training_target, name="target").mean(),
            parameters=base.parameters_of(step.model),
            weights=self.effective(batch),
            step_size=self.context.learning_rate,
            decay=self.context.weight_decay if self.options["look_ahead_decay"] else 0.0,
        )
        by_class = by_group(derivatives, batch.groups, len(self.weights)) / len(batch)
        stepped = self.weights - self.options["outer_learning_rate"] * by_class
        weights, collapsed = self.projected(stepped)
        self.log(class_weights=weights, outer_step=step.number, collapsed=collapsed)
        return weights

    def projected(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights made non-negative, and summing to 1 if they are normalised over classes. -> (groups,), collapsed?"""
        if self.options["normalisation"] == "class":
            return clip_to_simplex(weights, self.options["clip_max"], self.start)
        clipped = weights.clamp(min=0, max=self.options["clip_max"])
        collapsed = clipped.sum() <= 0  # never what is not a number: that stays, for the engine to see
        return torch.where(collapsed, self.start, clipped), collapsed

    def state(self) -> dict[str, object]:
        return {**super().state(), "weights": self.weights, "next_weights": self.next_weights}

    def load_state(self, state: dict[str, object]) -> None:
        super().load_state(state)
        self.weights.copy_(state["weights"])  # type: ignore[arg-type]
        self.next_weights.copy_(state["next_weights"])  # type: ignore[arg-type]
