"""The numbers of HAR's findings, computed again from the sizes and values of the authors' code."""

import re

import pytest
import torch
from support.project import ROOT

from reweigh.cells import cells
from reweigh.config.sizes import training_sizes
from reweigh.methods import class_errors, har


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


def test_lambda_has_no_rule(config, said):
    used = config.resolve("paper/har/cifar10-hetero/released/har/seed0")["method_options"]["lambda_"]
    default, readme = (
        float(one) for one in re.search(r"default ([\d.]+), README ([\d.]+)", said["two-lambdas"]).groups()
    )
    assert used == readme and readme / default == pytest.approx(100)


def test_what_the_mean_inside_the_norm_comes_to(config, said):
    spec = config.resolve("paper/har/cifar10-hetero/released/har/seed0")
    size, images = spec["training"]["batch_size"], sum(training_sizes(spec["data"]))
    batches, last = -(-images // size), images % size
    text = said["mean-loss-inside-the-norm"]
    assert f"{spec['method_options']['lambda_']:g} / {size} = {spec['method_options']['lambda_'] / size:.3f}" in text
    assert f"{batches} batches has {last} images, and norms {size / last:g} times" in text


def test_what_a_half_has(config, said):
    sizes = training_sizes(config.resolve("paper/har/cifar10-step/released/har/seed0")["data"])
    seen, unseen = class_errors.halves_of(sum(sizes), 0)
    assert len(seen) == len(unseen)
    text = said["half-the-data-estimates"]
    assert f"{len(seen):,} of {sum(sizes):,}" in text and f"{min(sizes) // 2} images" in text


def test_a_class_without_error_has_no_strength(said):
    found = har.strengths(torch.tensor([0.0, 0.5]), torch.tensor([500, 5000]), 0.6, 0.4)
    assert found.tolist() == [0.0, 1.0] and "strength 0" in said["no-error-no-strength"]


def test_counts_of_the_balanced_set_take_the_density_out_of_the_strengths(config, said):
    errors, step, balanced = (torch.tensor(one) for one in ([0.5, 0.5], [5000, 500], [5000, 5000]))
    assert har.strengths(errors, step, 0.6, 0.4)[0] == pytest.approx(10**-0.4)
    assert har.strengths(errors, balanced, 0.6, 0.4).tolist() == [1.0, 1.0]
    sizes = training_sizes(config.resolve("paper/har/cifar10-hetero/released/har/seed0")["data"])
    assert set(sizes) == {5000} and "about 5,000 for each class" in said["weights-of-the-balanced-set"]


def test_the_best_epoch_by_the_test_set_is_a_column_and_no_claim(config):
    paper = config.paper("har")
    assert all("best_epoch" not in claim.metric for claim in paper.claims)
    tables = [name for name in paper.artifacts if paper.artifacts[name].kind == "table"]
    for name in tables:
        text = (ROOT / paper.artifacts[name].notebook).read_text()
        assert "best_epoch_test_accuracy" in text and "as the authors' code reports it" in text, name
