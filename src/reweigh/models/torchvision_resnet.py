"""torchvision's ResNets, for the data sets of large images; torchvision is imported when one is built.

| depth | parameters, 1,000 classes |
|-------|---------------------------|
| 34    | 21,797,672                |
| 50    | 25,557,032                |
| 152   | 60,192,808                |

`weights` is the path of a state dict to start from, as torchvision publishes them: all but a head of another shape is
taken over. A path says nothing of what lies there, so that a spec names its `weights_sha256` too, or the beginning of
it: torchvision's file names end in its first eight digits. A cosine head keeps the weights that it was drawn with.

`trained_from` names the first block that is trained, "layer4.2" the last one: that, what follows it and the head. What
lies before keeps its weights, in every stage; its batch norms normalise by the batch in training and go on with their
running statistics, as layers do whose parameters ask for no gradient.

`dropout` is the share of the head's inputs that a step of training drops (MOLERE, CVPR 2024).
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reweigh.digest import file_digest
from reweigh.errors import ConfigError, DataError
from reweigh.models.layers import Dropout, default_, with_head
from reweigh.models.norms import BatchNorm2d

DEPTHS = (18, 34, 50, 101, 152)
PUBLISHED = "https://download.pytorch.org/models"
DIGEST = re.compile(r"[0-9a-f]{8,64}")


class ResNet(nn.Module):
    """The layers of a torchvision ResNet under torchvision's names, but for the last one, which is `head`."""

    def __init__(self, built: Any, dropout: float) -> None:
        super().__init__()
        self.drop = Dropout(dropout) if dropout else None
        for name, layer in built.named_children():
            self.add_module("head" if name == "fc" else name, layer)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the head sees, but for dropout. images (B, 3, H, W) -> (B, 512), or (B, 2048) from depth 50 on."""
        hidden = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # type: ignore[operator]
        return self.avgpool(self.layer4(self.layer3(self.layer2(self.layer1(hidden))))).flatten(1)  # type: ignore[operator]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.features(images)
        return self.head(features if self.drop is None else self.drop(features))  # type: ignore[operator]


def build(
    input_shape: tuple[int, ...],
    classes: int,
    generator: torch.Generator,
    depth: int,
    weights: str | None = None,
    weights_sha256: str | None = None,
    trained_from: str | None = None,
    dropout: float = 0.0,
    head: str = "linear",
) -> ResNet:
    """ResNet of this depth, its weights drawn as torchvision draws them, or read from `weights`. input (3, H, W).

    Raises ConfigError for other depths, for weights without a digest, for a block that it has not, for a `dropout`
    outside [0, 1) and where torchvision is missing; DataError for weights that are missing or are not those of this
    net.
    """
    if depth not in DEPTHS:
        raise ConfigError(f"torchvision_resnet: no depth {depth!r}; use one of {', '.join(map(str, DEPTHS))}")
    if (weights is None) != (weights_sha256 is None):
        raise ConfigError("torchvision_resnet: weights and weights_sha256 go together; state both or neither")
    if weights_sha256 is not None and not DIGEST.fullmatch(weights_sha256):
        raise ConfigError(f"torchvision_resnet: weights_sha256 {weights_sha256!r} is not 8 to 64 digits of a sha256")
    if not 0 <= dropout < 1:
        raise ConfigError(f"torchvision_resnet: no dropout {dropout!r}; use a share from 0 on and below 1")
    try:
        from torchvision.models import resnet
    except ModuleNotFoundError:
        raise ConfigError("torchvision_resnet needs torchvision; install it with: pip install torchvision") from None
    with torch.random.fork_rng(devices=[]):  # its constructor draws weights that are drawn again below
        model = ResNet(getattr(resnet, f"resnet{depth}")(num_classes=classes, norm_layer=BatchNorm2d), dropout)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    default_(model.head, generator)  # type: ignore[arg-type]
    model = with_head(model, head, generator)
    if weights is not None:
        _load(model, Path(weights), str(weights_sha256))
    if trained_from is not None:
        _keep_before(model, trained_from)
    return model


def _keep_before(model: ResNet, block: str) -> None:
    """Make buffers of the parameters of all that comes before a block, "layer4" or "layer4.2": nothing trains them."""
    blocks = [name for name, _ in model.named_modules() if re.fullmatch(r"layer\d(\.\d+)?", name)]
    if block not in blocks:
        raise ConfigError(f"torchvision_resnet: no block {block!r} to train from; known: {', '.join(blocks)}")
    stem, number = block.partition(".")[0], int(block.partition(".")[2] or 0)
    names = [name for name, _ in model.named_children()]
    before = [getattr(model, name) for name in names[: names.index(stem)]]
    before += list(getattr(model, stem))[:number]
    for layer in [layer for one in before for layer in one.modules()]:
        for name, value in list(layer.named_parameters(recurse=False)):
            delattr(layer, name)
            layer.register_buffer(name, value.detach())


def _load(model: ResNet, path: Path, sha256: str) -> None:
    """Take over the weights in `path`; a head of another shape stays as it was drawn."""
    if not path.is_file():
        raise DataError(f"{path}: no such weights; download {PUBLISHED}/{path.name} and put it there")
    if not (found := file_digest(path)).startswith(sha256):
        raise DataError(f"{path}: sha256 {found[:12]}, expected {sha256[:12]}; download {PUBLISHED}/{path.name} again")
    said = {name.replace("fc.", "head.", 1): value for name, value in torch.load(path, weights_only=True).items()}
    own = model.state_dict()
    mine = {name: value for name, value in own.items() if name.startswith("head.")}
    if said["head.weight"].shape != mine["head.weight"].shape or "head.bias" not in mine:
        said = {name: value for name, value in said.items() if not name.startswith("head.")} | mine
    try:
        model.load_state_dict(said)
    except RuntimeError as error:
        raise DataError(f"{path}: not the weights of this net ({str(error).splitlines()[0]}); name others") from None
