"""Augmentation on the device, each example by its own draw. The draws of a batch are a pure function of their seed."""

import torch


def crop_and_flip(images: torch.Tensor, seed: int, padding: int = 4) -> torch.Tensor:
    """Pad with black, crop back to the old size at a random place, mirror every second image on average.

    images (B, C, H, W), any dtype -> the same shape and dtype. Each of the (2·padding + 1)² crops is equally likely.
    """
    count, _, height, width = images.shape
    generator = torch.Generator().manual_seed(seed)  # on the CPU: a GPU run sees the same crops as a CPU run
    down, right = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=generator).to(images.device)
    mirror = (torch.rand((count, 1), generator=generator) < 0.5).to(images.device)
    rows = down + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = right + torch.where(mirror, width - 1 - columns, columns)
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    picked = padded[torch.arange(count, device=images.device)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)
