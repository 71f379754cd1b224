"""Attentional-biased SGD (ABSGD, TMLR 2022, algorithm 1): weights ∝ exp(loss/λ), normalised by a moving average.

For each batch of B examples with losses ℓ_i, s_0 = 0:

    s   ← (1 − γ) s + γ α (1/B) Σ_i exp(ℓ_i/λ)
    p̃_i = exp(ℓ_i/λ) / s,    w_i = p̃_i/B,    θ ← momentum-SGD step along Σ_i w_i ∇ℓ_i(θ)

λ > 0 raises the weight of large losses (imbalance), λ < 0 of small ones (label noise), and |λ| = ∞, here null, is plain
SGD: w_i = 1/B, and s stays as it is. The weights are constants to the gradient, as in the engine all weights are.

Paper and public code disagree; each difference is an option.

| option        | paper                         | public code                                                          |
|---------------|-------------------------------|----------------------------------------------------------------------|
| lambda_       | 1 … 10, or −0.1 … −3          | 5, 3, or −0.5 … −5                                                   |
| from_epoch,   | two stages (§3.6): λ is       | switches at epoch 160 (label noise: 80), counted from 0; its default |
| first_lambda  | `first_lambda` before epoch   | `first_lambda` is 10, null (plain SGD) is a choice                   |
|               | `from_epoch`                  |                                                                      |
| gamma         | γ = 0.1 … 1                   | 0.7, 0.45                                                            |
| alpha         | 1                             | 0.5, 0.3. As Σ_i w_i ≈ 1/α it multiplies the learning rate           |
| uniform       | false                         | true for label noise: w_i + 1/B                                      |
| heavy_ball    | β = 0.9 of eq. (2), see below | null: torch's momentum                                               |
| class_balance | effective-number weights, as  | `normalisation` "none": they are not averaged out, so that the       |
|               | another loss                  | weights of a long-tailed batch are small together; "batch" divides   |
|               |                               | them by their mean in the batch                                      |

`loss` is one of `reweigh.losses`, null cross-entropy. Class weights belong to the losses, in ℓ_i/λ too. s never starts
again: it is 0 where λ first is finite, so that Σ_i w_i = 1/(γα) in that step, and is not corrected for it.
Eq. (2) is θ_{t+1} = θ_t − η_t G_t + β (θ_t − θ_{t−1}): what is left of earlier steps goes on as they were taken. In
torch's form, v ← β v + G, θ ← θ − η v, a drop of the rate makes the earlier steps smaller too. The two are one as long
as the rate stays, and part where it drops by 100, which is just where λ begins: by eq. (2) the first steps with weights
are still carried by plain ones of 100 times their size. Runs have torch's form, as all published code, with `momentum`
of the training block; `heavy_ball`, where it is not null, is the β of eq. (2) as written, and takes its place.

`log_weights` gives the trace a row an epoch, the mean p̃ of each class and the examples seen of it (paper, Figure 4).

s is kept as its logarithm, in float64: the same values without overflow (exp(ℓ/λ) is no float32 above ℓ/λ = 88), and
without the division by zero of the public code where all of exp(ℓ/λ) underflow.
"""

import math
from collections.abc import Mapping

import torch

from reweigh.data.batches import Batch
from reweigh.hypergrad.lookahead import Parameters, by_group
from reweigh.methods import base
from reweigh.optimisers import Optimiser, by_decay


