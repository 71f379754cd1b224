"""How inputs may be scaled and augmented, against what they are: images of so many channels and pixels, or features."""

from typing import Any

from reweigh.config.known_sizes import called
from reweigh.data import local_cards
from reweigh.errors import ConfigError

# Channels of images in memory, and pixels of their shorter side.
IMAGES = {
    "mnist": (1, 28),
    "nexrad": (1, 52),
    **dict.fromkeys(
        (
            *("cifar10", "cifar10-slice", "cifar10-slice-large", "cifar10n", "cifar10n-slice"),
            *("cifar100", "cifar100-slice", "cifar100n"),
        ),
        (3, 32),
    ),
}

# Data sets whose images stay on disk, all in colour. They are cropped as they are read, so `augment` is only a name.
ON_DISK = (
    "camelyon17", "clothing1m", "diabetic-retinopathy", "fgvc-aircraft", "imagenet", "imagenet-100", "imagenet-a",
    "imagenet-lt", "imagenet-r", "inaturalist2018", "iwildcam", "oxford-iiit-pet", "places-lt", "stanford-cars",
    "waterbirds-images", "webvision",
)  # fmt: skip

# Data sets whose inputs are numbers (F,), no pixels.
FEATURES = ("adult", "waterbirds", "waterbirds-small")


def has_features(data: dict[str, Any]) -> bool:
    """Whether the inputs of a spec's `data` block are numbers, no pixels: a table of the user's own, too."""
    return data["dataset"] in FEATURES or data["dataset"] == "table"


def _images(data: dict[str, Any]) -> tuple[int | None, int | None]:
    """Channels and shorter side of a data set's images in memory; None where they are not known."""
    if data["dataset"] == "folder":
        channels, side, _ = local_cards.of(data["options"])["inputs"]
        return channels, side
    return IMAGES.get(data["dataset"], (None, None))


def check_learned(data: dict[str, Any], options: dict[str, Any], where: str) -> None:
    """Raise ConfigError for a method that learns to augment inputs that are no images."""
    if options.get("augmentation") and has_features(data):
        raise ConfigError(
            f"{where}: augmentation is learned for images, and {called(data)} has features; set it to null"
        )


def check(data: dict[str, Any], where: str) -> None:
    """Raise ConfigError for a scaling or an augmentation that a data set's inputs cannot have.

    What is not known of a data set (see the tables above) is not checked.
    """
    dataset, scaling, augment = called(data), data["scale_inputs"], data["augment"]
    if has_features(data):
        scalings = ("none", "raw", "standardised")
        for key, says, fits in (("scale_inputs", scaling, scalings), ("augment", augment, ("none",))):
            if says not in fits:
                raise ConfigError(f"{where}: {key} is for images, and {dataset} has features; use none")
        return
    if scaling == "standardised":
        raise ConfigError(f"{where}: scale_inputs standardised is for features, and {dataset} has images; use moments")
    channels, side = (3, None) if data["dataset"] in ON_DISK else _images(data)
    if isinstance(scaling, dict) and channels is not None and len(scaling["mean"]) != channels:
        raise ConfigError(
            f"{where}: scale_inputs has moments of {len(scaling['mean'])} channels, images of {dataset} have {channels}"
        )
    if not isinstance(augment, dict):
        return
    if data["dataset"] in ON_DISK:
        raise ConfigError(f"{where}: images of {dataset} stay on disk, where augment is none or crop-flip")
    if side is not None and augment["crop_padding"] >= side:
        raise ConfigError(
            f"{where}: crop_padding is {augment['crop_padding']}, images of {dataset} are {side} pixels wide; lower it"
        )
