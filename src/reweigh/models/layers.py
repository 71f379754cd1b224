"""What models share: initial weights, dropout whose mask is a pure function of a seed, passes that leave no trace."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from reweigh.errors import ConfigError
from reweigh.streams import stream_seed

HEADS = ("linear", "cosine")
Model = TypeVar("Model", bound=nn.Module)


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


def unit_rows_(layer: CosineHead, generator: torch.Generator) -> None:
    """Rows uniform in a cube around 0, divided by their length (LDAM-DRW's `NormedLinear`)."""
    with torch.no_grad():
        layer.weight.copy_(nn.functional.normalize(layer.weight.uniform_(-1, 1, generator=generator)))


def with_head(model: Model, head: str, generator: torch.Generator) -> Model:
    """A model whose linear `head` was just drawn, as it is (`head` "linear"), or with a cosine head in its place.

    The rows of a cosine head are drawn after all else, so that the other weights are those of the linear net. Raises
    ConfigError for a head that does not exist.
    """
    if head not in HEADS:
        raise ConfigError(f"{type(model).__module__.rpartition('.')[2]}: no head {head!r}; use {' or '.join(HEADS)}")
    if head == "cosine":
        drawn = model.head
        assert isinstance(drawn, nn.Linear)
        model.head = CosineHead(drawn.in_features, drawn.out_features)
        unit_rows_(model.head, generator)
    return model


class Dropout(nn.Module):
    """Dropout whose mask is a pure function of a seed, the layer and the input's shape: on every device the same.

    Two passes that are held (`hold_dropout`) to one seed and name drop the same units. Without that, a look-ahead would
    differentiate another function than the one that it stepped along, and a run could not be resumed exactly. The seed
    is a tensor and the mask is computed from it, so that a captured step draws a new mask at each replay.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.number = 0  # among the model's dropout layers
        self.units = 0  # of one example; 0 before the first pass
        self.masks: Masks | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return inputs
        if self.masks is None:
            raise RuntimeError("dropout in training mode needs a seed: call hold_dropout(model, seed, name) first")
        keep = (self.masks.bits(self, inputs) >= round(self.p * 2**31)).view(inputs.shape)
        # Not `inputs * mask`, nor `/ (1 - p)`: in forward mode the other factor has a tangent of zeros, whose product
        # torch forms in Python, after it has imported its compiler.
        dropped: torch.Tensor = torch.ops.aten.div.Scalar(inputs.masked_fill(~keep, 0), 1 - self.p)
        return dropped


class Masks:
    """The random bits of a pass through a model's dropout layers: one hash over the units of all of them.

    Unit i of layer k is number k · 2²⁶ + i, whatever else is hashed with it: so its bits depend on the seed, the salt,
    the layer and the place alone. The first pass through a model does not yet know how many units the later layers
    have, and hashes them one by one.
    """

    LAYER = 2**26  # most units of a layer

    def __init__(self, layers: list[Dropout], seed: torch.Tensor, salt: int) -> None:
        self.layers, self.seed, self.salt = layers, seed, salt
        self.hashed: dict[int, torch.Tensor] = {}  # by layer; taken out when used, for a pass may be repeated

    def bits(self, layer: Dropout, inputs: torch.Tensor) -> torch.Tensor:
        """Numbers uniform over 0 … 2³¹ − 1 for the units of a layer in a batch of its inputs. -> int32 (numel,)."""
        examples, wanted = max(1, len(inputs)), inputs.numel()
        if wanted > self.LAYER:
            raise ValueError(f"a dropout layer of {wanted} units, more than {self.LAYER}: use smaller batches")
        layer.units = wanted // examples
        found = self.hashed.pop(layer.number, None)
        if found is None or len(found) != wanted:
            active = [one for one in self.layers if one.training and one.p and one.units]
            self.hashed = self._hash({one.number: one.units * examples for one in active}, inputs.device)
            found = self.hashed.pop(layer.number)
        return found

    def _hash(self, counts: dict[int, int], device: torch.device) -> dict[int, torch.Tensor]:
        """The bits of layers with so many units each."""
        numbers = torch.arange(sum(counts.values()), dtype=torch.int32, device=device)
        parts = dict(zip(counts, numbers.split(list(counts.values())), strict=True))
        start = 0
        for layer, count in counts.items():
            if shift := layer * self.LAYER - start:
                parts[layer].add_(shift)
            start += count
        hashed(numbers, self.seed.to(device), self.salt)
        return parts


PIECE = 2**18  # numbers that are hashed together on a CPU: few enough to stay in its cache from round to round


def hashed(numbers: torch.Tensor, seed: torch.Tensor, salt: int) -> torch.Tensor:
    """Numbers, int32, hashed in place to be uniform over 0 … 2³¹ − 1; seed int64 (0-dimensional), salt of 31 bits.

    A counter-based generator in integer arithmetic, which wraps alike everywhere: two rounds of a 32-bit hash
    (multipliers of C. Wellons' "lowbias32"), the first keyed by one half of the seed, the second by the other and the
    salt.
    """
    low, high = seed.to(torch.int32), (seed >> 32).to(torch.int32)
    for piece in numbers.split(PIECE) if numbers.device.type == "cpu" else (numbers,):
        bits = _mixed(piece.add_(low))
        _mixed(bits.bitwise_xor_(high + salt)).bitwise_and_(0x7FFFFFFF)
    return numbers


def _mixed(bits: torch.Tensor) -> torch.Tensor:
    """A permutation of the 32-bit numbers that scatters every bit over all; in place. Shifts are made logical."""
    for shift, multiplier in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32), (16, 1)):
        bits.bitwise_xor_((bits >> shift).bitwise_and_(2 ** (32 - shift) - 1)).mul_(multiplier)
    return bits


def dropout_layers(model: nn.Module) -> list[Dropout]:
    """The dropout layers of `model`, in order."""
    return [module for module in model.modules() if isinstance(module, Dropout)]


def hold_dropout(model: nn.Module, seed: torch.Tensor | None, name: str) -> None:
    """Fix the masks of the passes that follow: equal seeds and names give equal masks. seed int64, 0-dimensional.

    Without a seed the model cannot be used in training mode, if it has dropout. A model has at most 32 such layers.
    """
    layers = dropout_layers(model)
    if len(layers) > 32:
        raise ValueError(f"a model with {len(layers)} dropout layers; the masks of at most 32 are independent")
    masks = None if seed is None else Masks(layers, seed, stream_seed(0, name) % 2**31)
    for number, layer in enumerate(layers):
        layer.masks, layer.number = masks, number


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
