"""Models against the parameter counts of TDR's sheet (§5), and their initial weights against their distributions."""

import math

import pytest
import torch

from reweigh.errors import ConfigError
from reweigh.models import build, parameter_count
from reweigh.models.layers import Dropout, seed_dropout, without_trace

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "options", "count"),
    [
        ("lenet", GREY, 2, {}, 43_746),
        ("lenet", GREY, 10, {}, 44_426),
        ("convnet", COLOUR, 2, {}, 768_194),
        ("convnet", COLOUR, 10, {}, 776_394),
        ("resnet20", COLOUR, 2, {}, 272_018),
        ("resnet20", COLOUR, 10, {}, 272_538),
        ("resnet20", COLOUR, 2, {"shortcut": "A"}, 269_202),
        ("resnet20", COLOUR, 10, {"shortcut": "A"}, 269_722),
        ("mlp", (104,), 2, {}, 22_934),
    ],
)
def test_parameter_counts(name, shape, classes, options, count):
    model = build(name, shape, classes, 0, **options)
    assert parameter_count(model) == count
    assert model(torch.zeros(2, *shape)).shape == (2, classes)


def test_width_scales_the_hidden_sizes():
    assert parameter_count(build("convnet", COLOUR, 2, 0, width=0.25)) < 768_194 / 14
    assert build("resnet20", COLOUR, 2, 0, width=0.5)(torch.zeros(2, *COLOUR)).shape == (2, 2)


@pytest.mark.parametrize("name", ["lenet", "convnet", "resnet20", "mlp"])
def test_the_seed_alone_decides_the_initial_weights(name):
    shape = {"lenet": GREY, "mlp": (104,)}.get(name, COLOUR)
    torch.manual_seed(1)
    first = build(name, shape, 2, seed=3).state_dict()
    torch.manual_seed(2)
    again, other = build(name, shape, 2, seed=3).state_dict(), build(name, shape, 2, seed=4).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_glorot_and_truncated_fan_in():
    head = build("convnet", COLOUR, 10, 0).fc1.weight
    bound = math.sqrt(6 / (head.shape[0] + head.shape[1]))
    assert head.abs().max() <= bound and head.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    kernel = build("resnet20", COLOUR, 10, 0).blocks[8].conv2.weight
    sd = math.sqrt(1 / (64 * 9))
    assert kernel.std().item() == pytest.approx(sd, rel=0.02)
    assert kernel.abs().max() <= 2 * sd / 0.8796 + 1e-6


def test_dropout_mask_is_a_function_of_its_seed():
    layer, ones = Dropout(0.25), torch.ones(400, 50)
    layer.seed = 5
    first = layer(ones)
    torch.rand(7)  # the global stream does not matter
    assert torch.equal(first, layer(ones))
    layer.seed = 6
    assert not torch.equal(first, layer(ones))
    assert sorted(first.unique().tolist()) == pytest.approx([0.0, 1 / 0.75])
    assert (first == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    layer.eval()
    assert layer(ones) is ones


def test_layers_of_one_pass_drop_different_units():
    model = build("convnet", COLOUR, 2, 0)
    seed_dropout(model, 9)
    assert len({model.drop1.seed, model.drop2.seed, model.drop3.seed}) == 3


def test_without_trace_restores_the_mode():
    model = build("resnet20", COLOUR, 2, 0).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with without_trace(model, training=True):
        model(torch.randn(4, *COLOUR))
    assert not model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_unknown_names_say_what_to_do():
    with pytest.raises(ConfigError, match="no model 'lenett'"):
        build("lenett", GREY, 2, 0)
    with pytest.raises(ConfigError, match="use projection or A"):
        build("resnet20", COLOUR, 2, 0, shortcut="B")
