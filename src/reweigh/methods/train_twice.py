"""Train twice: what the methods have in common that ask a first training which examples are hard.

Jain, Suggala, Shenoy (CVPR 2024), §4.4. The pool is the training set and what was held out of it, in this order.

    first stages:  θ ← step along (1/B) Σ_i ∇ℓ_i(θ)                  by cross-entropy: "ERM"
    margins:       PM_i = p_{y_i}(x_i; θ) − max_{j ≠ y_i} p_j(x_i; θ)   of every example of the pool, eq. (7)
    second stage:  from new weights, on what the margins say

`margins` says by which net: that of one training on the training set (`once`, as printed); after each of the first
`epochs` epochs of it, averaged (`early`); or `folds` nets, each trained on the pool without a fold, which judge the
fold that they have not seen (`out-of-fold`). A net that has fitted its training set finds what it has not seen harder:
by `once`, the hard list has more of what the first split happened to hold out than its share; how much more is in the
trace of `lrw`. Images are not augmented, and the net is in evaluation mode. Of equal margins the smaller difference of
logits is harder, then the first example.
(The paper does not say how it breaks ties, and trained on long enough most margins are 1 to the last bit.)

Everything else that a second stage may take over is `net`: parameters and buffers of the last of these nets.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from reweigh.data.batches import InputPart
from reweigh.errors import ConfigError
from reweigh.hypergrad.lookahead import Parameters
from reweigh.methods import base
from reweigh.models.layers import without_trace
from reweigh.streams import rng

POOL = "train+validation"
MEMBERS = f"members of {POOL}"


class Method(base.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        if context.validation is None:
            raise ConfigError("the split holds nothing out; set validation_share, so that there is a pool to divide")
        self.said = options["margins"]
        self.held_out: InputPart = context.validation
        begins_with_pool = self.stages(1)[0].whole == POOL  # and then it is told of the pool
        self.pool = len(context.train) + (0 if begins_with_pool else len(context.validation))
        self.trained = self.pool - len(context.validation)  # the rows of the pool that are the training set
        # Of each example of the pool: PM, and the same of logits.
        self.margins = torch.zeros(2, self.pool, device=context.class_counts.device)
        self.net: Parameters | None = None

    # --- first stages ---------------------------------------------------------------------------------------------

    def stages(self, epochs: int) -> list[base.Stage]:
        if self.said["source"] == "out-of-fold":
            folds = range(self.said["folds"])
            first = [base.Stage(f"fold-{k}", epochs, part=MEMBERS, fresh=k > 0) for k in folds]
        else:
            first = [base.Stage("erm", epochs)]
        return [*first, self.second_stage(epochs)]

    def second_stage(self, epochs: int) -> base.Stage:
        """The stage after the margins are known. A method that has one of its own says so."""
        return base.Stage("second", 0)

    def prefix(self) -> base.Prefix | None:
        return base.Prefix(self.first_stages, "train_twice", {"margins": self.said})

    @property
    def first_stages(self) -> int:
        return self.said["folds"] or 1

    def members(self, stage: base.Stage) -> np.ndarray:
        return np.flatnonzero(self._folds() != _number(stage)) if _is_fold(stage) else self.second_members()

    def second_members(self) -> np.ndarray:
        """The rows of the pool that the second stage trains on, if it is one of members; here all of them."""
        return np.arange(self.pool)

    def begin_epoch(self, at: base.Position, model: nn.Module) -> None:
        super().begin_epoch(at, model)
        if at.stage.name == "erm" and self.said["source"] == "early" and 0 < at.stage_epoch <= self._judged(at.stage):
            self.margins += self.margins_by(model) / self._judged(at.stage)

    def end(self, stage: base.Stage, model: nn.Module) -> None:
        if stage.name == "erm":
            found = self.margins_by(model)
            if self.said["source"] == "once":
                self.margins.copy_(found)
            elif stage.epochs <= self.said["epochs"]:
                self.margins += found / self._judged(stage)
        elif _is_fold(stage):
            unseen = torch.from_numpy(self._folds() == _number(stage)).to(self.margins.device)
            self.margins.copy_(torch.where(unseen, self.margins_by(model), self.margins))
        else:
            return
        self.net = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def _judged(self, stage: base.Stage) -> int:
        """How many nets of a training judge, of source `early`: those after so many epochs."""
        return min(self.said["epochs"], stage.epochs)

    def _folds(self) -> np.ndarray:
        """The fold of each example of the pool: sizes differ by one at most."""
        places = rng(self.context.seed, "folds").permutation(self.pool)
        return places % self.said["folds"]

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return torch.full_like(losses, 1 / len(losses))

    # --- margins --------------------------------------------------------------------------------------------------

    def margins_by(self, model: nn.Module) -> torch.Tensor:
        """Margins of the whole pool, of probabilities and of logits: float32 (2, pool)."""
        first = self.context.train  # the training set; in a stage of folds the pool itself
        parts = [first] if len(first) == self.pool else [first, self.held_out]
        with torch.no_grad(), without_trace(model, training=False):
            found = [margins_of(model(b.inputs).float(), b.labels) for part in parts for b in part.in_order(500)]
        return torch.cat(found, 1)

    def by_hardness(self) -> np.ndarray:
        """The rows of the pool, the hardest first: int64 (pool,)."""
        margin, logit_margin = self.margins.cpu().numpy()
        return np.lexsort((np.arange(self.pool), logit_margin, margin))

    def state(self) -> dict[str, Any]:
        return {**super().state(), "margins": self.margins, "net": self.net}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.margins.copy_(state["margins"])
        self.net = state["net"] and {name: value.clone() for name, value in state["net"].items()}


def margins_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The value of the true class minus the largest other one, of probabilities and of logits. (B, C) -> (2, B)."""
    found = []
    for values in (logits.softmax(1), logits):
        true = values.gather(1, labels[:, None])[:, 0]
        others = values.scatter(1, labels[:, None], -torch.inf)
        found.append(true - others.amax(1))
    return torch.stack(found)


def _is_fold(stage: base.Stage) -> bool:
    return stage.name.startswith("fold-")


def _number(stage: base.Stage) -> int:
    return int(stage.name.removeprefix("fold-"))
