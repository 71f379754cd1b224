"""The numbers of HAR's findings, computed again from the sizes and values of the authors' code."""

import pytest

from reweigh.cells import cells


@pytest.fixture(scope="module")
def said(config):
    """Text and evidence of each finding, in one line."""
    return {one.id: " ".join(f"{one.text} | {one.evidence}".split()) for one in config.paper("har").findings}


def split(config, cell):
    return config.resolve(f"paper/har/{cell}/har/seed0")["data"]["split"]


def test_rare_classes_are_the_noisy_ones(config, said):
    found = cells(split(config, "cifar10-step/released"), 10)
    assert found["noisy_rare"] == [1, 3, 5, 9] and set(found) == {"noisy_rare", "clean_common"}
    assert "rare 1, 3, 5, 9; pairs 1 with 9 and 3 with 5; 6 classes of 5,000 images, 4 of 500" in said["rare-is-noisy"]


def test_the_noise_of_the_code_does_not_follow_the_seed(config, said):
    assert split(config, "cifar10-hetero/released")["noise"]["seed"] == 0
    assert "RandomState(0)" in said["noise-ignores-the-seed"]


def test_lambdas_are_a_factor_of_100_apart(said):
    assert round(10 / 0.1) == 100 and "default 0.1, README 10" in said["two-lambdas"]


def test_what_the_mean_inside_the_norm_comes_to(said):
    batches, last = -(-50_000 // 128), 50_000 % 128
    assert (batches, last, f"{10 / 128:.3f}", 128 / last) == (391, 80, "0.078", 1.6)
    text = said["mean-loss-inside-the-norm"]
    assert "10 / 128 = 0.078" in text and "391 batches has 80 images, and norms 1.6 times" in text
    assert "1/128" in text


def test_what_a_half_has(said):
    text = said["half-the-data-estimates"]
    assert 32_000 // 2 == 16_000 and 500 // 2 == 250
    assert "16,000 of 32,000" in text and "250 images" in text and "best accuracy on labels kept at .6 is .6" in text


def test_a_class_without_error_has_no_strength(said):
    assert 0.0**0.6 / 500**0.4 == 0 and "strength 0" in said["no-error-no-strength"]
