"""Passes of dual numbers by products that were kept: the tangents of a pass that makes all anew, to the last bit."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support import lrw_runs
from support.mnist_runs import outcome
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from reweigh.config.methods import bilaw, gdw, lrwopt, mwn
from reweigh.hypergrad.kept_products import Products
from reweigh.hypergrad.lookahead import directional_derivatives
from reweigh.hypergrad.own_step import own_step
from reweigh.models import build
from reweigh.models.layers import without_trace


def losses_of(model, images, labels, training=True):
    def losses(at):
        with without_trace(model, training):
            return F.cross_entropy(functional_call(model, at, (images,)), labels, reduction="none")

    return losses


def kept_by(losses, at):
    products = Products()
    with torch.no_grad(), products.kept():
        losses(at)
    return products


def problem(model, shape, classes=4, size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, *shape, generator=generator)
    at = {name: value.detach() for name, value in model.named_parameters()}
    along = {name: torch.randn(value.shape, generator=generator) for name, value in at.items()}
    return images, torch.randint(classes, (size,), generator=generator), at, along


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2), st.integers(1, 2), st.sampled_from([1, 2]), st.booleans(), st.booleans(), st.integers(0, 99))
def test_tangents_are_the_same_to_the_last_bit(stride, padding, groups, bias, batch_norm, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride, padding, groups=groups, bias=bias),
        nn.BatchNorm2d(4) if batch_norm else nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(4, 4, (1, 2), dilation=(1, 2), bias=bias),
        nn.Flatten(),
        nn.LazyLinear(4),
    )
    model(torch.zeros(2, 2, 8, 8))
    images, labels, at, along = problem(model, (2, 8, 8), seed=seed)
    losses = losses_of(model, images, labels)
    plain = directional_derivatives(losses, at, along)
    products = kept_by(losses, at)
    with products.taken():
        found = directional_derivatives(losses, at, along)
    assert torch.equal(found, plain) and not products.found


@pytest.mark.parametrize("name", ["lenet", "resnet32", "wrn"])
@pytest.mark.parametrize("training", [True, False])
def test_on_nets_of_the_project(name, training):
    options = {"lenet": {}, "resnet32": {"width": 0.25, "blocks": 1}, "wrn": {"depth": 10, "width": 0.25, "dropout": 0}}
    shape = (1, 28, 28) if name == "lenet" else (3, 32, 32)
    model = build(name, shape, 4, 0, **options[name])
    images, labels, at, along = problem(model, shape)
    losses = losses_of(model, images, labels, training)
    with FlopCounterMode(display=False) as whole:
        plain = directional_derivatives(losses, at, along)
    with FlopCounterMode(display=False) as once, torch.no_grad():
        losses(at)
    products = kept_by(losses, at)
    with products.taken(), FlopCounterMode(display=False) as left:
        found = directional_derivatives(losses, at, along)
    assert torch.equal(found, plain)
    counts = [one.get_flop_counts()["Global"][torch.ops.aten.convolution] for one in (whole, once, left)]
    assert counts[2] < 2 * counts[1] < counts[0]


def test_by_central_differences():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(72, 4)).double()
    images, labels, at, along = problem(model, (1, 8, 8))
    images, along = images.double(), {name: value.double() for name, value in along.items()}
    losses = losses_of(model, images, labels)
    with kept_by(losses, at).taken():
        found = directional_derivatives(losses, at, along)
    size = 1e-6
    ends = [losses({name: value + sign * size * along[name] for name, value in at.items()}) for sign in (1, -1)]
    torch.testing.assert_close(found, (ends[0] - ends[1]) / (2 * size), rtol=1e-6, atol=1e-7)


def test_frozen_convolutions_and_biases_alone():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.Flatten(), nn.Linear(48, 4))
    images, labels, at, along = problem(model, (1, 8, 8))
    losses = losses_of(model, images, labels)
    for some in (["2.weight", "4.bias"], ["0.bias", "4.weight"], ["4.weight"]):
        moved, towards = ({name: values[name] for name in some} for values in (at, along))
        plain = directional_derivatives(losses, moved, towards)
        with kept_by(losses, at).taken():
            assert torch.equal(directional_derivatives(losses, moved, towards), plain), some


class InPlace(nn.Module):
    """A net that adds to the product of a convolution in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 2, 3, 1, 1), nn.Conv2d(2, 2, 3, 1, 1), nn.Linear(128, 4)

    def forward(self, images):
        hidden = self.first(images).relu()
        return self.head(self.second(hidden).add_(hidden).flatten(1))


