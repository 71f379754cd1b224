"""What models share: initial weights, dropout whose mask is a pure function of a seed, passes that leave no trace."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from reweigh.streams import stream_seed


def glorot_(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """Glorot-uniform kernel and zero bias: the default of Keras, which TDR's public code relies on."""
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def truncated_fan_in_(layer: nn.Conv2d, generator: torch.Generator) -> None:
    """Variance scaling (scale 1, fan-in): a normal cut at two sd, of variance 1/fan_in after the cut."""
    fan_in = layer.weight[0].numel()
    sd = math.sqrt(1 / fan_in) / 0.87962566103423978  # the sd that a unit normal keeps when cut at ±2
    nn.init.trunc_normal_(layer.weight, std=sd, a=-2 * sd, b=2 * sd, generator=generator)


def kaiming_(layer: nn.Module, generator: torch.Generator) -> None:
    """Kaiming-normal kernel by fan-in (variance 2 / fan_in); a bias as PyTorch draws it by default."""
    nn.init.kaiming_normal_(layer.weight, generator=generator)  # type: ignore[arg-type]
    _default_bias_(layer, generator)


def default_(layer: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's own default, from a generator: kernel and bias uniform in ±1/√fan_in."""
    bound = 1 / math.sqrt(layer.weight[0].numel())  # type: ignore[index]
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)  # type: ignore[arg-type]
    _default_bias_(layer, generator)


def _default_bias_(layer: nn.Module, generator: torch.Generator) -> None:
    if getattr(layer, "bias", None) is not None:
        bound = 1 / math.sqrt(layer.weight[0].numel())  # type: ignore[index]
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)  # type: ignore[arg-type]


class CosineHead(nn.Module):
    """A last layer that compares directions: logit_c = ⟨x/‖x‖, w_c/‖w_c‖⟩, in −1 … 1 (LDAM, Cao et al. 2019)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(nn.functional.normalize(inputs), nn.functional.normalize(self.weight))


class Dropout(nn.Module):
    """Dropout whose mask is a pure function of a seed, the layer and the input's shape: on every device the same.

    Two passes that are held (`hold_dropout`) to one seed and name drop the same units. Without that, a look-ahead would
    differentiate another function than the one that it stepped along, and a run could not be resumed exactly. The seed
    is a tensor and the mask is computed from it, so that a captured step draws a new mask at each replay.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.seed: torch.Tensor | None = None
        self.salt = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return inputs
        if self.seed is None:
            raise RuntimeError("dropout in training mode needs a seed: call hold_dropout(model, seed, name) first")
        bits = hashed(inputs.numel(), self.seed.to(inputs.device), self.salt)
        keep = (bits >= round(self.p * 2**31)).view(inputs.shape)
        return inputs * (keep / (1 - self.p)).to(inputs.dtype)


def hashed(count: int, seed: torch.Tensor, salt: int) -> torch.Tensor:
    """Numbers uniform over 0 … 2³¹ − 1, from an int64 seed (0-dimensional) and a 31-bit salt. -> int32 (count,).

    A counter-based generator in integer arithmetic, which wraps alike everywhere: two rounds of a 32-bit hash
    (multipliers of C. Wellons' "lowbias32"), the first keyed by one half of the seed, the second by the other and the
    salt.
    """
    low, high = seed.to(torch.int32), (seed >> 32).to(torch.int32)
    bits = torch.arange(count, dtype=torch.int32, device=seed.device)
    bits = _mixed(bits.add_(low))
    return _mixed(bits.bitwise_xor_(high + salt)).bitwise_and_(0x7FFFFFFF)


def _mixed(bits: torch.Tensor) -> torch.Tensor:
    """A permutation of the 32-bit numbers that scatters every bit over all; in place. Shifts are made logical."""
    for shift, multiplier in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32), (16, 1)):
        bits.bitwise_xor_((bits >> shift).bitwise_and_(2 ** (32 - shift) - 1)).mul_(multiplier)
    return bits


def dropout_layers(model: nn.Module) -> list[Dropout]:
    """The dropout layers of `model`, in order."""
    return [module for module in model.modules() if isinstance(module, Dropout)]


def hold_dropout(model: nn.Module, seed: torch.Tensor | None, name: str) -> None:
    """Fix the masks of the passes that follow: equal seeds and names give equal masks. seed int64, 0-dimensional."""
    for number, layer in enumerate(dropout_layers(model)):
        layer.seed = seed
        layer.salt = stream_seed(number, name) % 2**31


@contextmanager
def without_trace(model: nn.Module, training: bool, batch_norm: str | None = None) -> Iterator[None]:
    """Passes in training or in inference mode that change no buffer of `model`. Modes are restored at the end.

    `batch_norm` says which statistics normalise, whatever the mode: those of the "batch", or the "running" ones; None
    leaves it to the mode. Batch statistics never enter the running ones here.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.training = training if batch_norm is None else batch_norm == "batch"
    tracked = [norm for norm in norms if norm.training and norm.track_running_stats]
    for norm in tracked:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for norm in tracked:
            norm.track_running_stats = True
