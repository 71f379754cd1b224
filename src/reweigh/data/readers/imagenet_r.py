"""ImageNet-R (Hendrycks et al., ICCV 2021): 30,000 renditions, from cartoons to toys, of 200 classes of ImageNet.

Training images are those of `imagenet`. ImageNet-R itself is only tested on, or half of it held out to validate.
"""

from pathlib import Path

from reweigh.data.arrays import RawData
from reweigh.data.readers.imagenet_a import beside_imagenet


def read(
    raw: Path,
    side: int = 224,
    resize: int | None = None,
    classes: str = "own",
    validation: bool = False,
    test: str = "own",
) -> RawData:
    """Images in `CLASS/` of `raw`, or of its `imagenet-r`, CLASS being a WordNet id; see `beside_imagenet`."""
    return beside_imagenet(raw, "imagenet-r", (side, resize), classes, validation, test)
