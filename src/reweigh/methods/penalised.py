"""A loss with the gradient-norm penalty over hidden layers (HAR, Cao et al., ICLR 2021; kaidic/HAR at 188a463).

    L   = Σ_i v_{y_i} ℓ_i / Σ_j v_{y_j}            v: class weights, 1 without `class_balance` and before its epoch
    J_i = Σ_l ‖∂L/∂h_{l,i}‖₂                       of the layers that `layers` names; "rss": the root of summed squares
    θ ← step along ∇ [ L + λ (1/B) Σ_i r_{y_i} J_i ]

What counts, as in that code: L is the mean over the batch, so that J has a factor 1/B in it, and the norms of a short
last batch are larger; it has the class weights, so that those act on the penalty too; h is what batch norm gives before
γ and β, and the penalty trains γ. L of a loss that PyTorch does not average by class weights is (1/B) Σ_i v_{y_i} ℓ_i.

| option  |                                                                                                          |
|---------|----------------------------------------------------------------------------------------------------------|
| layers  | names of layers, or patterns as in the shell; HAR's of ResNet-32: blocks.*.norm1, blocks.*.norm2, the 30 |
|         | norms in its blocks                                                                                      |
| route   | "double-backward": exact (`hypergrad.penalty`); "difference": of two gradients, the second where hidden  |
|         | outputs are moved until L grows by a share `epsilon` of itself (`hypergrad.penalty_difference`)          |

The trace has, of each epoch of the stage that is penalised, the means over its steps of L (`batch_loss`) and of
(1/B) Σ_i r_{y_i} J_i, without λ (`penalty`), and the mean J_i of each class (`class_norms`; 0 if none was shown).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from reweigh.errors import ConfigError
from reweigh.hypergrad import penalty, penalty_difference
from reweigh.hypergrad.lookahead import by_group
from reweigh.methods import base
from reweigh.models.layers import hold_dropout, without_trace


class Method(base.Method):
    penalises = True  # whether the present stage does

    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        device = context.class_counts.device
        self.strengths = torch.ones(context.classes, device=device)  # r
        self.sums = torch.zeros(3, device=device)  # over the steps of the epoch so far: L, penalty, 1
        self.norm_sums = torch.zeros(2, context.classes, device=device)  # over its examples, by class: J, 1

        self.watched: Any = None  # what `watch` saw of a pass, by route

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        super().begin(stage, model)
        self.layers = layers_named(self.options["layers"], model)

    # --- the step -------------------------------------------------------------------------------------------------

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        if not self.penalises:
            yield
            return
        exact = self.options["route"] == "double-backward"
        watching = penalty.hidden_outputs if exact else penalty_difference.observed
        with watching(model, self.layers) as self.watched:
            yield

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        if self.class_weights is None or self.loss.average == "mean":
            return torch.full_like(losses, 1 / len(losses))
        return torch.ones_like(losses) / self.class_weights[step.batch.labels].sum()

    def objective(
        self, step: base.Step, logits: torch.Tensor, losses: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        loss = super().objective(step, logits, losses, weights)
        if not self.penalises:
            return loss
        strengths, aggregate = self.strengths[step.batch.labels], self.options["aggregate"]
        seen, self.watched = self.watched, None  # whoever keeps it keeps the graph of the pass
        if self.options["route"] == "double-backward":
            norms = penalty.gradient_norms(loss, seen, aggregate)
            total = loss + self.options["lambda_"] * (strengths * norms).mean()
        else:
            total, norms = penalty_difference.objective(
                loss,
                [value for value in step.model.parameters() if value.requires_grad],
                seen,
                self.options["lambda_"] * strengths / len(strengths),
                aggregate,
                self.options["epsilon"],
                lambda moved: self._loss_again(step, weights, moved),
            )
        self._count(step.batch.labels, loss.detach(), norms.detach(), strengths)
        return total

    def _loss_again(self, step: base.Step, weights: torch.Tensor, moved: penalty_difference.Moved) -> torch.Tensor:
        """L of the step's batch in a second pass, with hidden outputs moved, that leaves no trace."""
        hold_dropout(step.model, step.dropout_seed, "train")
        with without_trace(step.model, training=True), penalty_difference.moving(step.model, self.layers, moved):
            logits = step.model(self.inputs(step, step.batch)).float()
        return weights @ self.example_losses(logits, step.batch)

    # --- what the trace says --------------------------------------------------------------------------------------

    def _count(self, labels: torch.Tensor, loss: torch.Tensor, norms: torch.Tensor, strengths: torch.Tensor) -> None:
        self.sums += torch.stack((loss, (strengths * norms).mean(), torch.ones_like(loss)))
        counted = torch.stack((norms, torch.ones_like(norms)), 1)
        self.norm_sums += by_group(counted, labels, self.context.classes).T

    def _log_epoch(self) -> None:
        mean_loss, mean_penalty = self.sums[:2] / self.sums[2]
        norms, examples = self.norm_sums
        self.log(batch_loss=mean_loss, penalty=mean_penalty, class_norms=norms / examples.clamp(min=1))
        self.sums.zero_()
        self.norm_sums.zero_()

    def begin_epoch(self, at: base.Position, model: nn.Module) -> None:
        super().begin_epoch(at, model)
        if self.penalises and at.stage_epoch:
            self._log_epoch()

    def end(self, stage: base.Stage, model: nn.Module) -> None:
        super().end(stage, model)
        if self.penalises:
            self._log_epoch()

    def state(self) -> dict[str, Any]:
        more = {"strengths": self.strengths, "sums": self.sums, "norm_sums": self.norm_sums}
        return {**super().state(), **more}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        for name in ("strengths", "sums", "norm_sums"):
            getattr(self, name).copy_(state[name])


def layers_named(patterns: Sequence[str], model: nn.Module) -> list[str]:
    """The names of a model's layers that some pattern matches, in the model's order; a pattern's * may span dots.

    Raises ConfigError for a pattern that matches none.
    """
    names = [name for name, _ in model.named_modules() if name]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"layers: no layer of the model matches {pattern!r}; it has: {', '.join(names)}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
