"""What the config refuses of a single spec: scalings that inputs cannot have, rates and sizes that no float holds."""

import copy

import pytest
from support.config_files import replace

from reweigh.config import inputs
from reweigh.config.cards import check_options
from reweigh.config.loading import load
from reweigh.config.methods.two_stage import SECOND
from reweigh.config.specs import Moments, Spec
from reweigh.config.validation import validated
from reweigh.errors import ConfigError

COLOUR = {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
GREY = {"mean": [0.5], "std": [0.2]}
CROP = {"crop_padding": 4, "padding": "zero", "flip": True, "rotation_degrees": 0.0}


@pytest.mark.parametrize(
    ("dataset", "scaling", "augment", "says"),
    [
        ("mnist", COLOUR, "none", "scale_inputs has moments of 3 channels, images of mnist have 1"),
        ("cifar10-slice", GREY, "none", "moments of 1 channels, images of cifar10-slice have 3"),
        ("imagenet-lt", GREY, "none", "moments of 1 channels, images of imagenet-lt have 3"),
        ("adult", GREY, "none", "scale_inputs is for images, and adult has features; use none"),
        ("adult", "centred", "none", "scale_inputs is for images, and adult has features; use none"),
        ("adult", "none", CROP, "augment is for images, and adult has features; use none"),
        ("adult", "raw", "crop-flip", "augment is for images, and adult has features; use none"),
        ("mnist", "centred", CROP | {"crop_padding": 28}, "crop_padding is 28, images of mnist are 28 pixels wide"),
        ("places-lt", COLOUR, CROP, "images of places-lt stay on disk, where augment is none or crop-flip"),
        ("mnist", "standardised", "none", "standardised is for features, and mnist has images; use moments"),
        ("imagenet-lt", "standardised", "none", "is for features, and imagenet-lt has images"),
        ("waterbirds", COLOUR, "none", "scale_inputs is for images, and waterbirds has features; use none"),
        ("waterbirds", "standardised", "none", None),
        ("adult", "standardised", "none", None),
        ("mnist", GREY, CROP, None),
        ("cifar100", COLOUR, "crop-flip", None),
        ("adult", "none", "none", None),
        ("imagenet-lt", COLOUR, "crop-flip", None),
        ("somebody-s", GREY, CROP, None),
    ],
)
def test_what_inputs_cannot_have_is_refused(dataset, scaling, augment, says):
    data = {"dataset": dataset, "scale_inputs": scaling, "augment": augment}
    if says is None:
        inputs.check(data, "here")
        return
    with pytest.raises(ConfigError) as refused:
        inputs.check(data, "here")
    assert str(refused.value).startswith("here: ") and says in str(refused.value) and "\n" not in str(refused.value)


def test_augmentation_is_learned_for_images_alone():
    learned = {"augmentation": {"policies": "one"}}
    inputs.check_learned({"dataset": "adult"}, {"augmentation": None}, "here")
    inputs.check_learned({"dataset": "mnist"}, learned, "here")
    with pytest.raises(ConfigError, match=r"^here: augmentation is learned for images, and adult has features; set it"):
        inputs.check_learned({"dataset": "adult"}, learned, "here")


def test_moments_have_one_of_each_per_channel():
    with pytest.raises(ConfigError, match="here: mean has 2 values and std 1; give one of each per channel"):
        validated(Moments, {"mean": [0.5, 0.5], "std": [0.2]}, "here")


def test_in_the_config_they_are_refused_before_any_job(tdr_project):
    old = "scale_inputs: { value: centred, source: TDR's code }"
    moments = "scale_inputs: { value: { mean: [0.5, 0.5], std: [0.5, 0.5] }, source: TDR's code }"
    uneven = moments.replace("std: [0.5, 0.5]", "std: [0.5]")
    replace(tdr_project, old, uneven, "config/protocols/mnist-lenet.yaml")
    with pytest.raises(ConfigError, match=r"scale_inputs: mean has 2 values and std 1; give one of each per"):
        load(tdr_project)
    replace(tdr_project, uneven, moments, "config/protocols/mnist-lenet.yaml")
    with pytest.raises(ConfigError, match=r"^config/papers/tdr/.*: scale_inputs has moments of 2 channels, images of"):
        load(tdr_project)


LONG_TAIL = "smoke/tdr/mnist-lt/rho0.1/tdr/seed0"


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("data.split.imbalance_ratio", "1e400", "imbalance_ratio: must be a finite number"),
        ("data.split.imbalance_ratio", "1e999999999", "imbalance_ratio: must be a finite number"),
        ("data.split.imbalance_ratio", "1" * 400 + "/3", "imbalance_ratio: must be a valid number"),
        ("data.split.imbalance_ratio", "3/0", "imbalance_ratio: must be a valid number"),
        ("data.split.imbalance_ratio", 1e12, "less than or equal to 1000000000"),
        ("data.split.largest_class", 10**400, "largest_class: must be less than or equal to 1000000000"),
        ("training.epochs", 10**12, "epochs: must be less than or equal to 1000000000"),
        ("training.learning_rate", 1e300, "learning_rate: must be less than or equal to 1000000"),
        ("training.weight_decay", 1e300, "weight_decay: must be less than or equal to 1000000"),
        ("training.layer_weight_decay", {"head": 1e300}, "must be less than or equal to 1000000"),
        ("training.gradient_clip", 1e300, "gradient_clip: must be less than or equal to"),
        ("training.schedule", {"name": "step", "milestones": list(range(1, 60)), "factor": 1e6},
         "factor 1e+06 at each of 59 milestones lets the learning rate overflow; lower it"),
        ("training.schedule", {"name": "cosine", "warmup_epochs": 50}, "warmup_epochs is 50, but there are only"),
        ("training.schedule", {"name": "constant", "warmup_epochs": "all"}, "; lower it"),
        ("training.schedule", {"name": "constant", "warmup_epochs": "all but one"}, None),
        ("data.split.imbalance_ratio", "10/3", None),
        ("data.split.imbalance_ratio", "12.5", None),
    ],
)  # fmt: skip
def test_values_that_training_would_stumble_over_are_refused(config, path, value, says):
    spec = copy.deepcopy(config.resolve(LONG_TAIL))
    if isinstance(value, dict) and isinstance(last := value.get("warmup_epochs"), str):
        value = value | {"warmup_epochs": spec["training"]["epochs"] - (last == "all but one")}
    *blocks, key = path.split(".")
    inner = spec
    for block in blocks:
        inner = inner[block]
    inner[key] = value
    if says is None:
        validated(Spec, spec, "here")
        return
    with pytest.raises(ConfigError) as refused:
        validated(Spec, spec, "here")
    assert str(refused.value).startswith("here: ") and says in str(refused.value) and "\n" not in str(refused.value)


