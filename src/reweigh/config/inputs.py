"""How inputs may be scaled and augmented, against what they are: images of so many channels and pixels, or features."""

from typing import Any

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


def check_learned(data: dict[str, Any], options: dict[str, Any], where: str) -> None:
    """Raise ConfigError for a method that learns to augment inputs that are no images."""
    if options.get("augmentation") and data["dataset"] in FEATURES:
        raise ConfigError(
            f"{where}: augmentation is learned for images, and {data['dataset']} has features; set it to null"
        )


def check(data: dict[str, Any], where: str) -> None:
    """Raise ConfigError for a scaling or an augmentation that a data set's inputs cannot have.

    What is not known of a data set (see the tables above) is not checked.
    """
    dataset, scaling, augment = data["dataset"], data["scale_inputs"], data["augment"]
    if dataset in FEATURES:
        scalings = ("none", "raw", "standardised")
        for key, says, fits in (("scale_inputs", scaling, scalings), ("augment", augment, ("none",))):
            if says not in fits:
                raise ConfigError(f"{where}: {key} is for images, and {dataset} has features; use none")
        return
    if scaling == "standardised":
        raise ConfigError(f"{where}: scale_inputs standardised is for features, and {dataset} has images; use moments")
    channels = 3 if dataset in ON_DISK else IMAGES.get(dataset, (None,))[0]
    if isinstance(scaling, dict) and channels is not None and len(scaling["mean"]) != channels:
        raise ConfigError(
            f"{where}: scale_inputs has moments of {len(scaling['mean'])} channels, images of {dataset} have {channels}"
        )
    if not isinstance(augment, dict):
        return
    if dataset in ON_DISK:
        raise ConfigError(f"{where}: images of {dataset} stay on disk, where augment is none or crop-flip")
    side = IMAGES[dataset][1] if dataset in IMAGES else None
    if side is not None and augment["crop_padding"] >= side:
        raise ConfigError(
            f"{where}: crop_padding is {augment['crop_padding']}, images of {dataset} are {side} pixels wide; lower it"
        )
