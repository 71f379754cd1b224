"""INCV, iterative noisy cross-validation (Chen, Liao, Chen, Zhang, ICML 2019, algorithms 2 and 3); then co-teaching.

    S ← ∅ (selected),  C ← all of the training set (candidates)
    `iterations` times:   C is divided into halves C₁ and C₂ at random;   for (A, B) = (C₁, C₂), then (C₂, C₁):
        θ from new weights, `search_epochs` on S ∪ A
        S_B = {i ∈ B : argmax f_θ(x_i) = y_i},   R_B = the r |S_B| examples of B with the largest loss
      S ← S ∪ S_B ∪ S_A,   C ← C without S_B ∪ S_A ∪ R_B ∪ R_A
    final, two nets from new weights: co-teaching on S, and from epoch `warm_up` on on S and C, with the forget rate
        ε_S = ε² / (ε² + c (1 − ε)²)                             the share of wrong labels in S

ε, the noise rate, is estimated once, on the first B: the smallest with (1 − ε)² + ε²/(K − 1) ≤ the share |S_B| / |B|.
With a = 1 − 1/K that is ε = a (1 − √(1 − (1 − share) / a)); of a share below 1/K, which no ε gives, a.
`noise` symmetric has r = min(2, ε/(1 − ε)) and c = K − 1. "asymmetric" has r = 0 and c = 1.

Of the authors' code (chenpf1025/noisy_label_understanding_utilizing at 50c43d2) are: ε from the first half alone, r, c,
that every search begins at the same weights, Adam without a fall of β₁, and that S and C are seen in the ratio
|S| : min(|C|, |S|/2). The rate of a search is `search_rate`, times 1/2 after two fifths of its epochs, 1/4 after three,
1/10 after four: of 50 epochs after 20, 30 and 40 (in the code one later each).

Ours, as a stage here has a length that is known beforehand: an epoch of a search takes as many steps as one on half of
the training set, of the final stage as one on all of it. It walks round a shuffled list of its rows, shuffled anew at
each turn; so the first iteration has the usual epochs. In the final stage S and C are mixed at random into batches of
the run's size B, with s B of S on average, of which the (1 − R) s B with the smallest losses are kept. (The code adds a
batch of C to one of B from S, and keeps (1 − R) B.)

Ours too: the net after the last epoch judges, where the code takes the best epoch by the same held-out labels in the
first iterations; examples are kept by the losses of the step itself, in training mode; R rises, and k is rounded, as in
`co_teaching`. Where nothing is selected, the final stage trains on the candidates.

The trace has ε, and after each iteration the shares of the training set that are selected and still candidates.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from reweigh.hypergrad.lookahead import Parameters
from reweigh.losses import cross_entropy
from reweigh.methods import base, co_teaching
from reweigh.models.layers import without_trace
from reweigh.optimisers import Optimiser
from reweigh.streams import rng

FINAL = "final"
CANDIDATE, SELECTED, DISCARDED = 0, 1, 2
FACTORS = ((4, 0.1), (3, 0.25), (2, 0.5))  # after so many fifths of a search the rate is this part


class Method(co_teaching.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.status = np.zeros(len(context.train), np.int8)  # of each example; it lives on the host, as batches do
        self.found = self.status.copy()  # what it will be after the iteration
        self.noise_rate = 0.0  # ε
        self.epoch, self.searches = 0, True  # of the stage; whether it is a search

    def stages(self, epochs: int) -> list[base.Stage]:
        training = {"learning_rate": self.options["search_rate"], "schedule": {"name": "constant", "warmup_epochs": 0}}
        length = self.options["search_epochs"]
        searches = [
            base.Stage(f"search-{k}", length, training=training, part="members", fresh=k > 0)
            for k in range(2 * self.options["iterations"])
        ]
        return [*searches, base.Stage(FINAL, epochs, part="members", fresh=True)]

    # --- who trains -----------------------------------------------------------------------------------------------

    def members(self, stage: base.Stage) -> np.ndarray:
        size, seed = len(self.status), self.context.seed
        if stage.name != FINAL:
            rows = np.concatenate([self._rows(SELECTED), self._half(_number(stage))])
            return walked(rows, size // 2, self.epoch, seed, stage.name)
        selected, candidates, part = self._divided(self.epoch)
        first = walked(selected, part, self.epoch, seed, FINAL, "selected")
        return np.concatenate([first, walked(candidates, size - part, self.epoch, seed, FINAL, "candidates")])

    def _rows(self, status: int) -> np.ndarray:
        return np.flatnonzero(self.status == status)

    def _half(self, number: int) -> np.ndarray:
        """A of search `number`, counted from 0 over all iterations, each of which has two; B is that of the other."""
        iteration, second = divmod(number, 2)
        shuffled = rng(self.context.seed, "halves", iteration).permutation(self._rows(CANDIDATE))
        return np.split(shuffled, [len(shuffled) // 2])[second]

    def _divided(self, epoch: int) -> tuple[np.ndarray, np.ndarray, int]:
        """S and C as rows in an epoch of the final stage, and how many examples of it are of S."""
        selected, candidates, everything = self._rows(SELECTED), self._rows(CANDIDATE), len(self.status)
        if not len(selected):
            return candidates, selected, everything
        if epoch < self.options["warm_up"]:
            return selected, candidates, everything
        joined = min(len(candidates), len(selected) / 2)
        return selected, candidates, round(everything * len(selected) / (len(selected) + joined))

    # --- stages ---------------------------------------------------------------------------------------------------

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        self.epoch, self.searches = 0, stage.name != FINAL
        if not self.searches:
            super().begin(stage, model)

    def begin_epoch(self, at: base.Position, model: nn.Module) -> None:
        self.epoch = at.stage_epoch
        super().begin_epoch(at, model)

    def log_common(self) -> None:
        if not self.searches:
            super().log_common()

    def end(self, stage: base.Stage, model: nn.Module) -> None:
        super().end(stage, model)
        if not self.searches:
            return
        number = _number(stage)
        self._judge(self._half(number ^ 1), *self._predicted(model), first=number == 0)
        if number % 2:
            self.status = np.where(self.found == CANDIDATE, self.status, self.found)
            self.found = np.zeros_like(self.found)
            shares = [torch.tensor((self.status == one).mean()) for one in (SELECTED, CANDIDATE)]
            self.log(selected_share=shares[0], candidate_share=shares[1])

    def _predicted(self, model: nn.Module) -> tuple[np.ndarray, np.ndarray]:
        """Whether a net predicts the label that each training example has, and its losses, each (N,)."""
        found = []
        with torch.no_grad(), without_trace(model, training=False):
            for batch in self.context.train.in_order(500):
                logits = self.predict(model, batch.inputs).float()
                found.append((logits.argmax(1) == batch.labels, cross_entropy(logits, batch.labels)))
        agrees, losses = (torch.cat(values).cpu().numpy() for values in zip(*found, strict=True))
        return agrees, losses

    def _judge(self, held_out: np.ndarray, agrees: np.ndarray, losses: np.ndarray, first: bool) -> None:
        """Take what was held out for selected, or discarded, by what a net that has not seen it says of it."""
        chosen = agrees[held_out]
        if first:
            self.noise_rate = estimated_noise(float(chosen.mean()), self.context.classes)
            self.log(noise_rate=torch.tensor(self.noise_rate))
        if self.options["noise"] == "symmetric":
            ratio = min(2.0, self.noise_rate / (1 - self.noise_rate))
            worst = np.argsort(-losses[held_out], kind="stable")[: int(ratio * chosen.sum())]
            self.found[held_out[worst]] = DISCARDED
        self.found[held_out[chosen]] = SELECTED

    # --- steps ----------------------------------------------------------------------------------------------------

    def optimiser(self, parameters: Parameters, decay: Mapping[str, float]) -> Optimiser | None:
        if not self.searches:
            return super().optimiser(parameters, decay)
        self.adam = co_teaching.PacedAdam(parameters, self.options["search_rate"], decay=decay)
        return self.adam

    def prepare(self, at: base.Position) -> str:
        if not self.searches:
            return super().prepare(at)
        if self.adam is not None:
            self.adam.pace(at.learning_rate * search_factor(at.stage_epoch, at.stage.epochs), co_teaching.BETA1)
        return "search"

    def share_of(self, at: base.Position) -> float:
        part = self._divided(at.stage_epoch)[2] / len(self.status)
        return part * (1 - co_teaching.forget_rate(at.stage_epoch, self.left_noise, self.options["rises_over"]))

    @property
    def left_noise(self) -> float:
        """ε_S."""
        wrong, right = self.noise_rate**2, (1 - self.noise_rate) ** 2
        others = self.context.classes - 1 if self.options["noise"] == "symmetric" else 1
        return wrong / (wrong + others * right)

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return torch.full_like(losses, 1 / len(losses)) if self.searches else super().example_weights(step, losses)

    def objective(
        self, step: base.Step, logits: torch.Tensor, losses: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        return weights @ losses if self.searches else super().objective(step, logits, losses, weights)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "status": self.status, "found": self.found, "noise_rate": self.noise_rate}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.status, self.found = state["status"].copy(), state["found"].copy()
        self.noise_rate = state["noise_rate"]


# --- rules -----------------------------------------------------------------------------------------------------------


def estimated_noise(agreement: float, classes: int) -> float:
    """The smallest ε with (1 − ε)² + ε²/(K − 1) ≤ `agreement`; of an agreement below 1/K, 1 − 1/K.

    >>> round(estimated_noise(0.8**2 + 0.2**2 / 9, 10), 12), estimated_noise(1.0, 10), estimated_noise(0.05, 10)
    (0.2, 0.0, 0.9)
    """
    most = 1 - 1 / classes
    return most * (1 - max(0.0, 1 - (1 - agreement) / most) ** 0.5)


def search_factor(epoch: int, epochs: int) -> float:
    """What the rate of a search is multiplied by in an epoch, counted from 0.

    >>> [search_factor(epoch, 50) for epoch in (0, 19, 20, 29, 30, 39, 40, 49)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.1, 0.1]
    """
    return next((factor for fifths, factor in FACTORS if 5 * epoch >= fifths * epochs), 1.0)


def walked(rows: np.ndarray, length: int, epoch: int, seed: int, *names: str) -> np.ndarray:
    """What an epoch has of an endless walk round `rows`, shuffled anew at each turn: int64 (length,)."""
    if not length:
        return rows[:0]
    start, stop = epoch * length, (epoch + 1) * length
    turns = range(start // len(rows), -(-stop // len(rows)))
    walk = np.concatenate([rng(seed, "walk", *names, turn).permutation(rows) for turn in turns])
    return walk[start - turns[0] * len(rows) :][:length]


def _number(stage: base.Stage) -> int:
    return int(stage.name.removeprefix("search-"))
