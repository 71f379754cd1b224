"""Learning rates, augmentation and streams of batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy import stats
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from reweigh.config.specs import Schedule, check_warmup
from reweigh.data import augment
from reweigh.data.arrays import Part
from reweigh.data.batches import BatchStream, DevicePart
from reweigh.streams import rng, stream_seed
from reweigh.training.schedule import learning_rate

STEP = {"name": "step", "milestones": [91, 136, 182], "factor": 0.1, "warmup_epochs": 0}


def test_step_decay_falls_at_its_milestones():
    rates = {epoch: learning_rate(STEP, 0.01, epoch * 100, 100, 200) for epoch in (0, 90, 91, 135, 136, 182, 199)}
    expected = {0: 1e-2, 90: 1e-2, 91: 1e-3, 135: 1e-3, 136: 1e-4, 182: 1e-5, 199: 1e-5}
    assert rates == pytest.approx(expected)
    assert learning_rate(STEP, 0.01, 91 * 100 - 1, 100, 200) == 0.01


def test_warm_up_is_linear_and_reaches_the_base_rate():
    schedule = {**STEP, "warmup_epochs": 5}
    rates = [learning_rate(schedule, 0.1, step, 10, 200) for step in range(51)]
    assert rates[:50] == pytest.approx([0.1 * (step + 1) / 50 for step in range(50)])
    assert rates[50] == 0.1


def test_warm_up_by_epoch_has_one_rate_an_epoch():
    """(e + 1) / W in epoch e, as in AutoBalance's code; afterwards both are one."""
    by_step, by_epoch = ({**STEP, "warmup_epochs": 5, **more} for more in ({}, {"warmup_by": "epoch"}))
    rates = [learning_rate(by_epoch, 0.1, step, 10, 200) for step in range(50)]
    assert rates == pytest.approx([0.1 * (epoch + 1) / 5 for epoch in range(5) for _ in range(10)])
    for step in (50, 51, 909, 910, 1999):
        assert learning_rate(by_epoch, 0.1, step, 10, 200) == learning_rate(by_step, 0.1, step, 10, 200)
    cosine = {"name": "cosine", "warmup_epochs": 2, "warmup_by": "epoch"}
    assert [learning_rate(cosine, 0.2, step, 10, 20) for step in (0, 9, 10, 19, 20)] == [0.1, 0.1, 0.2, 0.2, 0.2]


@pytest.mark.parametrize("schedule", [STEP, {"name": "cosine", "warmup_epochs": 0}])
def test_warm_up_by_epoch_stands_in_a_spec_only_where_it_acts(schedule):
    read = TypeAdapter(Schedule)
    assert read.dump_python(read.validate_python(schedule)) == schedule
    warm = schedule | {"warmup_epochs": 5, "warmup_by": "epoch"}
    check_warmup(read.validate_python(warm), 6)
    assert read.dump_python(read.validate_python(warm)) == warm
    with pytest.raises(ValueError, match="but warmup_epochs is 0; leave it out"):
        check_warmup(read.validate_python(schedule | {"warmup_by": "epoch"}), 6)


def test_cosine_goes_from_base_to_zero():
    schedule = {"name": "cosine", "warmup_epochs": 0}
    assert learning_rate(schedule, 0.2, 0, 10, 20) == 0.2
    assert learning_rate(schedule, 0.2, 100, 10, 20) == pytest.approx(0.1)
    assert learning_rate(schedule, 0.2, 199, 10, 20) == pytest.approx(0.1 * (1 + math.cos(math.pi * 199 / 200)))
    warm = {"name": "cosine", "warmup_epochs": 2}
    assert learning_rate(warm, 0.2, 20, 10, 20) == 0.2


CROP_FLIP = augment.NAMED["crop-flip"]