def test_a_ratio_is_the_float_nearest_to_what_is_written(config):
    spec = copy.deepcopy(config.resolve(LONG_TAIL))
    for text, ratio in (("10/3", 10 / 3), ("3.3", 3.3), ("200", 200.0), ("1e2", 100.0)):
        spec["data"]["split"]["imbalance_ratio"] = text
        assert validated(Spec, spec, "here").data.split.imbalance_ratio == ratio


def test_the_legacy_order_takes_the_seeds_of_numpys_old_generator(config):
    spec = copy.deepcopy(config.resolve(LONG_TAIL))
    spec["data"]["split"]["order"] = "legacy"
    validated(Spec, spec | {"seed": 2**32 - 1}, "here")
    with pytest.raises(ConfigError, match=r"here: data\.split\.order legacy takes seeds below 4294967296, not 4294"):
        validated(Spec, spec | {"seed": 2**32}, "here")
    spec["data"]["split"]["fixed_seed"] = 123
    validated(Spec, spec | {"seed": 2**32}, "here")
    spec["data"]["split"] |= {"order": "random", "fixed_seed": None}
    validated(Spec, spec | {"seed": 2**70}, "here")


def test_a_second_stage_ends_its_warm_up():
    second = SECOND | {"epochs": 2, "schedule": {"name": "cosine", "warmup_epochs": 2}}
    options = {"stage_one": {"sampling": "uniform"}, "second_stage": second}
    with pytest.raises(ConfigError, match=r"warmup_epochs is 2, but there are only 2 epochs; lower it"):
        check_options("crt", options, "here")
