"""Optimisers over dictionaries of tensors: for what a run trains, and for what a method learns beside it.

    optimiser = Adam(network, rate=1e-3)           # name -> tensor, moved in place
    optimiser.prepare(rate=5e-4)                   # on the host, before each step: what depends on its number
    optimiser.step(gradients)                      # on the device: name -> gradient; others stay as they are

On a CPU they give what `torch.optim` gives, to the last bit (tests/test_optimisers.py), without importing torch's
compiler, which takes seconds. (Adam counts its own steps, torch's those of each parameter: the same where every
parameter has a gradient in every step.) On a GPU the rate is read from a tensor, so that a captured step takes today's;
`prepare` writes it. What an optimiser remembers lies in `state()`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch

Tensors = Mapping[str, torch.Tensor]


class Optimiser(Protocol):
    """What moves parameters along gradients."""

    def prepare(self, rate: float) -> None:
        """Before a step, on the host: its learning rate, and whatever else depends on its number."""

    def step(self, gradients: Tensors) -> None:
        """Move the parameters that have a gradient, in place. gradients: name -> tensor of the parameter's shape."""

    def state(self) -> dict[str, Any]:
        """What it remembers, for a checkpoint: tensors and plain values."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`, in place."""


class MomentumSGD:
    """g ← ∇ + λ θ;  v ← μ v + g;  θ ← θ − η v, or θ − η (g + μ v) with Nesterov (Sutskever et al., ICML 2013).

    `decay` is λ, one for all parameters or name -> value. `captured`: the rate is a tensor, read by one fused kernel
    (by default: on a GPU).
    """

    def __init__(
        self,
        parameters: Tensors,
        rate: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        decay: float | Mapping[str, float] = 0.0,
        captured: bool | None = None,
    ) -> None:
        self.parameters, self.momentum, self.nesterov = dict(parameters), momentum, nesterov
        self.groups = by_decay(self.parameters, decay)
        # Minus zero, because μ · (−0) + g is g to the last bit, also of a g that is minus zero: as if v began with g.
        self.velocity = {name: torch.full_like(value, -0.0) for name, value in _moved(self.parameters, momentum)}
        self.rate = _Rate(self.parameters, rate, captured)

    def prepare(self, rate: float) -> None:
        self.rate.set(rate)

    @torch.no_grad()
    def step(self, gradients: Tensors) -> None:
        for decay, group in self.groups.items():
            names = [name for name in group if name in gradients]
            if not names:
                continue
            values, slopes = [self.parameters[name] for name in names], [gradients[name] for name in names]
            velocity = [self.velocity[name] for name in names] if self.momentum else []
            if self.rate.tensor is None:
                self._plain(values, slopes, velocity, decay)
            else:
                self._fused(values, slopes, velocity, decay)

    def _plain(
        self, values: list[torch.Tensor], slopes: list[torch.Tensor], velocity: list[torch.Tensor], decay: float
    ) -> None:
        if decay:
            slopes = list(torch._foreach_add(slopes, values, alpha=decay))
        if velocity:
            torch._foreach_mul_(velocity, self.momentum)
            torch._foreach_add_(velocity, slopes, alpha=1)
            slopes = list(torch._foreach_add(slopes, velocity, alpha=self.momentum)) if self.nesterov else velocity
        torch._foreach_add_(values, slopes, alpha=-self.rate.value)

    def _fused(
        self, values: list[torch.Tensor], slopes: list[torch.Tensor], velocity: list[torch.Tensor], decay: float
    ) -> None:
        torch._fused_sgd_(
            values,
            [_laid_out_as(value, slope) for value, slope in zip(values, slopes, strict=True)],
            velocity,
            weight_decay=decay,
            momentum=self.momentum,
            lr=self.rate.tensor if self.rate.tensor is not None else torch.tensor(self.rate.value),
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
            is_first_step=False,
        )

    def state(self) -> dict[str, Any]:
        return {"velocity": self.velocity}

    def load_state(self, state: Mapping[str, Any]) -> None:
        _load(self.velocity, state["velocity"])


