"""Small float64 nets, and what hypergradients are tested with on them."""

import torch
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from reweigh.losses import cross_entropy
from reweigh.models.layers import Dropout, hold_dropout, without_trace


class Net(nn.Module):
    """A small convolutional net; smooth, so that central differences converge."""

    def __init__(self, norm: bool, dropout: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.drop = Dropout(0.4 if dropout else 0.0)
        self.head = nn.Linear(4 * 16, 3)

    def forward(self, images):
        return self.head(self.drop(torch.tanh(self.norm(self.conv(images))).flatten(1)))


def pass_at(model, inputs, labels, training, batch_norm=None, name="look-ahead"):
    """The losses of a batch as a function of the parameters, of a pass that leaves no trace. θ -> (B,)."""

    def losses(at):
        hold_dropout(model, torch.tensor(11), name)
        with without_trace(model, training, batch_norm):
            return cross_entropy(functional_call(model, at, (inputs,)), labels)

    return losses


def trained_on(model, inputs):
    """The model with running statistics that differ from any batch's, and its parameters."""
    hold_dropout(model, torch.tensor(5), "train")
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(9, *inputs).double() + 1)
    return {name: value.detach() for name, value in model.named_parameters()}


def state_bytes(model):
    """Every parameter and buffer of the model, byte by byte, and the mode of each module."""
    values = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    return values, [module.training for module in model.modules()]


class NeverWaits(TorchDispatchMode):
    """Refuses what makes a host wait for a device (`.item()`, `if tensor`), and so cannot be captured as a graph."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            raise AssertionError("the value of a tensor was asked for")
        return function(*args, **(kwargs or {}))