def test_a_product_that_was_added_to_in_place_is_made_again():
    model = InPlace()
    images, labels, at, along = problem(model, (1, 8, 8))
    losses = losses_of(model, images, labels)
    plain = directional_derivatives(losses, at, along)
    with kept_by(losses, at).taken():
        assert torch.equal(directional_derivatives(losses, at, along), plain)


def test_another_pass_than_that_of_the_products_is_refused():
    one, two = (nn.Sequential(*[nn.Conv2d(1, 1, 3) for _ in range(count)], nn.Flatten()) for count in (1, 2))
    for model, other, says in ((one, two, "more"), (two, one, "fewer")):
        images, labels, at, _ = problem(model, (1, 8, 8))
        products = kept_by(losses_of(model, images, labels), at)
        images, labels, at, along = problem(other, (1, 8, 8))
        with pytest.raises(RuntimeError, match=says), products.taken():
            directional_derivatives(losses_of(other, images, labels), at, along)


def test_an_own_step_by_kept_products_is_the_same_and_leaves_none():
    model = build("resnet32", (3, 32, 32), 4, 0, width=0.25, blocks=1)
    images, labels, at, _ = problem(model, (3, 32, 32))
    losses, outer = losses_of(model, images, labels), losses_of(model, images.flip(0), labels.flip(0))
    weights, found = torch.arange(1.0, 7.0) / 21, []
    for products in (None, kept_by(losses, at)):
        leaves = {name: value.clone().requires_grad_() for name, value in at.items()}
        derivatives, objective = own_step(
            losses(leaves), weights, leaves, losses, lambda theta: outer(theta).mean(), 0.1, products
        )
        found.append([derivatives, *torch.autograd.grad(objective, list(leaves.values()))])
    assert all(torch.equal(first, second) for first, second in zip(*found, strict=True))
    assert not products.found


@pytest.mark.parametrize("uses", ["lrw", "lrwopt", "grouped lrwopt", "mwn", "shared mwn", "bilaw", "gdw"])
def test_a_whole_run_ends_with_the_same_bits_without_them(mnist, monkeypatch, uses):
    options = {
        "lrw": lrw_runs.LRW,
        "lrwopt": lrwopt.PRINTED,
        "grouped lrwopt": {**lrwopt.PRINTED, "outer": "grouped"},
        "mwn": mwn.EVERY_FIFTH,
        "shared mwn": {**mwn.EVERY_FIFTH, "virtual_step": "shared"},
        "bilaw": bilaw.ON_MARGINS,
        "gdw": gdw.CARD.examples[0],
    }[uses]
    taken, ends = [], []
    for keeps in (True, False):
        run = lrw_runs.run_of(uses.split()[-1], options, mnist)
        if not keeps:
            monkeypatch.setattr(Products, "kept", lambda self: nullcontext())
        monkeypatch.setattr(Products, "_take", watched(Products._take, taken))
        run.finish()
        ends.append(outcome(run))
        monkeypatch.undo()
        taken.append("whole")
    assert ends[0] == ends[1]
    assert taken.index("whole") > 4 and taken[-2:] == ["whole", "whole"]  # none where none were kept


def watched(method, taken):
    def take(self, *arguments):
        taken.append("one")
        return method(self, *arguments)

    return take