class Adam:
    """Adam (Kingma and Ba, ICLR 2015), with weight decay in the gradient as `torch.optim.Adam` has it.

    m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  θ ← θ − η/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)

    t, from 1 on, is the number of calls of `prepare`.
    """

    def __init__(
        self,
        parameters: Tensors,
        rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        decay: float | Mapping[str, float] = 0.0,
    ) -> None:
        self.parameters, self.betas, self.epsilon = dict(parameters), betas, epsilon
        self.groups = by_decay(self.parameters, decay)
        self.first, self.second = (
            {name: torch.zeros_like(value) for name, value in self.parameters.items()} for _ in range(2)
        )
        self.number = 0
        some = next(iter(self.parameters.values()))
        # −η/(1 − β₁ᵗ) and √(1 − β₂ᵗ) of the coming step, where a captured step reads them.
        self.size, self.root = (torch.zeros((), dtype=some.dtype, device=some.device) for _ in range(2))
        self.rate = rate

    def prepare(self, rate: float) -> None:
        self.rate, self.number = rate, self.number + 1
        self.size.fill_(-(rate / (1 - self.betas[0] ** self.number)))
        self.root.fill_((1 - self.betas[1] ** self.number) ** 0.5)

    @torch.no_grad()
    def step(self, gradients: Tensors) -> None:
        for decay, group in self.groups.items():
            names = [name for name in group if name in gradients]
            if not names:
                continue
            values, slopes = [self.parameters[name] for name in names], [gradients[name] for name in names]
            first, second = ([moments[name] for name in names] for moments in (self.first, self.second))
            if decay:
                slopes = list(torch._foreach_add(slopes, values, alpha=decay))
            torch._foreach_lerp_(first, slopes, 1 - self.betas[0])
            torch._foreach_mul_(second, self.betas[1])
            torch._foreach_addcmul_(second, slopes, slopes, 1 - self.betas[1])
            spread = torch._foreach_sqrt(second)
            torch._foreach_div_(spread, self.root)
            torch._foreach_add_(spread, self.epsilon)
            moves = torch._foreach_mul(first, self.size)
            torch._foreach_div_(moves, spread)
            torch._foreach_add_(values, moves)

    def state(self) -> dict[str, Any]:
        return {"first": self.first, "second": self.second, "number": self.number}

    def load_state(self, state: Mapping[str, Any]) -> None:
        _load(self.first, state["first"])
        _load(self.second, state["second"])
        self.number = state["number"]


class _Rate:
    """A learning rate as a number, or, for steps that are captured, as a tensor too."""

    def __init__(self, parameters: Tensors, value: float, captured: bool | None) -> None:
        devices = {one.device for one in parameters.values()}
        on_gpu = any(device.type == "cuda" for device in devices)
        device = next(iter(devices), torch.device("cpu"))
        self.value = value
        self.tensor = torch.tensor(value, device=device) if (on_gpu if captured is None else captured) else None

    def set(self, value: float) -> None:
        self.value = value
        if self.tensor is not None:
            self.tensor.fill_(value)


def by_decay(parameters: Tensors, decay: float | Mapping[str, float]) -> dict[float, list[str]]:
    """The names of parameters by their weight decay, which is one for all or name -> value."""
    groups: dict[float, list[str]] = {}
    for name in parameters:
        groups.setdefault(decay[name] if isinstance(decay, Mapping) else decay, []).append(name)
    return groups


def _moved(parameters: Tensors, momentum: float) -> list[tuple[str, torch.Tensor]]:
    """The parameters that have a velocity: none without momentum."""
    return [(name, value.detach()) for name, value in parameters.items()] if momentum else []


def _laid_out_as(value: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """A gradient in its parameter's order of memory: a fused kernel walks through both without asking for it."""
    return slope if slope.stride() == value.stride() else torch.empty_like(value).copy_(slope)


def _load(kept: Tensors, saved: Tensors) -> None:
    if kept.keys() != saved.keys():
        raise ValueError(f"a state of other parameters: {sorted(set(kept) ^ set(saved))[:3]}")
    for name, value in kept.items():
        value.copy_(saved[name])
