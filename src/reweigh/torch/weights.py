"""Weights of examples as modules: ABSGD's from their losses, TDR's from a target set."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from reweigh.data.batches import Batch
from reweigh.hypergrad.lookahead import Parameters
from reweigh.methods import absgd, base, tdr
from reweigh.streams import stream_seed
from reweigh.torch.alone import ArgumentError, Counts, Examples, Given, above, above_zero, batch_of, context, counts_of
from reweigh.weights import equal

ExampleLosses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits (B, C), labels (B,) -> (B,)


class ABSGDWeights(nn.Module):
    """Attentional-biased SGD (ABSGD, TMLR 2022, algorithm 1): w_i = exp(ℓ_i/λ)/(s B). See `reweigh.methods.absgd`.

    s ← (1 − γ) s + γ α (1/B) Σ_i exp(ℓ_i/λ) takes each batch in, so call it once a step, in the order of the steps:

        loss = (absgd(losses.detach()) * losses).sum()

    `lam` λ > 0 raises the weight of large losses (imbalance), λ < 0 that of small ones (label noise); None is plain
    SGD, w_i = 1/B, and may be set to a number later (`absgd.lam = 1.0`), as in training in two stages. `gamma` γ is in
    (0, 1]. `alpha` is 1 in the paper; as Σ_i w_i ≈ 1/α it multiplies the learning rate. log s, float64, is a buffer.

    A loss that is NaN is not looked for, which would make a GPU wait: all weights of its batch are NaN, and so is log
    s, hence every weight afterwards (for γ = 1, which forgets, those of that batch alone). Leave such a batch out,
    before the call, or load a state from before it.
    """

    log_s: torch.Tensor

    def __init__(self, lam: float | None = 1.0, gamma: float = 0.9, *, alpha: float = 1.0) -> None:
        super().__init__()
        if not 0 < gamma <= 1:
            raise ArgumentError(f"gamma: above 0 and at most 1, not {gamma!r}")
        self.lam, self.gamma, self.alpha = lam, gamma, above("alpha", alpha, 0)
        self._method = absgd.Method({"gamma": gamma, "alpha": alpha}, context(torch.ones(1)))
        self.register_buffer("log_s", self._method.log_s)

    def forward(self, losses: torch.Tensor) -> torch.Tensor:
        """The weight of each example of the batch, without a graph. losses (B,) -> (B,), as `losses`."""
        if losses.ndim != 1 or not len(losses):
            raise ArgumentError(f"losses: one for each example, (B,), not {tuple(losses.shape)}; reduction='none'?")
        losses = losses.detach()
        if self.lam is None or math.isinf(self.lam):
            return torch.full_like(losses, 1 / len(losses))
        if not abs(self.lam) > 0:
            raise ArgumentError(f"lam: a number other than 0, or None for plain SGD, not {self.lam!r}")
        self._method.log_s, self._method.lambda_ = self.log_s, self.lam
        return self._method.attention(losses.double()).to(losses)

    def extra_repr(self) -> str:
        return f"lam={self.lam}, gamma={self.gamma}, alpha={self.alpha}"


class TDRWeights(nn.Module):
    """Targeted data-driven regularisation (Kamani et al., KDD 2020): one weight a group, learned from a target set.

    See `reweigh.methods.tdr`. Every `every`-th call of `update`, from the first on, looks one step of plain SGD ahead
    and moves the weights against the derivative of the mean loss on a batch of the target set:

        tdr.update(model, (inputs, labels), target_batch)
        loss = (tdr(labels) * losses).sum()

    `groups` says how many there are, or how many training examples each has: a group of none weighs 0. `learning_rate`
    is that of the look-ahead step, your optimiser's; `outer_learning_rate` that of the weights, which are clipped to
    [0, `clip_max`]. `normalisation` "class" divides them by their sum after each update, and w̃_i = w_{y_i}/B (the
    authors' code); "batch" leaves them, and w̃_i = w⁺_{y_i} / Σ_j w⁺_{y_j} (eq. 7). `weight_decay` is in both losses.
    `loss` (logits (B, C), labels (B,)) -> (B,) is cross-entropy by default. `weights` (groups,) is a buffer.
    """

    weights: torch.Tensor
    start: torch.Tensor

    def __init__(
        self,
        groups: int | Counts = 2,
        every: int = 10,
        *,
        learning_rate: float = 0.1,
        outer_learning_rate: float = 0.1,
        clip_max: float | None = 100.0,
        normalisation: str = "class",
        weight_decay: float = 0.0,
        loss: ExampleLosses | None = None,
    ) -> None:
        super().__init__()
        counts = torch.ones(above_zero("groups", groups)) if isinstance(groups, int) else counts_of(groups, "groups")
        if normalisation not in ("class", "batch"):
            raise ArgumentError(f"normalisation: class or batch, not {normalisation!r}")
        options: dict[str, object] = {
            "hypergradient_batch": "fresh",
            "normalisation": normalisation,
            "clip_max": clip_max,
            "outer_learning_rate": above("outer_learning_rate", outer_learning_rate, 0),
            "look_ahead_decay": True,
            "target_mode": "eval",
        }
        self.every, self.learning_rate = above_zero("every", every), above("learning_rate", learning_rate, 0)
        self.calls = 0
        self._method = _Given(options, context(counts, decay=weight_decay), loss)
        self.register_buffer("weights", equal(counts))
        self.register_buffer("start", equal(counts))

    def update(
        self, model: nn.Module, batch: Examples, target_batch: Examples, *, learning_rate: float | None = None
    ) -> bool:
        """Every `every`-th call: move the weights by one outer step; whether it did. The model stays as it is.

        Both batches are (inputs, labels) or (inputs, labels, groups). `learning_rate` of the look-ahead is today's,
        where a schedule has moved it; else that of the constructor.
        """
        due, self.calls = self.calls % self.every == 0, self.calls + 1
        if not due:
            return False
        method = self._ready()
        rate = self.learning_rate if learning_rate is None else above("learning_rate", learning_rate, 0)
        method.context = replace(method.context, learning_rate=rate, target=Given(batch_of(*target_batch)))
        number = torch.tensor(self.calls - 1)
        step = base.Step(number, "outer", model, batch_of(*batch), None)
        self.weights.copy_(method.updated(step, step.batch))
        return True

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        """The weight of each example of a batch, by its group, int64 (B,). -> (B,)."""
        return self._ready().effective(batch_of(groups, groups))

    def _ready(self) -> "_Given":
        """The method, with the weights as they are now and where they are now."""
        self._method.weights, self._method.start = self.weights, self.start
        return self._method

    def get_extra_state(self) -> dict[str, int]:
        """What a `state_dict` keeps beside the weights: how often `update` was called."""
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """The inverse of `get_extra_state`."""
        self.calls = state["calls"]

    def extra_repr(self) -> str:
        return f"groups={len(self.weights)}, every={self.every}"


class _Given(tdr.Method):
    """TDR with a loss that is handed to it, on a model of which it knows nothing."""

    def __init__(self, options: dict[str, object], given: base.RunContext, loss: ExampleLosses | None) -> None:
        super().__init__(options, given)
        self.of = loss

    def example_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return super().example_losses(logits, batch) if self.of is None else self.of(logits, batch.labels)

    def logits_at(self, step: base.Step, batch: Batch, parameters: Parameters, training: bool, name: str) -> Any:
        # torch's dropout draws at each pass; those of one name have to be the same function of the parameters.
        with torch.random.fork_rng(devices=[batch.inputs.device] if batch.inputs.is_cuda else []):
            torch.manual_seed(stream_seed(int(step.number), name))
            return super().logits_at(step, batch, parameters, training, name)
