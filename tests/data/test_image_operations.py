"""Each operation against torchvision's, what it leaves alone, and its derivatives: true ones, and those declared."""

import math

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from reweigh.data.image_operations import LEVELS, MOST_BITS, OPERATIONS, _Moved

STEPS = ("solarize", "posterize", "autocontrast", "equalize")
MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
BLENDS = ("contrast", "saturate", "brightness", "sharpness")
BILINEAR = InterpolationMode.BILINEAR


def levels(shape=(6, 3, 12, 10), seed=0, dtype=torch.float32):
    """Images of noise, darker and lighter ones, as 0 … 1 on the 256 levels."""
    random = torch.Generator().manual_seed(seed)
    tops = torch.linspace(40, 256, shape[0])[:, None, None, None]
    return (torch.rand(shape, generator=random) * tops).floor().to(dtype) / (LEVELS - 1)


def amounts(name, magnitude, count=6):
    operation = OPERATIONS[name]
    signs = torch.tensor([1.0, -1.0]).repeat(count)[:count] if operation.signed else torch.ones(count)
    return signs * (operation.largest or 0.0) * magnitude


def affine(image, degrees=0.0, translate=(0.0, 0.0), shear=(0.0, 0.0)):
    return reference.affine(image, degrees, list(translate), 1.0, list(shear), BILINEAR)


def by_torchvision(name, image, amount):
    """What torchvision makes of one image (C, H, W) in 0 … 1."""
    _, height, width = image.shape
    eight = (image * (LEVELS - 1)).round().to(torch.uint8)
    if name == "posterize":
        return reference.posterize(eight, 8 - round(amount)) / (LEVELS - 1)
    if name == "equalize":
        return reference.equalize(eight) / (LEVELS - 1)
    return {
        "shear_x": lambda: affine(image, shear=(math.degrees(math.atan(amount)), 0.0)),
        "shear_y": lambda: affine(image, shear=(0.0, math.degrees(math.atan(amount)))),
        "translate_x": lambda: affine(image, translate=(amount * width, 0.0)),
        "translate_y": lambda: affine(image, translate=(0.0, amount * height)),
        "rotate": lambda: reference.rotate(image, amount, BILINEAR),
        "mirror": lambda: reference.horizontal_flip(image),
        "invert": lambda: reference.invert(image),
        "solarize": lambda: reference.solarize(image, (1 - amount) * LEVELS / (LEVELS - 1)) if amount else image,
        "contrast": lambda: reference.adjust_contrast(image, 1 + amount),
        "saturate": lambda: reference.adjust_saturation(image, 1 + amount),
        "brightness": lambda: reference.adjust_brightness(image, 1 + amount),
        "sharpness": lambda: reference.adjust_sharpness(image, 1 + amount),
        "autocontrast": lambda: reference.autocontrast(image),
    }[name]()


def test_these_are_the_fifteen_of_autoaugment():
    assert len(OPERATIONS) == 15 and {"translate_x", "translate_y", *STEPS, *MOVES, *BLENDS} < set(OPERATIONS)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("magnitude", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_is_torchvisions(name, magnitude, channels):
    """torchvision's weights of grey sum up to 0.9999, which is the largest difference."""
    images = levels((6, channels, 40, 34) if name == "equalize" else (6, channels, 12, 10))  # of few pixels none acts
    by = amounts(name, magnitude)
    found = OPERATIONS[name](images, by)
    expected = torch.stack(
        [by_torchvision(name, image, float(amount)) for image, amount in zip(images, by, strict=True)]
    )
    assert found.shape == images.shape and found.min() >= 0 and found.max() <= 1 + 1e-6
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4 if name in ("contrast", "saturate") else 2e-5)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if OPERATIONS[name].largest])
def test_magnitude_0_changes_nothing_and_1_does(name):
    images = levels()
    torch.testing.assert_close(OPERATIONS[name](images, amounts(name, 0.0)), images, rtol=0, atol=1e-6)
    assert (OPERATIONS[name](images, amounts(name, 1.0)) - images).abs().amax((1, 2, 3)).min() > 0.02


def test_a_translation_moves_all_pixels_one_way_and_a_mirror_mirrors_left_and_right():
    image = torch.zeros(2, 1, 4, 10)
    image[:, :, 1, 2] = 1
    right = OPERATIONS["translate_x"](image, torch.tensor([0.4, -0.2]))
    assert right[0, 0, 1].argmax() == 6 and right[1, 0, 1].argmax() == 0
    assert OPERATIONS["translate_y"](image, torch.tensor([0.25, -0.25])).amax(3).argmax(2).flatten().tolist() == [2, 0]
    assert OPERATIONS["mirror"](image, torch.zeros(2))[0, 0, 1].argmax() == 7


def test_a_grey_image_has_no_saturation_and_one_of_one_value_no_contrast():
    grey, flat = levels((6, 1, 8, 8)), torch.full((2, 3, 8, 8), 0.25)
    assert torch.equal(OPERATIONS["saturate"](grey, amounts("saturate", 1.0)), grey)
    for name in ("autocontrast", "equalize"):
        assert torch.equal(OPERATIONS[name](flat, torch.zeros(2)), flat)


# --- derivatives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*MOVES, *BLENDS, "mirror", "invert"])
def test_smooth_ones_have_their_true_derivatives(name):
    """By the images and by the amounts, against finite differences in float64."""
    images = 0.3 + 0.2 * torch.rand((2, 3, 7, 6), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    by = (amounts(name, 0.37, 2) * 0.9).double()
    inputs = (images.requires_grad_(), by.requires_grad_(bool(OPERATIONS[name].largest)))
    assert torch.autograd.gradcheck(OPERATIONS[name], inputs, atol=1e-6)


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("magnitude", [0.0, 0.5, 0.77, 1.0])
def test_what_is_gathered_for_moved_pixels_is_what_torch_scatters(name, magnitude, monkeypatch):
    images, by = levels((4, 2, 9, 13), dtype=torch.float64).requires_grad_(), amounts(name, magnitude, 4).double()
    wanted = torch.randn((4, 2, 9, 13), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (found,) = torch.autograd.grad(OPERATIONS[name](images, by), images, wanted)
    sample = torch.nn.functional.grid_sample
    monkeypatch.setattr(torch.nn.functional, "grid_sample", lambda _, *rest, **more: sample(images, *rest, **more))
    monkeypatch.setattr(_Moved, "apply", lambda moved, *_: moved)
    (expected,) = torch.autograd.grad(OPERATIONS[name](images, by), images, wanted)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", STEPS)
def test_steps_have_the_derivatives_that_are_declared(name):
    """The identity in the pixels; 1 by the magnitude, in each pixel, where there is a magnitude. Values stay exact."""
    operation, images = OPERATIONS[name], levels(dtype=torch.float64).requires_grad_()
    by = amounts(name, 0.6).double().requires_grad_()
    wanted = torch.randn(images.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    out = operation(images, by)
    assert torch.equal(out, operation(images.detach(), by.detach()))
    by_pixel, by_amount = torch.autograd.grad(out, (images, by), wanted, allow_unused=True)
    assert torch.equal(by_pixel, wanted)
    if operation.largest is None:
        assert by_amount is None
    else:
        torch.testing.assert_close(by_amount * operation.largest, wanted.sum((1, 2, 3)))
    assert OPERATIONS["posterize"].largest == MOST_BITS
