"""Augmentation on the device, each example by its own draw: torchvision's transforms, a batch at a time.

The draws of a whole epoch are made on the host, from a named stream, so that a GPU makes the same draws as a CPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Augmentation:
    """Crop after padding, mirror every second image on average, then turn; in this order, as is usual for CIFAR.

    crop_padding is in pixels, each of the (2·crop_padding + 1)² crops equally likely; `padding` is "zero" or "reflect".
    rotation_degrees D turns by a uniform angle in ±D about the centre, nearest pixel, black corners.
    """

    crop_padding: int = 0
    padding: str = "zero"
    flip: bool = False
    rotation_degrees: float = 0.0


NAMED = {"none": None, "crop-flip": Augmentation(crop_padding=4, flip=True)}


def of(said: str | Mapping[str, Any]) -> Augmentation | None:
    """The augmentation that a spec says: a name of NAMED, or the fields of Augmentation; None for none at all."""
    return NAMED[said] if isinstance(said, str) else Augmentation(**said)


def draw(augmentation: Augmentation, count: int, generator: np.random.Generator) -> torch.Tensor:
    """What happens to each image: pixels down, pixels right, mirrored (0 or 1), degrees. -> float32 (count, 4)."""
    shifts = generator.integers(0, 2 * augmentation.crop_padding + 1, (count, 2))
    mirrored = generator.random(count) < 0.5 if augmentation.flip else np.zeros(count)
    degrees = generator.uniform(-augmentation.rotation_degrees, augmentation.rotation_degrees, count)
    return torch.from_numpy(np.column_stack((shifts, mirrored, degrees)).astype(np.float32))


def apply(images: torch.Tensor, augmentation: Augmentation, draws: torch.Tensor) -> torch.Tensor:
    """Augment images (B, C, H, W), any dtype, by draws (B, 4) as `draw` makes them -> the same shape and dtype.

    Every output pixel is looked up in the source: one gather, whatever the augmentation.
    """
    height, width = images.shape[2:]
    down, right, mirrored, degrees = draws[:, :, None, None].unbind(1)  # each (B, 1, 1)
    rows = torch.arange(height, device=images.device)[:, None]
    columns = torch.arange(width, device=images.device)[None, :]
    seen = None
    if augmentation.rotation_degrees:
        rows, columns, seen = _turned(rows, columns, degrees)
    if augmentation.flip:
        columns = torch.where(mirrored > 0, width - 1 - columns, columns)
    padding = augmentation.crop_padding
    rows, columns = rows + down.long(), columns + right.long()  # places in the padded image
    if padding and augmentation.padding == "reflect":
        rows, columns = _reflected(rows - padding, height), _reflected(columns - padding, width)
    elif padding:
        images = torch.nn.functional.pad(images, (padding,) * 4)
    example = torch.arange(len(images), device=images.device)[:, None, None]
    found = images[example, :, rows, columns]  # (B, H, W, C): channels last
    if seen is not None:
        found = found * seen[..., None].to(found.dtype)
    return found.permute(0, 3, 1, 2)


def _turned(
    rows: torch.Tensor, columns: torch.Tensor, degrees: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where each pixel of the turned images comes from, (B, H, W), and whether that lies inside the image."""
    height, width = rows.shape[0], columns.shape[1]
    y, x = rows - (height - 1) / 2, columns - (width - 1) / 2
    cosine, sine = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    from_x = torch.round(cosine * x - sine * y + (width - 1) / 2).long()
    from_y = torch.round(sine * x + cosine * y + (height - 1) / 2).long()
    seen = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    return from_y.clamp(0, height - 1), from_x.clamp(0, width - 1), seen


def _reflected(places: torch.Tensor, size: int) -> torch.Tensor:
    """Places outside 0 … size − 1 mirrored at the border pixel, which is not repeated."""
    return (size - 1) - ((size - 1) - places.abs()).abs()
