"""StableNet (Zhang, Cui, Xu, Zhou, He, Shen, CVPR 2021): weights of a batch that decorrelate its features.

Features z (B, d) are what the head is shown, detached; at most `features` of them, a subset drawn once. With the
features z' and raw weights v' that are remembered (M rows), for each batch:

    v = 1;  `inner_steps` steps of SGD with momentum `inner_momentum` on v along the gradient of
        Σ_{a≠b} Cov_u(φ_a, φ_b)² / λ_p + Σ_i softmax(v)_i²,     u = softmax(v, v'),  φ = φ(z, z'),  λ_p = `strength`
    w = softmax(v)
    z' ← k z' + (1 − k) z,  v' ← k v' + (1 − k) v
    θ ← step along Σ_i w_i ∇ℓ_i(θ)

φ are random Fourier features, drawn anew at each inner step (num_f = 1): with ω ~ N(0, 1) and b_a ~ U(0, 2π),

    m_ia = ω z_ia + b_a;  m_i ← π/2 · (m_i − min_a m_ia) / (max_a m_ia − min_a m_ia);   φ_ia = √2 (cos m_ia + sin m_ia)

and Cov_u(φ_a, φ_b) = Σ_i u_i φ_ia φ_ib − (Σ_i u_i φ_ia)(Σ_i u_i φ_ib). The rate of the inner steps, `inner_rate`, falls
to a tenth after half of them, as in the authors' code (xxgege/StableNet at aa7fa59; the paper has no such drop). k is
`memory` = 0.9; in the first ten steps of a run the memory is the running mean, k = i/(i + 1).

Deviations: memory has as many rows as a batch, which theirs also has (128); a shorter last batch changes the first of
them. The subset of features is ours; theirs has all 512. Their net starts from ImageNet weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from reweigh.errors import ConfigError
from reweigh.methods import base
from reweigh.models.head_inputs import seen_by_head
from reweigh.models.layers import without_trace
from reweigh.streams import rng

RUNNING_MEAN = 10  # first steps of a run, in which the memory is a mean


class Method(base.Method):
    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        width = self._width(model)
        if width < 2:
            raise ConfigError("stablenet: the head is shown one feature, which has none to be correlated with")
        used = min(width, self.options["features"])
        drawn = np.sort(rng(self.context.seed, "stablenet features").permutation(width)[:used])
        device, steps = self.context.class_counts.device, self.options["inner_steps"]
        self.columns = torch.from_numpy(drawn).to(device)
        self.frequency = torch.zeros(steps, device=device)  # ω and b of the step's inner steps
        self.phase = torch.zeros(steps, used, device=device)
        self.keep = torch.zeros((), device=device)  # k of the step
        self.features = torch.zeros(self.context.batch_size, used, device=device)
        self.weights = torch.ones(self.context.batch_size, device=device)

    def _width(self, model: nn.Module) -> int:
        """How many features the head is shown."""
        with without_trace(model, training=False), seen_by_head(model) as seen:
            model(next(iter(self.context.train.in_order(2))).inputs)
        return seen[0].shape[1]

    def prepare(self, at: base.Position) -> str:
        generator = rng(self.context.seed, "stablenet", at.step)
        self.frequency.copy_(torch.from_numpy(generator.normal(size=self.frequency.shape)))
        self.phase.copy_(torch.from_numpy(generator.uniform(0, 2 * np.pi, size=self.phase.shape)))
        first = at.stage_epoch == 0 and at.stage_step < RUNNING_MEAN
        self.keep.fill_(at.stage_step / (at.stage_step + 1) if first else self.options["memory"])
        return "step"

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        with seen_by_head(model) as seen:
            yield
        self.seen = seen[0][:, self.columns]

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        raw = self.learned(self.seen)
        rows = len(raw)
        for kept, now in ((self.features, self.seen), (self.weights, raw)):
            kept[:rows].mul_(self.keep).add_((1 - self.keep) * now)
        return torch.softmax(raw, 0)

    def learned(self, features: torch.Tensor) -> torch.Tensor:
        """v after the inner steps. features (B, d) -> (B,)."""
        options, shown = self.options, torch.cat((features, self.features))
        raw, velocity = torch.ones_like(features[:, 0]), torch.zeros_like(features[:, 0])
        for number in range(options["inner_steps"]):
            waves = fourier(shown, self.frequency[number], self.phase[number])
            leaf = raw.detach().requires_grad_()
            with torch.enable_grad():
                spread = correlation(waves, torch.softmax(torch.cat((leaf, self.weights)), 0))
                loss = spread / options["strength"] + torch.softmax(leaf, 0).square().sum()
            (slope,) = torch.autograd.grad(loss, leaf)
            velocity = options["inner_momentum"] * velocity + slope
            raw = raw - options["inner_rate"] * 0.1 ** (2 * number // options["inner_steps"]) * velocity
        return raw

    def state(self) -> dict[str, Any]:
        return {**super().state(), "features": self.features, "weights": self.weights}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.features.copy_(state["features"])
        self.weights.copy_(state["weights"])


def fourier(features: torch.Tensor, frequency: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
    """φ of features (n, d), with one ω and a phase each (d,). -> (n, d)."""
    angles = features * frequency + phase
    angles = angles - angles.amin(1, keepdim=True)
    angles = angles / angles.amax(1, keepdim=True) * (torch.pi / 2)
    return 2**0.5 * (angles.cos() + angles.sin())


def correlation(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Σ_{a≠b} Cov(φ_a, φ_b)² of values (n, d) under weights (n,) that sum to 1. -> scalar."""
    weighted = weights[:, None] * values
    mean = weighted.sum(0)
    squares = (weighted.T @ values - mean[:, None] * mean).square()
    return squares.sum() - squares.diagonal().sum()
