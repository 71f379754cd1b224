"""RHO-loss (Mindermann et al., ICML 2022, algorithm 1): steps on what is learnable, worth learning, not yet learnt.

    irreducible:  a model is trained on held-out examples alone;  IL_i = its loss on training example i
    main, a fresh model:  of a large batch of n_B = B / `share` training examples the B with the largest
                          ρ_i = ℓ_i(θ) − IL_i;    θ ← step along (1/B) Σ_i ∇ℓ_i(θ) over these

Equal budgets: the main stage takes as many steps on batches of B as other methods, on the same schedule. It sees
1 / `share` times as many examples for that, in a pass forward: with share = 0.1, 13 units of work where plain training
has 3. The large batches are a stream of their own; the engine's batch only says that it is time for a step.

ρ is taken in training mode, with the batch statistics and dropout of the large batch, as in the authors' code
(OATML/RHO-Loss at 4c88851); of the irreducible model in evaluation mode without augmentation. `checkpoint` says which
of its epochs gives IL: the "last", or the "best" of every `check_every`-th and the last, by the mean loss on the
training examples, which it has not seen. (The code takes the best by the loss on its test set.) It is trained on
`hold_out` of all examples, from among those that are held out: all of these where the split holds out as many.
`optimiser` adamw is that of the code, with the rate and weight decay of the training block.

Deviations: the pass for ρ leaves the running statistics alone, where the code's updates them; the code holds out half
of the training set. The trace has the mean IL at each check.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn

from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.hypergrad.lookahead import Parameters
from reweigh.losses import cross_entropy
from reweigh.methods import base
from reweigh.models.layers import without_trace
from reweigh.optimisers import Adam, Optimiser, by_decay
from reweigh.streams import rng

FIRST, POOL = "irreducible", "members of train+validation"


class Method(base.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        if context.validation is None:
            raise ConfigError("rho_loss: the split holds nothing out; give it a validation part")
        self.held_out = len(context.validation)

    def stages(self, epochs: int) -> list[base.Stage]:
        said = {name: self.options[f"irreducible_{name}"] for name in ("batch_size", "schedule")}
        own = {name: value for name, value in said.items() if value is not None}
        first = base.Stage(FIRST, self.options["irreducible_epochs"], training=own, part=POOL)
        return [first, base.Stage("main", epochs, fresh=True)]

    def members(self, stage: base.Stage) -> np.ndarray:
        everything = len(self.context.train)
        wanted = int(everything * Fraction(str(self.options["hold_out"])))
        if wanted > self.held_out:
            raise ConfigError(
                f"rho_loss: hold_out asks for {wanted} of {everything} examples, but {self.held_out} are held out"
            )
        drawn = rng(self.context.seed, "rho hold-out").permutation(self.held_out)[:wanted]
        return everything - self.held_out + np.sort(drawn)

    def optimiser(self, parameters: Parameters, decay: Mapping[str, float]) -> Optimiser | None:
        return AdamW(parameters, decay) if self.options["optimiser"] == "adamw" else None

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        if stage.name == FIRST:
            some = self.context.class_counts
            self.irreducible = some.new_zeros(len(self.context.train) - self.held_out)
            self.best = some.new_full((), torch.inf)
        else:
            large = round(self.context.batch_size / self.options["share"])
            self.large = self.context.train.stream(large, self.context.seed, "large-batches", True)

    # --- the irreducible losses -----------------------------------------------------------------------------------

    def begin_epoch(self, at: base.Position, model: nn.Module) -> None:
        super().begin_epoch(at, model)
        due = at.stage_epoch and at.stage_epoch % self.options["check_every"] == 0
        if at.stage.name == FIRST and self.options["checkpoint"] == "best" and due:
            self._check(model)

    def end(self, stage: base.Stage, model: nn.Module) -> None:
        if stage.name == FIRST:
            self._check(model)

    def _check(self, model: nn.Module) -> None:
        """Take the model's losses on the training examples for IL, if they are the best so far."""
        with without_trace(model, training=False):
            taken = [
                cross_entropy(self.predict(model, batch.inputs).float(), batch.labels)
                for batch in self.context.train.in_order(500)
            ]
        losses = torch.cat(taken)[: len(self.irreducible)]
        mean = losses.mean()
        better = mean < self.best if self.options["checkpoint"] == "best" else torch.ones_like(mean, dtype=torch.bool)
        self.irreducible.copy_(torch.where(better, losses, self.irreducible))
        self.best.copy_(torch.where(better, mean, self.best))
        self.log(irreducible_loss=mean)

    # --- the step -------------------------------------------------------------------------------------------------

    def prepare(self, at: base.Position) -> str:
        if at.stage.name != FIRST:
            self.large.seek(at.stage_step)
        return at.stage.name

    def learn(self, step: base.Step) -> None:
        self.chosen = step.batch if step.program == FIRST else self.choice(step, self.large.current())

    def choice(self, step: base.Step, large: Batch) -> Batch:
        """The examples of a large batch with the largest ρ, from the largest on."""
        with torch.no_grad():
            logits = self.logits_at(step, large, base.parameters_of(step.model), training=True, name="choice")
        reducible = cross_entropy(logits, large.labels) - self.irreducible[large.rows]
        places = reducible.sort(descending=True, stable=True).indices[: self.context.batch_size]
        return Batch(large.inputs[places], large.labels[places], large.groups[places], large.rows[places])

    def inputs(self, step: base.Step, batch: Batch) -> torch.Tensor:
        return self.chosen.inputs

    def example_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return super().example_losses(logits, self.chosen)

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return torch.full_like(losses, 1 / len(losses))

    def state(self) -> dict[str, Any]:
        return {**super().state(), "irreducible": self.irreducible, "best": self.best}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.irreducible.copy_(state["irreducible"])
        self.best.copy_(state["best"])


class AdamW:
    """θ ← (1 − η λ) θ, then a step of Adam without weight decay (Loshchilov and Hutter, ICLR 2019)."""

    def __init__(self, parameters: Parameters, decay: Mapping[str, float]) -> None:
        self.parameters, self.groups = dict(parameters), by_decay(parameters, decay)
        self.adam = Adam(parameters, rate=0.0)
        some = next(iter(parameters.values()))
        self.left = {decay: some.new_ones(()) for decay in self.groups}  # 1 − η λ of the step

    def prepare(self, rate: float) -> None:
        self.adam.prepare(rate)
        for decay, left in self.left.items():
            left.fill_(1 - rate * decay)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, torch.Tensor]) -> None:
        for decay, names in self.groups.items():
            if values := [self.parameters[name] for name in names if name in gradients]:
                torch._foreach_mul_(values, self.left[decay])
        self.adam.step(gradients)

    def state(self) -> dict[str, Any]:
        return self.adam.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.adam.load_state(state)
