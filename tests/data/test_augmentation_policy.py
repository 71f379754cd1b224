"""A learned augmentation policy: what is drawn and done, by which policy, and the derivatives of a step of training."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from reweigh.data.augmentation_policy import (
    MAGNITUDE,
    NAMES,
    OPERATION,
    PROBABILITY,
    WITH_MAGNITUDE,
    Policy,
    amount_of,
    relaxed_bernoulli,
)
from reweigh.data.batches import Scaling
from reweigh.data.image_operations import OPERATIONS
from reweigh.errors import ConfigError
from reweigh.hypergrad.implicit import hypergradient
from reweigh.layouts import MEMORY_FORMATS
from reweigh.streams import rng

CPU = torch.device("cpu")
MOMENTS = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}
OPTIONS = {
    "policies": "cluster",
    "sub_policies": 3,
    "stages": 2,
    "temperature": 0.1,
    "operation_temperature": 0.05,
    "start": 0.5,
}
CLUSTERS = torch.tensor([0, 0, 1, 2])
SMOOTH = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "mirror", "invert", "contrast", "saturate",
          "brightness", "sharpness")  # fmt: skip
TYPES = (PROBABILITY, MAGNITUDE, OPERATION)


def made(scaling=MOMENTS, layout="channels-last", **options):
    return Policy({**OPTIONS, **options}, CLUSTERS, Scaling(scaling, CPU, layout), CPU, 7)


def pictures(count=24, channels=3, side=8, seed=0):
    random = np.random.default_rng(seed)
    images = torch.from_numpy(random.integers(0, 256, (count, channels, side, side), dtype=np.uint8))
    return images, torch.from_numpy(random.integers(0, 4, count))


def alone(policy, name, probability=1.0, magnitude=1.0):
    """Parameters by which one operation alone acts, in the first stage."""
    parameters = policy.parameters()
    parameters[PROBABILITY].zero_()[..., 0, NAMES.index(name)] = probability
    parameters[OPERATION][..., NAMES.index(name)] = 10.0
    parameters[MAGNITUDE].fill_(magnitude)
    return parameters


# --- parameters and draws --------------------------------------------------------------------------------------------


def test_there_is_a_policy_for_each_cluster_or_one_for_all():
    for policies, count in (("cluster", 3), ("one", 1)):
        parameters = made(policies=policies).parameters()
        shapes = {name: tuple(value.shape) for name, value in parameters.items()}
        assert shapes == {PROBABILITY: (count, 3, 2, 15), MAGNITUDE: (count, 3, 2, 11), OPERATION: (count, 3, 2, 15)}
        assert parameters[PROBABILITY].unique().tolist() == parameters[MAGNITUDE].unique().tolist() == [0.5]
        assert not parameters[OPERATION].any()


def test_a_uniform_start_is_drawn_from_named_streams():
    first, again = made(start="uniform").parameters(), made(start="uniform").parameters()
    assert all(torch.equal(first[name], again[name]) for name in TYPES)
    values = torch.cat([first[PROBABILITY].flatten(), first[MAGNITUDE].flatten()])
    assert 0 <= values.min() < 0.05 and 0.95 < values.max() < 1 and len(values.unique()) > 200
    other = Policy({**OPTIONS, "start": "uniform"}, CLUSTERS, Scaling("centred", CPU), CPU, 8).parameters()
    assert not torch.equal(first[PROBABILITY], other[PROBABILITY])


def test_clipping_is_in_place_and_leaves_the_weights_of_operations():
    policy = made()
    parameters = policy.parameters()
    for value in parameters.values():
        value.copy_(torch.linspace(-1, 2, value.numel()).view_as(value))
    before = dict(parameters)
    policy.clip(parameters)
    assert all(parameters[name] is before[name] for name in TYPES)
    assert parameters[PROBABILITY].min() == parameters[MAGNITUDE].min() == 0
    assert parameters[PROBABILITY].max() == parameters[MAGNITUDE].max() == 1
    assert parameters[OPERATION].min() == -1 and parameters[OPERATION].max() == 2


@pytest.mark.parametrize("relaxed", [True, False])
def test_all_that_is_random_is_in_the_draws(relaxed):
    policy, (images, labels) = made(), pictures()
    inputs = Scaling(MOMENTS, CPU)(images)
    draws = policy.draw(len(images), rng(0, "policy", 3))
    assert draws.shape == (24, policy.columns) == (24, 63) and draws.dtype == torch.float32
    assert torch.equal(draws, policy.draw(len(images), rng(0, "policy", 3)))
    parameters = policy.parameters()
    found = policy.apply(inputs, labels, parameters, draws, relaxed)
    torch.manual_seed(1)
    assert torch.equal(found, made().apply(inputs, labels, parameters, draws, relaxed))
    other = policy.apply(inputs, labels, parameters, policy.draw(24, rng(0, "policy", 4)), relaxed)
    assert ((found - other).abs().amax((1, 2, 3)) > 0).sum() > 12
    # an image's result depends on its own draws and label alone
    half = policy.apply(inputs[12:], labels[12:], parameters, draws[12:], relaxed)
    torch.testing.assert_close(half, found[12:])


# --- what is done ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relaxed", [True, False])
@pytest.mark.parametrize("scaling", ["centred", "raw", MOMENTS])
def test_probability_0_is_the_identity_bit_for_bit(scaling, relaxed):
    policy, (images, labels) = made(scaling), pictures()
    inputs = Scaling(scaling, CPU)(images)
    parameters = policy.parameters()
    parameters[PROBABILITY].zero_()
    for step in range(20):
        draws = policy.draw(len(images), rng(0, step))
        assert torch.equal(policy.apply(inputs, labels, parameters, draws, relaxed), inputs)
    assert torch.equal(policy.apply(inputs, labels, parameters, torch.zeros_like(draws), relaxed), inputs)


@pytest.mark.parametrize("scaling", ["centred", "raw", MOMENTS])
@pytest.mark.parametrize("relaxed", [True, False])
@pytest.mark.parametrize("name", ["invert", "equalize", "solarize"])
def test_operations_see_pixels_whatever_the_scaling(name, relaxed, scaling):
    """One that always acts gives what it makes of the raw image, scaled."""
    policy, (images, labels) = made(scaling), pictures()
    scaled = Scaling(scaling, CPU)
    draws = policy.draw(len(images), rng(0))
    found = policy.apply(scaled(images), labels, alone(policy, name), draws, relaxed)
    expected = OPERATIONS[name](images.float() / 255, torch.ones(len(images))) * 255
    torch.testing.assert_close(found, scaled(expected), rtol=0, atol=1e-2 if scaling == "raw" else 1e-4)


@pytest.mark.parametrize("relaxed", [True, False])
@pytest.mark.parametrize(("channels", "scaling"), [(1, "centred"), (3, MOMENTS)])
def test_values_stay_in_range_and_layouts_and_types_as_they_are(channels, scaling, relaxed):
    for layout in MEMORY_FORMATS:
        policy, (images, labels) = made(scaling, layout), pictures(64, channels)
        inputs = Scaling(scaling, CPU, layout)(images)
        slope, offset = Scaling(scaling, CPU).to_unit()
        for step in range(5):
            out = policy.apply(inputs, labels, policy.parameters(), policy.draw(64, rng(step)), relaxed)
            pixels = out * slope + offset
            assert pixels.min() > -1e-5 and pixels.max() < 1 + 1e-5 and out.dtype == torch.float32
            assert out.is_contiguous(memory_format=MEMORY_FORMATS[layout])


def test_images_of_a_cluster_have_its_policy_and_no_other():
    policy, (images, _) = made(), pictures(4)
    images = images[:1].expand(4, -1, -1, -1)
    inputs, labels = Scaling(MOMENTS, CPU)(images), torch.arange(4)
    draws = policy.draw(1, rng(0)).expand(4, -1)
    parameters = made(start="uniform").parameters()
    first, second, third, fourth = policy.apply(inputs, labels, parameters, draws, True)
    assert torch.equal(first, second) and not torch.allclose(first, third) and not torch.allclose(third, fourth)
    one = made(policies="one")
    shared = one.apply(inputs, labels, {name: value[:1] for name, value in parameters.items()}, draws, True)
    assert all(torch.equal(image, first) for image in shared)

    parameters[PROBABILITY][1].zero_()  # of cluster 1, class 2
    assert torch.equal(policy.apply(inputs, labels, parameters, draws, True)[2], inputs[2])
    leaves = {name: value.requires_grad_() for name, value in parameters.items()}
    out = policy.apply(inputs[:2], labels[:2], leaves, draws[:2], True)
    gradient = torch.autograd.grad(out.sum(), leaves[PROBABILITY])[0]
    assert gradient[0].any() and not gradient[1:].any()


def test_hard_operations_act_as_often_as_they_should():
    """The chosen one with its probability; each in its share of images; each sub-policy of a third."""
    policy, count = made(stages=1), 3000
    image, _ = pictures(1, side=4)
    inputs = Scaling(MOMENTS, CPU)(image).expand(count, -1, -1, -1)
    labels, draws = torch.zeros(count, dtype=torch.int64), policy.draw(count, rng(5))
    acted = (policy.apply(inputs, labels, alone(policy, "invert", 0.3), draws, False) != inputs).any(3).any(2).any(1)
    assert acted.float().mean().item() == pytest.approx(0.3, abs=0.03)

    parameters = policy.parameters()
    parameters[PROBABILITY].fill_(1.0)
    parameters[OPERATION].fill_(-10.0)
    parameters[OPERATION][..., NAMES.index("invert")] = 0.05 * np.log(3)
    parameters[OPERATION][..., NAMES.index("mirror")] = 0.0
    out = policy.apply(inputs, labels, parameters, draws, False)
    inverted = (out - policy.apply(inputs, labels, alone(policy, "invert"), draws, False)).abs().amax((1, 2, 3)) == 0
    mirrored = (out - policy.apply(inputs, labels, alone(policy, "mirror"), draws, False)).abs().amax((1, 2, 3)) == 0
    assert (inverted | mirrored).all() and inverted.float().mean().item() == pytest.approx(0.75, abs=0.03)

    parameters = alone(policy, "invert")
    parameters[PROBABILITY][:, 1:] = 0
    acted = (policy.apply(inputs, labels, parameters, draws, False) != inputs).any(3).any(2).any(1)
    assert acted.float().mean().item() == pytest.approx(1 / 3, abs=0.03)


def test_the_search_comes_to_hard_operations_as_its_temperatures_fall():
    cold = made(temperature=0.001, operation_temperature=0.001, stages=1)
    images, labels = pictures(200)
    inputs, draws = Scaling(MOMENTS, CPU)(images), cold.draw(200, rng(9))
    parameters = made(stages=1, start="uniform").parameters()
    parameters[OPERATION].copy_(torch.from_numpy(rng(1).permutation(3 * 3 * 15).reshape(3, 3, 1, 15)).float())
    soft, hard = (cold.apply(inputs, labels, parameters, draws, relaxed) for relaxed in (True, False))
    same = (soft - hard).abs().amax((1, 2, 3)) < 1e-3
    assert same.float().mean() > 0.97 and (hard != inputs).any(3).any(2).any(1).sum() > 50


def test_inputs_that_are_no_images_are_refused_in_one_line():
    policy = made("none")
    with pytest.raises(ConfigError, match=r"^augmentation is learned for images, .*shape \(14,\); set it to null$"):
        policy.apply(torch.zeros(3, 14), torch.zeros(3, dtype=torch.int64), {}, policy.draw(3, rng(0)), True)


def test_signs_are_drawn_of_what_has_a_sign_alone():
    magnitude, draws = torch.full((2, len(WITH_MAGNITUDE)), 0.5), torch.tensor([0.2, 0.8])
    assert amount_of("rotate", magnitude, draws).tolist() == [-15, 15]
    assert amount_of("solarize", magnitude, draws).tolist() == [0.5, 0.5]
    assert amount_of("equalize", magnitude, draws).tolist() == [0, 0]


# --- derivatives -----------------------------------------------------------------------------------------------------


def test_a_relaxed_mask_is_torchs_and_has_a_derivative_at_both_ends():
    probability = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=torch.float64, requires_grad=True)
    uniform = torch.linspace(0.05, 0.95, 4, dtype=torch.float64)
    mask = relaxed_bernoulli(probability, uniform, 0.1)
    drawn = torch.distributions.RelaxedBernoulli(torch.tensor(0.1), probs=probability[1:3])
    # Where torch has its mask of a uniform u, this one has that of 1 − u, which is as uniform.
    torch.testing.assert_close(mask[1:3], torch.sigmoid((drawn.logits + torch.logit(1 - uniform[1:3])) / 0.1))
    assert mask.tolist()[0] == 0 and mask.tolist()[3] == 1
    (slope,) = torch.autograd.grad(mask.sum(), probability)
    assert slope[0] == slope[3] == 1 and torch.isfinite(slope).all() and slope.min() >= 0


def small_problem(names, side, dtype=torch.float64):
    """A policy of these operations alone, half-way, with a small net, images and labels."""
    torch.manual_seed(0)
    policy, (images, labels) = made(sub_policies=2), pictures(12, side=side)
    parameters = {name: value.to(dtype) for name, value in policy.parameters().items()}
    parameters[PROBABILITY] += 0.3 * (torch.rand(parameters[PROBABILITY].shape, dtype=dtype) - 0.5)
    parameters[MAGNITUDE] += 0.3 * (torch.rand(parameters[MAGNITUDE].shape, dtype=dtype) - 0.5)
    parameters[OPERATION] += 0.05 * torch.rand(parameters[OPERATION].shape, dtype=dtype)
    without = [number for number, name in enumerate(NAMES) if name not in names]
    parameters[OPERATION][..., without] = -10.0  # their share is 0
    policy.slope, policy.offset = (value.to(dtype) for value in (policy.slope, policy.offset))
    inputs = Scaling(MOMENTS, CPU, "nchw")(images).to(dtype)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * (side - 2) ** 2, 4)).to(dtype)
    weights = {name: value.detach() for name, value in net.named_parameters()}
    draws = 0.25 + 0.5 * policy.draw(len(images), rng(2))  # masks that are neither 0 nor 1

    def loss(weights, design):
        shown = policy.apply(inputs, labels, design, draws, relaxed=True)
        return nn.functional.cross_entropy(functional_call(net, dict(weights), (shown,)), labels)

    return loss, weights, parameters


def test_the_mixed_derivative_is_that_of_finite_differences():
    """d(v · ∇_θ L)/dα in float64, of the operations that are smooth, along random directions of each tensor of α."""
    loss, weights, parameters = small_problem(SMOOTH, 6)
    weights = {name: value.requires_grad_() for name, value in weights.items()}
    vector = [torch.randn_like(value) for value in weights.values()]

    def projected(design):
        gradient = torch.autograd.grad(loss(weights, design), list(weights.values()), create_graph=True)
        return torch.stack([(a * b).sum() for a, b in zip(gradient, vector, strict=True)]).sum()

    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    found = dict(zip(leaves, torch.autograd.grad(projected(leaves), list(leaves.values())), strict=True))
    for name in TYPES:
        for seed in range(3):
            random = torch.Generator().manual_seed(seed)
            way = torch.randn(parameters[name].shape, generator=random, dtype=torch.float64)
            up, down = (
                projected({**parameters, name: parameters[name] + sign * 1e-7 * way}).item() for sign in (1, -1)
            )
            slope = (found[name] * way).sum().item()
            assert slope == pytest.approx((up - down) / 2e-7, rel=1e-4, abs=1e-6) and abs(slope) > 1e-4


def test_the_hypergradient_passes_through_all_operations():
    loss, weights, parameters = small_problem(NAMES, 18)  # fewer than 256 pixels are never equalised

    def validation(weights, design):
        return sum((value**2).sum() for value in weights.values())

    found, _ = hypergradient([loss, loss], [validation], weights, parameters, step=0.1, terms=2)
    for name in TYPES:
        used = found[name].abs().flatten(0, 2).amax(0)
        assert torch.isfinite(found[name]).all() and (used > 0).all(), name
    once, _ = hypergradient([loss, loss], [validation], weights, parameters, step=0.1, terms=2, keep_graphs=False)
    for name in TYPES:
        torch.testing.assert_close(once[name], found[name])


@pytest.mark.parametrize("which", [PROBABILITY, MAGNITUDE])
def test_descent_along_the_gradient_weakens_an_operation_that_harms(which):
    """Images told apart by their brightness, which one operation destroys; the loss itself says that it should go."""
    policy = made(policies="one", sub_policies=1, stages=1)
    images = torch.linspace(0, 255, 32)[:, None, None, None].expand(-1, 3, 6, 6).to(torch.uint8)
    labels = (torch.arange(32) >= 16).long()
    inputs = Scaling(MOMENTS, CPU)(images)
    parameters = {name: value.requires_grad_() for name, value in alone(policy, "brightness", 0.5, 0.5).items()}
    place = NAMES.index("brightness") if which == PROBABILITY else WITH_MAGNITUDE.index("brightness")
    for step in range(60):
        shown = policy.apply(inputs, labels, parameters, policy.draw(32, rng(4, step)), relaxed=True)
        logits = shown.mean((1, 2, 3))
        loss = nn.functional.binary_cross_entropy_with_logits(4 * logits, labels.float())
        (gradient,) = torch.autograd.grad(loss, parameters[which])
        with torch.no_grad():
            parameters[which] -= 0.5 * gradient
        policy.clip(parameters)
    assert parameters[which][0, 0, 0, place] < 0.1
