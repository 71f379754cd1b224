"""A picture from its file, cut to the size that a model takes; a random cut is a pure function of its seed.

Pillow and torchvision are imported by the functions that need them: runs on data in memory do without.
"""

import functools
import os
import warnings
from typing import IO, TYPE_CHECKING, Any

import torch

from reweigh.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGENET_MOMENTS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}  # of each channel, inputs from 0 to 1


def pixels(path: str | os.PathLike[str], side: int, resize: int, seed: int | None = None) -> torch.Tensor:
    """One image file as uint8 (3, side, side).

    Without a seed, the shorter side is brought to `resize` pixels and the middle cut out: torchvision's Resize and
    CenterCrop. With one, it is torchvision's RandomResizedCrop (8 to 100 % of the area, sides from 3:4 to 4:3) and
    RandomHorizontalFlip, as they come out of torch's generator seeded with it. Raises DataError naming the file.
    """
    image = decoded(path)
    if seed is None:
        return middle(image, side, resize)
    # These transforms draw from torch's own generator and take no other, so it is lent to them for one image. Not
    # torch.manual_seed: where there are no workers, that would seed the GPU of the training process as well.
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        return _random(side)(image)
    finally:
        torch.set_rng_state(before)


def middle(image: "Image", side: int, resize: int) -> torch.Tensor:
    """The middle of a picture, uint8 (3, side, side), its shorter side brought to `resize` pixels before."""
    cut: torch.Tensor = _middle(side, resize)(image)
    return cut


def decoded(path: str | os.PathLike[str], content: IO[bytes] | None = None) -> "Image":
    """The picture in a file, as RGB; of `content`, if it is read already.

    Raises DataError that names the file if it is missing or cannot be decoded.

    Transparency is dropped and the orientation that EXIF may ask for ignored, as everyone does on these data sets.
    """
    # Pillow, not torchvision.io: it tells formats by content (ImageNet has a PNG that is called .JPEG, web pictures
    # are GIF, BMP or WebP under any name), turns CMYK, grey and palettes into RGB, and does not mind broken EXIF.
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise DataError(f"{path}: reading a picture needs Pillow; install it with: pip install pillow") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning about EXIF or a palette an image would bury everything else
            with Image.open(path if content is None else content) as picture:
                return picture.convert("RGB")
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders answer broken bytes with OSError, SyntaxError, ValueError, struct.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not an image that can be read ({reason}); get this file again") from None


def missing(path: str | os.PathLike[str]) -> DataError:
    """The error for a file that a data set lists and does not have."""
    return DataError(f"{path} is listed but missing; unpack the data set's images to where it should be")


@functools.cache
def _middle(side: int, resize: int) -> Any:
    v2 = _torchvision()
    return v2.Compose([v2.Resize(resize), v2.CenterCrop(side), v2.PILToTensor()])


@functools.cache
def _random(side: int) -> Any:
    v2 = _torchvision()
    return v2.Compose([v2.RandomResizedCrop(side), v2.RandomHorizontalFlip(), v2.PILToTensor()])


def _torchvision() -> Any:
    try:
        from torchvision.transforms import v2
    except ModuleNotFoundError:
        raise DataError("images that stay on disk need torchvision; install it with: pip install torchvision") from None
    return v2