def test_every_crop_and_flip_is_a_window_of_the_padded_image_and_all_are_likely():
    """As torchvision's RandomCrop(32, padding=4) and RandomHorizontalFlip: 81 windows, each half mirrored."""
    image = torch.arange(1, 3 * 32 * 32 + 1).reshape(1, 3, 32, 32)
    padded = torch.nn.functional.pad(image, (4,) * 4)[0]
    windows = {}
    for down in range(9):
        for right in range(9):
            window = padded[:, down : down + 32, right : right + 32]
            windows[window.numpy().tobytes()] = (down, right, False)
            windows[window.flip(2).numpy().tobytes()] = (down, right, True)
    assert len(windows) == 162
    many = augment.apply(image.expand(8100, -1, -1, -1), CROP_FLIP, augment.draw(CROP_FLIP, 8100, rng(3)))
    seen = [windows[example.numpy().tobytes()] for example in many]
    counts = np.unique([down * 9 + right for down, right, _ in seen], return_counts=True)[1]
    assert len(counts) == 81
    assert ((counts - 100) ** 2 / 100).sum() < 140  # chi-squared with 80 degrees of freedom: p < 1e-4 beyond
    assert np.mean([mirrored for *_, mirrored in seen]) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("augmentation", "mode"),
    [
        (CROP_FLIP, "constant"),
        (augment.Augmentation(4, "reflect", flip=True), "reflect"),
        (augment.Augmentation(4, flip=True, rotation_degrees=20.0), "constant"),
        (augment.Augmentation(rotation_degrees=180.0), "constant"),
        (augment.Augmentation(flip=True), "constant"),
    ],
)
@pytest.mark.parametrize("size", [(32, 32), (7, 10)])
def test_each_image_is_what_torchvision_makes_of_the_same_draw(augmentation, mode, size):
    images = torch.randint(0, 256, (24, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    draws = augment.draw(augmentation, 24, rng(0))
    found = augment.apply(images, augmentation, draws)
    assert found.is_contiguous(memory_format=torch.channels_last) and found.dtype == torch.uint8
    for image, mine, (down, right, mirrored, degrees) in zip(images, found, draws.tolist(), strict=True):
        expected = image
        if augmentation.crop_padding:
            expected = transforms.pad(expected, augmentation.crop_padding, padding_mode=mode)
            expected = transforms.crop(expected, int(down), int(right), *size)
        if mirrored:
            expected = transforms.horizontal_flip(expected)
        if augmentation.rotation_degrees:
            expected = transforms.rotate(expected, degrees, InterpolationMode.NEAREST)
        # torchvision adds up in another order: a pixel whose source lies on an edge may fall either way
        wrong = (mine != expected).any(0).float().mean()
        assert wrong <= (0.02 if augmentation.rotation_degrees else 0)


def test_angles_are_uniform_either_way():
    drawn = augment.draw(augment.Augmentation(rotation_degrees=20.0), 4000, rng(1))[:, 3].numpy()
    assert stats.kstest(drawn, stats.uniform(-20, 40).cdf).pvalue > 1e-3


def test_an_augmentation_is_a_name_or_its_fields():
    assert augment.of("none") is None and augment.of("crop-flip") == CROP_FLIP
    assert augment.of({"crop_padding": 4, "padding": "zero", "flip": True, "rotation_degrees": 0.0}) == CROP_FLIP


def stream(examples=23, batch_size=5, seed=0, name="batches", drop_last=True):
    index = np.arange(examples)
    inputs = np.arange(examples, dtype=np.float32)[:, None]
    part = DevicePart(inputs, Part(index, index % 2, index % 2), "none", torch.device("cpu"))
    return BatchStream(part, batch_size, seed, name, augmented=False, drop_last=drop_last)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))
def test_a_cycle_shows_no_example_twice_and_drops_the_rest(examples, batch_size, cycle):
    batches = stream(examples, batch_size)
    seen = torch.cat([batches.batch(cycle * batches.per_cycle + k).inputs[:, 0] for k in range(batches.per_cycle)])
    assert len(seen.unique()) == len(seen) == examples // min(batch_size, examples) * min(batch_size, examples)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))
def test_a_cycle_that_keeps_its_last_batch_shows_every_example_once(examples, batch_size, cycle):
    batches = stream(examples, batch_size, drop_last=False)
    assert batches.per_cycle == math.ceil(examples / batch_size)
    sizes, seen = [], []
    for k in range(batches.per_cycle):
        batch = batches.batch(cycle * batches.per_cycle + k)
        assert len(batch) == batches.size
        sizes.append(len(batch))
        seen += batch.inputs[:, 0].tolist()
    assert sorted(seen) == list(range(examples)) and set(sizes[:-1]) <= {min(batch_size, examples)}


def test_a_batch_lies_at_the_place_that_is_sought_whatever_was_sought_before():
    """What a captured step relies on: `current` reads the place and the order from tensors that stay where they are."""
    batches = stream()
    order, place = batches._order.data_ptr(), batches._place.data_ptr()
    for number in (0, 1, 9, 2):
        batches.seek(number)
        assert torch.equal(batches.current().inputs, stream().batch(number).inputs)
    assert (order, place) == (batches._order.data_ptr(), batches._place.data_ptr())


def test_a_batch_depends_on_its_number_alone():
    forward, backward = stream(), stream()
    numbers = [0, 3, 4, 5, 17, 40]
    first = {number: forward.batch(number).inputs for number in numbers}
    for number in reversed(numbers):
        assert torch.equal(backward.batch(number).inputs, first[number])
    assert not torch.equal(stream(seed=1).batch(0).inputs, first[0])
    assert not torch.equal(stream(name="fresh-batches").batch(0).inputs, first[0])


def test_streams_are_named():
    assert stream_seed(0, "batches", 1) == stream_seed(0, "batches", 1) < 2**63
    names = [(0, "batches", 1), (0, "batches", 2), (1, "batches", 1), (0, "init"), (0, "batches")]
    assert len({stream_seed(*name) for name in names}) == len(names)
    assert rng(0, "noise").random() != rng(0, "init").random()


def test_images_are_scaled_by_the_step():
    pixels = np.array([0, 128, 255], np.uint8).reshape(3, 1, 1, 1)
    part = Part(np.arange(3), np.zeros(3, int), np.zeros(3, int))
    centred = DevicePart(pixels, part, "centred", torch.device("cpu")).take(slice(None)).inputs.flatten().tolist()
    raw = DevicePart(pixels, part, "raw", torch.device("cpu")).take(slice(None)).inputs.flatten().tolist()
    assert centred == [-1, 0, 255 / 128 - 1] and raw == [0, 128, 255]


def test_moments_are_those_of_torchvisions_normalize():
    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    moments = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}
    part = DevicePart(images.numpy(), Part(*[np.arange(5)] * 3), moments, torch.device("cpu"))
    expected = transforms.normalize(images / 255, moments["mean"], moments["std"])
    torch.testing.assert_close(part.take(slice(None)).inputs, expected, rtol=1e-6, atol=1e-6)
