"""A small network V that gives weights, and learns them from a meta set: what several methods have in common.

V is a perceptron with one hidden layer of `hidden` ReLU units and a sigmoid at its end, so that weights lie in (0, 1).
It begins as PyTorch's linear layers do. Its optimiser, at a constant rate, is the method's own.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from reweigh.data.batches import Batch
from reweigh.hypergrad.kept_products import Products
from reweigh.hypergrad.lookahead import Parameters
from reweigh.methods import base, meta_set
from reweigh.models.layers import default_
from reweigh.optimisers import Adam, MomentumSGD, Optimiser
from reweigh.streams import stream_seed


class Method(base.Method):
    """Base of methods with a network of weights. They call `seek` before a step in which the network learns."""

    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.meta = meta_set.stream(options["meta_set"], context)
        self.network = initial(self.width(), options["hidden"], context.seed, context.class_counts)
        self.upper = optimiser_of(options["optimiser"], self.network)
        # The rate of the virtual step, where a captured step reads it; float64, so as to round it no more than the
        # engine's own step does.
        self.step_size = context.class_counts.new_zeros((), dtype=torch.float64)
        self.learns, self.products = False, Products()  # of the step's own pass, if the network learns in it

    def width(self) -> int:
        """How many numbers the network sees of an example."""
        return 1

    def seek(self, number: int, at: base.Position) -> None:
        """On the host, before the network learns for the time `number`, from 0: its meta batch, the rates."""
        self.meta.seek(number)
        self.learns = True
        self.step_size.fill_(at.learning_rate)
        self.upper.prepare(self.options["optimiser"]["learning_rate"])

    def watch(self, model: nn.Module) -> AbstractContextManager[Any]:
        return self.products.kept() if self.learns else super().watch(model)

    def example_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        # Kept with their graph: the virtual step goes back through the step's own pass, which is not made twice.
        self.logits, self.losses = logits, super().example_losses(logits, batch)
        return self.losses

    def loss_at(self, step: base.Step, batch: Batch, parameters: Parameters, name: str) -> torch.Tensor:
        """The losses (B,) of `batch` at other parameters, in training mode with the statistics of the batch."""
        return self.loss(self.logits_at(step, batch, parameters, True, name), batch)

    def meta_loss(self, step: base.Step, parameters: Parameters) -> torch.Tensor:
        """L_meta at other parameters: the mean loss of the meta batch at which the stream stands."""
        return self.loss_at(step, self.meta.current(), parameters, "meta").mean()

    def log_spread(self, weights: torch.Tensor) -> None:
        """Log the standard deviation of the weights (B,) of a batch, where they average 1: 0 is plain training."""
        self.log(weight_sd=(weights / weights.mean()).std(correction=0))

    def state(self) -> dict[str, Any]:
        return {**super().state(), "network": self.network, "upper": self.upper.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        for name, value in self.network.items():
            value.copy_(state["network"][name])
        self.upper.load_state(state["upper"])


def initial(width: int, hidden: int, seed: int, like: torch.Tensor) -> Parameters:
    """V as a run of this seed begins, of `width` inputs, where `like` lies and in its precision."""
    generator = torch.Generator().manual_seed(stream_seed(seed, "weight network"))
    layers = {"hidden": nn.Linear(width, hidden), "out": nn.Linear(hidden, 1)}
    for layer in layers.values():
        default_(layer, generator)
    return {
        f"{name}.{part}": value.detach().to(like, copy=True)
        for name, layer in layers.items()
        for part, value in layer.named_parameters()
    }


def outputs(network: Parameters, seen: torch.Tensor) -> torch.Tensor:
    """V of each example. seen (B, width) -> (B,), each in (0, 1)."""
    hidden = nn.functional.linear(seen, network["hidden.weight"], network["hidden.bias"]).relu()
    return nn.functional.linear(hidden, network["out.weight"], network["out.bias"]).sigmoid().squeeze(1)


def optimiser_of(said: Mapping[str, Any], network: Parameters) -> Optimiser:
    """What moves V, by the option `optimiser`."""
    if said["name"] == "adam":
        return Adam(network, said["learning_rate"], decay=said["weight_decay"])
    return MomentumSGD(network, said["learning_rate"], said["momentum"], said["nesterov"], said["weight_decay"])
