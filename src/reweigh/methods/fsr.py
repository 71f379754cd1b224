"""Fast sample reweighting (Zhang and Pfister, ICCV 2021): a look-ahead through the head, judged by training images.

No clean set: a dictionary of `capacity_per_class` training examples of each class takes its place. ε = 1/B, λ the
weight decay, h the head's parameters, v their momentum buffer, z what the head is shown. Each step:

    h' = h − `meta_step` · (`meta_momentum` v + Σ_i ε ∇_h ℓ_i + λ h)                 the virtual step, of the head alone
    s_i ← β s_i − (1 − β) (ℓ_i(h) − ℓ_i(h'))                          the score of each example, β = `score_memory`
    from epoch `from_epoch` on, with a probe of `probe_per_class` examples of each class, drawn from the dictionary:
        d_i = ∂L(h')/∂ε_i = −`meta_step` · ⟨∇_h ℓ_i(h), ∇L(h')⟩,     L = mean loss of the probe + λ/2 ‖h'‖²
        r_i = ε − d_i
        noise:      w_i ∝ max(r_i − ε, 0)              imbalance:  w_i ∝ r_i − min_j r_j + ε
    θ ← step along Σ_i w_i ∇ℓ_i(θ);  Σ_i w_i = 1 but for 1e-5 in the denominator; before `from_epoch` w_i = 1/B

Before each epoch but the first the dictionary is filled anew with the lowest scores of each class (those that the
virtual step helps most), of the examples that have a score. ℓ has `label_smoothing`, but in ℓ_i(h'). As h' differs in
the head alone, ℓ_i(h') needs no pass of its own here.

By the authors' code (google-research, ieg/models/fsr.py at 8de5973). Not here: mixup and the loss of pseudo-labels,
which its settings for noise have and those for long tails have not; the average of parameters (0.999) that it keeps
beside the net. Deviations: the probe has batch statistics of its own (there it shares those of the training batch) and
is augmented when it is drawn (there once an epoch); v is kept here, from the same gradients as the optimiser's, and is
that one's if momentum is `meta_momentum` and nothing clips the gradient; a class with fewer examples than its share of
the dictionary has all of them. The trace has, for each epoch, the share of the dictionary that stayed in it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from reweigh.data.batches import Batch
from reweigh.hypergrad.lookahead import Parameters, directional_derivatives, gradient
from reweigh.methods import base
from reweigh.models.head_inputs import seen_by_head
from reweigh.streams import rng

SMALL = 1e-5  # of the authors' code, added to the sum that weights are divided by


class Method(base.Method):
    may_rest = True  # for noise, where no example of the batch helps the probe

    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        device = context.class_counts.device
        self.labels = context.train.labels.cpu().numpy()
        self.scores = torch.zeros(len(self.labels), device=device)
        self.scored = torch.zeros(len(self.labels), dtype=torch.bool, device=device)
        generator = rng(context.seed, "fsr dictionary")
        self.dictionary = self.filled(generator.permutation(len(self.labels)))
        probe = self.probe_rows(0)
        self.probe = context.train.stream(len(probe), context.seed, "probe-batches", True, members=probe)

    def filled(self, ranked: np.ndarray) -> np.ndarray:
        """The first rows of each class in `ranked` (n,), at most its share of them. -> int64, by class."""
        own = (ranked[self.labels[ranked] == label] for label in range(self.context.classes))
        return np.concatenate([rows[: self.options["capacity_per_class"]] for rows in own])

    def probe_rows(self, step: int) -> np.ndarray:
        """The probe of a step: of each class that the dictionary has equally many, again where it has fewer."""
        generator, size, drawn = rng(self.context.seed, "fsr probe", step), self.options["probe_per_class"], []
        for label in np.unique(self.labels[self.dictionary]):
            rows = self.dictionary[self.labels[self.dictionary] == label]
            drawn.append(generator.choice(rows, size, replace=len(rows) < size))
        return np.concatenate(drawn)

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        self.velocity = {name: torch.zeros_like(value) for name, value in _parameters(model).items()}

    def begin_epoch(self, at: base.Position, model: nn.Module) -> None:
        super().begin_epoch(at, model)
        if at.stage_epoch:
            scored = np.flatnonzero(self.scored.cpu().numpy())
            ranked = scored[np.argsort(self.scores.cpu().numpy()[scored], kind="stable")]
            before, self.dictionary = self.dictionary, self.filled(np.concatenate((ranked, self._unscored())))
            self.log(dictionary_kept=self.scores.new_tensor(np.isin(self.dictionary, before).mean()))

    def _unscored(self) -> np.ndarray:
        """What the dictionary has of examples without a score, for classes that have no others."""
        return self.dictionary[~self.scored.cpu().numpy()[self.dictionary]]

    def prepare(self, at: base.Position) -> str:
        if at.stage_epoch < self.options["from_epoch"]:
            return "plain"
        self.probe.follow(self.probe_rows(at.step))
        self.probe.seek(at.step)
        return "meta"

    def learn(self, step: base.Step) -> None:
        if step.program == "meta":
            batch = self.probe.current()
            with torch.no_grad(), seen_by_head(step.model) as seen:
                self.logits_at(step, batch, base.parameters_of(step.model), training=True, name="probe")
            self.probed = seen[0], batch.labels

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        with seen_by_head(model) as seen:
            yield
        (self.features,) = seen

    def example_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return self.smoothed(logits, batch.labels)

    def smoothed(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """ℓ. logits (B, C) -> (B,)."""
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.options["label_smoothing"])

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        head: nn.Module = step.model.head  # type: ignore[assignment]
        labels, rows = step.batch.labels, step.batch.rows
        start, decay = _parameters(step.model), self.context.weight_decay
        own = self._losses(head, self.features, labels)
        weights = torch.full_like(losses, 1 / len(losses))
        slopes = self._gradient(own, start, weights)
        ahead = {
            name: value - self.options["meta_step"] * (self.options["meta_momentum"] * self.velocity[name] + slope)
            for (name, value), slope in zip(start.items(), slopes.values(), strict=True)
        }
        with torch.no_grad():
            after = F.cross_entropy(functional_call(head, ahead, (self.features,)), labels, reduction="none")
        memory = self.options["score_memory"]
        self.scores[rows] = memory * self.scores[rows] - (1 - memory) * (losses - after)
        self.scored[rows] = torch.ones_like(rows, dtype=torch.bool)
        if step.program == "meta":
            probe = self._losses(head, *self.probed)
            towards = gradient(lambda at: probe(at).mean(), ahead)
            towards = {name: value + decay * ahead[name] for name, value in towards.items()}
            weights = self.weights(-self.options["meta_step"] * directional_derivatives(own, start, towards))
            slopes = self._gradient(own, start, weights)
        for name, slope in slopes.items():
            self.velocity[name].mul_(self.options["meta_momentum"]).add_(slope)
        return weights

    def weights(self, derivatives: torch.Tensor) -> torch.Tensor:
        """w of the ∂L/∂ε_i (B,). -> (B,)."""
        uniform = 1 / len(derivatives)
        if self.options["mode"] == "noise":
            kept = (-derivatives).clamp(min=0) + derivatives * 0  # what is not finite stays so
        else:
            kept = derivatives.max() - derivatives + uniform
        return kept / (kept.sum() + SMALL)

    def _losses(
        self, head: nn.Module, features: torch.Tensor, labels: torch.Tensor
    ) -> Callable[[Parameters], torch.Tensor]:
        return lambda at: self.smoothed(functional_call(head, at, (features,)), labels)

    def _gradient(
        self, losses: Callable[[Parameters], torch.Tensor], at: Parameters, weights: torch.Tensor
    ) -> Parameters:
        """Σ_i w_i ∇_h ℓ_i + λ h."""
        slopes = gradient(lambda parameters: weights @ losses(parameters), at)
        return {name: slope + self.context.weight_decay * at[name] for name, slope in slopes.items()}

    def state(self) -> dict[str, Any]:
        known = {"scores": self.scores, "scored": self.scored, "velocity": self.velocity}
        return {**super().state(), **known, "dictionary": torch.from_numpy(self.dictionary)}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.scores.copy_(state["scores"])
        self.scored.copy_(state["scored"])
        self.dictionary = state["dictionary"].cpu().numpy().copy()
        for name, value in self.velocity.items():
            value.copy_(state["velocity"][name])


def _parameters(model: nn.Module) -> Parameters:
    """The head's parameters, detached."""
    return base.parameters_of(model.head)  # type: ignore[arg-type]
