"""AutoAugment's operations on a batch of images, each with an amount of its own that can be differentiated.

    turned = OPERATIONS["rotate"](pixels, amounts)      # (B, C, H, W) in 0 … 1, (B,) -> (B, C, H, W) in 0 … 1

The list is that of AutoAugment (Cubuk et al., CVPR 2019), made differentiable as in Faster AutoAugment (Hataya et al.,
ECCV 2020; code: moskomule/dda, whose list of policies has TranslateY twice and no TranslateX, and whose hflip mirrors
top and bottom: neither is so here). An amount is `sign · largest · magnitude`, and magnitude 0 changes nothing. What
moves pixels reads between them bilinearly and is black outside; what blends goes from the image (amount 0) to its
degenerate version (amount −1) or away from it.

Derivatives. The geometric operations and the blends are differentiable almost everywhere, in the images and in the
amounts. Solarize, posterize, autocontrast and equalize are steps: their derivative is declared, the identity in the
image ("straight through"), and 1 by the magnitude in every pixel, as Faster AutoAugment has it. All can be followed by
a network whose gradient by its weights is then differentiated by the amounts: no more than the first derivative of an
operation is taken there, and no more is given.

Nothing here waits for the value of a tensor, and no backward pass adds up in an order that a GPU chooses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey: ITU-R BT.601
LEVELS = 256
Change = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # pixels (B, C, H, W), amounts (B,) -> pixels


@dataclass(frozen=True)
class Operation:
    """`change`, with the amount at magnitude 1 (None: it has no magnitude) and whether its sign is drawn."""

    change: Change
    largest: float | None = None
    signed: bool = False

    def __call__(self, pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
        return self.change(pixels, amounts)


# --- what moves pixels -----------------------------------------------------------------------------------------------


def shear_x(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Each row moves by `amount` times its height above the centre."""
    return _moved(pixels, (1.0, amounts, 0.0), (0.0, 1.0, 0.0))