class Method(base.Method):
    def __init__(self, options: dict[str, object], context: base.RunContext) -> None:
        super().__init__(options, context)
        zero = context.class_counts.new_zeros((), dtype=torch.float64)
        self.log_s = zero - math.inf
        self.seen = {"sums": zero.expand(context.classes).clone(), "counts": zero.expand(context.classes).clone()}

    def optimiser(self, parameters: Parameters, decay: Mapping[str, float]) -> Optimiser | None:
        beta = self.options.get("heavy_ball")
        return None if beta is None else HeavyBall(parameters, decay, beta)

    def prepare(self, at: base.Position) -> str:
        self.lambda_ = self.options["lambda_" if at.stage_epoch >= self.options["from_epoch"] else "first_lambda"]
        program = "plain" if self.lambda_ is None else f"lambda {self.lambda_}"
        self.last = self.options["log_weights"] and at.ends_epoch
        return f"{program}, end of epoch" if self.last else program

    def balance_of(self, batch: Batch) -> torch.Tensor | None:
        weights = self.class_weights
        if self.balance and self.balance["normalisation"] == "batch":
            return weights / weights[batch.labels].mean()  # type: ignore[arg-type, index, operator]
        return weights

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        if self.lambda_ is None:
            weights = torch.full_like(losses, 1 / len(losses))
        else:
            weights = self.attention(losses.double()).to(losses)
            if self.options["uniform"]:
                weights = weights + 1 / len(losses)
        if self.options["log_weights"]:
            self.tally(step.batch.labels, weights.double() * len(losses))
        return weights

    def attention(self, losses: torch.Tensor) -> torch.Tensor:
        """p̃_i/B, after s has taken the batch in. float64 (B,) -> (B,).

        With c = γα/B, a softmax over the ℓ_i/λ and one more term, log((1 − γ) s/c) of the s before, gives
        c exp(ℓ_i/λ)/s with the s after: γα times the p̃_i/B.
        """
        gamma, share = self.options["gamma"], self.options["gamma"] * self.options["alpha"]
        tilt = losses / self.lambda_
        if gamma < 1:
            past = self.log_s + (math.log1p(-gamma) - math.log(share / len(losses)))
            tilt = torch.cat((tilt, past[None]))
        logs = torch.log_softmax(tilt, 0)
        self.log_s.copy_(tilt[0] - logs[0] + math.log(share / len(losses)))
        return torch.exp(logs[: len(losses)]) / share

    def tally(self, labels: torch.Tensor, weights: torch.Tensor) -> None:
        """Sum the weights p̃ (B,) of each class in the epoch; at its end, log their means and begin again."""
        classes = self.context.classes
        self.seen["sums"] += by_group(weights, labels, classes)
        self.seen["counts"] += by_group(torch.ones_like(weights), labels, classes)
        if self.last:
            counts = self.seen["counts"].clone()
            self.log(mean_weights=self.seen["sums"] / counts.clamp(min=1), weighted_examples=counts)
            for total in self.seen.values():
                total.zero_()

    def state(self) -> dict[str, object]:
        return {**super().state(), "log_s": self.log_s, **self.seen}

    def load_state(self, state: dict[str, object]) -> None:
        super().load_state(state)
        self.log_s.copy_(state["log_s"])  # type: ignore[arg-type]
        for name, total in self.seen.items():
            total.copy_(state[name])  # type: ignore[arg-type]


class HeavyBall:
    """θ_{t+1} = θ_t − η (∇ + λ θ_t) + β (θ_t − θ_{t−1}) (Polyak 1964; ABSGD, eq. 2), λ the weight decay.

    See `reweigh.optimisers`. The rate is a tensor: a captured step reads today's.
    """

    def __init__(self, parameters: Parameters, decay: Mapping[str, float], beta: float) -> None:
        self.parameters, self.groups, self.beta = dict(parameters), by_decay(parameters, decay), beta
        self.moved = {name: torch.zeros_like(value) for name, value in parameters.items()}  # θ_t − θ_{t−1}
        self.rate = next(iter(parameters.values())).new_zeros(())

    def prepare(self, rate: float) -> None:
        self.rate.fill_(rate)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, torch.Tensor]) -> None:
        for decay, group in self.groups.items():
            names = [name for name in group if name in gradients]
            if not names:
                continue
            values, slopes, moved = (
                [tensors[name] for name in names] for tensors in (self.parameters, gradients, self.moved)
            )
            steps = torch._foreach_add(slopes, values, alpha=decay)
            torch._foreach_mul_(steps, self.rate)
            torch._foreach_mul_(moved, self.beta)
            torch._foreach_sub_(moved, steps)
            torch._foreach_add_(values, moved)

    def state(self) -> dict[str, object]:
        return {"moved": self.moved}

    def load_state(self, state: Mapping[str, object]) -> None:
        for name, value in self.moved.items():
            value.copy_(state["moved"][name])  # type: ignore[index]
