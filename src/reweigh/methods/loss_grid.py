"""A grid of parametric cross-entropies that validation examples choose from: what a search of the loss has to beat.

AutoBalance (Li et al., NeurIPS 2021) learns offsets and multipliers by a bilevel search. The same family has closed
forms with two numbers, τ and γ (`losses/parametric.py`: logit adjustment, CDT, VS), which a grid can search:

    candidate-c   θ_c ← training from new weights on S_T, with (τ_c, γ_c)         for each c of `grid`
                  c* = argmin_c L_fair(θ_c; S_V)                                  of raw logits
    retrain       θ ← training from new weights on S_T ∪ S_V, with (τ_c*, γ_c*)

L_fair is `objective`, a blend of `losses/objectives.py` but for group_la, of the whole of S_V; `by` says whether of
cross-entropies or of errors. Of candidates that are equally good the first is taken. What S_V has no example of has no
say. A grid of τ alone is logit adjustment (Menon et al., ICLR 2021) with τ chosen where AutoBalance chooses its own.

With `post_hoc` no candidate is trained: logit adjustment after training needs one model, of cross-entropy,

    fit           θ ← training on S_T;    c* = argmin_c L_fair of f − τ_c log π on S_V, π the shares of S_T
    retrain       true: as above, with τ_c*
                  "keep": by cross-entropy on S_T ∪ S_V; predictions are argmax f − τ_c* log π, π the shares of both

The first stage of a grid that begins with τ = γ = 0, and of every post-hoc one, is plain training on S_T, so that runs
share it. The trace holds the score of each candidate, and the τ and γ that were taken.
"""

from typing import Any

import torch
from torch import nn

from reweigh import losses
from reweigh.errors import ConfigError
from reweigh.losses import cross_entropy
from reweigh.losses.parametric import log_shares
from reweigh.methods import base
from reweigh.methods.thresholded import logits_of, wanted_of

RETRAIN = "retrain"
PLAIN = {"tau": 0.0, "gamma": 0.0}


class Method(base.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        if context.validation is None:
            raise ConfigError("loss_grid: validation examples choose the loss; set validation_size or validation_share")
        wanted_of(context.validation, options["objective"], context)  # refused now, not after all candidates
        self.grid: list[dict[str, float]] = options["grid"]
        self.candidates = ["fit"] if options["post_hoc"] else [f"candidate-{place}" for place in range(len(self.grid))]
        self.scores = torch.full((len(self.grid),), torch.inf, dtype=torch.float64, device=context.class_counts.device)

    def stages(self, epochs: int) -> list[base.Stage]:
        candidates = [base.Stage(name, epochs, fresh=True) for name in self.candidates]
        return [*candidates, base.Stage(RETRAIN, epochs, part="train+validation", fresh=True)]

    def prefix(self) -> base.Prefix | None:
        plain = self.options["post_hoc"] or self.grid[0] == PLAIN
        return base.Prefix(1, "none", {"scale": "mean"}) if plain else None

    @property
    def best(self) -> dict[str, float]:
        """The candidate with the lowest score so far."""
        return self.grid[int(self.scores.argmin())]

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        self.stage = stage
        self._use_loss()

    def _use_loss(self) -> None:
        """The loss of the stage, and what its predictions take from the logits: (C,), or nothing."""
        counts, post_hoc = self.context.class_counts, self.options["post_hoc"]
        retrains = self.stage.name == RETRAIN
        if (post_hoc and not retrains) or post_hoc == "keep":
            taken = PLAIN
        else:
            taken = self.best if retrains else self.grid[self.candidates.index(self.stage.name)]
        self.loss = losses.build({"name": "parametric", **taken}, counts, len(self.context.train))
        self.taken_off = self.best["tau"] * log_shares(counts) if retrains and post_hoc == "keep" else None

    def end(self, stage: base.Stage, model: nn.Module) -> None:
        if stage.name == RETRAIN:
            return
        logits = logits_of(model, self.context.validation).double()  # type: ignore[arg-type]
        if self.options["post_hoc"]:
            prior = log_shares(self.context.class_counts.double())
            for place, candidate in enumerate(self.grid):
                self.scores[place] = self.score(logits - candidate["tau"] * prior)
        else:
            self.scores[self.candidates.index(stage.name)] = self.score(logits)
        if stage.name == self.candidates[-1]:
            self.log(scores=self.scores.clone(), **{name: torch.tensor(value) for name, value in self.best.items()})

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """L_fair of float64 logits (N, C) of the validation examples, or that of their errors. -> scalar."""
        held_out = self.context.validation
        wanted = wanted_of(held_out, self.options["objective"], self.context)  # type: ignore[arg-type]
        labels = held_out.labels  # type: ignore[union-attr]
        wrong = (logits.argmax(1) != labels).double()
        values = wrong if self.options["by"] == "errors" else cross_entropy(logits, labels)
        return wanted(values[None])[0].nan_to_num(nan=torch.inf)  # what is no number is never the best

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return torch.full_like(losses, 1 / len(losses))

    def predict(self, model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        logits = super().predict(model, inputs)
        return logits if self.taken_off is None else logits - self.taken_off

    def state(self) -> dict[str, Any]:
        return {**super().state(), "scores": self.scores}

    def load_state(self, state: dict[str, Any]) -> None:
        self.scores.copy_(state["scores"])
        self._use_loss()
        super().load_state(state)