def shear_y(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Each column moves by `amount` times its distance from the centre."""
    return _moved(pixels, (1.0, 0.0, 0.0), (amounts, 1.0, 0.0))


def translate_x(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """To the right by this share of the width."""
    return _moved(pixels, (1.0, 0.0, -amounts * pixels.shape[3]), (0.0, 1.0, 0.0))


def translate_y(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Down by this share of the height."""
    return _moved(pixels, (1.0, 0.0, 0.0), (0.0, 1.0, -amounts * pixels.shape[2]))


def rotate(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Counter-clockwise about the centre; in degrees."""
    cosine, sine = torch.cos(torch.deg2rad(amounts)), torch.sin(torch.deg2rad(amounts))
    return _moved(pixels, (cosine, -sine, 0.0), (sine, cosine, 0.0))


def mirror(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Left and right change places."""
    return pixels.flip(3)


def _moved(pixels: torch.Tensor, to_x: tuple[Any, Any, Any], to_y: tuple[Any, Any, Any]) -> torch.Tensor:
    """The image whose pixel (x, y) comes from (to_x · (x, y, 1), to_y · (x, y, 1)), in pixels from the centre."""
    batch, _, height, width = pixels.shape
    matrix = [value.reshape(-1, 1, 1) if isinstance(value, torch.Tensor) else value for value in (*to_x, *to_y)]
    x, y = _from_centre(width, pixels), _from_centre(height, pixels)[:, None]
    from_x, from_y = (places.expand(batch, height, width) for places in _mapped(matrix, x, y))
    places = torch.stack((from_x * (2 / width), from_y * (2 / height)), -1)
    # The places get their derivative from torch, the pixels theirs from _Moved.
    moved = nn.functional.grid_sample(pixels.detach(), places, align_corners=False)
    if not pixels.requires_grad:
        return moved
    fixed = [value.detach() if isinstance(value, torch.Tensor) else value for value in matrix]
    return _Moved.apply(moved, pixels, fixed)


def _from_centre(size: int, like: torch.Tensor) -> torch.Tensor:
    return torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2


def _mapped(matrix: list[Any], x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    a, b, c, d, e, f = matrix
    return a * x + b * y + c, d * x + e * y + f


class _Moved(torch.autograd.Function):
    """Hands on what was moved; its derivative by the pixels is gathered, pixel by pixel.

    torch's own scatters it, which on a GPU adds up in another order each time. A pixel p of the source is read by the
    pixels q of the output that come from less than one pixel beside it. These lie around the place to which p goes, at
    most 1.5 away as long as the inverse of the map stretches no more than that, by row and by column, which holds of
    shears up to 0.3 (1.3) and of turns up to 30° (1.37).
    """

    @staticmethod
    def forward(ctx: Any, moved: torch.Tensor, pixels: torch.Tensor, matrix: list[Any]) -> torch.Tensor:
        ctx.matrix = matrix
        return moved.view_as(moved)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        return gradient, _unmoved(gradient, ctx.matrix), None


def _unmoved(gradient: torch.Tensor, matrix: list[Any]) -> torch.Tensor:
    """The transpose of `_moved`: what each pixel of the source adds to. gradient (B, C, H, W) -> the same shape."""
    batch, channels, height, width = gradient.shape
    a, b, c, d, e, f = matrix
    determinant = a * e - b * d
    x, y = _from_centre(width, gradient), _from_centre(height, gradient)[:, None]
    to_x = (e * (x - c) - b * (y - f)) / determinant
    to_y = (a * (y - f) - d * (x - c)) / determinant
    half_width, half_height = (width - 1) / 2, (height - 1) / 2
    column, row = torch.round(to_x + half_width), torch.round(to_y + half_height)  # (B, H, W), or what expands to it
    flat = gradient.flatten(2)
    total = torch.zeros_like(flat)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            from_x, from_y = _mapped(matrix, column + (right - half_width), row + (down - half_height))
            weight = (1 - (from_x - x).abs()).clamp(min=0) * (1 - (from_y - y).abs()).clamp(min=0)
            there_x, there_y = column + right, row + down
            inside = (there_x >= 0) & (there_x < width) & (there_y >= 0) & (there_y < height)
            place = there_y.clamp(0, height - 1) * width + there_x.clamp(0, width - 1)
            weight = torch.where(inside, weight, 0.0).expand(batch, height, width).flatten(1)
            place = place.long().expand(batch, height, width).flatten(1)
            total += weight[:, None] * flat.gather(2, place[:, None].expand(-1, channels, -1))
    return total.unflatten(2, (height, width))


# --- what blends -----------------------------------------------------------------------------------------------------


def contrast(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Towards the mean of the grey image, or away from it."""
    return _blended(pixels, _grey(pixels).mean((1, 2, 3), keepdim=True), amounts)


def saturate(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Towards the grey image, or away from it; a grey image stays as it is."""
    return pixels if pixels.shape[1] == 1 else _blended(pixels, _grey(pixels), amounts)


def brightness(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Towards black, or away from it."""
    return _blended(pixels, torch.zeros_like(pixels), amounts)


def sharpness(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Towards the image blurred by PIL's kernel, 3 × 3 of weight 1 with 5 in the middle, or away; the edge stays."""
    inner = (9 * nn.functional.avg_pool2d(pixels, 3, stride=1) + 4 * pixels[:, :, 1:-1, 1:-1]) / 13
    difference = nn.functional.pad(pixels[:, :, 1:-1, 1:-1] - inner, (1, 1, 1, 1))
    return (pixels + amounts[:, None, None, None] * difference).clamp(0, 1)


def _blended(pixels: torch.Tensor, degenerate: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    return (pixels + amounts[:, None, None, None] * (pixels - degenerate)).clamp(0, 1)


def _grey(pixels: torch.Tensor) -> torch.Tensor:
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.split(1, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


# --- what acts on the value of each pixel ----------------------------------------------------------------------------


def invert(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Black and white change places."""
    return 1 - pixels


def solarize(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Inverts the pixels of level 256 · (1 − amount) and above: none at 0, all at 1."""
    threshold, fixed = (1 - amounts.detach()[:, None, None, None]) * (LEVELS / (LEVELS - 1)), pixels.detach()
    return _straight_through(torch.where(fixed < threshold, fixed, 1 - fixed), pixels, amounts)


def posterize(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Drops so many bits of the eight of each pixel, rounded to whole ones."""
    step = torch.exp2(torch.round(amounts.detach()))[:, None, None, None]
    kept = torch.floor(_levels(pixels) / step) * step / (LEVELS - 1)
    return _straight_through(kept, pixels, amounts / MOST_BITS)


def autocontrast(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Stretches each channel from its darkest and lightest pixel to 0 and 1; one of a single value stays."""
    fixed = pixels.detach()
    low, high = fixed.amin((2, 3), keepdim=True), fixed.amax((2, 3), keepdim=True)
    flat = high <= low
    stretched = (fixed - low) / torch.where(flat, 1.0, high - low)
    return _straight_through(torch.where(flat, fixed, stretched).clamp(0, 1), pixels)


def equalize(pixels: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Maps the levels of each channel such that all are about as frequent, by PIL's rule."""
    levels = _levels(pixels).long().flatten(2)
    counts = torch.zeros((*levels.shape[:2], LEVELS), dtype=torch.int64, device=pixels.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))  # of whole numbers: in any order the same
    of_lightest = counts.gather(2, levels.amax(2, keepdim=True))
    step = (levels.shape[2] - of_lightest) // (LEVELS - 1)
    table = (counts.cumsum(2) - counts + step // 2) // step.clamp(min=1)
    equal = table.clamp(0, LEVELS - 1).gather(2, levels).to(pixels.dtype).unflatten(2, pixels.shape[2:]) / (LEVELS - 1)
    return _straight_through(torch.where(step[..., None] > 0, equal, pixels.detach()), pixels)


def _levels(pixels: torch.Tensor) -> torch.Tensor:
    """The level of each pixel in eight bits, 0 … 255, as whole numbers in floats."""
    return torch.round(pixels.detach() * (LEVELS - 1)).clamp(0, LEVELS - 1)


def _straight_through(
    changed: torch.Tensor, pixels: torch.Tensor, magnitudes: torch.Tensor | None = None
) -> torch.Tensor:
    """`changed`, made of constants, to the last bit, with derivative 1 by each pixel, and by its image's magnitude."""
    through = changed + (pixels - pixels.detach())
    return through if magnitudes is None else through + (magnitudes - magnitudes.detach())[:, None, None, None]


MOST_BITS = 4  # that posterize drops, as in AutoAugment
LARGEST_BLEND = 0.9  # as in AutoAugment, whose factors go from 0.1 to 1.9

OPERATIONS = {
    "shear_x": Operation(shear_x, 0.3, signed=True),
    "shear_y": Operation(shear_y, 0.3, signed=True),
    "translate_x": Operation(translate_x, 0.45, signed=True),
    "translate_y": Operation(translate_y, 0.45, signed=True),
    "rotate": Operation(rotate, 30.0, signed=True),
    "mirror": Operation(mirror),
    "invert": Operation(invert),
    "solarize": Operation(solarize, 1.0),
    "posterize": Operation(posterize, MOST_BITS),
    "contrast": Operation(contrast, LARGEST_BLEND, signed=True),
    "saturate": Operation(saturate, LARGEST_BLEND, signed=True),
    "brightness": Operation(brightness, LARGEST_BLEND, signed=True),
    "sharpness": Operation(sharpness, LARGEST_BLEND, signed=True),
    "autocontrast": Operation(autocontrast),
    "equalize": Operation(equalize),
}
